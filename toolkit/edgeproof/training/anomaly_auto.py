"""Train every recipe that finds defects, and take the one that tells drawn defects from good images best."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

from edgeproof.training.fit import BEST, prepare_folder
from edgeproof.training.options import TrainOptions
from edgeproof.training.recipes import RECIPES, Progress, Recipe, Trained, train
from edgeproof.training.unlabelled import training_images
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["train_anomaly"]

# The quickest first: what is missing or wrong is said early.
CANDIDATES = ("patchcore", "autoencoder")
# Options of a training in steps, which patchcore refuses.
_STEPS: dict[str, Any] = dict.fromkeys(
    ("epochs", "steps", "batch", "optimizer", "schedule", "lr", "weight_decay", "patience", "denoise", "loss")
)


def train_anomaly(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train `CANDIDATES` into folders of their names, and copy the better checkpoint; see `edgeproof.training.train`.

    Both are measured on the same held-out good images and the same defects drawn onto them. The test images choose
    nothing. `TrainOptions.recipe` names one of them to train only that, into the folder itself.
    """
    if options.recipe not in (None, "auto"):
        return train(options.recipe, replace(options, recipe=None), tell)
    options = replace(options, recipe=None)
    if options.resume or options.devices * options.nodes > 1:
        raise InputError(
            f"{recipe.name}: trains several recipes, in one process and from the start",
            got="--resume, --devices or --nodes",
            fix=f"edgeproof train {CANDIDATES[0]} or {CANDIDATES[1]}",
        )
    training_images(options.data, good_only=True)
    prepare_folder(options)
    trained: dict[str, Trained] = {}
    for name in CANDIDATES:
        own = _STEPS if RECIPES[name].architecture == "patchcore" else {}
        part = replace(options, out=options.out / name, **own)
        trained[name] = train(name, part, _named(name, tell))
    drawn = {name: float(_training(one)["drawn_auroc"]) for name, one in trained.items()}
    chosen = max(drawn, key=lambda name: drawn[name])
    best = trained[chosen]
    if best.report is None:
        raise TypeError(f"{chosen}: has no report")
    checkpoint = options.out / BEST
    shutil.copyfile(best.checkpoint, checkpoint)
    report = replace(
        best.report,
        settings={**best.report.settings, "recipe": recipe.name, "chosen": chosen},
        training={
            **_training(best),
            "candidates": drawn,
            "elapsed_s": sum(_training(one)["elapsed_s"] for one in trained.values()),
            "cpu_s": sum(_training(one)["cpu_s"] for one in trained.values()),
            "checkpoint": {"path": checkpoint.name, "sha256": sha256_of(checkpoint)},
        },
    )
    report.write(options.out / "report.json")
    sheet = best.checkpoint.with_name("anomalies.png")
    files = [options.out / "report.json"]
    if sheet.is_file():
        write_atomically(options.out / sheet.name, sheet.read_bytes())
        files.insert(0, options.out / sheet.name)
    return Trained(checkpoint, report, None, tuple(files))


def _named(name: str, tell: Progress) -> Progress:
    return lambda phase, done, total: tell(f"{name}: {phase}", done, total)


def _training(one: Trained) -> dict[str, Any]:
    if one.report is None or one.report.training is None:
        raise TypeError(f"{one.checkpoint}: has no report")
    return dict(one.report.training)
