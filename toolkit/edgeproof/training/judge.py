"""Evaluation of a trained classifier: accuracy as in the runtime, calibration, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeproof.training.backbone import Prepared
from edgeproof.training.data import Split
from edgeproof.training.fit import LOG, Fitted
from edgeproof.training.module import TrainedModule, input_stage
from edgeproof.training.options import TrainOptions
from edgeproof.training.pictures import write_plots, write_sheet
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof_export.checkpoint import read_checkpoint
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.evidence.report import Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.accuracy import AccuracyMeter

__all__ = [
    "Calibration",
    "calibrate",
    "device_of",
    "frame_of",
    "judge_classifier",
    "probabilities_of",
    "write_up",
]

_BINS = 15
MISTAKES = 24
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration: whether predictions with 80 % confidence are correct in 80 % of the cases.

    Attributes:
        ece: expected calibration error (Naeini et al., 2015): the mean gap between confidence and accuracy over
            bins of equal width, weighted by their counts.
        mean_confidence: mean confidence of the top-1 predictions.
        bins: bins with images: upper edge, count, mean confidence, accuracy.
    """

    ece: float
    mean_confidence: float
    bins: tuple[dict[str, float], ...]


def calibrate(probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64], bins: int = _BINS) -> Calibration:
    """Compute the calibration of top-1 predictions.

    Args:
        probabilities: ``N x C``, rows add up to 1.
        targets: class indices, ``N``.
        bins: number of bins of equal width over 0..1; a bin includes its upper edge.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for index in range(bins):
        here = place == index
        if here.any():
            rows.append(
                {
                    "upper": (index + 1) / bins,
                    "count": float(here.sum()),
                    "confidence": float(confidence[here].mean()),
                    "accuracy": float(right[here].mean()),
                }
            )
    ece = sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(targets)
    return Calibration(float(ece), float(confidence.mean()), tuple(rows))


@torch.inference_mode()
def probabilities_of(
    network: nn.Module,
    pictures: Tensor,
    contract: InputContract,
    tell: Progress,
    device: str = "cpu",
    *,
    independent: bool = False,
) -> NDArray[np.float32]:
    """Return the softmax of a network's scores, ``N x C``, or the sigmoid of each if they are ``independent``.

    Args:
        network: network in eval mode.
        pictures: images, uint8 ``N x C x H x W``.
        contract: contract whose float stage is applied.
        tell: progress callback.
        device: torch device to compute on.
        independent: whether an image may show several classes.
    """
    network.to(device)
    parts = []
    for start in range(0, len(pictures), _BATCH):
        scores = network(input_stage(pictures[start : start + _BATCH].to(device), contract))
        parts.append((scores.sigmoid() if independent else scores.softmax(dim=1)).cpu())
        tell("evaluating", min(start + _BATCH, len(pictures)), len(pictures))
    probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
    return probabilities


def judge_classifier(
    recipe: Recipe,
    options: TrainOptions,
    module: TrainedModule,
    fitted: Fitted,
    start: Prepared,
    *,
    batch: int,
    tell: Progress,
) -> Trained:
    """Evaluate the best checkpoint and write report, plots and mistakes.

    Without test images, evaluate on the validation images and add a warning.
    """
    blueprint, network = read_checkpoint(fitted.best)
    judged = start.val if start.test is None else start.test
    shares = probabilities_of(network, judged.pictures, start.contract, tell, device_of(options))
    meter = AccuracyMeter(len(blueprint.labels))
    meter.update(shares, judged.targets.numpy())
    accuracy = meter.result()
    trained = write_up(
        recipe,
        options,
        module,
        fitted,
        start,
        batch=batch,
        counts={"correct": accuracy.correct},
        sections={"accuracy": accuracy.to_json(blueprint.labels)},
        training={"calibration": calibrate(shares, judged.targets.numpy())},
        samples=_mistakes(judged, shares, blueprint.labels),
    )
    return replace(trained, accuracy=accuracy)


def device_of(options: TrainOptions) -> str:
    """Return the torch device to evaluate a trained network on."""
    return "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"


def write_up(
    recipe: Recipe,
    options: TrainOptions,
    module: TrainedModule,
    fitted: Fitted,
    start: Prepared,
    *,
    batch: int,
    counts: Mapping[str, int],
    sections: Mapping[str, Any],
    training: Mapping[str, Any],
    samples: Sequence[Thumbnail],
    notes: Sequence[str] = (),
) -> Trained:
    """Write the report of a training, its plots and the sheet of mistakes.

    Args:
        recipe: recipe of the training.
        options: options of the training.
        module: trained module.
        fitted: results of the training run.
        start: network, contract and images at the start.
        batch: images per batch.
        counts: the task's entries of the report's counts.
        sections: the task's sections of the report.
        training: the task's entries of the training section.
        samples: thumbnails of mistakes.
        notes: additional warnings.
    """
    parts = [start.train, start.val, *([] if start.test is None else [start.test])]
    skipped = list(dict.fromkeys(item for part in parts for item in part.skipped))
    optimistic = (
        "The dataset has no test part: the figures are of the validation images, which also chose the best epoch, "
        "so they are optimistic."
    )
    report = Report(
        kind="train",
        command=command_line(),
        host=host_facts(),
        settings=_settings(recipe, options, module, batch, start.contract),
        counts={
            "pictures_train": len(start.train),
            "pictures_val": len(start.val),
            "pictures_test": 0 if start.test is None else len(start.test),
            "pictures_failed": len(skipped),
            "parameters": sum(p.numel() for p in module.network.parameters()),
            "epochs": len(fitted.history),
            "steps": fitted.steps,
            **counts,
        },
        samples=samples,
        training={
            "history": list(fitted.history),
            "judged_on": "test" if start.test is not None else "val",
            **training,
            "elapsed_s": fitted.elapsed_s,
            "cpu_s": fitted.cpu_s,
            "device": fitted.device,
            "checkpoint": {"path": fitted.best.name, "sha256": sha256_of(fitted.best)},
        },
        warnings=[
            *start.notes,
            *([] if start.test is not None else [optimistic]),
            *notes,
            *(f"Skipped {item.name}: {item.reason}." for item in skipped),
        ],
        sections=sections,
    )
    files = [options.out / LOG, *write_plots(report.to_json(), options.out)]
    if samples:
        files.append(write_sheet(samples, options.out / "mistakes.png"))
    report.write(options.out / "report.json")
    return Trained(fitted.best, report, files=(*files, options.out / "report.json"))


def _settings(
    recipe: Recipe, options: TrainOptions, module: TrainedModule, batch: int, contract: InputContract
) -> dict[str, Any]:
    settings = module.settings
    how = getattr(module, "augmentation", None)
    said = {
        "recipe": recipe.name,
        "data": options.data,
        "weights": options.weights,
        "contract": contract.summary(),
        "loss": options.loss or recipe.losses[0],
        "optimizer": settings.optimizer,
        "lr": settings.lr,
        "momentum": settings.momentum if settings.optimizer == "sgd" else None,
        "weight_decay": settings.weight_decay,
        "schedule": settings.schedule,
        "batch": batch,
        "seed": options.seed,
        "augmentation": None if how is None else _described(how),
        "class_weights": None if options.class_weights is None else str(options.class_weights),
        "patience": options.patience,
        "val_share": recipe.val_share if options.val_share is None else options.val_share,
        "torch_threads": torch.get_num_threads(),
    }
    return {name: value for name, value in said.items() if value is not None}


def _described(how: Any) -> str:
    parts = [
        "flip" if how.flip else "",
        f"rotation {how.rotation_deg:g}°" if how.rotation_deg else "",
        f"crop {how.crop} px" if how.crop else "",
        f"scale {how.scale:g}" if how.scale else "",
    ]
    return ", ".join(part for part in parts if part) or "none"


def _mistakes(judged: Split, shares: NDArray[np.float32], labels: tuple[str, ...]) -> list[Thumbnail]:
    """Return the wrong predictions with the highest confidence."""
    targets = judged.targets.numpy()
    predicted, confidence = shares.argmax(axis=1), shares.max(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        Thumbnail.of(
            judged.names[i],
            frame_of(judged.pictures[i]),
            labels[predicted[i]],
            float(confidence[i]),
            labels[int(targets[i])],
        )
        for i in worst
    ]


def frame_of(picture: Tensor) -> NDArray[np.uint8]:
    """Convert ``C x H x W`` RGB or grey to a BGR or grey frame."""
    frame: NDArray[np.uint8] = np.ascontiguousarray(picture.flip(0).permute(1, 2, 0).numpy())
    return frame[..., 0] if frame.shape[2] == 1 else frame
