"""What edgeproof-run's sources give through FFmpeg's libraries: tests/golden/captures_media.json, as in Python."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import make_bundle, transposed_onnx
from cameras import Camera, missing_rtsp_server
from clips import make_clip, number_of, recipes
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.sources.media_opening import check_address
from edgeproof_runtime.system.redact import redact
from senders import pages, sending, talking
from waiting import free_port, until, until_listening

CASES = recipes()
PLAYED = [name for name, case in CASES.items() if "cause" not in case]
REFUSED = [name for name, case in CASES.items() if "cause" in case]


@dataclass(frozen=True)
class Given:
    """What a source gave.

    Attributes:
        frames: facts of each frame.
        images: their pixels, BGR.
        source: facts of the source.
    """

    frames: list[dict[str, Any]]
    images: list[NDArray[np.uint8]]
    source: dict[str, Any]

    @property
    def whole(self) -> list[tuple[dict[str, Any], NDArray[np.uint8]]]:
        return [(f, i) for f, i in zip(self.frames, self.images, strict=True) if not f["damage"]]


FramesOf = Callable[..., Given]


@pytest.fixture(scope="session")
def program(device_program: Path) -> Path:
    path = device_program.parents[1] / "tests" / "frames_of"
    if not path.is_file():
        pytest.skip(f"{path} is not built: cmake --preset app && cmake --build --preset app, or set EDGEPROOF_RUN")
    version = subprocess.run([device_program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    if "FFmpeg" not in version.stdout:
        pytest.skip("edgeproof-run was built without FFmpeg's libraries")
    return path


@pytest.fixture
def frames_of(program: Path, tmp_path: Path) -> FramesOf:
    def call(source: object, most: int = -1, stdin: Any = subprocess.DEVNULL) -> Given:
        raw = tmp_path / "frames.raw"
        command = [str(program), str(source), str(raw), str(most)]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        *frames, facts = map(json.loads, done.stdout.splitlines())
        data, images, at = raw.read_bytes(), [], 0
        for frame in frames:
            size = frame["height"] * frame["width"] * 3
            shape = frame["height"], frame["width"], 3
            images.append(np.frombuffer(data, np.uint8, size, at).reshape(shape))
            at += size
        return Given(frames, images, facts)

    return call


@pytest.fixture
def refused(program: Path) -> Callable[[object], str]:
    def call(source: object) -> str:
        done = subprocess.run([str(program), str(source)], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert ": cannot open\n" in done.stderr
        assert "secret" not in done.stderr
        return done.stderr

    return call


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def is_of(image: NDArray[np.uint8], at: list[int], channel: int) -> bool:
    pixel = image[at[1], at[0]]
    return bool(pixel[channel] > 150 and np.delete(pixel, channel).max() < 100)


@pytest.mark.parametrize("name", PLAYED)
def test_clips_are_read_as_they_are(name: str, clips: Path, frames_of: FramesOf) -> None:
    case = CASES[name]
    given = frames_of(make_clip(clips, name))
    whole = given.whole
    reasons = " ".join(given.source["skipped"])
    if "count" in case:
        assert len(whole) == case["count"]
    if "numbers" in case and "damaged_at_least" not in case:
        assert [number_of(image) for _, image in whole] == case["numbers"]
        assert [frame["index"] for frame in given.frames] == list(range(len(given.frames)))
    if "times_ms" in case:
        assert [frame["media_ns"] / 1e6 for frame, _ in whole] == pytest.approx(case["times_ms"], abs=2)
    if "size" in case:
        assert {(frame["width"], frame["height"]) for frame in given.frames} == {tuple(case["size"])}
    if "at" in case:
        assert all(is_of(i, case["at"]["red"], 2) and is_of(i, case["at"]["green"], 1) for _, i in whole)
    if "bgr_left" in case:
        _, image = whole[-1]
        for side, part in (("left", 1), ("right", 3)):
            found = image[image.shape[0] // 2, image.shape[1] * part // 4].astype(int)
            assert np.abs(found - case[f"bgr_{side}"]).max() <= case["tolerance"], (side, found)
    if "fps" in case:
        assert given.source["fps"] == case["fps"]
    if "fps_between" in case:
        assert case["fps_between"][0] <= given.source["fps"] <= case["fps_between"][1]
    if "damaged_at_least" in case:
        assert sum(bool(frame["damage"]) for frame in given.frames) >= case["damaged_at_least"]
        assert [number_of(i) for _, i in whole] == [round(f["media_ns"] / 40e6) for f, _ in whole], "none smeared"
    elif case.get("cut"):
        assert "cut off" in reasons
    else:
        assert reasons == ""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_video_is_refused_as_in_python(name: str, clips: Path, refused: Callable[[object], str]) -> None:
    clip = make_clip(clips, name)
    said = refused(clip)
    assert CASES[name]["says"] in said
    with pytest.raises(SourceError) as caught:
        open_source(str(clip))
    assert f"got:      {caught.value.got}\n" in said
    assert f"fix:      {redact(str(caught.value.fix))}\n" in said


def test_the_memory_of_freed_frames_is_kept(program: Path, tmp_path: Path) -> None:
    """glibc would give back the pages of each frame, and clear as many for the next one."""
    clip = tmp_path / "clip.mp4"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s=1280x720", "-frames:v", "90"]
    subprocess.run([*command, "-c:v", "mpeg4", "-q:v", "8", clip], check=True, timeout=60)

    def faults(frames: int) -> int:
        ran = subprocess.Popen([program, clip, os.devnull, str(frames)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(ran.pid, 0)
        ran.returncode = os.waitstatus_to_exitcode(status)
        assert ran.returncode == 0
        return usage.ru_minflt

    assert (faults(90) - faults(30)) / 60 < 40  # of the 675 pages of a frame


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_a_video_loads_no_codec_of_opencv(suffix: str, program: Path, clips: Path, tmp_path: Path) -> None:
    """OpenCV's libraries take a quarter of a second and 70 MB."""
    of = make_clip(clips, "browser.webm" if suffix == ".webm" else "plain.mp4")
    clip = tmp_path / f"clip{suffix}"
    command = ["ffmpeg", "-loglevel", "error", "-i", of, "-c", "copy", clip]
    subprocess.run(command, check=True, timeout=60)
    environment = {**os.environ, "LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "loaded")}
    subprocess.run([program, clip], env=environment, capture_output=True, check=True, timeout=60)
    loaded = "".join(file.read_text() for file in tmp_path.glob("loaded*"))
    assert "edgeproof-libav.so" in loaded
    assert "edgeproof-media.so" not in loaded


def test_no_line_of_an_interlaced_frame_is_combed(clips: Path, frames_of: FramesOf, tmp_path: Path) -> None:
    """A bar that moves: rows of one field must not differ from those of the other."""
    clip = tmp_path / "moving.ts"
    moving = "color=black:s=128x96:r=50,geq=lum='if(between(X,mod(N*6,120),mod(N*6,120)+20),235,16)':cb=128:cr=128"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", moving, "-frames:v", "30", "-vf", "interlace"]
    command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-qp", "8", "-flags", "+ilme+ildct", str(clip)]
    subprocess.run(command, check=True, timeout=60)
    combed = [
        np.abs(2.0 * i[1:-1].mean(axis=2) - i[:-2].mean(axis=2) - i[2:].mean(axis=2)).mean()
        for i in frames_of(clip).images[2:-2]
    ]
    assert max(combed) < 8, "without deinterlacing some 60"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("tcp://127.0.0.1:{}?listen=1", "tcp://127.0.0.1:{}"), ("http://127.0.0.1:{}", "HTTP://127.0.0.1:{}")],
)
def test_a_sender_that_serves_one_client(theirs: str, ours: str, clips: Path, frames_of: FramesOf) -> None:
    port = free_port()
    listen = ["-listen", "1"] if theirs.startswith("http") else []
    clip = make_clip(clips, "plain.mp4")
    with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", *listen, theirs.format(port)):
        until_listening(port)
        assert len(frames_of(ours.format(port)).whole) == 30


def test_listening_ourselves(clips: Path, frames_of: FramesOf) -> None:
    port, found = free_port(), []
    thread = threading.Thread(target=lambda: found.append(frames_of(f"tcp://127.0.0.1:{port}?listen=1")))
    thread.start()
    until_listening(port)
    clip = make_clip(clips, "plain.mp4")
    with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", f"tcp://127.0.0.1:{port}"):
        thread.join()
    assert len(found[0].whole) == 30


@pytest.mark.parametrize("name", ["-", "pipe:0"])
def test_standard_input(name: str, clips: Path, frames_of: FramesOf) -> None:
    clip = make_clip(clips, "plain.mp4")
    with sending("-i", str(clip), "-c", "copy", "-f", "mpegts", "-", out=subprocess.PIPE) as sender:
        given = frames_of(name, stdin=sender.stdout)
    assert len(given.whole) == 30
    assert (given.source["name"], given.source["live"]) == ("standard input", False)


def test_a_fifo(clips: Path, frames_of: FramesOf, tmp_path: Path) -> None:
    fifo = tmp_path / "video.fifo"
    os.mkfifo(fifo)
    with sending("-i", str(make_clip(clips, "plain.mp4")), "-c", "copy", "-f", "mpegts", str(fifo)):
        assert len(frames_of(fifo).whole) == 30


def test_a_file_by_its_address(
    clips: Path, frames_of: FramesOf, refused: Callable[[object], str], tmp_path: Path
) -> None:
    (tmp_path / "a clip.mp4").write_bytes(make_clip(clips, "plain.mp4").read_bytes())
    assert len(frames_of(f"file://{tmp_path}/a%20clip.mp4").whole) == 30
    assert len(frames_of(f"FILE://localhost{tmp_path}/a%20clip.mp4").whole) == 30
    for address in ("file://elsewhere/clip.mp4", "file://user:secret@[elsewhere/clip.mp4"):
        done = refused(address)
        assert "a file of another host" in done
        assert "secret" not in done
    assert "no path" in refused("file://localhost")


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "%03d.mp4", "-x.mp4", "a?b#c.mp4", "[x].mp4"])
def test_names_that_look_like_addresses(
    clips: Path, frames_of: FramesOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clip = make_clip(clips, "plain.mp4")
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    assert len(frames_of(name).whole) == 30


def test_clips_and_images_play_one_after_the_other(clips: Path, frames_of: FramesOf, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    clip = make_clip(clips, "plain.mp4").read_bytes()
    for name in ("shot10.mp4", "shot9.mp4"):
        (folder / name).write_bytes(clip)
    (folder / "broken.mp4").write_bytes(b"no video " * 100)
    (folder / "notes.txt").write_text("no video")
    for spec in (folder / "*", folder):
        given = frames_of(spec)
        assert [frame["index"] for frame in given.frames] == list(range(60))
        assert [frame["name"] for frame in given.frames[::30]] == ["shot9.mp4#0", "shot10.mp4#0"]
        assert [round(frame["media_ns"] / 1e6) for frame in given.frames] == [40 * i for i in range(60)]
        assert len(given.source["skipped"]) == 2
        assert "broken.mp4: cannot open (no video that FFmpeg recognises)" in given.source["skipped"]
    cv2.imwrite(str(folder / "shot9a.png"), np.zeros((96, 128, 3), np.uint8))
    names = [frame["name"] for frame in frames_of(folder / "shot*").frames]
    assert names == [*(f"shot9.mp4#{i}" for i in range(30)), "shot9a.png", *(f"shot10.mp4#{i}" for i in range(30))]


def jpeg(index: int, width: int = 128) -> bytes:
    return cv2.imencode(".jpg", np.full((96, width, 3), 4 * index, np.uint8))[1].tobytes()


def part(index: int) -> bytes:
    data = jpeg(index)
    return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n--123456\r\n" % (len(data), data)


def then_silent(connection: socket.socket, over: threading.Event) -> None:
    """A Motion JPEG camera that sends some images, and then holds the connection."""
    connection.sendall(HEAD + b"--123456\r\n" + b"".join(map(part, range(40))))
    over.wait(60)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=123456\r\n\r\n"


@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without a length"])
@pytest.mark.parametrize("first", [b"", b"--123456\r\n", b"\r\n--123456\r\n"], ids=["none", "boundary", "empty line"])
def test_motion_jpeg_with_and_without_a_first_boundary(first: bytes, length: bool, frames_of: FramesOf) -> None:
    """Cameras of the ESP32 send the boundary after each image; sizes may change."""
    body = first
    for index in range(40):
        data = jpeg(index, 128 if index < 20 else 160)
        size = b"Content-Length: %d\r\n" % len(data) if length else b""
        body += b"Content-Type: image/jpeg\r\n%s\r\n%s\r\n--123456\r\n" % (size, data)
    with talking(HEAD + body) as address:
        given = frames_of(address)
    assert given.source["live"]
    # Without a length, FFmpeg gives up the last one at the end.
    assert len(given.images) >= (40 if length else 39)
    assert [round(image.mean() / 4) for image in given.images] == list(range(len(given.images)))
    assert [image.shape[1] for image in given.images[:39]] == [128] * 20 + [160] * 19
    assert {frame["media_ns"] for frame in given.frames} == {None}, "FFmpeg makes their times up"


def test_an_answer_without_a_length_ends(clips: Path, frames_of: FramesOf) -> None:
    body = make_clip(clips, "noisy.ts").read_bytes()
    with talking(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + body) as address:
        given = frames_of(address)
    [loss] = given.source["skipped"]
    assert loss.endswith(f": stopped giving frames after {len(given.frames)}: the connection was closed")


@pytest.fixture(scope="module")
def page_server() -> Iterator[int]:
    with pages() as port:
        yield port


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
def test_the_status_of_a_server_as_in_python(status: int, page_server: int, refused: Callable[[object], str]) -> None:
    address = f"http://user:secret@127.0.0.1:{page_server}/{status}"
    said = refused(address)
    assert f"the server answered {status}" in said
    with pytest.raises(SourceError) as caught:
        open_source(address)
    assert caught.value.got in said
    assert f"fix:      {redact(str(caught.value.fix))}\n" in said


def test_a_page_instead_of_a_video(page_server: int, refused: Callable[[object], str]) -> None:
    assert "an HTML page, not a video" in refused(f"http://127.0.0.1:{page_server}/page")


def test_an_animated_webp_by_address_says_how_to_read_it(clips: Path, frames_of: FramesOf) -> None:
    body = make_clip(clips, "animated.webp").read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/webp\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    why = "no frame could be decoded (webp; FFmpeg reads no animated WebP: save it as a file)"
    with talking(head + body) as address:
        given = frames_of(address)
        with open_source(address) as source:
            assert list(source) == given.frames == []
    (skipped,) = source.skipped
    assert skipped.reason == why
    assert given.source["skipped"] == [f"{address}: {why}"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("rtsp://127.0.0.1:9/x", "connection refused"),
        ("http://127.0.0.1:9/x", "connection refused"),
        ("tcp://127.0.0.1:9", "connection refused"),
        ("rtsp://user:secret@no.such.host.invalid/x", "host no.such.host.invalid not found"),
        ("http://no.such.host.invalid/x", "host no.such.host.invalid not found"),
        ("https://127.0.0.1:{pages}/x", "TLS failed"),
        ("rtsps://127.0.0.1:{pages}/x", "TLS failed"),
        ("rtsp://admin:pa/secret@127.0.0.1:8554/x", "write / as %2F"),
        ("rtsp://admin:pa#secret@127.0.0.1:8554/x", "write / as %2F"),
        ("rtsp://admin:pa?secret@127.0.0.1:8554/x", "write / as %2F"),
    ],
)
def test_what_is_wrong_on_the_way(address: str, says: str, page_server: int, refused: Callable[[object], str]) -> None:
    assert says in refused(address.replace("{pages}", str(page_server)))


HOSTS = (
    *("127.0.0.1", "127.0.0.1:", "127.0.0.1:9", "[::1]", "[::1]:9", "[::1", "[::1]9", "[a]b", "[a]b:9"),
    *("127.0.0.1:x", "127.0.0.1:9:9", "127.0.0.1:65535", "127.0.0.1:65536", "127.0.0.1:000009", "127.0.0.1:-9"),
    *(":9", "9" * 100_000),
)


@pytest.mark.parametrize("host", HOSTS)
def test_a_port_is_valid_where_it_is_in_python(host: str, refused: Callable[[object], str]) -> None:
    try:
        check_address(f"tcp://{host}/x", "x")
        valid = True
    except SourceError:
        valid = False
    assert ("no valid host and port" not in refused(f"tcp://{host}/x")) == valid


def test_a_lossy_clip_loses_as_much_as_in_python(clips: Path, frames_of: FramesOf) -> None:
    """FFmpeg's versions flag other frames; those that both give are the same."""
    for name in ("lossy.ts", "overwritten.mp4"):
        clip = make_clip(clips, name)
        given = frames_of(clip)
        with open_source(str(clip)) as source:
            python = list(source)
        assert abs(len(given.frames) - len(python)) <= 4
        assert abs(len(given.whole) - sum(f.damage is None for f in python)) <= 0.15 * len(python)
        shown = {f.media_ns: f.image for f in python if f.damage is None}
        shared = [(i, shown[f["media_ns"]]) for f, i in given.whole if f["media_ns"] in shown]
        assert shared
        assert max(int(np.abs(a.astype(int) - b).max()) for a, b in shared) <= 2


def test_an_rtsp_camera_with_a_password(
    clips: Path, frames_of: FramesOf, refused: Callable[[object], str], tmp_path: Path
) -> None:
    missing = missing_rtsp_server()
    if missing is not None:
        pytest.skip(missing)
    camera = Camera(make_clip(clips, "noisy.mp4"), "--h264", "--user", "admin:pa/secret")
    try:
        host = f"127.0.0.1:{camera.port}"
        for user in ("", "admin:secret@", "secret:pa%2Fsecret@"):
            assert "the server answered 401 Unauthorized" in refused(f"rtsp://{user}{host}/camera")
        assert "the server answered 404 Not Found" in refused(f"rtsp://admin:pa%2Fsecret@{host}/other")
        for address in (f"RTSP://admin:pa%2Fsecret@{host}/camera", f"rtsp://admin:pa%2Fsecret@{host}/camera?udp"):
            given = frames_of(address, most=10)
            assert [frame["damage"] for frame in given.frames] == [""] * 10
            assert given.source["live"]
            assert "secret" not in given.source["name"]
    finally:
        camera.kill()


def test_damaged_frames_are_counted(device_program: Path, program: Path, clips: Path, tmp_path: Path) -> None:
    """In the summary, the report and its timeline: in = classified + dropped + unhealthy + failed."""
    bundle = make_bundle(tmp_path / "tiny.edge", model=transposed_onnx())
    report_file = tmp_path / "report.json"
    clip = make_clip(clips, "overwritten.mp4")
    command = [device_program, bundle.path, "--source", clip, "--json", report_file, "--decode-threads", "1"]
    command += ["--health", "frozen=off,black=off,overexposed=off,covered=off,blurred=off"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text(encoding="utf-8"))
    counts = report["counts"]
    assert counts["frames_unhealthy"] >= 30
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_unhealthy"]
    assert f" + {counts['frames_unhealthy']} unhealthy + 0 failed" in done.stdout
    (stream,) = report["streams"]
    assert stream["counts"]["unhealthy"] == counts["frames_unhealthy"]
    assert stream["unhealthy"] == {"damaged": counts["frames_unhealthy"]}
    assert sum(report["timeline"]["frames"]) == counts["frames_in"]
    assert "ffmpeg" in report["host"]["packages"]


def test_the_time_limits_are_options(device_program: Path, program: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge", model=transposed_onnx())

    def given_up(address: str, *options: str) -> str:
        command = [device_program, bundle.path, "--source", address, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
        return done.stderr

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert "no video within 0.5 s" in given_up(address, "--open-timeout", "500ms")
    with talking(then_silent) as address:
        assert ": no data for 0.25 s" in given_up(address, "--read-timeout", "0.25")
    for text in ("0", "never", "100001"):
        assert "--read-timeout: not a duration in range" in given_up("tcp://127.0.0.1:9", "--read-timeout", text)


def test_what_cannot_be_decoded_any_more_ends(device_program: Path, program: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge", model=transposed_onnx())
    clip, lines = make_clip(tmp_path, "plain.mp4"), tmp_path / "frames.jsonl"
    address = f"udp://127.0.0.1:{free_port()}"
    loop = ["-re", "-stream_loop", "-1", "-i", str(clip)], ["-f", "mpegts", address]
    command = [device_program, bundle.path, "--source", address, "--read-timeout", "3s", "--predictions", lines]
    with (
        sending(*loop[0], "-c", "copy", *loop[1]) as first,
        subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as running,
    ):
        until(lambda: lines.exists() and lines.stat().st_size > 0, 30)
        first.kill()
        with sending(*loop[0], "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=10", *loop[1]):
            said = running.communicate(timeout=30)[1]
    assert "no frame could be decoded for 3 s" in said


def test_a_rate_limit_of_a_stream_leaves_out_and_counts(device_program: Path, program: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge", model=transposed_onnx())
    report = tmp_path / "report.json"
    body = b"--123456\r\n" + b"".join(map(part, range(40)))
    with talking(HEAD + body) as address:
        command = [
            device_program,
            bundle.path,
            "--source",
            address,
            "--rate-limit",
            "0.01",
            "--json",
            report,
            "--health",
            "off",
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 frames in = 1 classified" in done.stdout
    assert json.loads(report.read_text())["streams"][0]["left_out"] == {"rate limit": 39}
    assert "39 frames left out: rate limit" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp"])
def test_a_server_that_says_nothing_is_given_up_in_time(scheme: str, refused: Callable[[object], str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        assert "no video within 10 s" in refused(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x")
        assert 9 < time.monotonic() - begin < 20
