"""Training recipes: a task, an architecture and defaults for each name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module, util
from pathlib import Path
from typing import Any

from edgeproof.training.options import Loss, Normalize, Optimizer, Schedule, TrainOptions
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.metrics.accuracy import AccuracyResult
from edgeproof_runtime.system.boundary import bounded

__all__ = ["RECIPES", "Progress", "Recipe", "Trained", "find_recipe", "require_train_packages", "train"]

# Called with (phase, done, total); a phase is over when done equals total.
Progress = Callable[[str, int, int], None]

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "tensorboard", "matplotlib", "PIL")
_CLASSIFY = "edgeproof.training.classify:train_classifier"
_MULTILABEL = "edgeproof.training.multilabel:train_multilabel"
_MULTILABEL_LOSSES: tuple[Loss, ...] = ("binary-cross-entropy",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Defaults for the training of one architecture.

    Attributes:
        name: name on the command line.
        task: task of the bundle, see `edgeproof_runtime.tasks.registry.TASKS`.
        entry: ``module:function`` that trains it, called with (recipe, options, progress), returns `Trained`.
        architecture: architecture for `edgeproof_export.networks.build_network`.
        summary: one clause for ``--help``.
        size: side of the input, pixels; None takes the library's preprocessing.
        any_shape: whether the network takes input of any shape, so that arrays keep theirs.
        normalize: default normalisation of the input.
        losses: losses of the task, the default first.
        val_share: share of the training images to hold out if the dataset has no validation part.
        optimizer: default optimiser.
        schedule: default learning rate schedule.
        lr: learning rate per optimiser from scratch; fine-tuning uses a share of it, `module.FINE_TUNING_LR`.
        weight_decay: default weight decay.
        batch: default images per batch.
        epochs: default number of epochs.
    """

    name: str
    task: str
    entry: str
    architecture: str
    summary: str
    size: int | None = None
    any_shape: bool = False
    normalize: Normalize = "measured"
    losses: tuple[Loss, ...] = ("cross-entropy", "mse")
    val_share: float = 0.05
    optimizer: Optimizer = "adam"
    schedule: Schedule = "one-cycle"
    lr: Mapping[Optimizer, float] = field(default_factory=lambda: {"adam": 1e-3, "adamw": 1e-3, "sgd": 0.05})
    weight_decay: float = 1e-4
    batch: int = 64
    epochs: int = 10


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        checkpoint: best checkpoint, the MODEL of `edgeproof export`.
        report: report of the training; None in all but the first process of a distributed training.
        accuracy: accuracy of a classifier.
        files: other written files.
    """

    checkpoint: Path
    report: Report | None
    accuracy: AccuracyResult | None = None
    files: tuple[Path, ...] = ()


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="cnn",
            task="classify",
            entry=_CLASSIFY,
            architecture="cnn",
            summary="two convolutions and two dense layers, any size (32)",
            size=32,
            lr={"adam": 2e-3, "adamw": 2e-3, "sgd": 0.05},
        ),
        Recipe(
            name="lenet",
            task="classify",
            entry=_CLASSIFY,
            architecture="lenet",
            summary="LeNet-5 (28)",
            size=28,
            lr={"adam": 2e-3, "adamw": 2e-3, "sgd": 0.05},
            epochs=15,
        ),
        Recipe(
            name="resnet20",
            task="classify",
            entry=_CLASSIFY,
            architecture="resnet20",
            summary="ResNet-20 for small images (32)",
            size=32,
            normalize="imagenet",
            optimizer="sgd",
            lr={"adam": 1e-3, "adamw": 1e-3, "sgd": 0.1},
            batch=128,
            epochs=40,
        ),
        Recipe(
            name="multilabel",
            task="multilabel",
            entry=_MULTILABEL,
            architecture="resnet20",
            summary="any number of labels per image, ResNet-20 (32; arrays keep their shape)",
            size=32,
            any_shape=True,
            losses=_MULTILABEL_LOSSES,
            lr={"adam": 2e-3, "adamw": 2e-3, "sgd": 0.1},
            batch=128,
            epochs=15,
        ),
        Recipe(
            name="anomaly",
            task="reconstruct",
            entry="edgeproof.training.anomaly_auto:train_anomaly",
            architecture="",
            summary="trains the next two, takes the better, or one of them by --recipe",
            size=256,
            losses=("mse", "cross-entropy"),
            val_share=0.2,
        ),
        Recipe(
            name="patchcore",
            task="reconstruct",
            entry="edgeproof.training.patchcore:train_patchcore",
            architecture="patchcore",
            summary="detects defects, compares with patches of good images (256)",
            size=256,
            normalize="255",
            losses=(),
            val_share=0.2,
        ),
        Recipe(
            name="autoencoder",
            task="reconstruct",
            entry="edgeproof.training.autoencoder:train_autoencoder",
            architecture="autoencoder",
            summary="detects defects, trained on good images (256)",
            size=256,
            normalize="255",
            losses=("mse", "cross-entropy"),
            val_share=0.2,
            lr={"adam": 3e-3, "adamw": 3e-3, "sgd": 0.05},
            weight_decay=0.0,
            batch=8,
            epochs=60,
        ),
        Recipe(
            name="gan",
            task="generate",
            entry="edgeproof.training.gan:train_gan",
            architecture="generator",
            summary="generates images like its training images (28)",
            size=28,
            normalize="255",
            losses=("adversarial",),
            schedule="constant",
            lr={"adam": 5e-4, "adamw": 5e-4, "sgd": 0.01},
            weight_decay=0.0,
            batch=64,
            epochs=6,
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return a built-in recipe, or one for a classifier of torchvision or timm.

    ``multilabel:NAME`` trains the classifier NAME, built-in or of a library, for any number of labels per image.

    Raises:
        InputError: the name is unknown.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name.startswith("multilabel:"):
        base = find_recipe(name.removeprefix("multilabel:"))
        if base.task != "classify":
            raise InputError(f"{base.name}: cannot be trained for labels", got=f"task {base.task}", expected="classify")
        return replace(base, name=name, task="multilabel", entry=_MULTILABEL, losses=_MULTILABEL_LOSSES)
    from edgeproof_export.models import library_model

    architecture = library_model(name)
    if architecture is None:
        raise InputError(
            "recipe: unknown name",
            got=name,
            expected=f"{', '.join(RECIPES)}, or a classifier of torchvision or timm such as resnet18 or timm:NAME",
        )
    return Recipe(
        name=name,
        task="classify",
        entry=_CLASSIFY,
        architecture=architecture,
        summary=f"{architecture}, from scratch or fine-tuned",
        normalize="imagenet",
        optimizer="sgd",
        lr={"adam": 3e-4, "adamw": 3e-4, "sgd": 0.02},
        batch=32,
    )


def require_train_packages() -> None:
    """Check that the packages for training are installed.

    Raises:
        UnavailableError: a package is not installed.
    """
    missing = [name for name in _PACKAGES if util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            "training: packages not installed",
            got=", ".join(missing),
            fix='pip install "edgeproof[train]"',
        )


@bounded
def train(recipe: str, options: TrainOptions, progress: Progress | None = None) -> Trained:
    """Train a recipe, evaluate it on the test images, and write checkpoints, logs, plots and the report.

    Args:
        recipe: name of a recipe, or of a classifier of torchvision or timm.
        options: options of the training.
        progress: called with (phase, done, total).

    Raises:
        UnavailableError: the ``train`` extra is not installed.
        InputError: the recipe, an option or the dataset is invalid, the loss is not finite, or the disk is full.
    """
    require_train_packages()
    found = find_recipe(recipe)
    if options.loss is not None and options.loss not in found.losses:
        raise InputError(
            f"--loss: unsupported for {recipe}, task {found.task}",
            got=options.loss,
            expected=" or ".join(found.losses) or "no --loss",
        )
    module, _, function = found.entry.partition(":")
    run: Any = getattr(import_module(module), function)
    if options.recipe is not None and recipe != "anomaly":
        raise InputError(
            f"--recipe: does not apply to {recipe}",
            got=options.recipe,
            expected="anomaly as RECIPE",
            fix=f"edgeproof train anomaly --recipe {options.recipe}, or leave --recipe out",
        )
    was_there = options.out.exists()
    try:
        trained: Trained = run(found, options, progress or (lambda _phase, _done, _total: None))
    except BaseException:
        if not was_there:
            with suppress(OSError):  # it holds something
                options.out.rmdir()
        raise
    return trained
