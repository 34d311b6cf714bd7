"""Add fp16 and int8 models to a bundle within an accuracy budget."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof.library.evidence import keep_evidence, settings_of, skipped_warnings
from edgeproof.library.inputs import open_bundle, open_calibration, open_data
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.data.splits import TRAINING
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError, Skipped, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.host import host_warnings

if TYPE_CHECKING:
    from edgeproof_export.optimize import Outcome

__all__ = ["Optimized", "optimize"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Optimized:
    """Result of `optimize`.

    Attributes:
        bundle: the bundle with the models within the budget.
        report: its evidence.
        outcome: accuracy and speed of each model.
        notes: notes on the datasets.
        skipped: files that could not be read.
        evidence_problem: why the report was not stored in the bundle; None if stored.
    """

    bundle: Bundle
    report: Report
    outcome: Outcome
    notes: Sequence[str]
    skipped: Sequence[Skipped]
    evidence_problem: str | None


@bounded
def optimize(
    bundle: str | Path | Bundle,
    data: str | Path,
    *,
    precision: str = "fp16,int8",
    max_drop: float = 0.01,
    calibration: str | Path | None = None,
    calibration_split: str | None = None,
    calibration_images: int = 300,
    split: str | None = None,
    class_ids: str | Path | None = None,
    class_order: str | None = None,
    exif: bool = False,
    engine: str | None = None,
    threads: int | None = None,
    on: str | None = None,
    workers: int | None = None,
    work: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Optimized:
    """Add fp16 and int8 models to a bundle within an accuracy budget.

    Args:
        bundle: path of a bundle of a classifier or anomaly model, or an opened one.
        data: labelled images in any form of `edgeproof_runtime.data.forms.registry`, or ``cifar10``; for an anomaly
            model ``good`` and a folder per kind of defect, or good images alone.
        precision: precisions to add: ``fp16``, ``int8`` or both (``fp16,int8``).
        max_drop: accuracy budget: largest drop from fp32, 0..1, of top-1, of a multi-label model's mAP, or of an
            anomaly model's AUROC (with good images alone: largest mean change of their scores, in units of the
            threshold).
        calibration: calibration images; None means a part of ``data``.
        calibration_split: split of ``calibration``; None means ``train``, else ``val``.
        calibration_images: most calibration images.
        split: split of ``data``; None means ``test``, else ``val``.
        class_ids: file of folder names in class order; None means the bundle's.
        class_order: ``text`` or ``natural`` order of the dataset's class names; None means by name.
        exif: turn images by their EXIF orientation.
        engine: ``openvino`` or ``onnxruntime``, for validation and timing; None means the first available.
        threads: CPU threads of the engine; with ``on`` also of each worker's, where None means 1.
        on: compute scores of graphs on a Ray cluster, as `edgeproof.label` does, whose machines must be like this one;
            None for this process. Quantisation, ranking of layers and timing stay in this process.
        workers: workers of the cluster; None fills its cores.
        work: folder for finished steps; None means edgeproof's cache, until all are done.
        force: permit fewer than 50 calibration images.
        progress: called with (phase, done, total).

    Raises:
        InputError: an argument is out of range, the data cannot be read, or the bundle is of another task.
        UnavailableError: onnx or onnxruntime is not installed, or the cluster failed or has other machines.
    """
    if workers is not None and on is None:
        raise InputError("--workers: requires --on", fix="add --on ray")
    if on is not None:
        from edgeproof.scale.pools import check_place

        check_place(on)
    _require_packages()
    from edgeproof_export.optimize import OptimizeOptions, optimize_bundle
    from edgeproof_export.tasks import budget_of, steps_of

    options = OptimizeOptions(
        precisions=tuple(dict.fromkeys(part.strip() for part in precision.split(","))),
        max_drop=max_drop,
        calibration_pictures=calibration_images,
        engine=engine,
        threads=threads,
        force=force,
        work=None if work is None else Path(work),
    )
    host = host_facts()
    opened = open_bundle(bundle, again=True)
    budget_of(opened)
    wanted = DataOptions(
        split=split, class_ids=None if class_ids is None else Path(class_ids), class_order=class_order, exif=exif
    )
    labelled = open_data(opened, data, wanted, opens=steps_of(opened.manifest.task).open_judged)
    calibrating = replace(wanted, split=calibration_split, prefer=TRAINING)
    other = None if calibration is None else open_calibration(opened, calibration, calibrating)
    with ExitStack() as stack:
        answers = None
        if on is not None:
            from edgeproof.scale.answers import answers_on

            answers = stack.enter_context(answers_on(on, threads=threads, workers=workers))
        outcome = optimize_bundle(
            opened, labelled, options, calibration=other, answers=answers, tell=progress or no_progress
        )
    notes = list(dict.fromkeys([*labelled.notes, *(other.notes if other is not None else [])]))
    skipped = [*labelled.skipped, *(other.skipped if other is not None else [])]
    report = Report(
        kind="optimize",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(outcome.bundle),
        settings=settings_of(
            opened,
            data=data,
            split=labelled.split,
            class_order=class_order,
            exif=exif or None,
            calibration=calibration,
            precision=precision,
            max_drop=max_drop,
            engine=outcome.engine,
            threads=threads,
            on=on,
        ),
        counts={
            "calibration_pictures": len(outcome.split.calibration),
            "validation_pictures": len(outcome.split.validation),
        },
        gates=outcome.gates(),
        optimization=outcome.to_json(),
        warnings=outcome.notes() + notes + host_warnings(host) + skipped_warnings(skipped),
    )
    problem = keep_evidence(outcome.bundle, report)
    return Optimized(
        bundle=outcome.bundle,
        report=report,
        outcome=outcome,
        notes=notes,
        skipped=skipped,
        evidence_problem=problem,
    )


def _require_packages() -> None:
    """Check that the packages for optimising are installed; PyTorch is not required.

    Raises:
        UnavailableError: a package is not installed.
    """
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            "optimize: required packages are not installed",
            got=f"no {', '.join(missing)}",
            fix='pip install "edgeproof[optimize]"',
        )
