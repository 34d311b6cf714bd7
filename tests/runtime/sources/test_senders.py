"""Senders that serve one client, pipes, and files by address: each is opened once, and gives all its frames."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from clips import make_clip, number_of
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import SourceOptions, open_source
from edgeproof_runtime.sources.pipe import PipeReader
from scenes import worker
from senders import sending, talking
from waiting import free_port, until_listening

HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=10")
PATIENCE = SourceOptions(open_timeout_s=8, read_timeout_s=2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"), "plain.mp4")


def count(address: str, options: SourceOptions = PATIENCE) -> int:
    with open_source(address, options=options) as source:
        return sum(frame.damage is None for frame in source)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("tcp://127.0.0.1:{}?listen=1", "tcp://127.0.0.1:{}"), ("http://127.0.0.1:{}", "http://127.0.0.1:{}")],
)
def test_a_sender_that_serves_one_client(clip, theirs, ours):
    port = free_port()
    listen = ["-listen", "1"] if theirs.startswith("http") else []
    with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", *listen, theirs.format(port)):
        until_listening(port)
        assert count(ours.format(port)) == 30


def test_listening_ourselves(clip):
    port = free_port()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(count(f"tcp://127.0.0.1:{port}?listen=1")))
    thread.start()
    until_listening(port)
    with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", f"tcp://127.0.0.1:{port}"):
        thread.join()
    assert found == [30]


def test_a_stream_over_udp(clip):
    port = free_port()
    address = f"udp://127.0.0.1:{port}"
    with (
        sending("-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "mpegts", address),
        open_source(address, options=PATIENCE) as source,
    ):
        assert source.live
        assert sum(1 for _ in zip(source, range(20), strict=False)) == 20


def test_a_camera_that_is_set_to_another_codec_is_opened_again(clip, tmp_path):
    other = tmp_path / "other.ts"
    with sending("-i", str(clip), "-c:v", "mpeg2video", str(other)) as encoder:
        assert encoder.wait() == 0
    address = f"udp://127.0.0.1:{free_port()}"
    words = ["-re", "-stream_loop", "-1", "-i"], ["-c", "copy", "-f", "mpegts", address]
    stream = Stream("cam", lambda: open_source(address, options=PATIENCE), "every-frame", stall_timeout_s=0.3)
    seen = 0
    with ExitStack() as stack:
        first = stack.enter_context(sending(*words[0], str(clip), *words[1]))
        with Pipeline(stream, [worker()], duration_s=60) as pipeline:
            for _ in pipeline:
                seen += 1
                if seen == 20:
                    first.kill()
                    stack.enter_context(sending(*words[0], str(other), *words[1]))
                elif pipeline.snapshots()[0].reconnections > 0 and seen > 60:
                    pipeline.stop()
    (snapshot,) = pipeline.snapshots()
    reasons = [str(change.reason) for change in snapshot.history if change.state == "reconnecting"]
    assert re.match(r"cam: (only damaged frames for 4.5|no frame for 0.6) s; ", reasons[0])  # as the decoder takes it
    assert snapshot.reconnections > 0
    assert seen > 60, "frames of the new codec"


def test_what_cannot_be_decoded_any_more_ends(clip, tmp_path):
    address = f"udp://127.0.0.1:{free_port()}"
    loop = ["-re", "-stream_loop", "-1", "-i"], ["-f", "mpegts", address]
    with (
        sending(*loop[0], str(clip), "-c", "copy", *loop[1]) as first,
        open_source(address, options=SourceOptions(open_timeout_s=8, read_timeout_s=3)) as source,
        ExitStack() as stack,
    ):
        for frame in source:
            if frame.index == 10:
                first.kill()
                stack.enter_context(sending(*loop[0], str(clip), *HEVC, *loop[1]))
    assert "no frame could be decoded for 3 s" in source.skipped[-1].reason


@contextmanager
def relaying(drop_every: int) -> Iterator[tuple[int, int]]:
    """Ports of a UDP relay that drops datagrams: where to send, and where they arrive."""
    over = threading.Event()
    to = free_port()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        taken.bind(("127.0.0.1", 0))
        taken.settimeout(0.05)

        def relay() -> None:
            number = 0
            while not over.is_set():
                try:
                    data = taken.recv(65536)
                except TimeoutError:
                    continue
                number += 1
                if number % drop_every:
                    out.sendto(data, ("127.0.0.1", to))

        thread = threading.Thread(target=relay)
        thread.start()
        try:
            yield int(taken.getsockname()[1]), to
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(("scheme", "form"), [("udp", "mpegts"), ("rtp", "rtp_mpegts")])
def test_lost_datagrams_leave_no_smeared_frame(tmp_path_factory, scheme, form):
    clip = make_clip(tmp_path_factory.mktemp("clip"), "noisy.ts")
    with relaying(60) as (theirs, ours):
        address = f"{scheme}://127.0.0.1:{theirs}?pkt_size=1316"
        with (
            sending("-re", "-i", str(clip), "-c", "copy", "-f", form, address),
            open_source(
                f"{scheme}://127.0.0.1:{ours}", options=SourceOptions(open_timeout_s=10, read_timeout_s=1)
            ) as source,
        ):
            frames = list(source)
    whole = [f for f in frames if f.damage is None]
    assert len(whole) < len(frames), "those after a loss are damaged"
    assert len(whole) > 10
    starts = {number_of(f.image) - round((f.media_ns or 0) / 40e6) for f in whole}
    assert len(starts) == 1, "each shows the number that belongs to its time"


def test_sound_that_goes_on_does_not_hide_that_the_video_stopped(clip, tmp_path):
    both = tmp_path / "both.ts"
    sound = ["-f", "lavfi", "-t", "8", "-i", "sine", "-c:a", "mp2", "-c:v", "copy"]
    with sending("-i", str(clip), *sound, str(both)) as making:
        assert making.wait(30) == 0
    port = free_port()
    with (
        sending(
            "-re",
            "-i",
            str(both),
            "-c",
            "copy",
            "-max_interleave_delta",
            "100000",
            "-f",
            "mpegts",
            f"udp://127.0.0.1:{port}",
        ),
        open_source(f"udp://127.0.0.1:{port}", options=SourceOptions(read_timeout_s=1)) as source,
    ):
        list(source)
        assert "no video for 1 s, while other data arrives" in source.skipped[-1].reason


def test_standard_input(clip):
    script = (
        "from edgeproof_runtime.sources import open_source\n"
        "import sys\n"
        "with open_source(sys.argv[1]) as source:\n"
        "    print(source.live, source.name, sum(1 for _ in source), list(source))\n"
    )
    for name in ("-", "pipe:0"):
        with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", "-", out=subprocess.PIPE) as sender:
            command = [sys.executable, "-c", script, name]
            done = subprocess.run(command, stdin=sender.stdout, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "False standard input 30 []\n"


def test_standard_input_that_was_closed():
    """Its number belongs to another file then, such as a pipe of the program's own, which never gives anything."""
    script = (
        "from edgeproof_runtime.errors import SourceError\n"
        "from edgeproof_runtime.sources import open_source\n"
        "import os\n"
        "ends = os.pipe()\n"
        "try:\n"
        "    open_source('-')\n"
        "except SourceError as error:\n"
        "    print(ends[0], error.got)\n"
    )
    command = ["bash", "-c", '"$0" -c "$1" <&-', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "0 it was closed when the program began\n"


def test_a_fifo(clip, tmp_path):
    fifo = tmp_path / "video.fifo"
    os.mkfifo(fifo)
    with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", str(fifo)):
        assert count(str(fifo)) == 30


def test_a_fifo_that_nobody_writes_is_given_up(tmp_path):
    fifo = tmp_path / "video.fifo"
    os.mkfifo(fifo)
    with pytest.raises(SourceError, match="cannot open") as caught:
        open_source(str(fifo), options=SourceOptions(open_timeout_s=0.2))
    assert caught.value.got == "no video within 0.2 s"


def test_closing_ends_a_wait_for_a_pipe(tmp_path):
    fifo = tmp_path / "video.fifo"
    os.mkfifo(fifo)
    reader = PipeReader(fifo, "fifo")
    timer = threading.Timer(0.05, reader.stop)
    timer.start()
    begin = time.monotonic()
    assert reader.read(100) == b""
    assert time.monotonic() - begin < 5
    timer.join()
    reader.close()
    reader.close()


def test_a_file_by_its_address(clip, tmp_path):
    (tmp_path / "a clip.mp4").write_bytes(clip.read_bytes())
    assert count(f"file://{tmp_path}/a%20clip.mp4") == 30
    assert count(f"FILE://localhost{tmp_path}/a%20clip.mp4") == 30
    with pytest.raises(SourceError, match="source not found"):
        open_source(f"file://{tmp_path}/a%ff%00.mp4")


@pytest.mark.parametrize(
    ("address", "got"),
    [
        ("file://elsewhere/clip.mp4", "a file of another host"),
        ("file://user:secret@elsewhere/clip.mp4", "a file of another host"),
        ("file://[elsewhere/clip.mp4", "a file of another host"),
        ("file://a]b@c:x/1", "a file of another host"),
        ("file://", "no path"),
        ("file://localhost", "no path"),
    ],
)
def test_file_addresses_that_name_no_file_here(address, got):
    with pytest.raises(SourceError, match="cannot open") as caught:
        open_source(address)
    assert caught.value.got == got
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "%03d.mp4", "-x.mp4", "a?b#c.mp4"])
def test_names_that_look_like_addresses(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    assert count(name) == 30


def test_a_glob_of_clips_plays_one_after_the_other(clip, tmp_path):
    for name in ("shot10.mp4", "shot9.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"no video " * 100)
    (tmp_path / "notes.txt").write_text("no video")
    for spec in (str(tmp_path / "*"), str(tmp_path)):
        with open_source(spec) as source:
            frames = list(source)
            skipped = {s.name: s.reason for s in source.skipped}
        assert [f.index for f in frames] == list(range(60))
        assert [f.name for f in frames[::30]] == ["shot9.mp4#0", "shot10.mp4#0"]
        assert [round((f.media_ns or 0) / 1e6) for f in frames] == [40 * i for i in range(60)]
        assert sorted(skipped) == ["broken.mp4", "notes.txt"]
        assert "no video that FFmpeg recognises" in skipped["broken.mp4"]
        assert source.fps == 25


def test_images_and_clips_together_play_in_natural_order(clip, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((96, 128, 3), np.uint8))
    (tmp_path / "b.mp4").write_bytes(clip.read_bytes())
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((96, 128, 3), np.uint8))
    with open_source(str(tmp_path / "*"), label_by_folder=True) as source:
        frames = list(source)
    assert [f.name for f in frames] == ["a.png", *(f"b.mp4#{i}" for i in range(30)), "c.png"]
    assert [f.index for f in frames] == list(range(32))
    assert {f.label for f in frames} == {tmp_path.name}


def test_an_animation_in_a_folder_is_read_whole(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("animated.gif", "animated.png"):
        (tmp_path / "folder" / name).write_bytes(make_clip(tmp_path, name).read_bytes())
    with open_source(str(tmp_path / "folder")) as source:
        assert sum(1 for _ in source) == 60


def jpeg(index: int, width: int = 128) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((96, width, 3), 4 * index, np.uint8))
    assert done
    return data.tobytes()


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=123456\r\n\r\n"


def test_motion_jpeg_without_a_first_boundary():
    """As cameras of the ESP32 send it: the boundary follows each image."""

    def part(index: int) -> bytes:
        data = jpeg(index, 128 if index < 20 else 160)
        return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n--123456\r\n" % (len(data), data)

    body = b"".join(map(part, range(40)))
    with talking(_HEAD + body) as address, open_source(address, options=PATIENCE) as source:
        assert source.live
        frames = list(source)
    assert len(frames) >= 38, "the last one ends where the next would begin"
    shown = [round(f.image.mean() / 4) for f in frames]
    assert shown == list(range(shown[0], shown[0] + len(frames)))
    assert {f.image.shape[1] for f in frames} == {128, 160}
    assert {f.media_ns for f in frames} == {None}, "FFmpeg makes their times up"


@pytest.mark.parametrize(
    "head",
    [
        b"--123456\r\nContent-Length: %d\r\n\r\n",
        b"--123456\nContent-Type: image/jpeg\n\n",
        b"--123456\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"
        b"--123456\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n",
    ],
    ids=["no type", "line feeds alone and no length", "text before each image"],
)
def test_parts_that_ffmpeg_does_not_take_apart(head):
    """Images are found in the stream all the same; the first one, or the last, may be lost."""

    def part(index: int) -> bytes:
        image = jpeg(index)
        return (head % len(image) if b"%d" in head else head) + image + b"\r\n"

    body = b"".join(map(part, range(40)))
    with talking(_HEAD + body) as address, open_source(address, options=PATIENCE) as source:
        assert source.live
        given = [int(frame.image.mean()) for frame in source]
    assert 38 <= len(given) <= 40
    first = round(given[0] / 4)
    assert given == pytest.approx([4 * i for i in range(first, first + len(given))], abs=1.9)


@pytest.mark.parametrize(
    ("target", "got"),
    [
        ("/stream", "no answer with a video; the server may redirect in a circle"),
        ("file:///etc/passwd", "the server redirects to an address of another kind"),
        ("rtsp://127.0.0.1:1/x", "the server redirects to an address of another kind"),
        ("https://127.0.0.1:1/x", "connection refused"),
    ],
)
def test_where_a_server_redirects_to(target, got):
    head = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with talking(head) as address, pytest.raises(SourceError, match="cannot open") as caught:
        open_source(address, options=PATIENCE)
    assert caught.value.got == got
    assert caught.value.fix
