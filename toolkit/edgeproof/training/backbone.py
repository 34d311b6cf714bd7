"""Network, input contract and training step of a recipe: the part that tasks with a score per class share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
from torch import Tensor, nn

from edgeproof.training.augment import augment
from edgeproof.training.data import Sources, Split, channel_statistics, read_split, squash_contract
from edgeproof.training.fit import prepare_folder
from edgeproof.training.module import FINE_TUNING_LR, OptimiserSettings, TrainedModule, input_stage
from edgeproof.training.options import Augmentation, TrainOptions
from edgeproof.training.recipes import Progress, Recipe
from edgeproof_export.checkpoint import Blueprint, is_own, network_of
from edgeproof_export.models import TORCHVISION_PRETRAINED, library_contract, resolve
from edgeproof_export.networks import NETWORKS, build_network
from edgeproof_export.quietly import quiet
from edgeproof_export.weights.file import Weights, load_tensors, split_prefix, weights_of
from edgeproof_export.weights.fit import fit_backbone
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import LabelledImages
from edgeproof_runtime.errors import InputError

__all__ = ["Prepared", "ScoresModule", "prepare"]

_IMAGENET: tuple[tuple[float, ...], tuple[float, ...]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_AUXILIARY = 0.3  # weight of auxiliary classifiers: Szegedy et al., "Going deeper with convolutions" (2015), section 5


class ScoresModule(TrainedModule):
    """Base class of the training modules with one score per class.

    Args:
        network: maps ``N x C x H x W`` to scores; in training mode it may add the scores of auxiliary heads.
        blueprint: blueprint with a contract and labels.
        settings: optimiser and schedule.
        augmentation: augmentation of the training images.
    """

    def __init__(
        self, network: nn.Module, blueprint: Blueprint, settings: OptimiserSettings, *, augmentation: Augmentation
    ) -> None:
        super().__init__(network, blueprint, settings)
        self.augmentation = augmentation

    @abstractmethod
    def loss_of(self, scores: Tensor, targets: Tensor, *, weighted: bool) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            scores: ``N x C``.
            targets: targets of the images.
            weighted: whether to apply the class weights, if set.
        """

    def tensors(self, pictures: Tensor) -> Tensor:
        """Return the network's input for uint8 images."""
        contract = self.blueprint.contract
        if contract is None:
            raise TypeError("blueprint: a network with classes requires an input contract")
        return input_stage(pictures, contract)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one step."""
        del batch_idx
        pictures, targets = batch
        output = self.network(self.tensors(augment(pictures.float(), self.augmentation)))
        scores, *auxiliary = output if isinstance(output, tuple) else (output,)
        loss = self.loss_of(scores, targets, weighted=True)
        for other in auxiliary:
            if other is not None:
                loss = loss + _AUXILIARY * self.loss_of(other, targets, weighted=True)
        self.finite(loss)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(targets))
        return loss

    def validated(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the scores of a validation batch and log its loss."""
        pictures, targets = batch
        scores: Tensor = self.network(self.tensors(pictures))
        loss = self.finite(self.loss_of(scores, targets, weighted=False), "the validation loss")
        self.log("val_loss", loss, on_epoch=True, sync_dist=True, batch_size=len(targets))
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Network, input contract and images at the start of a training.

    Attributes:
        network: network of the recipe.
        arguments: arguments that rebuild the network.
        contract: input contract.
        train: training images in memory.
        val: validation images in memory.
        test: test images in memory; None without such a part.
        notes: sentences for the report.
        lr_factor: share of the recipe's learning rate, below 1 when fine-tuning.
    """

    network: nn.Module
    arguments: dict[str, Any]
    contract: InputContract
    train: Split
    val: Split
    test: Split | None
    notes: list[str]
    lr_factor: float


def prepare(
    recipe: Recipe,
    options: TrainOptions,
    sources: Sources,
    tell: Progress,
    *,
    set_aside: Callable[[Split, float, int], tuple[Split, Split]],
    require: Callable[[Split], None],
) -> Prepared:
    """Create the folder, build the network, read the images and complete the input contract.

    Args:
        recipe: recipe of the training.
        options: options of the training.
        sources: the dataset.
        tell: progress callback.
        set_aside: splits training images by a share and a seed into remaining and validation images.
        require: raises `InputError` if the training images are insufficient.

    Raises:
        InputError: the folder, the weights or the dataset is invalid.
    """
    color = _color(recipe, options, sources)
    prepare_folder(options)
    L.seed_everything(options.seed, workers=True, verbose=False)
    weights, trained_contract = _weights(recipe, options)
    network, arguments = _network(recipe, options, sources, color, fine_tuning=weights is not None)
    geometry = _geometry(recipe, options, sources, color, network)
    train, val, test = _read(sources, recipe, options, geometry, tell, set_aside)
    require(train)
    contract = _normalised(geometry, recipe, options, train, trained_contract)
    notes, lr_factor = _size_note(train, contract), 1.0
    if weights is not None:
        fitted, fresh = fit_backbone(network, weights, len(sources.labels), ema=options.ema)
        notes += fitted.notes
        lr_factor = FINE_TUNING_LR["new classes" if fresh else "same classes"]
    return Prepared(network, arguments, contract, train, val, test, notes, lr_factor)


def _color(recipe: Recipe, options: TrainOptions, sources: Sources) -> str:
    """Return the input's colour: that of the options, else of the dataset; a library's network requires RGB.

    Raises:
        InputError: the options ask for grey with a library's network.
    """
    color = options.color or ("gray" if sources.gray else "rgb")
    if recipe.architecture not in NETWORKS and color == "gray":
        if options.color == "gray":
            raise InputError(
                f"--color: {recipe.architecture} requires rgb",
                got="gray",
                expected="rgb; grey images are repeated in 3 channels",
            )
        color = "rgb"
    return color


def _weights(recipe: Recipe, options: TrainOptions) -> tuple[Weights | None, InputContract | None]:
    """Return the tensors to fine-tune from, and their input contract if known."""
    if options.weights is None:
        return None, None
    if options.weights == "pretrained":
        if recipe.architecture in NETWORKS:
            raise InputError(f"--weights: no pretrained weights for {recipe.name}", fix="--weights FILE")
        source = resolve(recipe.architecture, weights="pretrained")
        if not isinstance(source.model, nn.Module):
            raise TypeError(f"{recipe.architecture}: not a torch module")
        return Weights.of(source.model.state_dict(), source.weights), source.contract
    path, prefix = split_prefix(options.weights)
    content = load_tensors(path)
    if is_own(content):
        blueprint, network = network_of(content, path)
        return Weights.of(network.state_dict(), path.name), blueprint.contract
    return weights_of(content, path, prefix), None


def _network(
    recipe: Recipe, options: TrainOptions, sources: Sources, color: str, *, fine_tuning: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network; return it with the arguments that rebuild it."""
    library, _, name = recipe.architecture.partition(":")
    arguments: dict[str, Any]
    if recipe.architecture in NETWORKS:
        channels = 1 if color == "gray" else 3
        arguments = {"classes": len(sources.labels), "channels": channels, "size": min(_size(recipe, options, sources))}
    else:
        arguments = {"num_classes": len(sources.labels)}
        if library == "torchvision" and name in TORCHVISION_PRETRAINED:
            arguments |= TORCHVISION_PRETRAINED[name]
            if not fine_tuning:
                arguments |= {"transform_input": False, "init_weights": True}
    with quiet():
        network = build_network(recipe.architecture, arguments)
    # A rebuilt network gets its weights from the checkpoint.
    return network, {**arguments, **({"init_weights": False} if "init_weights" in arguments else {})}


def _size(recipe: Recipe, options: TrainOptions, sources: Sources) -> tuple[int, int]:
    """Return height and width of the input, pixels."""
    if options.size is not None:
        return options.size, options.size
    stored = sources.array_size
    if stored is not None and (recipe.any_shape or stored[0] == stored[1]):
        return stored
    return recipe.size or 224, recipe.size or 224


def _geometry(recipe: Recipe, options: TrainOptions, sources: Sources, color: str, network: nn.Module) -> InputContract:
    """Return the contract without its float stage."""
    if recipe.size is None and options.size is None:
        base = library_contract(recipe.architecture, network)
        if base.color != color:
            raise InputError(f"--color: {recipe.architecture} requires {base.color}", got=color)
        return base
    return squash_contract(color, _size(recipe, options, sources))


def _read(
    sources: Sources,
    recipe: Recipe,
    options: TrainOptions,
    contract: InputContract,
    tell: Progress,
    set_aside: Callable[[Split, float, int], tuple[Split, Split]],
) -> tuple[Split, Split, Split | None]:
    train = _in_memory(sources.train, contract, tell, "training")
    if sources.val is not None:
        val = _in_memory(sources.val, contract, tell, "validation")
    else:
        share = recipe.val_share if options.val_share is None else options.val_share
        if share == 0:
            raise InputError(
                "--val-share: choosing the best checkpoint requires validation images",
                got="0",
                expected="a share above 0, or a dataset with a val part",
            )
        train, val = set_aside(train, share, options.seed)
    test = None if sources.test is None else _in_memory(sources.test, contract, tell, "test")
    return train, val, test


def _in_memory(data: LabelledImages[Any], contract: InputContract, tell: Progress, part: str) -> Split:
    return read_split(data.images, data.target_array, contract, tell, f"reading {part} images")


def _size_note(train: Split, contract: InputContract) -> list[str]:
    if train.sizes is None or train.sizes[0] == train.sizes[1]:
        return []
    smallest, largest = (f"{width}x{height}" for height, width in train.sizes)
    return [f"The images differ in size, {smallest} to {largest}: all become {contract.summary().split(', (')[0]}."]


def _normalised(
    geometry: InputContract, recipe: Recipe, options: TrainOptions, train: Split, trained: InputContract | None
) -> InputContract:
    """Add the float stage: that of the options, else of the weights, else of the recipe."""
    if options.normalize is None and trained is not None and trained.channels == geometry.channels:
        return replace(geometry, scale=trained.scale, mean=trained.mean, std=trained.std)
    name = options.normalize or recipe.normalize
    if name == "imagenet" and geometry.channels == 1:
        if options.normalize is not None:
            raise InputError(
                "--normalize: imagenet requires colour images", got="grey images", fix="--normalize measured"
            )
        name = "measured"
    if name == "imagenet":
        if options.normalize is None and geometry.mean != (0.0,) * geometry.channels:
            return geometry  # the library's mean and std
        mean, std = _IMAGENET
    elif name == "measured":
        mean, std = channel_statistics(train.pictures)
    else:
        mean, std = (0.0,) * geometry.channels, (1.0,) * geometry.channels
    return replace(geometry, scale=255.0, mean=mean, std=std)
