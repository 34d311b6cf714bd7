"""How well a bundle's scores find defects in labelled pictures, through the preprocessing and engine of the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import GOOD
from edgeproof_runtime.data.dataset import LabelledData, Sample
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.auroc import AnomalyMeter, AnomalyResult
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.tasks.reconstruct import Anomaly, ReconstructHead
from edgeproof_runtime.verify.evaluate import answers

__all__ = ["AnomalyEvaluation", "LabelledKinds", "evaluate_anomalies", "open_kinds"]


@dataclass(frozen=True, slots=True)
class LabelledKinds:
    """Pictures whose classes are ``good`` and kinds of defects, and the kinds' names by class index."""

    data: LabelledData
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnomalyEvaluation:
    """What `evaluate_anomalies` found.

    Attributes:
        result: over every readable picture.
        recorder: per picture, preprocess and inference (a batch's time divided by its size), milliseconds.
        elapsed_s: wall time, decoding included.
    """

    result: AnomalyResult
    recorder: LatencyRecorder
    elapsed_s: float


def open_kinds(path: str | Path, *, split: str = "test") -> LabelledKinds:
    """Open class folders, of which ``good`` holds good pictures and every other a kind of defect.

    Args:
        path: a folder with class folders, or with such a folder called like ``split``.
        split: that folder's name.

    Raises:
        InputError: there are no class folders, or none is called ``good``.
    """
    root = Path(path)
    root = root / split if (root / split).is_dir() else root
    kinds = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".")) if root.is_dir() else ()
    if GOOD not in kinds or len(kinds) < 2:
        raise InputError(
            f"there are no good pictures and defects in {root}",
            got=f"folders {', '.join(kinds[:5])}" if kinds else "no class folders",
            expected=f"a folder {GOOD} and one for each kind of defect",
        )
    return LabelledKinds(LabelledData.open(root, kinds), kinds)


def evaluate_anomalies(
    bundle: Bundle,
    engine: Engine,
    labelled: LabelledKinds,
    *,
    batch: int = 1,
    limit: int | None = None,
    on_sample: Callable[[Sample, Anomaly], None] | None = None,
) -> AnomalyEvaluation:
    """Score labelled pictures.

    Args:
        bundle: of task ``reconstruct``.
        engine: loaded with a ``max_batch`` of at least ``batch``.
        labelled: the pictures.
        batch: pictures per inference.
        limit: stop after so many pictures.
        on_sample: is told of every picture and its decision.

    Raises:
        InputError: the bundle is of another task, or not one picture could be read.
    """
    settings = bundle.manifest.anomaly
    if settings is None:
        raise InputError("this bundle scores no anomalies", got=f"task {bundle.manifest.task}", expected="reconstruct")
    head = ReconstructHead(settings, bundle.contract)
    meter, recorder = AnomalyMeter(settings.threshold), LatencyRecorder()
    begin = time.monotonic()
    for group, outputs in answers(bundle, engine, labelled.data, recorder, batch=batch, limit=limit):
        for index, sample in enumerate(group):
            decision = head(tuple(output[index : index + 1] for output in outputs))
            meter.update(labelled.kinds[sample.target], decision.score)
            if on_sample is not None:
                on_sample(sample, decision)
    return AnomalyEvaluation(meter.result(), recorder, time.monotonic() - begin)
