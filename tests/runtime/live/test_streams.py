"""Streams that stall, end, fail and come back, without the others noticing."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeproof_runtime.live.supervisor as supervision
from cameras import Camera, missing_rtsp_server, number_of, write_numbered
from edgeproof_runtime.errors import InputError, Skipped, SourceError
from edgeproof_runtime.live.inbox import Inbox
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream, StreamSnapshot
from edgeproof_runtime.sources import Frame, Source, open_source


class Numbered(Source):
    """Frames whose pixels are their index; ``before`` may wait or raise."""

    def __init__(self, frames: int, *, live: bool = True, before: Callable[[int], None] = lambda _: None) -> None:
        super().__init__("numbered", live=live, fps=None, frame_count=None if live else frames)
        self.frames, self.before, self.closed = frames, before, False

    def __iter__(self) -> Iterator[Frame]:
        self.left_out["too dark"] += 2
        self.skipped.append(Skipped("numbered", "was tired"))
        for index in range(self.frames):
            self.before(index)
            image = np.full((2, 2, 3), index % 251, np.uint8)
            yield Frame(image, index, f"numbered#{index}", time.monotonic_ns(), 0.0, 0.0)

    def close(self) -> None:
        self.closed = True


class Echo:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def allocate_input(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        self.batches.append(len(batch))
        return (batch.copy(),)


def first_pixel(frame: np.ndarray, out: np.ndarray | None = None) -> None:
    assert out is not None
    out[0] = frame[0, 0, 0]


def value(outputs: tuple[np.ndarray, ...]) -> int:
    return int(outputs[0][0, 0])


def worker() -> Worker[int]:
    return Worker(first_pixel, Echo(), value)


def pace(index: int) -> None:
    time.sleep(0.002)


def states(snapshot: StreamSnapshot) -> list[str]:
    return [change.state for change in snapshot.history]


def accounted(pipeline: Pipeline[int]) -> bool:
    each = [s.counts for s in pipeline.snapshots()]
    return all(c.frames_in == c.decided + c.dropped + c.unhealthy + c.failed for c in [*each, pipeline.counts])


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(supervision, "_TICK_S", 0.01)


def test_a_live_stream_is_opened_again_and_its_numbers_go_on():
    opened: list[Numbered] = []

    def open_it() -> Source:
        opened.append(Numbered(5, before=pace))
        return opened[-1]

    with Pipeline(Stream("cam", open_it, "every-frame", max_frames=12), [worker()]) as pipeline:
        decided = [(d.frame.index, d.frame.name, d.stream) for d in pipeline]
    assert [index for index, _, _ in decided] == list(range(12))
    assert decided[0][1] == "numbered#0"
    assert decided[7][1:] == ("cam#7", "cam")
    (snapshot,) = pipeline.snapshots()
    assert states(snapshot) == ["connecting", "live", "reconnecting", "live", "reconnecting", "live", "ended"]
    assert snapshot.history[2].reason == "was tired"
    assert snapshot.left_out == {"too dark": 6}
    assert snapshot.skipped == ("numbered: was tired",) * 3
    assert (snapshot.reconnections, len(opened)) == (2, 3)
    assert all(source.closed for source in opened)
    assert accounted(pipeline)


def test_failed_attempts_leave_nothing_to_the_garbage_collector():
    errors: list[weakref.ref[BaseException]] = []

    class RefusedError(SourceError):
        def __init__(self) -> None:
            super().__init__("cannot open it")
            errors.append(weakref.ref(self))

    def open_it() -> Source:
        if len(errors) < 4:
            raise RefusedError
        return Numbered(3, before=pace)

    gc.collect()
    gc.disable()
    try:
        with Pipeline(Stream("cam", open_it, "every-frame", "always", max_frames=3), [worker()]) as pipeline:
            assert [d.decision for d in pipeline] == [0, 1, 2]
        assert [error() for error in errors] == [None] * 4
    finally:
        gc.enable()


@pytest.mark.parametrize("reconnect", ["auto", "always", "never"])
def test_what_never_opens_fails_unless_asked_to_go_on(reconnect):
    attempts = 0

    def open_it() -> Source:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise SourceError("cannot open it", got="connection refused")
        return Numbered(5, before=pace)

    pipeline = Pipeline(Stream("cam", open_it, "every-frame", reconnect, max_frames=3), [worker()])
    if reconnect == "always":
        with pipeline:
            assert [d.decision for d in pipeline] == [0, 1, 2]
        assert states(pipeline.snapshots()[0]) == ["connecting", "reconnecting", "live", "ended"]
    else:
        with pytest.raises(SourceError, match="cannot open it"), pipeline:
            list(pipeline)
        (snapshot,) = pipeline.snapshots()
        assert (snapshot.state, snapshot.reason) == ("failed", "cannot open it; got: connection refused")


def test_a_driver_that_hangs_holds_up_nobody():
    plugged_in = threading.Event()
    connections = 0

    def hang(index: int) -> None:
        pace(index)
        if index == 3:
            plugged_in.wait(30)

    def open_it() -> Source:
        nonlocal connections
        connections += 1
        return Numbered(10**9, before=hang if connections == 1 else pace)

    streams = [
        Stream("hangs", open_it, "every-frame", stall_timeout_s=0.1, max_frames=50),
        Stream("other", lambda: Numbered(200, live=False, before=pace)),
    ]
    seen = defaultdict(list)
    with Pipeline(streams, [worker(), worker()]) as pipeline:
        for decided in pipeline:
            seen[decided.stream].append(decided.frame.index)
    plugged_in.set()
    assert seen == {"hangs": list(range(50)), "other": list(range(200))}
    hangs = pipeline.snapshots()[0]
    assert states(hangs) == ["connecting", "live", "stalled", "reconnecting", "live", "ended"]
    assert hangs.history[2].reason == "no frame for 0.1 s"
    assert "no frame for 0.2 s" in str(hangs.history[3].reason)
    assert accounted(pipeline)


class Undecodable(Numbered):
    """Data that never become frames, from a port that only one may have."""

    open = threading.Lock()

    def __init__(self) -> None:
        super().__init__(3)
        if not self.open.acquire(blocking=False):
            raise SourceError("numbered: cannot open", got="address already in use")
        self.over = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        self.over.wait()
        self.open.release()

    def close(self) -> None:
        self.over.set()


def test_what_gives_no_frame_any_more_is_closed_before_it_is_opened_again():
    sources: list[Undecodable] = []

    def open_it() -> Source:
        sources.append(Undecodable())
        return sources[-1]

    stream = Stream("cam", open_it, "every-frame", stall_timeout_s=0.05, max_frames=9)
    with Pipeline(stream, [worker()], duration_s=30) as pipeline:
        assert [decided.frame.index for decided in pipeline] == list(range(9))
    sources[-1].close()
    assert len(sources) == 3


def test_what_gives_only_damaged_frames_is_opened_again():
    class Damaged(Numbered):
        torn = False

        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, damage="corrupt") if self.torn and frame.index > 2 else frame

    sources: list[Damaged] = []

    def open_it() -> Source:
        sources.append(Damaged(10**9, before=pace))
        sources[-1].torn = len(sources) == 1
        return sources[-1]

    stream = Stream("cam", open_it, "every-frame", stall_timeout_s=0.02, max_frames=2000)
    with Pipeline(stream, [worker()], duration_s=30) as pipeline:
        for decided in pipeline:
            if decided.frame.index > 2:
                pipeline.stop()
    (snapshot,) = pipeline.snapshots()
    reasons = [str(change.reason) for change in snapshot.history]
    assert any("cam: only damaged frames for 0.3 s" in reason for reason in reasons), reasons
    assert len(sources) == 2
    assert accounted(pipeline)


def test_a_driver_that_always_hangs_does_not_collect_threads():
    gate = threading.Event()
    opened = 0

    def open_it() -> Source:
        nonlocal opened
        opened += 1
        gate.wait(30)
        return Numbered(1)

    stream = Stream("hangs", open_it, reconnect="always", open_timeout_s=0.03)
    other = Stream("other", lambda: Numbered(10**9, live=False, before=pace))

    def noticed() -> bool:
        return any("3 connections hang" in str(change.reason) for change in pipeline.snapshots()[0].history)

    with Pipeline([stream, other], [worker()], duration_s=60) as pipeline:
        for _ in pipeline:
            if noticed():
                break
        gate.set()
    assert noticed()
    assert opened == 3


def test_a_stream_that_fails_leaves_the_others_alone_and_is_named():
    def broken(index: int) -> None:
        if index == 5:
            raise SourceError("the tape is torn")

    streams = [
        Stream("torn", lambda: Numbered(100, live=False, before=broken)),
        Stream("whole", lambda: Numbered(100, live=False)),
        Stream("empty", lambda: Numbered(0, live=False)),
    ]
    with Pipeline(streams, [worker(), worker()]) as pipeline:
        decided = [d.stream for d in pipeline]
    assert (decided.count("torn"), decided.count("whole")) == (5, 100)
    torn, whole, empty = pipeline.snapshots()
    assert (torn.state, torn.reason) == ("failed", "the tape is torn")
    assert (whole.state, whole.reason) == ("ended", None)
    assert empty.state == "failed"
    assert "empty: no frame" in str(empty.reason)
    assert accounted(pipeline)


def test_a_size_that_changes_is_followed_and_noted():
    class Growing(Numbered):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                side = 2 if frame.index < 3 else 6
                image = np.full((side, 2 * side, 3), frame.index, np.uint8)
                yield Frame(image, frame.index, frame.name, frame.captured_ns, 0.0, 0.0)

    with Pipeline(Stream("cam", lambda: Growing(6), "every-frame", "never"), [worker()]) as pipeline:
        assert [d.decision for d in pipeline] == list(range(6))
    (snapshot,) = pipeline.snapshots()
    assert (snapshot.width, snapshot.height) == (12, 6)
    assert "frames of 12x6 instead of 4x2" in [change.reason for change in snapshot.history]


def test_frames_of_several_streams_share_a_batch_and_keep_their_order():
    engine = Echo()
    streams = [Stream(name, lambda: Numbered(60, live=False)) for name in "abc"]
    seen = defaultdict(list)
    with Pipeline(streams, [Worker(first_pixel, engine, value)], max_batch=3, max_wait_ms=20) as pipeline:
        for decided in pipeline:
            seen[decided.stream].append(decided.decision)
    assert seen == {name: list(range(60)) for name in "abc"}
    assert max(engine.batches) == 3
    assert len(engine.batches) < 120


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4))
def test_lanes_take_turns(frames_by_lane, most):
    inbox = Inbox(len(frames_by_lane), capacity=5)
    for lane, frames in enumerate(frames_by_lane):
        for index in range(frames):
            image = np.zeros((1, 1, 3), np.uint8)
            assert inbox.put(lane, Frame(image, index, "", 0, 0.0, 0.0)) is None
    inbox.close()
    taken = []
    while len(taken) < sum(frames_by_lane):
        batch = inbox.take(most, 0.0)
        assert len(batch) <= most
        taken.extend(batch)
    for lane, frames in enumerate(frames_by_lane):
        assert [(t.turn, t.frame.index) for t in taken if t.lane == lane] == [(i, i) for i in range(frames)]
        # Between two frames of a lane every other lane comes at most once.
        mine = [i for i, t in enumerate(taken) if t.lane == lane]
        for before, after in pairwise(mine):
            between = [t.lane for t in taken[before + 1 : after]]
            assert len(set(between)) == len(between)


def test_names_and_times_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="duplicate names"):
        Pipeline([Stream("a", lambda: Numbered(1)), Stream("a", lambda: Numbered(1))], [worker()])
    with pytest.raises(InputError, match="requires streams and workers"):
        Pipeline([], [worker()])
    with pytest.raises(InputError, match="invalid stall timeout"):
        Stream("a", lambda: Numbered(1), stall_timeout_s=0)


@pytest.fixture(scope="module")
def numbered_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = missing_rtsp_server()
    if reason is not None:
        pytest.skip(reason)
    rng = np.random.default_rng(0)
    pictures = [cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (320, 180)) for _ in range(20)]
    return write_numbered(tmp_path_factory.mktemp("clip") / "numbered.mp4", islice(cycle(pictures), 600), 30)


def read_number(frame: np.ndarray, out: np.ndarray | None = None) -> None:
    assert out is not None
    out[0] = number_of(frame)


@pytest.mark.slow
def test_one_camera_of_four_is_killed_and_comes_back(numbered_clip):
    cameras = [Camera(numbered_clip) for _ in range(4)]
    streams = [Stream(f"cam{i}", lambda c=c: open_source(c.url), "every-frame") for i, c in enumerate(cameras)]
    seen: dict[str, list[int]] = defaultdict(list)
    try:
        with Pipeline(streams, [Worker(read_number, Echo(), value) for _ in range(2)], duration_s=60) as pipeline:
            for decided in pipeline:
                seen[decided.stream].append(decided.decision)
                killed = pipeline.snapshots()[3]
                frames = len(seen["cam3"])
                if killed.state == "live" and frames >= 15 and killed.reconnections == 0:
                    cameras[3].kill()
                elif killed.state == "reconnecting" and cameras[3].killed:
                    cameras[3].start()
                elif killed.reconnections == 1 and 10 <= seen["cam3"][-1] < max(seen["cam3"]):
                    pipeline.stop()  # it counts from the start again: being live comes before a frame is decided
    finally:
        for camera in cameras:
            camera.kill()
    for name in ("cam0", "cam1", "cam2"):
        numbers = seen[name]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{name} lost a frame"
    numbers = seen["cam3"]
    again = next(i for i in range(1, len(numbers)) if numbers[i] <= numbers[i - 1])
    for part in (numbers[:again], numbers[again:]):  # a server may send the first frame before its client listens
        assert part == list(range(part[0], part[0] + len(part))), "a frame was repeated, made up or left out"
        assert part[0] <= 2
    assert [s.reconnections for s in pipeline.snapshots()] == [0, 0, 0, 1]
    assert accounted(pipeline)


def test_a_second_signal_may_come_while_the_first_one_ends_the_streams():
    inbox = Inbox(1, 1)
    supervisor = supervision.Supervisor([], inbox, lambda _run, _frame: None)

    def interrupted_while_closing() -> None:
        with inbox._filled:  # handlers run in the thread that they interrupt, whatever it holds
            supervisor.stop()

    inbox.close = interrupted_while_closing  # type: ignore[method-assign]
    ending = threading.Thread(target=supervisor.stop, daemon=True)
    ending.start()
    ending.join(5.0)
    assert not ending.is_alive()
