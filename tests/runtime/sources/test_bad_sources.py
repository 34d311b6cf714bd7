"""What cameras, disks and networks do to a source: no crash, no hang, and a reason by name."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources import SourceOptions, open_source
from edgeproof_runtime.sources.synthetic import Card, draw_card, read_card
from senders import talking

PATIENCE = SourceOptions(open_timeout_s=0.5, read_timeout_s=0.5)


def write_video(path: Path, codec: str, size: tuple[int, int], frames: int) -> Path:
    """Test cards 0, 1, 2, ..."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, size)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(draw_card(Card(index, 0, 1), *size))
    writer.release()
    return path


def jpeg(width: int, height: int, index: int = 0) -> bytes:
    done, data = cv2.imencode(".jpg", draw_card(Card(index, 0, 1), width, height))
    assert done
    return data.tobytes()


def damage(path: Path, start: float, share: float) -> None:
    data = bytearray(path.read_bytes())
    begin = int(len(data) * start)
    data[begin : begin + int(len(data) * share)] = b"\0" * int(len(data) * share)
    path.write_bytes(data)


@pytest.mark.parametrize(("codec", "suffix"), [("mp4v", "mp4"), ("mp4v", "mkv"), ("mp4v", "ts"), ("MJPG", "avi")])
def test_broken_packets_in_the_middle_are_left_out_and_named(tmp_path, codec, suffix):
    path = write_video(tmp_path / f"clip.{suffix}", codec, (320, 240), 60)
    damage(path, 0.5, 0.1)
    with open_source(str(path)) as source:
        frames = list(source)
        reasons = " ".join(s.reason for s in source.skipped)
    assert 40 < len(frames) < 60, "the rest is read"
    last = read_card(frames[-1].image)
    assert last is not None
    assert last.index == 59
    assert "could not be decoded" in reasons or "of 60 frames" in reasons or any(f.damage for f in frames)


def test_a_broken_real_video_is_read_to_its_end(data_dir, tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes((data_dir / "videos" / "car-detection.mp4").read_bytes())
    damage(path, 0.5, 0.02)
    with open_source(str(path)) as source:
        frames = list(source)
        (skipped,) = source.skipped
    assert 360 < len(frames) < 377
    assert frames[-1].index == 376
    assert skipped.reason == f"{377 - len(frames)} of 377 frames could not be decoded"


def test_a_motion_jpeg_video_may_change_its_size(tmp_path):
    sizes = [(320, 240)] * 20 + [(240, 400)] * 20 + [(641, 361)] * 20
    path = tmp_path / "clip.mjpg"
    path.write_bytes(b"".join(jpeg(*size, index) for index, size in enumerate(sizes)))
    with open_source(str(path)) as source:
        assert not source.live, "a file is not live, although it claims no number of frames"
        frames = list(source)
    assert [f.image.shape[1::-1] for f in frames] == sizes
    assert [read_card(f.image) for f in frames] == [Card(i, 0, 1) for i in range(60)]


def test_another_video_may_change_its_size(tmp_path):
    parts = [write_video(tmp_path / f"{w}.ts", "mp4v", (w, h), 12) for w, h in ((320, 240), (240, 400))]
    path = tmp_path / "clip.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(str(path)) as source:
        frames = list(source)
    assert {f.image.shape for f in frames} == {(240, 320, 3), (400, 240, 3)}
    assert len(frames) == 24
    assert [c.index for f in frames if (c := read_card(f.image))][-1] == 11, "and readable"


@pytest.mark.parametrize("size", [(56, 48), (63, 49), (641, 361), (1366, 769)])
def test_odd_sizes(tmp_path, size):
    path = tmp_path / "clip.mjpg"
    path.write_bytes(b"".join(jpeg(*size, index) for index in range(40)))
    with open_source(str(path)) as source:
        frames = list(source)
    assert {f.image.shape for f in frames} == {(size[1], size[0], 3)}
    assert len(frames) == 40


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_without_frames_is_refused(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48)).release()
    with pytest.raises(SourceError, match=f"clip.{suffix}: cannot open"):
        open_source(str(path))


@pytest.mark.parametrize("content", [b"[" * 100_000, b"text, one line after the other\n" * 9, bytes(5000)])
def test_what_is_no_video_is_refused_without_waiting(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)  # GStreamer's typefind would wait for more of the first
    with pytest.raises(SourceError, match="cannot open"):
        open_source(str(path))


def test_a_video_that_opens_and_has_no_frames_gives_none(tmp_path):
    path = tmp_path / "clip.avi"
    cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)).release()
    with open_source(str(path)) as source:
        assert list(source) == []


def test_a_picture_of_one_pixel(tmp_path):
    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1, 3), 7, np.uint8))
    with open_source(str(tmp_path / "dot.png")) as source:
        (frame,) = source
    assert frame.image.shape == (1, 1, 3)


def test_a_picture_of_100_megapixels_is_read_and_one_of_four_gigapixels_named(tmp_path):
    done, data = cv2.imencode(".jpg", np.full((10_000, 10_000), 9, np.uint8))
    assert done
    (tmp_path / "large.jpg").write_bytes(data.tobytes())
    claim = bytearray(jpeg(64, 48))
    start = claim.index(b"\xff\xc0")
    claim[start + 5 : start + 9] = (65000).to_bytes(2, "big") * 2
    (tmp_path / "claims.jpg").write_bytes(claim)
    with open_source(str(tmp_path)) as source:
        (frame,) = source
        (skipped,) = source.skipped
    assert frame.image.shape == (10_000, 10_000, 3)
    assert skipped.name == "claims.jpg"
    assert skipped.reason == "too large (65000x65000 pixels)"


_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def part(data: bytes) -> bytes:
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data)


def silent(_connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def only_a_head(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(_HEAD)
    over.wait()


def dribbling(connection: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.05):
        connection.sendall(b"x")


@pytest.mark.parametrize("serve", [silent, only_a_head, dribbling])
def test_a_stream_that_never_begins_is_given_up(serve, capfd):
    with talking(serve) as address:
        begin = time.monotonic()
        with pytest.raises(SourceError, match=r"http://127.*: cannot open"):
            open_source(address, options=PATIENCE)
        assert time.monotonic() - begin < 20
    assert capfd.readouterr().err == ""


def test_a_stream_that_falls_silent_ends_with_a_reason():
    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(_HEAD)
        for index in range(60):
            connection.sendall(part(jpeg(320, 240, index)))
        over.wait()

    with talking(serve) as address, open_source(address, options=PATIENCE) as source:
        assert source.live
        cards = [read_card(frame.image) for frame in source]
        (skipped,) = source.skipped
    # The last part ends where the next one would begin.
    assert cards == [Card(i, 0, 1) for i in range(len(cards))]
    assert len(cards) in (59, 60)
    assert skipped.reason == f"stopped giving frames after {len(cards)}: no data for 0.5 s"


def test_a_camera_over_http_with_broken_pictures_and_another_size():
    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(_HEAD)
        for index in range(60):
            data = jpeg(*((320, 240) if index < 30 else (640, 360)), index)
            connection.sendall(part(data[: len(data) // 2] if index % 10 == 5 else data))

    with talking(serve) as address, open_source(address, options=PATIENCE) as source:
        frames = list(source)
        reasons = [s.reason for s in source.skipped]
    cards = [read_card(f.image) for f in frames]
    assert cards == [Card(i, 0, 1) for i in range(60) if i % 10 != 5]
    assert [f.index for f in frames] == [c.index for c in cards if c is not None]
    assert {f.image.shape for f in frames} == {(240, 320, 3), (360, 640, 3)}
    assert reasons == [
        "6 of 60 frames could not be decoded",
        "stopped giving frames after 60: the connection was closed",
    ]
