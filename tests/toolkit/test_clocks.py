"""The wall clock is set while a program runs: only labels change, not states, events, rates or files."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import make_bundle
from cameras import Camera, missing_rtsp_server, write_numbered
from clocks import WallClock, missing_faketime
from edgeproof.cli._status import Status
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.live.events import EventDetector, EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.stream_run import StreamRun
from edgeproof_runtime.sinks import Rotation, growing
from edgeproof_runtime.sinks.growing import GrowingFile
from edgeproof_runtime.sources import Frame, base
from waiting import until

HOUR_S = 3600


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


class Wall:
    """`time` of a module, with a wall clock that can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: Any) -> None:
        self.offset_s = 0.0
        fake = SimpleNamespace(
            time=lambda: time.time() + self.offset_s,
            time_ns=lambda: time.time_ns() + round(self.offset_s * 1e9),
            monotonic=time.monotonic,
            monotonic_ns=time.monotonic_ns,
        )
        for module in modules:
            monkeypatch.setattr(module, "time", fake)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_no_event_ends_before_it_starts(monkeypatch: pytest.MonkeyPatch, step_s: int) -> None:
    wall = Wall(monkeypatch, base)
    values = SimpleNamespace(values=np.array([0.9]), limits=np.array([0.5]), at_once=1, label_of=str, quantity="score")
    decision = SimpleNamespace(event_values=lambda *_: values)
    detector = EventDetector("door", EventSettings(stable_frames=1))
    began_ns = time.monotonic_ns()
    for index in range(3):
        frame = Frame(np.zeros((1, 1, 3), np.uint8), index, "f", began_ns + index * 10**9, 0.0, 0.0)
        detector.update(Decided(frame, decision, 0.0, 0.0, 0.0, 0.0, 0.0, "door"))  # type: ignore[arg-type]
        wall.offset_s = step_s
    (ended,) = detector.interrupted()
    assert ended.end_unix_s is not None
    assert ended.end_unix_s - ended.start_unix_s == pytest.approx(2.0)


def test_a_change_of_state_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from edgeproof_runtime.live import stream_run

    wall = Wall(monkeypatch, stream_run)
    run = StreamRun(Stream("door", lambda: None), 0)  # type: ignore[arg-type,return-value]
    status = Status(SimpleNamespace(snapshots=lambda: (run.snapshot(),)), {})  # type: ignore[arg-type]
    for offset_s, reason in ((0, "cable"), (-HOUR_S, "switch"), (HOUR_S, "camera"), (0, "cable")):
        wall.offset_s = offset_s
        run.change("reconnecting", reason)
        for _ in range(3):
            status._tell_changes((run.snapshot(),))
    said = capsys.readouterr().err
    assert [said.count(reason) for reason in ("cable", "switch", "camera")] == [2, 1, 1]
    shot = run.snapshot()
    assert [change.at_s for change in shot.history] == sorted(change.at_s for change in shot.history)
    assert 0 <= shot.state_s < 60
    assert shot.changes == len(shot.history) == 5


def test_a_clock_set_back_over_midnight_begins_no_new_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = SimpleNamespace(time=lambda: now.at)
    monkeypatch.setattr(growing, "time", now)
    day = 20_000 * 86_400
    now.at = day + 60
    path = tmp_path / "p.jsonl"
    file = GrowingFile(path, rotation=Rotation(daily=True))
    for at in (day + 60, day - 1800, day + 120, day + 86_400, day + 86_400 - 60, day + 86_400 + 60):
        now.at = at
        file.write("x")
    file.close()
    # An empty file is of the day when it was opened; only the next day sets it aside.
    assert len(list(tmp_path.iterdir())) == 2
    now.at = day + 400 * 86_400  # a clock that was a year ahead, until NTP mended it
    file = GrowingFile(tmp_path / "q.jsonl", rotation=Rotation(daily=True))
    file.write("x")
    now.at = day
    file.write("x")
    file.close()
    assert len(list(tmp_path.glob("q*"))) == 2


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    missing = missing_rtsp_server() or missing_faketime()
    if missing is not None:
        pytest.skip(missing)
    rng = np.random.default_rng(1)
    still = cv2.resize(rng.integers(0, 256, (20, 32, 3), dtype=np.uint8), (320, 180), interpolation=cv2.INTER_NEAREST)
    clip = write_numbered(tmp_path_factory.mktemp("clip") / "c.mp4", (still for _ in range(2000)), 25)
    running = Camera(clip)
    yield running
    running.kill()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_more(path: Path, more: int, process: subprocess.Popen[str]) -> None:
    before = lines(path)
    until(lambda: lines(path) >= before + more, 60, process=process)


def end_after_steps(process: subprocess.Popen[str], clock: WallClock, predictions: Path) -> str:
    """Set the clock back and forth while the program predicts, then end it; return what it said."""
    for offset_s in (-HOUR_S, HOUR_S, -HOUR_S):
        clock.set(offset_s)
        wait_for_more(predictions, 25, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def plausible_report(path: Path, predictions: Path, took_s: float) -> dict[str, Any]:
    """Read a report after checking that none of its times is an hour off."""
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["latency_ms"]["end_to_end"]["max"] < 1e3 * took_s
    assert report["counts"]["frames_classified"] / took_s <= report["throughput_fps"] < 100
    assert max(report["timeline"]["time_s"]) < took_s
    # An hour's step may cross midnight, and set a file aside.
    written = sum(lines(file) for file in predictions.parent.glob(f"{predictions.stem}*{predictions.suffix}"))
    assert written == report["counts"]["frames_classified"] + 1
    return report


@pytest.mark.slow
@pytest.mark.serial
def test_the_clock_is_set_back_and_forth_during_a_run(camera: Camera, bundle: Bundle, tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    predictions, events, report_file = (tmp_path / name for name in ("p.jsonl", "e.csv", "r.json"))
    outputs = ["--predictions", predictions, "--sink", events, "--rotate-files", "day", "--json", report_file]
    command = [sys.executable, "-m", "edgeproof", "run", bundle.path, "--source", camera.url, "--engine", "onnxruntime"]
    tuning = ["--threshold", "0", "--stable", "2", "--reconnect", "always", "--stall-timeout", "1"]
    began_s = time.monotonic()
    with clock.start([str(part) for part in (*command, *outputs, *tuning)]) as process:
        wait_for_more(predictions, 5, process)
        camera.kill()
        camera.start()
        wait_for_more(predictions, 5, process)
        said = end_after_steps(process, clock, predictions)
    took_s = time.monotonic() - began_s
    report = plausible_report(report_file, predictions, took_s)
    (stream,) = report["streams"]
    told = [line for line in said.splitlines() if ": live" in line or ": reconnecting" in line or ": stalled" in line]
    assert 0 < len(told) <= len(stream["history"])
    rows = [row for row in csv.DictReader(events.read_text().splitlines()) if row["end"]]
    assert rows
    for row in rows:
        assert datetime.fromisoformat(row["end"]) >= datetime.fromisoformat(row["start"])
        seconds = (datetime.fromisoformat(row["end"]) - datetime.fromisoformat(row["start"])).total_seconds()
        assert seconds < took_s
    assert 0 <= stream["state_s"] < took_s
    assert [c["at_s"] for c in stream["history"]] == sorted(c["at_s"] for c in stream["history"])


@pytest.mark.slow
@pytest.mark.serial
def test_the_clock_is_set_during_a_run_of_the_device_program(
    camera: Camera, bundle: Bundle, device_program: Path, tmp_path: Path
) -> None:
    clock = WallClock(tmp_path / "clock")
    predictions, report_file = tmp_path / "p.jsonl", tmp_path / "r.json"
    outputs = ["--predictions", predictions, "--rotate-files", "day", "--json", report_file]
    began_s = time.monotonic()
    with clock.start([str(p) for p in (device_program, bundle.path, "--source", camera.url, *outputs)]) as process:
        wait_for_more(predictions, 5, process)
        end_after_steps(process, clock, predictions)
    took_s = time.monotonic() - began_s
    report = plausible_report(report_file, predictions, took_s)
    history = [change["unix_s"] for change in report["streams"][0]["history"]]
    assert history == sorted(history)
    assert history[-1] - history[0] < took_s
