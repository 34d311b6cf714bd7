"""One candidate engine, as a row of a report."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_runtime.errors import EdgeproofError, EngineFaultError, one_line

__all__ = ["EngineRow", "reason_of"]


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One candidate engine.

    Attributes:
        name: such as ``openvino``.
        version: None if it is not installed.
        median_ms: median inference time; None if it did not run.
        passed: whether it passed the golden cases; None if it did not run.
        reason: why it did not run, failed or was not chosen.
        chosen: whether this report's other figures are from this engine.
        precision: precision of the model that it ran; None if only one was considered.
        threads: CPU threads; None for the engine's default, or without threads.
    """

    name: str
    version: str | None
    median_ms: float | None
    passed: bool | None
    reason: str | None = None
    chosen: bool = False
    precision: str | None = None
    threads: int | None = None


def reason_of(error: EdgeproofError) -> str:
    """Return on one line why an engine was left out."""
    return error.what if isinstance(error, EngineFaultError) else one_line(error)
