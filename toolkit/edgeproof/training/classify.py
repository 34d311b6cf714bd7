"""Training of classifiers: from labelled images to a checkpoint with its input contract, evaluated on the test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from edgeproof.training.augment import default_augmentation
from edgeproof.training.backbone import ScoresModule, prepare
from edgeproof.training.data import (
    BatchModule,
    Sources,
    Split,
    hold_out,
    open_sources,
)
from edgeproof.training.fit import fit
from edgeproof.training.judge import judge_classifier
from edgeproof.training.module import OptimiserSettings
from edgeproof.training.options import Augmentation, Loss, TrainOptions
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof_export.checkpoint import Blueprint
from edgeproof_runtime.errors import InputError

__all__ = ["ClassifierModule", "class_loss", "train_classifier"]


def class_loss(scores: Tensor, targets: Tensor, loss: Loss, weights: Tensor | None = None) -> Tensor:
    """Return the mean loss of a batch.

    ``cross-entropy`` of the softmax, or ``mse``: the squared distance of the softmax from the one-hot ground truth
    (Brier, 1950). Class weights weight each image by its class; the mean is divided by the sum of the weights.

    Args:
        scores: logits, ``N x C``.
        targets: class indices, ``N``.
        loss: name of the loss.
        weights: weight per class, ``C``.
    """
    if loss == "cross-entropy":
        return F.cross_entropy(scores, targets, weight=weights)
    truth = F.one_hot(targets, scores.shape[1]).to(scores.dtype)
    each = (scores.softmax(dim=1) - truth).square().sum(dim=1)
    if weights is None:
        return each.mean()
    own = weights[targets]
    return (each * own).sum() / own.sum()


class ClassifierModule(ScoresModule):
    """Classifier trained with cross-entropy or squared error.

    Args:
        network: see `ScoresModule`.
        blueprint: see `ScoresModule`.
        settings: optimiser and schedule.
        loss: name of the loss.
        weights: weight per class.
        augmentation: augmentation of the training images.
    """

    def __init__(
        self,
        network: nn.Module,
        blueprint: Blueprint,
        settings: OptimiserSettings,
        *,
        loss: Loss,
        weights: Tensor | None,
        augmentation: Augmentation,
    ) -> None:
        super().__init__(network, blueprint, settings, augmentation=augmentation)
        self.loss_name = loss
        self.register_buffer("class_weights", weights, persistent=False)
        self.accuracy: MulticlassAccuracy = MulticlassAccuracy(num_classes=len(blueprint.labels), average="micro")

    def loss_of(self, scores: Tensor, targets: Tensor, *, weighted: bool) -> Tensor:
        """Return the loss of a batch; see `class_loss`."""
        weights: Any = self.class_weights
        return class_loss(scores, targets, self.loss_name, weights if weighted else None)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy of a batch."""
        del batch_idx
        self.accuracy(self.validated(batch), batch[1])
        self.log("val_accuracy", self.accuracy, on_epoch=True, batch_size=len(batch[1]))


def train_classifier(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train a classifier; see `edgeproof.training.train`."""
    sources = open_sources(options.data, options.labels)
    if len(sources.labels) < 2:
        raise InputError(
            "dataset: a classifier requires at least two classes",
            got=f"one class, {sources.labels[0]}",
            expected="at least two",
        )
    start = prepare(
        recipe, options, sources, tell, set_aside=hold_out, require=lambda train: _require_classes(train, sources)
    )
    blueprint = Blueprint(
        task="classify",
        recipe=recipe.name,
        architecture=recipe.architecture,
        arguments=start.arguments,
        contract=start.contract,
        labels=sources.labels,
        class_ids=sources.class_ids,
    )
    how = options.augmentation(default_augmentation(start.contract.channels, start.contract.tensor_size))
    module = ClassifierModule(
        start.network,
        blueprint,
        OptimiserSettings.settle(recipe, options, lr_factor=start.lr_factor),
        loss=options.loss or recipe.losses[0],
        weights=_class_weights(options.class_weights, start.train, sources.labels),
        augmentation=how,
    )
    batch = options.batch or recipe.batch
    fitted = fit(
        module,
        BatchModule(start.train, start.val, batch=batch),
        options,
        epochs=options.epochs or recipe.epochs,
        tell=tell,
    )
    if not fitted.first:
        return Trained(fitted.best, None)
    return judge_classifier(recipe, options, module, fitted, start, batch=batch, tell=tell)


def _require_classes(train: Split, sources: Sources) -> None:
    counts = np.bincount(train.targets.numpy(), minlength=len(sources.labels))
    empty = [label for label, count in zip(sources.labels, counts, strict=True) if count == 0]
    if empty:
        raise InputError(
            "dataset: a class has no training image",
            got=", ".join(empty[:5]),
            expected=f"images of each of the {len(sources.labels)} classes",
            fix="remove the empty class, or check the images that could not be read",
        )


def _class_weights(wanted: str | Sequence[float] | None, train: Split, labels: Sequence[str]) -> Tensor | None:
    if wanted is None:
        return None
    if wanted == "balanced":
        counts: NDArray[np.int64] = np.bincount(train.targets.numpy(), minlength=len(labels))
        return torch.tensor(len(train) / (len(labels) * counts), dtype=torch.float32)
    if len(wanted) != len(labels):
        raise InputError("--class-weights: must be one number per class", got=len(wanted), expected=len(labels))
    return torch.tensor([float(weight) for weight in wanted])
