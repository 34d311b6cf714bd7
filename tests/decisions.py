"""Decisions of tests."""

from __future__ import annotations

import time

import numpy as np
import skimage.data

from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sources import Frame
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.decision import Decision

CAT = skimage.data.chelsea()[:, :, ::-1].copy()


def ranking(*entries: tuple[str, float]) -> Prediction:
    return Prediction(np.array([p for _, p in entries], np.float32), tuple(label for label, _ in entries))


RANKING = ranking(("tabby, tabby cat", 0.75), ("Ägyptische Katze", 0.2), ("rocket", 0.05))


def decided(
    image: np.ndarray = CAT,
    index: int = 0,
    *,
    label: str | None = None,
    captured_ns: int = 0,
    decision: Decision = RANKING,
) -> Decided[Decision]:
    frame = Frame(image, index, f"clip#{index}", captured_ns or time.monotonic_ns(), 0.5, 0.25, label)
    return Decided(frame, decision, 1.0, 2.0, 0.125, 3.875, 3.375, "door")
