"""One engine that was considered, as a row of a report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineRow"]


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine that was considered.

    Attributes:
        name: such as ``openvino``.
        version: None where it is not installed.
        median_ms: of its inference; None where it did not run.
        passed: whether it passed the golden cases; None where it did not run.
        reason: why it did not run, failed or was not chosen.
        chosen: whether this report's other figures are from this engine.
        precision: of the model that it ran; None where only one was in question.
        threads: CPU threads; None where the engine decides or has none.
    """

    name: str
    version: str | None
    median_ms: float | None
    passed: bool | None
    reason: str | None = None
    chosen: bool = False
    precision: str | None = None
    threads: int | None = None
