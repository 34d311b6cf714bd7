"""What becomes of a frame that entered a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from edgeproof_runtime.sources.base import Frame

__all__ = ["Cause", "Counts", "Decided", "Lost"]

D_co = TypeVar("D_co", covariant=True)

Cause = Literal["overtaken", "stopped", "failed"]
"""A newer frame took its place, the run ended before its turn, or it could not be processed."""


@dataclass(frozen=True, slots=True)
class Decided(Generic[D_co]):
    """A frame and what was decided about it. Times are milliseconds.

    Attributes:
        frame: as the source gave it.
        decision: what the head made of the model's outputs.
        preprocess_ms, inference_ms, postprocess_ms: work on this frame, without waiting; in a batch, inference is
            that of the whole batch, which each of its frames waited for.
        end_to_end_ms: from the start of its capture to the decision, waiting included.
        frame_age_ms: from its arrival (`Frame.captured_ns`) to the decision.
        stream: name of the stream that it came from.
    """

    frame: Frame
    decision: D_co
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float
    end_to_end_ms: float
    frame_age_ms: float
    stream: str = ""

    @property
    def stages_ms(self) -> dict[str, float]:
        """Milliseconds by the stage names of reports."""
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
    """A frame without a decision, and why."""

    name: str
    index: int
    captured_ns: int
    cause: Cause
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the frames; once the pipeline has ended, ``frames_in == decided + dropped + failed``."""

    frames_in: int = 0
    decided: int = 0
    overtaken: int = 0
    stopped: int = 0
    failed: int = 0

    @property
    def dropped(self) -> int:
        """Frames that nobody looked at: overtaken by a newer one, or left when the run ended."""
        return self.overtaken + self.stopped

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.frames_in + other.frames_in,
            self.decided + other.decided,
            self.overtaken + other.overtaken,
            self.stopped + other.stopped,
            self.failed + other.failed,
        )
