"""Training of multi-label models: sigmoid outputs, and a threshold per label from the validation images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof.training.augment import default_augmentation
from edgeproof.training.backbone import Prepared, ScoresModule, prepare
from edgeproof.training.data import BatchModule, Sources, Split, all_gray
from edgeproof.training.fit import Fitted, fit
from edgeproof.training.judge import MISTAKES, device_of, frame_of, probabilities_of, write_up
from edgeproof.training.module import OptimiserSettings, TrainedModule
from edgeproof.training.options import Augmentation, TrainOptions
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof_export.checkpoint import Blueprint, add_facts, read_checkpoint
from edgeproof_runtime._native import average_precision
from edgeproof_runtime.bundle.task_settings import MultilabelSettings
from edgeproof_runtime.data.class_names import read_class_names
from edgeproof_runtime.data.multilabel import MultilabelData, splits_of
from edgeproof_runtime.data.store import load_npz
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.multilabel import MultilabelMeter
from edgeproof_runtime.metrics.threshold import best_f1_threshold
from edgeproof_runtime.tasks.multilabel import MultilabelHead

__all__ = ["MultilabelModule", "set_aside", "settle_thresholds", "train_multilabel"]


class MultilabelModule(ScoresModule):
    """Multi-label model trained with binary cross-entropy per class.

    Args:
        network: see `ScoresModule`.
        blueprint: see `ScoresModule`.
        settings: optimiser and schedule.
        weights: weight of the positive images of each class, ``C``; None for 1.
        augmentation: augmentation of the training images.
    """

    def __init__(
        self,
        network: nn.Module,
        blueprint: Blueprint,
        settings: OptimiserSettings,
        *,
        weights: Tensor | None,
        augmentation: Augmentation,
    ) -> None:
        super().__init__(network, blueprint, settings, augmentation=augmentation)
        self.register_buffer("class_weights", weights, persistent=False)
        self._validated: list[tuple[Tensor, Tensor]] = []

    def loss_of(self, scores: Tensor, targets: Tensor, *, weighted: bool) -> Tensor:
        """Return the mean loss over images and classes."""
        weights: Any = self.class_weights if weighted else None
        return F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), pos_weight=weights)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the loss of a batch."""
        del batch_idx
        self._validated.append((self.validated(batch).float().cpu(), batch[1].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log the mAP of the validation images; with several processes, the mean of theirs."""
        scores, targets = (torch.cat(parts).numpy() for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        _, mean, _ = average_precision(scores, targets.astype(np.bool_))
        if mean is not None:
            self.log("val_map", mean, sync_dist=True)


def train_multilabel(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train a multi-label model; see `edgeproof.training.train`."""
    sources = _open_sources(options.data, options.labels)
    start = prepare(
        recipe, options, sources, tell, set_aside=set_aside, require=lambda train: _require_labels(train, sources)
    )
    blueprint = Blueprint(
        task="multilabel",
        recipe=recipe.name,
        architecture=recipe.architecture,
        arguments=start.arguments,
        contract=start.contract,
        labels=sources.labels,
    )
    module = MultilabelModule(
        start.network,
        blueprint,
        OptimiserSettings.settle(recipe, options, lr_factor=start.lr_factor),
        weights=_class_weights(options.class_weights, start.train),
        augmentation=options.augmentation(default_augmentation(start.contract.channels, start.contract.tensor_size)),
    )
    batch = options.batch or recipe.batch
    data = BatchModule(start.train, start.val, batch=batch)
    fitted = fit(module, data, options, epochs=options.epochs or recipe.epochs, tell=tell)
    if not fitted.first:
        return Trained(fitted.best, None)
    settings = settle_thresholds(fitted.best, start.val, options, tell)
    return _evaluate(recipe, options, module, fitted, start, settings, batch=batch, tell=tell)


def settle_thresholds(checkpoint: Path, val: Split, options: TrainOptions, tell: Progress) -> MultilabelSettings:
    """Choose the threshold of best F1 per class on validation images, and store them in the checkpoint.

    Args:
        checkpoint: checkpoint to change, whole or not at all.
        val: images that were not trained on.
        options: options of the training.
        tell: progress callback.
    """
    probabilities = _probabilities(checkpoint, val, options, tell)
    shown = val.targets.numpy()
    settings = MultilabelSettings(
        thresholds=tuple(
            best_f1_threshold(column, positives) for column, positives in zip(probabilities.T, shown.T, strict=True)
        ),
        images=len(val),
    )
    add_facts(checkpoint, {"multilabel": settings.to_json()})
    return settings


def set_aside(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Hold out a share of the images, at least one.

    Returns:
        The remaining images and the held-out images; the same for the same seed.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    count = min(len(split) - 1, max(1, round(share * len(split))))
    return split.take(np.sort(order[count:])), split.take(np.sort(order[:count]))


def _evaluate(
    recipe: Recipe,
    options: TrainOptions,
    module: TrainedModule,
    fitted: Fitted,
    start: Prepared,
    settings: MultilabelSettings,
    *,
    batch: int,
    tell: Progress,
) -> Trained:
    judged = start.val if start.test is None else start.test
    labels = module.blueprint.labels
    probabilities = _probabilities(fitted.best, judged, options, tell)
    meter = MultilabelMeter(settings.thresholds)
    meter.update(probabilities, judged.targets.numpy())
    result = meter.result()
    unseen = [name for name, count in zip(labels, start.val.targets.sum(dim=0).tolist(), strict=True) if not count]
    notes = [] if not unseen else [f"No validation image shows {', '.join(unseen[:5])}: the threshold is 0.5."]
    return write_up(
        recipe,
        options,
        module,
        fitted,
        start,
        batch=batch,
        counts={"exact": result.exact},
        sections={"multilabel": result.to_json(labels)},
        training={},
        samples=_mistakes(judged, probabilities, MultilabelHead(settings.thresholds, labels)),
        notes=notes,
    )


def _probabilities(checkpoint: Path, split: Split, options: TrainOptions, tell: Progress) -> NDArray[np.float32]:
    blueprint, network = read_checkpoint(checkpoint)
    if blueprint.contract is None:
        raise TypeError(f"{checkpoint}: requires an input contract")
    return probabilities_of(network, split.pictures, blueprint.contract, tell, device_of(options), independent=True)


def _open_sources(data: str, labels: Path | None) -> Sources:
    """Find the parts of a multi-label dataset.

    Raises:
        InputError: no training images were found, or the parts name different labels.
    """
    path = Path(data)
    splits = splits_of(path)
    names = None if labels is None else read_class_names(labels, "labels")
    train = MultilabelData.open(path, names, split="train")
    others = {
        split: MultilabelData.open(path, train.names, split=split) for split in ("val", "test") if split in splits
    }
    stored = None
    if path.suffix == ".npz":
        height, width = load_npz(path, "x_train")[0].shape[1:3]
        stored = (int(height), int(width))
    return Sources(train.names, None, train, others.get("val"), others.get("test"), all_gray(train.images), stored)


def _require_labels(train: Split, sources: Sources) -> None:
    shown = train.targets.sum(dim=0).tolist()
    empty = [label for label, count in zip(sources.labels, shown, strict=True) if count == 0]
    if empty:
        raise InputError(
            "dataset: a label has no training image",
            got=", ".join(empty[:5]),
            expected=f"images of each of the {len(sources.labels)} labels",
            fix="remove the label, or check the images that could not be read",
        )


def _class_weights(wanted: str | Sequence[float] | None, train: Split) -> Tensor | None:
    if wanted is None:
        return None
    positives = train.targets.sum(dim=0).float()
    if wanted == "balanced":
        return (len(train) - positives).clamp(min=1) / positives
    if len(wanted) != len(positives):
        raise InputError("--class-weights: must be one number per class", got=len(wanted), expected=len(positives))
    return torch.tensor([float(weight) for weight in wanted])


def _mistakes(judged: Split, probabilities: NDArray[np.float32], head: MultilabelHead) -> list[Thumbnail]:
    """Return the images with the most confident wrong labels."""
    shown = judged.targets.numpy().astype(np.bool_)
    wrong = (probabilities >= head.thresholds) != shown
    sure = np.where(wrong, np.abs(probabilities - head.thresholds), -1.0).max(axis=1)
    worst = [int(i) for i in np.argsort(-sure, kind="stable")[:MISTAKES] if sure[i] >= 0]
    found = []
    for i in worst:
        prediction = head.of(probabilities[i])
        truth = prediction.name_of(np.flatnonzero(shown[i]).tolist())
        found.append(Thumbnail.of(judged.names[i], frame_of(judged.pictures[i]), prediction.label, None, truth))
    return found
