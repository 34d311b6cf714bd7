"""Frames classified at an interval, or while something moves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.pace import Pace
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import Frame, Source, SourceOptions
from edgeproof_runtime.sources.adapted import adapted
from reference.drawn import drawn
from scenes import SHARP, Given, worker

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "pace.json").read_text("utf-8"))


def frames(count: int, moves: Sequence[int] = ()) -> list[NDArray[np.uint8]]:
    """A still scene; in the given frames a bright square lies somewhere else each time."""
    images = []
    for index in range(count):
        image = drawn(SHARP | {"base": 60, "amplitude": 60, "noise": 4})
        if index in moves:
            at = 10 + 7 * (index % 15)
            image[at : at + 30, at : at + 30] = 240
        images.append(image)
    return images


def classified(images: Sequence[NDArray[np.uint8]], **pace: Any) -> tuple[list[int], Pipeline[int]]:
    with Pipeline(Stream("cam", lambda: Given(images, fps=10.0), **pace), [worker()]) as pipeline:
        found = [decided.frame.index for decided in pipeline]
    counts = pipeline.counts
    assert counts.frames_in == counts.decided == len(found)
    return found, pipeline


@pytest.mark.parametrize("case", GOLDEN["intervals"])
def test_the_interval_of_the_golden(case: dict[str, Any]) -> None:
    pace, image, kept = Pace(every_s=case["every_s"]), frames(1)[0], []
    for index, time_ms in enumerate(case["times_ms"]):
        ns = time_ms * 1_000_000
        captured_ns, media_ns = (ns, None) if case["by"] == "captured" else (0, None if case["by"] == "index" else ns)
        # A live source's frames are chosen by their capture, whatever they are stamped with.
        frame = Frame(image, index, "f", ns if case["live"] else captured_ns, 0.0, 0.0, media_ns=media_ns)
        if pace.leaves_out(frame, case["fps"], live=case["live"]) is None:
            kept.append(index)
    assert kept == case["kept"]


class Ticking(Source):
    def __init__(self, times_ms: Sequence[int]) -> None:
        super().__init__("ticking", live=True, fps=None, frame_count=None)
        self._times_ms = times_ms

    def __iter__(self) -> Iterator[Frame]:
        for index, time_ms in enumerate(self._times_ms):
            yield Frame(frames(1)[0], index, "f", time_ms * 1_000_000, 0.0, 0.0)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("case", GOLDEN["rates"])
def test_the_rate_of_the_golden(case: dict[str, Any]) -> None:
    source = adapted(Ticking(case["times_ms"]), SourceOptions(rate_limit_fps=case["rate_limit_fps"]))
    assert [frame.index for frame in source] == case["kept"]
    assert source.left_out["rate limit"] == len(case["times_ms"]) - len(case["kept"])


def test_one_frame_at_an_interval() -> None:
    found, pipeline = classified(frames(25), every_s=1.0)
    assert found == [0, 10, 20]
    assert pipeline.snapshots()[0].left_out == {"interval": 22}


def test_frames_with_motion_and_for_two_seconds_after() -> None:
    found, pipeline = classified(frames(150, moves=[60, 61]), on_motion=0.01)
    assert found == [*range(20), *range(60, 82)]
    assert pipeline.snapshots()[0].left_out == {"no motion": 150 - 42}
    found, _ = classified(frames(150), on_motion=0.01, every_s=5)
    assert found == [*range(20), 69, 119]


def test_all_frames_without_options() -> None:
    assert classified(frames(5))[0] == list(range(5))
    assert Pace().leaves_out(Frame(frames(1)[0], 0, "f", 0, 0.0, 0.0), None, live=True) is None


@pytest.mark.parametrize("options", [{"every_s": 0}, {"on_motion": 0}, {"on_motion": 1.5}])
def test_invalid_options(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="out of range"):
        SourceOptions(**options)  # type: ignore[arg-type]
