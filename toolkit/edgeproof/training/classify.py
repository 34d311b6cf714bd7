"""Training of classifiers: from labelled pictures to a checkpoint that says how it is fed, judged on the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from edgeproof.training.augment import augment, default_augmentation
from edgeproof.training.data import (
    BatchModule,
    Sources,
    Split,
    channel_statistics,
    hold_out,
    open_sources,
    read_split,
    square_contract,
)
from edgeproof.training.fit import fit, prepare_folder
from edgeproof.training.judge import judge_classifier
from edgeproof.training.module import FINE_TUNING_LR, OptimiserSettings, TrainedModule, input_stage
from edgeproof.training.options import Augmentation, Loss, TrainOptions
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof_export.checkpoint import SUFFIX, Blueprint, read_checkpoint
from edgeproof_export.models import TORCHVISION_PRETRAINED, library_contract, quiet, resolve
from edgeproof_export.networks import NETWORKS, build_network
from edgeproof_export.weights import fit_backbone, read_weights
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["ClassifierModule", "class_loss", "train_classifier"]

_IMAGENET: tuple[tuple[float, ...], tuple[float, ...]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_AUXILIARY = 0.3  # weight of auxiliary classifiers: Szegedy et al., "Going deeper with convolutions" (2015), section 5


def class_loss(scores: Tensor, targets: Tensor, loss: Loss, weights: Tensor | None = None) -> Tensor:
    """Mean loss of a batch.

    ``cross-entropy`` of the softmax, or ``mse``: the squared distance of the softmax from the one-hot truth
    (Brier, 1950). Class weights weigh each picture by its class, and the mean by the weights' sum.

    Args:
        scores: logits, ``N x C``.
        targets: class indices, ``N``.
        loss: which.
        weights: per class, ``C``.
    """
    if loss == "cross-entropy":
        return F.cross_entropy(scores, targets, weight=weights)
    truth = F.one_hot(targets, scores.shape[1]).to(scores.dtype)
    each = (scores.softmax(dim=1) - truth).square().sum(dim=1)
    if weights is None:
        return each.mean()
    own = weights[targets]
    return (each * own).sum() / own.sum()


class ClassifierModule(TrainedModule):
    """Cross-entropy or squared error over class scores.

    Args:
        network: ``N x C x H x W`` to logits, or to logits and those of auxiliary heads while it trains.
        blueprint: with a contract and labels.
        settings: optimiser and schedule.
        loss: which.
        weights: per class.
        augmentation: of the training pictures.
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
        super().__init__(network, blueprint, settings)
        self.loss_name = loss
        self.register_buffer("class_weights", weights, persistent=False)
        self.augmentation = augmentation
        self.accuracy = MulticlassAccuracy(num_classes=len(blueprint.labels), average="micro")

    def _tensors(self, pictures: Tensor) -> Tensor:
        contract = self.blueprint.contract
        if contract is None:
            raise TypeError("a classifier has an input contract")
        return input_stage(pictures, contract)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One step's loss."""
        del batch_idx
        pictures, targets = batch
        answer = self.network(self._tensors(augment(pictures.float(), self.augmentation)))
        scores, *auxiliary = answer if isinstance(answer, tuple) else (answer,)
        weights: Any = self.class_weights
        loss = class_loss(scores, targets, self.loss_name, weights)
        for other in auxiliary:
            if other is not None:
                loss = loss + _AUXILIARY * class_loss(other, targets, self.loss_name, weights)
        self.finite(loss)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy of a batch."""
        del batch_idx
        pictures, targets = batch
        scores = self.network(self._tensors(pictures))
        loss = self.finite(class_loss(scores, targets, self.loss_name), "the validation loss")
        self.accuracy(scores, targets)
        self.log("val_loss", loss, on_epoch=True, sync_dist=True, batch_size=len(targets))
        self.log("val_accuracy", self.accuracy, on_epoch=True, batch_size=len(targets))


def train_classifier(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train a classifier; see `edgeproof.training.train`."""
    sources = open_sources(options.data, options.labels)
    if len(sources.labels) < 2:
        raise InputError(
            "a classifier needs classes to tell apart",
            got=f"one class, {sources.labels[0]}",
            expected="at least two",
        )
    color = options.color or ("gray" if sources.gray else "rgb")
    if recipe.architecture not in NETWORKS and color == "gray":
        if options.color == "gray":
            raise InputError(
                f"{recipe.architecture} takes colour", got="--color gray", expected="rgb: grey is repeated"
            )
        color = "rgb"
    prepare_folder(options)
    L.seed_everything(options.seed, workers=True, verbose=False)
    weights, trained_contract = _weights(recipe, options)
    network, arguments = _network(recipe, options, sources, color, fine_tuning=weights is not None)
    geometry = _geometry(recipe, options, sources, color, network)
    train, val, test = _read(sources, recipe, options, geometry, tell)
    _require_classes(train, sources)
    contract = _normalised(geometry, recipe, options, train, trained_contract)
    notes, lr_factor = _size_note(train, contract), 1.0
    if weights is not None:
        fitting, fresh = fit_backbone(network, weights[1], len(sources.labels), weights[0])
        notes += fitting
        lr_factor = FINE_TUNING_LR["new classes" if fresh else "same classes"]
    blueprint = Blueprint(
        task="classify",
        recipe=recipe.name,
        architecture=recipe.architecture,
        arguments=arguments,
        contract=contract,
        labels=sources.labels,
        class_ids=sources.class_ids,
    )
    how = options.augmentation(default_augmentation(contract.channels, contract.tensor_size))
    module = ClassifierModule(
        network,
        blueprint,
        OptimiserSettings.settle(recipe, options, lr_factor=lr_factor),
        loss=options.loss or recipe.losses[0],
        weights=_class_weights(options.class_weights, train, sources.labels),
        augmentation=how,
    )
    batch = options.batch or recipe.batch
    fitted = fit(
        module, BatchModule(train, val, batch=batch), options, epochs=options.epochs or recipe.epochs, tell=tell
    )
    if not fitted.first:
        return Trained(fitted.best, None)
    return judge_classifier(
        recipe, options, module, fitted, train=train, val=val, test=test, batch=batch, notes=notes, tell=tell
    )


def _weights(
    recipe: Recipe, options: TrainOptions
) -> tuple[tuple[str, dict[str, Tensor]] | None, InputContract | None]:
    """Name and tensors to fine-tune from, and the contract they were trained with where that is known."""
    if options.weights is None:
        return None, None
    if options.weights == "pretrained":
        if recipe.architecture in NETWORKS:
            raise InputError(f"nobody publishes weights of {recipe.name}", fix="--weights FILE")
        source = resolve(recipe.architecture, weights="pretrained")
        if not isinstance(source.model, nn.Module):
            raise TypeError("a library's model is a module")
        return (source.weights, dict(source.model.state_dict())), source.contract
    path = Path(options.weights)
    if path.suffix == SUFFIX:
        blueprint, network = read_checkpoint(path)
        return (path.name, dict(network.state_dict())), blueprint.contract
    return (path.name, read_weights(path)), None


def _network(
    recipe: Recipe, options: TrainOptions, sources: Sources, color: str, *, fine_tuning: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """The network and the arguments that build it again."""
    library, _, name = recipe.architecture.partition(":")
    arguments: dict[str, Any]
    if recipe.architecture in NETWORKS:
        channels = 1 if color == "gray" else 3
        arguments = {"classes": len(sources.labels), "channels": channels, "size": _side(recipe, options, sources)}
    else:
        arguments = {"num_classes": len(sources.labels)}
        if library == "torchvision" and name in TORCHVISION_PRETRAINED:
            arguments |= TORCHVISION_PRETRAINED[name]
            if not fine_tuning:
                arguments |= {"transform_input": False, "init_weights": True}
    with quiet():
        network = build_network(recipe.architecture, arguments)
    # Built again, its weights come from the checkpoint.
    return network, {**arguments, **({"init_weights": False} if "init_weights" in arguments else {})}


def _side(recipe: Recipe, options: TrainOptions, sources: Sources) -> int:
    if options.size is not None:
        return options.size
    if sources.array_size is not None and sources.array_size[0] == sources.array_size[1]:
        return sources.array_size[0]
    return recipe.size or 224


def _geometry(recipe: Recipe, options: TrainOptions, sources: Sources, color: str, network: nn.Module) -> InputContract:
    """The contract without its float stage."""
    if recipe.size is None and options.size is None:
        base = library_contract(recipe.architecture, network)
        if base.color != color:
            raise InputError(f"{recipe.architecture} takes {base.color}", got=color)
        return base
    return square_contract(color, _side(recipe, options, sources))


def _read(
    sources: Sources, recipe: Recipe, options: TrainOptions, contract: InputContract, tell: Progress
) -> tuple[Split, Split, Split | None]:
    train = read_split(sources.train.images, sources.train.targets, contract, tell, "reading training pictures")
    if sources.val is not None:
        val = read_split(sources.val.images, sources.val.targets, contract, tell, "reading validation pictures")
    else:
        share = recipe.val_share if options.val_share is None else options.val_share
        if share == 0:
            raise InputError(
                "choosing the best checkpoint takes pictures that are neither learnt from nor judged by",
                got="--val-share 0",
                expected="a share, or a val part of the data",
            )
        train, val = hold_out(train, share, options.seed)
    test = None
    if sources.test is not None:
        test = read_split(sources.test.images, sources.test.targets, contract, tell, "reading test pictures")
    return train, val, test


def _require_classes(train: Split, sources: Sources) -> None:
    counts = np.bincount(train.targets.numpy(), minlength=len(sources.labels))
    empty = [label for label, count in zip(sources.labels, counts, strict=True) if count == 0]
    if empty:
        raise InputError(
            "a class has no picture to learn from",
            got=", ".join(empty[:5]),
            expected=f"pictures of each of the {len(sources.labels)} classes",
            fix="remove the empty class, or check the pictures that could not be read",
        )


def _size_note(train: Split, contract: InputContract) -> list[str]:
    if train.sizes is None or train.sizes[0] == train.sizes[1]:
        return []
    smallest, largest = (f"{width}x{height}" for height, width in train.sizes)
    return [f"The pictures differ in size, {smallest} to {largest}: all are made {contract.summary().split(', (')[0]}."]


def _normalised(
    geometry: InputContract, recipe: Recipe, options: TrainOptions, train: Split, trained: InputContract | None
) -> InputContract:
    """The float stage: what was said, else that of the weights, else the recipe's."""
    if options.normalize is None and trained is not None and trained.channels == geometry.channels:
        return replace(geometry, scale=trained.scale, mean=trained.mean, std=trained.std)
    name = options.normalize or recipe.normalize
    if name == "imagenet" and geometry.channels == 1:
        if options.normalize is not None:
            raise InputError("ImageNet's mean and std are of colour pictures", got="grey", fix="--normalize measured")
        name = "measured"
    if name == "imagenet":
        if options.normalize is None and geometry.mean != (0.0,) * geometry.channels:
            return geometry  # the library's own
        mean, std = _IMAGENET
    elif name == "measured":
        mean, std = channel_statistics(train.pictures)
    else:
        mean, std = (0.0,) * geometry.channels, (1.0,) * geometry.channels
    return replace(geometry, scale=255.0, mean=mean, std=std)


def _class_weights(wanted: str | Sequence[float] | None, train: Split, labels: Sequence[str]) -> Tensor | None:
    if wanted is None:
        return None
    if wanted == "balanced":
        counts: NDArray[np.int64] = np.bincount(train.targets.numpy(), minlength=len(labels))
        return torch.tensor(len(train) / (len(labels) * counts), dtype=torch.float32)
    if len(wanted) != len(labels):
        raise InputError("class weights are one number per class", got=len(wanted), expected=len(labels))
    return torch.tensor([float(weight) for weight in wanted])
