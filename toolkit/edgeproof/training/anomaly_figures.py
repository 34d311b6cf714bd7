"""Threshold, figures and report of an anomaly model: what every recipe of the task ``reconstruct`` ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeproof.training.data import Split, read_split
from edgeproof.training.defects import draw_defects
from edgeproof.training.module import input_stage
from edgeproof.training.options import TrainOptions
from edgeproof.training.pictures import write_plots, write_sheet
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof_export.checkpoint import add_facts, read_checkpoint
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD, AnomalySettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.auroc import AnomalyMeter, AnomalyResult, auroc
from edgeproof_runtime.tasks.reconstruct import ReconstructHead

__all__ = ["require_held_out", "settle_threshold", "tensors_of", "write_up"]

_BATCH = 16
_SAMPLES = 24
_DRAWN = 3  # images with a drawn defect per held-out good image


def require_held_out(good: Split, val: Split) -> None:
    """Check that good images were held out for the threshold.

    Raises:
        InputError: none were.
    """
    if not len(val):
        raise InputError("threshold: requires held-out good images", got=f"{len(good)} good images, none held out")


def settle_threshold(checkpoint: Path, val: Split, quantile: float, seed: int, tell: Progress) -> AnomalySettings:
    """Store the threshold in an anomaly model's checkpoint: a quantile of the scores of held-out good images.

    The checkpoint also gets the AUROC of these images against the same images with a drawn defect. Real defects
    are not used.

    Args:
        checkpoint: checkpoint to change, whole or not at all.
        val: good images that were not trained on.
        quantile: quantile of their anomaly scores that becomes the threshold.
        seed: seed of the drawn defects.
        tell: progress callback.
    """
    network, contract, _ = _read(checkpoint)
    rng = np.random.default_rng((seed, 1))
    clean = _scores(network, val.pictures, contract, tell, "scoring")
    drawn: list[float] = []
    for number in range(_DRAWN):
        marked = torch.from_numpy(np.stack([draw_defects(p, rng, count=1) for p in val.pictures.numpy()]))
        drawn += _scores(network, marked, contract, tell, f"scoring drawn defects, {number + 1} of {_DRAWN}")
    settings = AnomalySettings(
        threshold=max(float(np.quantile(clean, quantile, method="higher")), 1e-6),
        quantile=quantile,
        good_images=len(clean),
        score=str(network.score_text),
    )
    add_facts(checkpoint, {"anomaly": settings.to_json(), "drawn_auroc": auroc(clean, drawn)})
    return settings


def write_up(
    recipe: Recipe,
    options: TrainOptions,
    checkpoint: Path,
    threshold: AnomalySettings,
    train: Split,
    val: Split,
    *,
    settings: Mapping[str, Any],
    counts: Mapping[str, int],
    training: Mapping[str, Any],
    files: tuple[Path, ...] = (),
    notes: tuple[str, ...] = (),
    tell: Progress,
) -> Trained:
    """Evaluate a checkpoint on the test images, if there are any, and write report and images.

    Args:
        recipe: recipe of the training.
        options: options of the training.
        checkpoint: checkpoint with its threshold.
        threshold: the threshold.
        train, val: images trained on, and held out.
        settings: the recipe's entries of the report's settings.
        counts: the recipe's entries of the report's counts.
        training: the recipe's entries of the training section.
        files: files that are written already.
        notes: notes for the report.
        tell: progress callback.
    """
    network, contract, facts = _read(checkpoint)
    root = Path(options.data) / "test"
    kinds = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    test = None
    if kinds:
        data = LabelledData.open(options.data, kinds)
        test = read_split(data.images, data.targets, contract, tell, "reading test images")
    result, samples = (None, []) if test is None else _scored(network, test, kinds, threshold, contract, tell)
    report = Report(
        kind="train",
        command=command_line(),
        host=host_facts(),
        settings={
            "recipe": recipe.name,
            "data": options.data,
            "contract": contract.summary(),
            **settings,
            "seed": options.seed,
            "torch_threads": torch.get_num_threads(),
        },
        counts={
            "pictures_train": len(train),
            "pictures_val": len(val),
            "pictures_test": 0 if test is None else len(test),
            "pictures_failed": len(train.skipped) + (0 if test is None else len(test.skipped)),
            "parameters": sum(p.numel() for p in network.parameters()),
            **counts,
        },
        sections={} if result is None else {"anomaly": result.to_json()},
        samples=samples,
        training={
            "judged_on": "val" if test is None else "test",
            "calibration": None,
            "threshold": threshold.to_json(),
            "drawn_auroc": facts["drawn_auroc"],
            **training,
            "checkpoint": {"path": checkpoint.name, "sha256": sha256_of(checkpoint)},
        },
        warnings=[
            *([] if test is not None else ["The dataset has no test part with defects: detection was not measured."]),
            *notes,
            *(f"Skipped {item.name}: {item.reason}." for item in train.skipped),
        ],
    )
    written = [*files, *write_plots(report.to_json(), options.out)]
    if samples:
        written.append(write_sheet(samples, options.out / "anomalies.png"))
    report.write(options.out / "report.json")
    return Trained(checkpoint, report, None, (*written, options.out / "report.json"))


def tensors_of(pictures: Tensor, contract: InputContract, tell: Progress, phase: str) -> Iterator[Tensor]:
    """Yield the network's input for uint8 images, a batch at a time."""
    for start in range(0, len(pictures), _BATCH):
        yield input_stage(pictures[start : start + _BATCH], contract)
        tell(phase, min(start + _BATCH, len(pictures)), len(pictures))


def _read(checkpoint: Path) -> tuple[nn.Module, InputContract, Mapping[str, Any]]:
    blueprint, network = read_checkpoint(checkpoint)
    if blueprint.contract is None or not hasattr(network, "score_text"):
        raise TypeError(f"{checkpoint}: not an anomaly model")
    return network, blueprint.contract, blueprint.facts


def _scores(network: nn.Module, pictures: Tensor, contract: InputContract, tell: Progress, phase: str) -> list[float]:
    with torch.inference_mode():
        return [float(s) for tensors in tensors_of(pictures, contract, tell, phase) for s in network(tensors)[-1]]


def _scored(
    network: nn.Module,
    test: Split,
    kinds: list[str],
    settings: AnomalySettings,
    contract: InputContract,
    tell: Progress,
) -> tuple[AnomalyResult, list[Thumbnail]]:
    """Return the AUROC per kind, and thumbnails with heat maps, evenly spread over the test images."""
    meter, head = AnomalyMeter(settings.threshold), ReconstructHead(settings, contract)
    samples: list[Thumbnail] = []
    shown = set(np.linspace(0, len(test) - 1, min(_SAMPLES, len(test))).astype(int).tolist())
    number = 0
    for tensors in tensors_of(test.pictures, contract, tell, "evaluating"):
        with torch.inference_mode():
            outputs = [output.numpy() for output in network(tensors)]
        for index in range(len(tensors)):
            decision = head(tuple(output[index : index + 1] for output in outputs))
            kind = kinds[int(test.targets[number])]
            meter.update(kind, decision.score)
            if number in shown:
                pixels = test.pictures[number].numpy().transpose(1, 2, 0)
                frame = pixels[:, :, 0] if contract.channels == 1 else pixels[:, :, ::-1]
                picture = decision.over(np.ascontiguousarray(frame))
                name, truth = f"{test.names[number]}: {decision.score:.3g}", GOOD if kind == GOOD else DEFECT
                samples.append(Thumbnail.of(name, picture, decision.label, None, truth))
            number += 1
    return meter.result(), samples
