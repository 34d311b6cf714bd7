"""Workers that relieve others in a running pipeline: no frame is lost, none is decided twice, none is out of order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.gaps import GapMeter
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import Frame, Source
from waiting import until


class Paced(Source):
    """Numbered frames at 30 frames/s; ``pause`` stops it after a number of frames until it is set."""

    def __init__(self, count: int, pause: tuple[int, threading.Event] | None = None, fps: float = 30.0) -> None:
        super().__init__("paced", live=True, fps=fps, frame_count=None)
        self._count, self._pause, self._interval_s = count, pause, 1 / fps

    def __iter__(self) -> Iterator[Frame]:
        next_s = time.monotonic()
        for index in range(self._count):
            if self._pause is not None and index == self._pause[0]:
                self._pause[1].wait()
                next_s = time.monotonic()
            time.sleep(max(0.0, next_s - time.monotonic()))
            next_s += self._interval_s
            yield Frame(np.zeros((2, 2, 3), np.uint8), index, f"paced#{index}", time.monotonic_ns(), 0.0, 0.0)

    def close(self) -> None:
        pass


class Counting:
    """An engine that answers with its number, takes some time, and says how often it ran and whether it is in use."""

    def __init__(self, number: int, ms: float = 0.0, fails: BaseException | None = None) -> None:
        self.number, self.runs, self.busy, self.closed = number, 0, 0, False
        self._s, self._fails = ms / 1e3, fails

    def allocate_input(self, batch: int) -> NDArray[Any]:
        if self._fails is not None:
            raise self._fails
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        assert not self.closed, "it ran after its pipeline let it go"
        time.sleep(self._s)
        self.runs += 1
        return (np.full((len(batch), 1), self.number),)


def crew(*engines: Counting) -> list[Worker[int]]:
    return [Worker(lambda _frame, out=None: None, engine, lambda o: int(o[0][0, 0])) for engine in engines]  # noqa: ARG005


class Run:
    def __init__(self, pipeline: Pipeline[int]) -> None:
        self.pipeline, self.seen, self.over = pipeline, list[Decided[int]](), threading.Event()
        self.error: BaseException | None = None

    def of(self, name: str) -> list[tuple[int, int]]:
        return [(one.frame.index, one.decision) for one in list(self.seen) if one.stream == name]


@contextmanager
def running(
    sources: Mapping[str, Callable[[], Source]],
    workers: list[Worker[int]],
    policy: Any = "every-frame",
    each: Callable[[Decided[int]], object] = lambda _one: None,
    **options: Any,
) -> Iterator[Run]:
    streams = [Stream(name, opener, policy, "never") for name, opener in sources.items()]
    with Pipeline(streams, workers, bundle="0", **options) as pipeline:
        run = Run(pipeline)

        def consume() -> None:
            try:
                for one in pipeline:
                    run.seen.append(one)
                    each(one)
            except BaseException as error:
                run.error = error
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


def require_one_change_each(run: Run, name: str, frames: int, editions: list[int]) -> None:
    """Every frame once, in order; the numbers of the engines change between frames and never back."""
    found = run.of(name)
    assert [index for index, _ in found] == list(range(frames))
    numbers = [number for _, number in found]
    assert numbers == sorted(numbers)
    assert sorted(set(numbers)) == editions


@pytest.mark.slow
def test_several_streams_at_30_frames_a_second_lose_nothing_and_repeat_nothing() -> None:
    names = ("door", "gate", "yard")
    gaps = GapMeter()
    first = [Counting(0, 5), Counting(0, 5)]
    with running({name: lambda: Paced(75) for name in names}, crew(*first), each=gaps.decided) as run:
        until(lambda: all(len(run.of(name)) > 20 for name in names))
        watch = gaps.watch()
        run.pipeline.switch(crew(Counting(1, 5)), {"door": lambda _outputs: 7}, bundle="1")
        watch.end()
        for engine in first:
            engine.closed = True
        assert run.over.wait(20)
    for name in names:
        require_one_change_each(run, name, 75, [0, 7 if name == "door" else 1])
    assert {(one.decision, one.bundle) for one in run.seen} == {(0, "0"), (1, "1"), (7, "1")}
    assert run.pipeline.counts.decided == run.pipeline.counts.frames_in == 225
    assert watch.longest_ms is not None
    assert watch.longest_ms < 1000
    assert watch.stream in names


@pytest.mark.slow
def test_switches_quickly_after_each_other_and_back() -> None:
    engines = [[Counting(n, 1) for _ in range(1 + n % 3)] for n in range(8)]
    with running({"door": lambda: Paced(120, fps=200), "gate": lambda: Paced(120, fps=170)}, crew(*engines[0])) as run:
        until(lambda: len(run.of("door")) > 5)
        for number in range(1, 8):
            run.pipeline.switch(crew(*engines[number]), {}, bundle=str(number))
            for engine in engines[number - 1]:
                engine.closed = True
        assert run.over.wait(20)
    for name in ("door", "gate"):
        found = run.of(name)
        assert [index for index, _ in found] == list(range(120))
        assert [number for _, number in found] == sorted(number for _, number in found)
    assert run.seen[-1].decision == 7
    assert run.error is None


def test_a_caller_that_is_slow_does_not_keep_the_old_workers() -> None:
    """Old workers that wait for room in the delivery are relieved, and their wake-up call is not lost."""
    go = threading.Event()
    slow = Counting(0)
    with running({"door": lambda: Paced(40, fps=1000)}, crew(slow, Counting(0)), each=lambda _one: go.wait(20)) as run:
        until(lambda: run.pipeline.counts.frames_in > 4)
        run.pipeline.switch(crew(Counting(1)), {})
        slow.closed = True
        go.set()
        assert run.over.wait(20)
    require_one_change_each(run, "door", 40, [0, 1])


def test_during_a_stall_the_next_frame_is_the_new_workers() -> None:
    resume = threading.Event()
    with running({"door": lambda: Paced(20, (10, resume), 200)}, crew(Counting(0))) as run:
        until(lambda: len(run.of("door")) == 10)
        run.pipeline.switch(crew(Counting(1)), {})
        resume.set()
        assert run.over.wait(20)
    assert run.of("door") == [(index, int(index >= 10)) for index in range(20)]


def test_at_the_end_of_the_streams_frames_are_decided_by_either_and_afterwards_nothing_changes() -> None:
    for _ in range(5):
        with running({"door": lambda: Paced(12, fps=1000)}, crew(Counting(0, 4))) as run:
            until(lambda: run.pipeline.counts.frames_in > 8)
            with suppress(InputError):  # the run is ending
                run.pipeline.switch(crew(Counting(1, 4)), {})
            assert run.over.wait(20)
        assert [index for index, _ in run.of("door")] == list(range(12))
    with pytest.raises(InputError, match="is ending"):
        run.pipeline.switch(crew(Counting(2)), {})


def test_a_worker_that_cannot_begin_changes_nothing() -> None:
    with running({"door": lambda: Paced(60, fps=200)}, crew(Counting(0))) as run:
        until(lambda: len(run.of("door")) > 5)
        bad = crew(Counting(1), Counting(1, fails=MemoryError("no memory for the input")))
        with pytest.raises(MemoryError, match="no memory for the input"):
            run.pipeline.switch(bad, {})
        with pytest.raises(InputError, match="requires workers"):
            run.pipeline.switch([], {})
        assert run.over.wait(20)
        assert run.error is None
    assert run.of("door") == [(index, 0) for index in range(60)]


def test_a_worker_that_fails_after_it_began_ends_the_run() -> None:
    class Broken(Counting):
        def run(self, batch: NDArray[Any]) -> tuple[NDArray[Any], ...]:
            raise RuntimeError("the device is gone")

    with running({"door": lambda: Paced(1000, fps=200)}, crew(Counting(0))) as run:
        until(lambda: len(run.of("door")) > 5)
        run.pipeline.switch(crew(Broken(1)), {})
        assert run.over.wait(20)
    assert str(run.error) == "the device is gone"


def test_the_newest_frame_of_a_camera_and_batches() -> None:
    """Batches of several streams that are under way are finished by those that took them."""
    sources = {name: (lambda: Paced(100, fps=300)) for name in ("door", "gate")}
    with running(sources, crew(Counting(0, 10)), "latest-frame", max_batch=4, max_wait_ms=20) as run:
        until(lambda: len(run.of("door")) > 5)
        run.pipeline.switch(crew(Counting(1, 10), Counting(1, 10)), {})
        assert run.over.wait(20)
    for name in ("door", "gate"):
        indices = [index for index, _ in run.of(name)]
        assert indices == sorted(set(indices))
        numbers = [number for _, number in run.of(name)]
        assert numbers == sorted(numbers)
        assert set(numbers) == {0, 1}
