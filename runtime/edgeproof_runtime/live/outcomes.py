"""Outcomes of the frames of a pipeline: decided or lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from edgeproof_runtime.sources.base import Frame
from edgeproof_runtime.sources.health import FrameHealth

__all__ = ["Cause", "Counts", "Decided", "Lost"]

D_co = TypeVar("D_co", covariant=True)

Cause = Literal["overtaken", "stopped", "failed", "unhealthy"]
"""Replaced by a newer frame, unprocessed at the end of the run, failed, or not what the camera saw."""


@dataclass(frozen=True, slots=True)
class Decided(Generic[D_co]):
    """Frame with its decision. Times are in milliseconds.

    Attributes:
        frame: frame from the source.
        decision: decision of the head from the model's outputs.
        preprocess_ms: preprocessing of this frame, without waiting.
        inference_ms: inference of the frame, or of its whole batch, without waiting.
        postprocess_ms: the head's work on this frame, without waiting.
        end_to_end_ms: from the start of its capture to the decision, waiting included.
        frame_age_ms: from its arrival (`Frame.captured_ns`) to the decision.
        stream: name of its stream.
        bundle: sha256 of the manifest of the bundle that decided it, in a pipeline that was told it.
    """

    frame: Frame
    decision: D_co
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    end_to_end_ms: float
    frame_age_ms: float
    stream: str = ""
    bundle: str = ""

    @property
    def stages_ms(self) -> dict[str, float]:
        """Return milliseconds by the stage names of reports."""
        return {
            "capture": self.frame.capture_ms,
            "decode": self.frame.decode_ms,
            "preprocess": self.preprocess_ms,
            "inference": self.inference_ms,
            "postprocess": self.postprocess_ms,
            "end_to_end": self.end_to_end_ms,
            "frame_age": self.frame_age_ms,
        }


@dataclass(frozen=True, slots=True)
class Lost:
    """Frame without a decision, and the reason; of an unhealthy one, what is wrong with it."""

    name: str
    index: int
    captured_ns: int
    cause: Cause
    stream: str = ""
    health: FrameHealth | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames by outcome; at the end of a pipeline, ``frames_in == decided + dropped + unhealthy + failed``."""

    frames_in: int = 0
    decided: int = 0
    overtaken: int = 0
    stopped: int = 0
    failed: int = 0
    unhealthy: int = 0

    @property
    def under_way(self) -> int:
        """Return the number of frames without an outcome yet."""
        return self.frames_in - self.decided - self.dropped - self.unhealthy - self.failed

    @property
    def dropped(self) -> int:
        """Return the number of frames replaced by a newer one, or unprocessed at the end of the run."""
        return self.overtaken + self.stopped

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.frames_in + other.frames_in,
            self.decided + other.decided,
            self.overtaken + other.overtaken,
            self.stopped + other.stopped,
            self.failed + other.failed,
            self.unhealthy + other.unhealthy,
        )
