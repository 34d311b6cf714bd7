"""What `edgeproof evaluate` was asked for and how it ends, whichever task the bundle is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.cli._shared import (
    err,
    fail_on,
    keep_evidence,
    print_gates,
    print_skipped,
    settings_of,
    write_reports,
)
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.engines import Engine, EngineInfo
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import load_engine, remembered
from edgeproof_runtime.selection.choices import Scope
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.host import cpu_features, host_warnings
from edgeproof_runtime.verify.evaluate import Evaluation
from edgeproof_runtime.verify.evaluate_anomalies import AnomalyEvaluation

__all__ = ["Asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What `evaluate` was asked for; the fields are the command's options, and the host's facts of before it began."""

    bundle: Bundle
    data: str
    host: Mapping[str, Any]
    engine: str
    precision: str
    split: str
    batch: int
    limit: int | None
    threads: int | None
    evidence: bool
    json_file: Path | None
    html_file: Path | None

    def load(self, tell: Callable[[str, int, int], None]) -> Engine:
        """The engine that answers."""
        return load_engine(
            self.bundle, self.engine, self.precision, max_batch=self.batch, threads=self.threads, progress=tell
        )

    def pictures(self, data: LabelledData) -> int:
        """How many pictures are to be looked at."""
        return min(len(data), self.limit or len(data))

    def conclude(
        self,
        engine: EngineInfo,
        gates: Sequence[Gate],
        *,
        parity: Gate,
        labelled: LabelledData,
        n: int,
        timed: Evaluation | AnomalyEvaluation | None,
        notes: Sequence[str],
        samples: Sequence[Thumbnail],
        counts: Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
        **measured: Any,
    ) -> None:
        """Print notes and gates, write the report, keep it in the bundle unless told otherwise.

        Args:
            engine: that answered.
            gates: every gate that ran.
            parity: which of them is the engine's on the golden cases.
            labelled: the data.
            n: pictures that were judged.
            timed: what was found, with its times; None where nothing was timed.
            notes: sentences for people.
            samples: pictures to look at.
            counts: what else was counted.
            settings: what else was chosen.
            **measured: the report's fields of this task.

        Raises:
            GateError: a gate did not pass.
        """
        automatic = "auto" in (self.engine, self.precision)
        choice = remembered(self.bundle, Scope(self.engine, self.precision, self.threads)) if automatic else None
        notes = [*notes, *([] if choice is None else not_worth_it(choice.rows, cpu_features()))]
        for note in notes:
            err.print(f"note: {note}")
        warnings = notes + host_warnings(self.host) + print_skipped(labelled.skipped)
        print_gates(gates)
        own = EngineRow(
            engine.name,
            engine.version,
            None if timed is None else timed.recorder.summary("inference").p50_ms,
            parity.passed,
            chosen=True,
            precision=engine.precision,
            threads=engine.threads,
        )
        failed = len(labelled.skipped)
        report = Report(
            kind="evaluate",
            command=command_line(),
            host=self.host,
            bundle=BundleFacts.of(self.bundle),
            settings=settings_of(
                self.bundle,
                engine=engine.name,
                precision=engine.precision,
                data=self.data,
                split=self.split,
                batch=self.batch,
                threads=engine.threads,
                **(settings or {}),
            ),
            counts={"frames_in": n + failed, "frames_classified": n, "frames_failed": failed, **(counts or {})},
            throughput_fps=None if timed is None else n / timed.elapsed_s,
            gates=gates,
            engines=[own] if choice is None else choice.rows,
            samples=samples,
            warnings=warnings,
            **measured,
            **({} if timed is None else Report.latency(timed.recorder)),
        )
        write_reports(report, self.json_file, self.html_file)
        if self.evidence:
            keep_evidence(self.bundle, report)
        fail_on(gates, f"{self.bundle.name} on {self.data}")
