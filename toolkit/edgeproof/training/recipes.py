"""The recipes: a name becomes a task, an architecture and sane defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module, util
from pathlib import Path
from typing import Any

from edgeproof.training.options import Loss, Normalize, Optimizer, Schedule, TrainOptions
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.metrics.accuracy import AccuracyResult

__all__ = ["RECIPES", "Progress", "Recipe", "Trained", "find_recipe", "require_train_packages", "train"]

# Told (phase, done, total) again and again; a phase is over when done is total.
Progress = Callable[[str, int, int], None]

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "tensorboard", "matplotlib", "PIL")
_CLASSIFY = "edgeproof.training.classify:train_classifier"
_MULTILABEL = "edgeproof.training.multilabel:train_multilabel"
_MULTILABEL_LOSSES: tuple[Loss, ...] = ("binary-cross-entropy",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one architecture is trained where nobody says otherwise.

    Attributes:
        name: as typed.
        task: of the bundle, see `edgeproof_runtime.tasks.registry.TASKS`.
        entry: ``module:function`` that trains it, called with (recipe, options, progress), returns `Trained`.
        architecture: of `edgeproof_export.networks.build_network`.
        summary: one clause for ``--help``.
        size: pixels a side of the input; None takes the library's own preprocessing.
        any_shape: the network takes input of any shape, so that arrays keep theirs.
        losses: that fit the task, the default first.
        val_share: of the training pictures, held out where the data brings no validation set.
        lr: learning rate per optimiser from scratch; fine-tuning takes a share of it, `module.FINE_TUNING_LR`.
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
        checkpoint: the best one; MODEL of `edgeproof export`.
        report: its figures; ``None`` in a process of a distributed training that is not the first.
        accuracy: of a classifier.
        files: what else was written, for people.
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
            summary="ResNet-20 for small pictures (32)",
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
            name="autoencoder",
            task="reconstruct",
            entry="edgeproof.training.autoencoder:train_autoencoder",
            architecture="autoencoder",
            summary="finds defects after seeing good pictures (256)",
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
            summary="draws pictures like those it saw (28)",
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
    """A built-in recipe, or one made of a torchvision or timm classifier's name.

    ``multilabel:NAME`` trains the classifier NAME, built-in or of a library, for any number of labels per image.

    Raises:
        InputError: neither knows the name.
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
            "there is no such recipe",
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
    """Check that everything a training imports is installed.

    Raises:
        UnavailableError: some of it is not.
    """
    missing = [name for name in _PACKAGES if util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            "training needs packages that are not installed",
            got=f"no {', '.join(missing)}",
            fix='pip install "edgeproof[train]"',
        )


def train(recipe: str, options: TrainOptions, progress: Progress | None = None) -> Trained:
    """Train a recipe, judge it on the test pictures and write checkpoints, logs, pictures and the report.

    Raises:
        UnavailableError: the ``train`` extra is not installed.
        InputError: the recipe, the options or the data cannot be used; training gave no numbers; no disk space.
    """
    require_train_packages()
    found = find_recipe(recipe)
    if options.loss is not None and options.loss not in found.losses:
        raise InputError(
            f"--loss {options.loss} does not fit the task of {recipe}, to {found.task}",
            got=options.loss,
            expected=" or ".join(found.losses),
        )
    module, _, function = found.entry.partition(":")
    run: Any = getattr(import_module(module), function)
    trained: Trained = run(found, options, progress or (lambda _phase, _done, _total: None))
    return trained
