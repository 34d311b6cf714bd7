"""Drawn frames as a source, and a worker that decides nothing: for tests of what comes before a model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.live.pipeline import Worker
from edgeproof_runtime.sources import Frame, Source

__all__ = ["SHARP", "Given", "worker"]

SHARP: dict[str, Any] = {"width": 160, "height": 120, "base": 40, "amplitude": 160, "period": 12} | {
    "ramp": False, "noise": 0, "lights": [],
}  # fmt: skip
"""For `reference.drawn`: sharp checks."""


class Given(Source):
    """The given frames, live or of a file at 25 frames/s."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], *, damaged: Sequence[int] = (), **kind: Any) -> None:
        super().__init__("given", **{"live": False, "fps": 25.0, "frame_count": len(images)} | kind)
        self._images, self._damaged = images, damaged

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            frame = Frame(image, index, f"given#{index}", time.monotonic_ns(), 0.0, 0.0)
            yield replace(frame, damage="corrupt") if index in self._damaged else frame

    def close(self) -> None:
        pass


class _Echo:
    def allocate_input(self, batch: int) -> NDArray[np.uint8]:
        return np.zeros((batch, 1), np.uint8)

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        return (batch.copy(),)


def worker() -> Worker[int]:
    return Worker(lambda frame, out=None: None, _Echo(), lambda outputs: 0)  # noqa: ARG005
