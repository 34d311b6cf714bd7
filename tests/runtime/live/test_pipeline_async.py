"""A pipeline in an event loop: the loop goes on, and the decisions are those of plain iteration."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from edgeproof_runtime import Pipeline, Stream, Worker, open_source
from edgeproof_runtime.errors import SourceError


class Mean:
    def allocate_input(self, batch: int) -> Any:
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: Any) -> tuple[Any, ...]:
        return (batch.copy(),)


def mean(frame: Any, out: Any = None) -> None:
    out[0] = frame.mean()


def worker() -> Worker[float]:
    return Worker(mean, Mean(), lambda outputs: float(outputs[0][0, 0]))


def streams(frames: int = 20) -> list[Stream]:
    return [
        Stream("east", lambda: open_source(f"synthetic://64x48?frames={frames}&seed=1")),
        Stream("west", lambda: open_source(f"synthetic://64x48?frames={frames + 10}&seed=2")),
    ]


def test_an_event_loop_goes_on_while_frames_are_decided() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def main() -> list[tuple[str, int, float]]:
        other = asyncio.create_task(tick())
        async with Pipeline(streams(), [worker(), worker()]) as pipeline:
            found = [(one.stream, one.frame.index, one.decision) async for one in pipeline]
        other.cancel()
        assert pipeline.counts.decided == 50
        return found

    found = asyncio.run(main())
    with Pipeline(streams(), [worker()]) as pipeline:
        expected = [(one.stream, one.frame.index, one.decision) for one in pipeline]
    assert sorted(found) == sorted(expected)
    assert [index for stream, index, _ in found if stream == "east"] == list(range(20))
    assert ticks > 1


def test_leaving_early_ends_the_threads() -> None:
    async def main() -> int:
        async with Pipeline(streams(100_000), [worker()]) as pipeline:
            async for one in pipeline:
                if one.frame.index == 3:
                    break
        return pipeline.counts.decided

    assert asyncio.run(main()) >= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgeproof-worker")]


def test_errors_reach_the_task() -> None:
    async def main() -> None:
        async with Pipeline(Stream("gone", lambda: open_source("no/such.mp4")), [worker()]) as pipeline:
            async for _ in pipeline:
                pass

    with pytest.raises(SourceError, match=r"no/such\.mp4"):
        asyncio.run(main())


def test_stop_and_snapshots_from_any_thread() -> None:
    """What the class says is safe from any thread."""
    with Pipeline(streams(100_000), [worker(), worker()]) as pipeline:
        seen: list[Any] = []
        watcher = threading.Thread(target=lambda: seen.extend(pipeline.snapshots() for _ in range(200)))
        stopper = threading.Timer(0.3, pipeline.stop)
        watcher.start()
        stopper.start()
        decided = sum(1 for _ in pipeline)
        watcher.join()
    assert decided == pipeline.counts.decided < 200_000
    assert len(seen) == 200
