"""Streams removed from and added to a running pipeline, and SIGHUP under a service manager, which asks for that."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import edgeproof_runtime.live.pipeline as pipelines
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.inbox import ClosedError, Inbox
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.signals import Reloading, stop_on_interrupt
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.watchdog import gets_on
from edgeproof_runtime.sources import Frame, Source
from notified import Manager
from scenes import worker
from waiting import until


class Camera(Source):
    """A live source of numbered frames; ``hang`` keeps it from returning after three."""

    def __init__(self, hang: threading.Event | None = None) -> None:
        super().__init__("camera", live=True, fps=None, frame_count=None)
        self.hang, self.closed = hang, False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(10**9):
            if self.hang is not None and index == 3:
                self.hang.wait()
            time.sleep(0.002)
            yield Frame(np.zeros((2, 2, 3), np.uint8), index, f"camera#{index}", time.monotonic_ns(), 0.0, 0.0)

    def close(self) -> None:
        self.closed = True


class Run:
    """A running pipeline: what it decided, in its order."""

    def __init__(self, pipeline: Pipeline[int]) -> None:
        self.pipeline = pipeline
        self.seen: list[tuple[str, int]] = []
        self.left: list[tuple[str, int]] = []
        self.over = threading.Event()
        pipeline.on_removed = lambda name: self.left.append((name, len(self.seen)))

    def of(self, name: str) -> list[int]:
        return [index for stream, index in list(self.seen) if stream == name]


@contextmanager
def running(streams: dict[str, Callable[[], Source]], workers: int = 2) -> Iterator[Run]:
    opened = [Stream(name, opener, "every-frame") for name, opener in streams.items()]
    with Pipeline(opened, [worker() for _ in range(workers)]) as pipeline:
        run = Run(pipeline)

        def consume() -> None:
            for decided in pipeline:
                run.seen.append((decided.stream, decided.frame.index))
            run.over.set()

        consumer = threading.Thread(target=consume, daemon=True)
        consumer.start()
        try:
            yield run
        finally:
            pipeline.stop()
            consumer.join(20)
    assert not consumer.is_alive()
    counts = pipeline.counts
    assert counts.under_way == 0
    assert counts.frames_in == counts.decided + counts.dropped + counts.unhealthy + counts.failed


def test_one_stream_is_replaced_and_the_others_lose_no_frame() -> None:
    cameras: list[Camera] = []

    def door() -> Source:
        cameras.append(Camera())
        return cameras[-1]

    with running({"door": door, "gate": Camera, "yard": Camera}) as run:
        until(lambda: all(len(run.of(name)) > 5 for name in ("door", "gate", "yard")))
        with run.pipeline.changing():
            (shot,) = run.pipeline.remove({"door"}, "changed")
            assert (shot.state, shot.reason, shot.counts.under_way) == ("ended", "changed", 0)
            assert cameras[0].closed, "a camera that is still open cannot be opened again"
            run.pipeline.add([Stream("door", door, "every-frame"), Stream("hall", Camera, "every-frame")])
        before = len(run.of("gate"))
        until(lambda: len(run.of("hall")) > 5 and len(run.of("gate")) > before + 5)
        assert [shot.name for shot in run.pipeline.snapshots()] == ["gate", "yard", "door", "hall"]
    for name in ("gate", "yard", "hall"):
        assert run.of(name) == list(range(len(run.of(name))))
    ((left, at),) = run.left
    assert left == "door"
    first = [index for stream, index in run.seen[:at] if stream == "door"]
    assert first == list(range(shot.counts.decided)), "told after the last frame, and before the next stream's first"
    assert [index for stream, index in run.seen[at:] if stream == "door"][:5] == [0, 1, 2, 3, 4]
    assert run.pipeline.counts.frames_in == sum(
        s.counts.frames_in for s in (*run.pipeline.snapshots(), *run.pipeline.removed)
    )
    assert run.pipeline.counts.dropped == 0


def test_a_run_goes_on_while_it_has_no_stream() -> None:
    with running({"door": Camera}) as run:
        until(lambda: len(run.of("door")) > 3)
        with run.pipeline.changing():
            run.pipeline.remove({"door"}, "removed")
            time.sleep(0.3)
            assert not run.over.is_set()
            run.pipeline.add([Stream("gate", Camera)])
        until(lambda: len(run.of("gate")) > 3)


def test_a_driver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "_LEAVE_TIMEOUT_S", 0.3)
    hang = threading.Event()
    try:
        with running({"door": lambda: Camera(hang), "gate": Camera}) as run:
            until(lambda: len(run.of("door")) == 3)
            with run.pipeline.changing():
                run.pipeline.remove({"door"}, "removed")
            assert [shot.name for shot in run.pipeline.snapshots()] == ["gate"]
            hang.set()  # its late frames belong to no stream
            before = len(run.of("gate"))
            until(lambda: len(run.of("gate")) > before + 20)
            assert len(run.of("door")) == 3
    finally:
        hang.set()


def test_a_run_that_ends_is_not_changed_and_names_stay_different() -> None:
    with running({"door": Camera}) as run:
        with run.pipeline.changing(), pytest.raises(InputError, match="duplicate names"):
            run.pipeline.add([Stream("door", Camera)])
        run.pipeline.stop()
        assert run.over.wait(20)
        with pytest.raises(InputError, match="is ending"), run.pipeline.changing():
            raise AssertionError


def test_of_many_removed_streams_the_frames_stay_in_the_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "_REMOVED_KEPT", 1)
    with running({"gate": Camera}) as run:
        for number in range(3):
            name = f"door{number}"
            with run.pipeline.changing():
                run.pipeline.add([Stream(name, Camera, "every-frame")])
                until(lambda name=name: bool(run.of(name)))  # type: ignore[misc]
                run.pipeline.remove({name}, "removed")
        assert [shot.name for shot in run.pipeline.removed] == ["door2"]
    assert run.pipeline.counts.decided == len(run.seen)


def test_a_closed_lane_takes_no_frame_and_gives_back_what_waits() -> None:
    inbox, frame = Inbox(1, 2), Frame(np.zeros((1, 1, 3), np.uint8), 0, "", 0, 0.0, 0.0)
    inbox.add(1)
    for lane in (0, 1):
        inbox.put(lane, frame)
    assert inbox.remove(0) == [frame]
    for refused in (lambda: inbox.put(0, frame), lambda: inbox.wait_for_room(0)):
        with pytest.raises(ClosedError):
            refused()
    assert [ticket.lane for ticket in inbox.take(2)] == [1]


def test_a_replaced_stream_that_counts_from_0_again_feeds_the_watchdog() -> None:
    with running({"door": Camera}) as run:
        until(lambda: len(run.of("door")) > 30)
        before = run.pipeline.snapshots()
        with run.pipeline.changing():
            run.pipeline.remove({"door"}, "changed")
            run.pipeline.add([Stream("door", Camera)])
        until(lambda: run.pipeline.snapshots()[0].counts.decided > 0)
        assert gets_on(before, run.pipeline.snapshots())


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    before = signal.getsignal(signal.SIGHUP)
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()
    signal.signal(signal.SIGHUP, before)


class _Work:
    stopped = False

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("fails", [False, True])
def test_under_a_service_manager_a_hang_up_reloads(fails: bool, manager: Manager) -> None:
    said: list[str] = []

    def reload() -> str:
        if fails:
            raise InputError("streams.toml: not TOML")
        return "streams: changed door"

    work, began_us = _Work(), time.monotonic_ns() // 1000
    with stop_on_interrupt(work, Reloading(reload, lambda what: said.append(str(what)))):
        signal.raise_signal(signal.SIGHUP)
        heard = manager.heard(1.0)
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)  # the report is not written yet
    assert work.stopped
    assert heard[0]["RELOADING"] == "1"
    assert began_us <= int(heard[0]["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    told = "not reloaded" if fails else "streams: changed door"
    assert heard[1:] == [{"READY": "1", "STATUS": told}]
    assert said == ["streams.toml: not TOML" if fails else told]
    assert manager.heard(0.2) == []


def test_in_a_terminal_a_hang_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    work, before = _Work(), signal.getsignal(signal.SIGHUP)

    def reload() -> str:
        raise AssertionError

    try:
        with stop_on_interrupt(work, Reloading(reload, lambda _: None)):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert work.stopped
