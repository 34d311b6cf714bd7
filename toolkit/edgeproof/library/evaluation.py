"""What an evaluation is asked for, and what the evaluation of a task found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproof.library.progress import Progress
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.engines import Engine, EngineInfo
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.evaluate import Evaluation
from edgeproof_runtime.verify.evaluate_anomalies import AnomalyEvaluation
from edgeproof_runtime.verify.hops import Walk

__all__ = ["EvaluationRequest", "TaskEvaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What `edgeproof.library.evaluate.evaluate` was asked for; the fields are its arguments."""

    bundle: Bundle
    data: str
    engine: str
    precision: str
    split: str
    batch: int
    limit: int | None
    threads: int | None
    tell: Progress

    def load(self) -> Engine:
        """Load the engine to evaluate."""
        return load_engine(
            self.bundle, self.engine, self.precision, max_batch=self.batch, threads=self.threads, progress=self.tell
        )

    def total(self, data: LabelledData) -> int:
        """Return how many images are to be evaluated."""
        return min(len(data), self.limit or len(data))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskEvaluation:
    """What the evaluation of one task found.

    Attributes:
        engine: the engine that was evaluated.
        gates: every gate that ran.
        parity: the engine's gate on the golden cases, one of ``gates``.
        labelled: the data.
        n: images that were evaluated.
        timed: metrics with their times; None where nothing was timed.
        samples: images to show.
        measured: fields of the report that belong to the task.
        notes: sentences for people.
        counts: further counts.
        settings: further settings.
        walk: the hops, if they were asked for.
    """

    engine: EngineInfo
    gates: Sequence[Gate]
    parity: Gate
    labelled: LabelledData
    n: int
    timed: Evaluation | AnomalyEvaluation | None
    samples: Sequence[Thumbnail]
    measured: Mapping[str, Any]
    notes: Sequence[str] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    walk: Walk | None = None
