"""Recordings of `run` and `serve`: outages, ends of every kind, full disks, events."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import av
import cv2
import numpy as np
import pytest

from bundles import make_bundle
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from hostile.places import can_mount
from jpeg_cameras import send_jpegs
from recordings import pictures_of, seconds_of, times_of
from waiting import until

CARD = "synthetic://320x240@30"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


class _Jpegs(BaseHTTPRequestHandler):
    """A Motion JPEG camera at 20 frames/s that is away for a while after its first second."""

    def do_GET(self) -> None:
        server: Any = self.server
        if server.back_s is not None and time.monotonic() < server.back_s:
            self.send_error(503)
            return
        if send_jpegs(self, 160, 120, 20 if server.back_s is None else 10_000):
            server.back_s = time.monotonic() + server.away_s

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        pass


@contextmanager
def camera(away_s: float) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Jpegs) as server:
        server.daemon_threads = True
        server.back_s, server.away_s = None, away_s  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
        server.shutdown()


def start(bundle: Bundle, *arguments: object, limit: int | None = None, **options: Any) -> subprocess.Popen[str]:
    """`edgeproof run` in a process of its own, whose files grow to ``limit`` bytes."""
    command = [sys.executable, "-m", "edgeproof", "run", bundle.path, "--engine", "onnxruntime", *arguments]
    if limit is not None:
        command = ["prlimit", f"--fsize={limit}", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([str(word) for word in command], text=True, **pipes)


def encode(*arguments: object) -> None:
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30", *arguments]
    subprocess.run([str(word) for word in command], check=True)


def seconds_in(path: Path) -> float:
    try:
        return times_of(path)[-1]
    except (OSError, IndexError, av.FFmpegError):
        return 0.0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_frame_rate_is_kept(cli: Cli, bundle: Bundle, tmp_path: Path, suffix: str) -> None:
    clip, saved = tmp_path / "vfr.mkv", tmp_path / f"out{suffix}"
    encode("-t", "2.85", "-vf", r"select=not(mod(n\,7))+lt(n\,20)", "-fps_mode", "vfr", "-c:v", "libx264", clip)
    code, _, told = cli("run", bundle.path, "--source", clip, "--engine", "onnxruntime", "--save", saved)
    assert code == 0, told
    assert times_of(saved) == pytest.approx(times_of(clip), abs=0.002)
    assert seconds_of(saved) == pytest.approx(seconds_of(clip), abs=0.05)


@pytest.mark.slow
def test_a_webm_of_a_browser_keeps_its_length(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    """MediaRecorder writes no duration, and FFmpeg declares its clock as frame rate."""
    clip, saved = tmp_path / "clip.webm", tmp_path / "out.mp4"
    jitter = r"settb=1/1000,setpts=N*33+mod(N*7\,11)"
    encode(
        "-t",
        "2.7",
        "-vf",
        jitter,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:1000",
        "-c:v",
        "libvpx",
        "-live",
        "1",
        clip,
    )
    code, _, told = cli("run", bundle.path, "--source", clip, "--engine", "onnxruntime", "--save", saved)
    assert code == 0, told
    assert times_of(saved) == pytest.approx(times_of(clip), abs=0.002)
    assert seconds_of(saved) == pytest.approx(times_of(clip)[-1] + 0.033, abs=0.05)


@pytest.mark.slow
def test_an_outage_is_marked_and_not_filled(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    saved, report = tmp_path / "live.mp4", tmp_path / "r.json"
    with camera(away_s=4.0) as url:
        code, said, told = cli(
            "run", bundle.path, "--source", url, "--engine", "onnxruntime", "--save", saved, "--max-frames", 38,
            "--json", report,
        )  # fmt: skip
    assert code == 0, told
    counts = json.loads(report.read_text())["counts"]
    times = times_of(saved)
    assert len(times) == counts["frames_classified"] + 1, said
    gaps = np.diff(times)
    assert 1.0 <= gaps.max() <= 2.05
    card = pictures_of(saved)[int(gaps.argmax())]
    assert card[:120].min() < 60
    assert card[:120].max() > 200, "text"
    assert (card[:120, :, 1].astype(int) - card[:120, :, 2]).max() < 60, "no green column of the camera"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_after_a_kill_the_last_segment_plays(bundle: Bundle, tmp_path: Path, suffix: str) -> None:
    with start(bundle, "--source", CARD, "--save", tmp_path / f"live{suffix}", "--segment", "2s") as process:
        until(lambda: len(list(tmp_path.iterdir())) >= 2, 120, process=process)
        newest = max(tmp_path.iterdir())
        begin_s = time.monotonic()
        until(lambda: seconds_in(newest) > 0.2, 120, process=process)
        time.sleep(max(0.0, begin_s + 1.5 - time.monotonic()))
        process.kill()
        process.communicate()
    for file in sorted(tmp_path.iterdir())[:-1]:
        assert 1.9 <= seconds_of(file) <= 3 or file == newest, "frames are late on a busy machine"
    assert seconds_in(newest) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_hang_up_ends_in_order(bundle: Bundle, tmp_path: Path, number: int) -> None:
    saved, report = tmp_path / "live.mp4", tmp_path / "r.json"
    with start(bundle, "--source", CARD, "--save", saved, "--json", report) as process:
        until(lambda: seconds_in(saved) > 0.2, 120, process=process)
        process.send_signal(number)
        if number == signal.SIGHUP:
            process.send_signal(number)  # a shell repeats it
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert json.loads(report.read_text())["counts"]["frames_in"] > 0
    assert len(times_of(saved)) == json.loads(report.read_text())["sinks"][0]["written"]


@pytest.mark.slow
def test_a_closed_terminal_ends_in_order(bundle: Bundle, tmp_path: Path) -> None:
    """The terminal is gone: what is printed fails, and the report is written all the same."""
    saved, report = tmp_path / "live.mp4", tmp_path / "r.json"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgeproof", "run", bundle.path, "--engine", "onnxruntime"]
    command += ["--source", CARD, "--save", saved, "--json", report]
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", script, *(str(word) for word in command)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        Thread(target=_drain, args=(ours,), daemon=True).start()
        until(lambda: seconds_in(saved) > 0.2, 120, process=process)
        os.close(ours)
        process.wait(120)
    assert json.loads(report.read_text())["counts"]["frames_in"] > 0
    assert seconds_in(saved) > 0.2


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass


@pytest.mark.slow
def test_a_full_disk_ends_the_video_and_not_the_run(bundle: Bundle, tmp_path: Path) -> None:
    saved, report = tmp_path / "live.mp4", tmp_path / "r.json"
    arguments = ("--source", "synthetic://1920x1080@30", "--save", saved, "--json", report)
    messages = tmp_path / "stderr.txt"
    with messages.open("w") as stderr, start(bundle, *arguments, limit=150_000, stderr=stderr) as process:
        until(lambda: "ends here" in messages.read_text(), 120, process=process)
        time.sleep(0.5)  # frames go on to be counted
        process.terminate()
        process.communicate(timeout=120)
    told = messages.read_text()
    assert process.returncode == 0, told
    assert told.count("the video ends here") == 1
    assert told.count(str(saved)) == 1
    assert "File too large" in told
    found = json.loads(report.read_text())
    assert found["sinks"][0]["written"] > 0
    assert found["sinks"][0]["failed"] > 0
    assert any("Incomplete output" in warning for warning in found["warnings"])
    assert seconds_in(saved) > 0.2


@pytest.mark.slow
def test_a_full_disk_ends_the_run_of_a_file_with_what_was_written(bundle: Bundle, tmp_path: Path) -> None:
    saved = tmp_path / "out.mp4"
    arguments = ("--source", "synthetic://640x480?frames=400", "--save", saved)
    with start(bundle, *arguments, limit=200_000) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode == 2, told
    assert "the video ends here" in told
    assert "Traceback" not in told
    assert seconds_in(saved) > 0.2


def run_on_small_disk(bundle: Bundle, folder: Path, kib: int, keep: str) -> tuple[str, Any, list[Path]]:
    """Record segments on a disk of this size; return the messages, the report's sink, and the files, oldest first."""
    if not can_mount():
        pytest.skip("this user cannot mount")
    disk, copies, report = folder / "disk", folder / "copies", folder / "r.json"
    disk.mkdir()
    copies.mkdir()
    script = f'mount -t tmpfs -o size={kib}k none "$0" && "$@"; code=$?; cp "$0"/* {copies}; exit $code'
    command = ["unshare", "-m", "sh", "-c", script, disk, sys.executable, "-m", "edgeproof", "run", bundle.path]
    command += ["--engine", "null", "--source", "synthetic://1280x720@30", "--duration", "18s", "--json", report]
    command += ["--save", disk / "live.mp4", "--segment", "1s", "--keep", keep]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (sink,) = json.loads(report.read_text())["sinks"]
    return done.stderr, sink, sorted(copies.iterdir())


@pytest.mark.slow
def test_a_full_disk_keeps_what_its_bound_keeps(bundle: Bundle, tmp_path: Path) -> None:
    """``--keep`` removes no more than it says, also where the disk is smaller."""
    told, sink, files = run_on_small_disk(bundle, tmp_path, 400, "1h")
    assert told.count("the video ends here") == 1
    assert "No space left on device" in told
    assert sink["written"] > 0
    assert sink["failed"] > 0
    assert len(files) > 1
    assert all(seconds_in(path) > 0.5 for path in files[:2]), "whole segments"


@pytest.mark.slow
def test_a_bound_below_the_disk_keeps_it_from_filling(bundle: Bundle, tmp_path: Path) -> None:
    told, sink, files = run_on_small_disk(bundle, tmp_path, 1400, "1MB")
    assert "the video ends here" not in told
    assert sink["failed"] == 0
    assert 600_000 < sum(path.stat().st_size for path in files) < 1_300_000
    assert sum(len(times_of(path)) for path in files) < sink["written"], "the oldest were removed"


@pytest.mark.slow
def test_events_have_clips_that_begin_before_them(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    clips, pictures, rows = tmp_path / "clips", tmp_path / "pictures", tmp_path / "events.csv"
    code, _, told = cli(
        "run", bundle.path, "--source", "synthetic://320x240@30", "--engine", "onnxruntime",
        "--duration", "4", "--sink", rows, "--clips", clips, "--snapshots", pictures, "--threshold", 0.0, "--pre", "1s",
        "--post", "500ms",
    )  # fmt: skip
    assert code == 0, told
    with rows.open() as file:
        events = [row for row in csv.DictReader(file) if row["label"] != "run began"]
    assert events
    for event in events:
        assert times_of(Path(event["clip"]))[0] == 0
        picture = cv2.imread(event["snapshot"])
        assert picture is not None
        assert picture.shape[1] == 320
    assert {Path(event["clip"]) for event in events} == set(clips.iterdir())
    assert {Path(event["snapshot"]) for event in events} == set(pictures.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--segment", "10m"), "--segment: requires --save"),
        (("--save", "x.mp4", "--segment", "soon"), "--segment: not a time or size"),
        (("--save", "x.mp4", "--segment", "1KB"), "--segment: not a time or size"),
        (("--save", "x.mp4", "--keep", "7d"), "--keep: requires recordings to remove"),
        (("--clips", "events", "--keep", "some"), "--keep: not a time or size"),
        (("--clips", "events", "--pre", "2h"), "--pre: out of range"),
        (("--clips", "events", "--post", "now"), "--post: not a duration"),
        (("--clips", "same", "--snapshots", "same"), "would be overwritten"),
        (("--save", "x.webm"), "cannot save a video"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, bundle: Bundle, arguments: tuple[str, ...], message: str) -> None:
    code, _, told = cli("run", bundle.path, "--source", "synthetic://64x48?frames=3", "--engine", "null", *arguments)
    assert code == 2
    assert message in told


def test_clips_without_pyav_are_exit_3(cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproof_runtime.sinks.recording.has_pyav", lambda: False)
    code, _, told = cli("run", bundle.path, "--source", "synthetic://64x48?frames=3", "--clips", "events")
    assert code == 3
    assert "pip install av" in told
