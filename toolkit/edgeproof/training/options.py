"""Options of a training. None takes a field from the recipe or the dataset."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgeproof_runtime.errors import InputError

__all__ = [
    "AnomalyRecipe",
    "Augmentation",
    "Color",
    "Device",
    "Loss",
    "Normalize",
    "Optimizer",
    "Schedule",
    "TrainOptions",
]

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "cosine", "one-cycle"]
Loss = Literal["cross-entropy", "binary-cross-entropy", "mse", "adversarial"]
Denoise = Literal["defects", "noise", "none"]
Normalize = Literal["255", "measured", "imagenet"]
Color = Literal["rgb", "gray"]
Device = Literal["auto", "cpu", "gpu"]
AnomalyRecipe = Literal["auto", "patchcore", "autoencoder"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Augmentation of the training images; 0 and False switch a part off.

    Attributes:
        flip: mirror left to right, half of the time.
        rotation_deg: largest rotation either way, degrees.
        crop: largest shift in each direction, whole pixels; pixels from outside are black.
        scale: largest change of size, as a share (0.1: factors of 0.9 to 1.1).
    """

    flip: bool = False
    rotation_deg: float = 0.0
    crop: int = 0
    scale: float = 0.0

    def __post_init__(self) -> None:
        _require("--rotation", self.rotation_deg, 0, 180)
        _require("--crop", self.crop, 0, 1024)
        _require("--scale", self.scale, 0, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of one training.

    Attributes:
        data: class folders (in ``train``, ``val`` and ``test``, or alone), an ``.npz`` or ``cifar10``. With several
            labels per image: an ``.npz``, a CSV or JSON file, or a folder with ``train.csv`` or ``train.json``.
        out: output folder for checkpoints, logs, plots and the report.
        weights: file to fine-tune from, or ``pretrained`` for the library's weights.
        ema: True for the averaged weights of the file, False for the others, None for averaged ones if it has any.
        labels: file with one label per line, for an ``.npz``.
        val_share: share of the training images to hold out if the dataset has no validation part.
        size: side of the input, pixels.
        color: colour of the input tensor.
        normalize: ``255`` (0..1), ``measured`` (mean and std of the training images) or ``imagenet``.
        optimizer: optimiser.
        lr: learning rate.
        momentum: momentum of ``sgd``.
        weight_decay: weight decay.
        schedule: learning rate schedule.
        loss: loss.
        batch: images per batch.
        epochs: number of epochs.
        steps: steps per epoch; None uses the whole dataset.
        seed: seed of weights, order and augmentation.
        augment: False switches augmentation off.
        flip: `Augmentation.flip`.
        rotation_deg: `Augmentation.rotation_deg`.
        crop: `Augmentation.crop`.
        scale: `Augmentation.scale`.
        class_weights: ``balanced`` (inverse frequency), or one weight per class.
        patience: epochs without a better validation loss before the training stops.
        resume: continue from ``out``/last.ckpt.
        force: replace an earlier training in ``out``.
        device: device type to train on.
        devices: number of devices; several train with DDP.
        nodes: number of nodes; several train with DDP.
        denoise: what an autoencoder learns to remove: drawn ``defects``, ``noise`` or ``none``.
        recipe: recipe of ``anomaly``: one by name, or ``auto`` (or None), which trains all and takes the better.
        quantile: quantile of the anomaly scores of held-out good images that becomes an anomaly model's threshold.
        backbone: classifier of a library whose features patchcore compares; None takes EfficientNet-Lite0.
        bank: patches in patchcore's memory bank; None takes the recipe's.
        judge: bundle of a classifier that evaluates a GAN's images.
    """

    data: str
    out: Path
    weights: str | None = None
    ema: bool | None = None
    labels: Path | None = None
    val_share: float | None = None
    size: int | None = None
    color: Color | None = None
    normalize: Normalize | None = None
    optimizer: Optimizer | None = None
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    schedule: Schedule | None = None
    loss: Loss | None = None
    batch: int | None = None
    epochs: int | None = None
    steps: int | None = None
    seed: int = 0
    augment: bool = True
    flip: bool | None = None
    rotation_deg: float | None = None
    crop: int | None = None
    scale: float | None = None
    class_weights: Literal["balanced"] | Sequence[float] | None = None
    patience: int | None = None
    resume: bool = False
    force: bool = False
    device: Device = "auto"
    devices: int = 1
    nodes: int = 1
    denoise: Denoise | None = None
    recipe: AnomalyRecipe | None = None
    quantile: float = 0.95
    backbone: str | None = None
    bank: int | None = None
    judge: Path | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", Optimizer),
            ("schedule", Schedule),
            ("loss", Loss),
            ("normalize", Normalize),
            ("color", Color),
            ("device", Device),
            ("denoise", Denoise),
            ("recipe", AnomalyRecipe),
        ):
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                raise InputError(f"--{name}: unknown value", got=value, expected=", ".join(get_args(allowed)))
        for option, number, low, high in (
            ("--lr", self.lr, 0, sys.float_info.max),
            ("--val-share", self.val_share, 0, 0.9),
            ("--momentum", self.momentum, 0, 0.9999),
            ("--weight-decay", self.weight_decay, 0, 10),
            ("--batch", self.batch, 1, 65_536),
            ("--epochs", self.epochs, 1, 100_000),
            ("--steps", self.steps, 1, 10**9),
            ("--size", self.size, 8, 4096),
            ("--patience", self.patience, 1, 100_000),
            ("--devices", self.devices, 1, 1024),
            ("--nodes", self.nodes, 1, 1024),
            ("--quantile", self.quantile, 0.01, 1),
            ("--bank", self.bank, 1, 1_000_000),
        ):
            if number is not None:
                _require(option, number, low, high)
        if self.ema is not None and self.weights in (None, "pretrained"):
            raise InputError("--ema and --no-ema: require --weights FILE", got=f"--weights {self.weights}")
        if self.lr == 0:
            raise InputError("--lr: must be above 0", got=0, expected="a number above 0")
        if isinstance(self.class_weights, Sequence) and not isinstance(self.class_weights, str):
            bad = [weight for weight in self.class_weights if not 0 < weight < math.inf]
            if bad:
                raise InputError("--class-weights: must be above 0", got=bad[0], fix="--class-weights balanced")

    def augmentation(self, default: Augmentation) -> Augmentation:
        """Return the augmentation: each part from the options, else from ``default`` unless augmentation is off."""
        base = default if self.augment else Augmentation()
        return Augmentation(
            base.flip if self.flip is None else self.flip,
            base.rotation_deg if self.rotation_deg is None else self.rotation_deg,
            base.crop if self.crop is None else self.crop,
            base.scale if self.scale is None else self.scale,
        )


def _require(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{option}: out of range", got=value, expected=f"{low:g} to {high:g}")
