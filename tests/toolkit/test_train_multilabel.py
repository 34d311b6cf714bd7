"""Training of multi-label models on drawn shapes: labels are found, thresholds chosen, figures written down."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from command_line import Cli
from edgeproof.report.html import render_html
from edgeproof.training import Trained, TrainOptions, train
from edgeproof.training.data import Split
from edgeproof.training.multilabel import set_aside
from edgeproof.training.recipes import find_recipe
from edgeproof_export.checkpoint import read_checkpoint
from edgeproof_runtime.bundle.task_settings import MultilabelSettings
from edgeproof_runtime.errors import InputError
from multilabel_data import SHAPES, shapes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "shapes.npz"
    np.savez(path, **shapes())
    path.with_name("labels.txt").write_text("".join(f"{name}\n" for name in SHAPES))
    return path


@pytest.fixture(scope="module")
def trained(data: Path) -> Trained:
    options = TrainOptions(
        data=str(data), labels=data.with_name("labels.txt"), out=data.with_name("run"), epochs=12, batch=32
    )
    return train("multilabel:lenet", options)


def test_it_learns_the_labels(trained: Trained) -> None:
    assert trained.report is not None
    section = trained.report.to_json()["multilabel"]
    assert section["n"] == 200
    assert [one["label"] for one in section["per_class"]] == list(SHAPES)
    assert section["mean_average_precision"] > 0.9
    assert section["micro"]["f1"] > 0.85
    history = trained.report.to_json()["training"]["history"]
    assert history[-1]["val_map"] > history[0]["val_map"]
    assert trained.report.settings["loss"] == "binary-cross-entropy"


def test_the_checkpoint_has_the_thresholds(trained: Trained) -> None:
    blueprint, _ = read_checkpoint(trained.checkpoint)
    settings = MultilabelSettings.from_json(blueprint.facts["multilabel"])
    assert (blueprint.task, blueprint.labels) == ("multilabel", SHAPES)
    assert (len(settings.thresholds), settings.images) == (3, 120)
    report = json.loads((trained.checkpoint.parent / "report.json").read_text())
    assert [one["threshold"] for one in report["multilabel"]["per_class"]] == list(settings.thresholds)


def test_the_report_as_html(trained: Trained) -> None:
    assert trained.report is not None
    page = render_html(trained.report.to_json())
    for text in ('id="multilabel"', "<h2>Labels</h2>", "Exact match", "circle", "mAP"):
        assert text in page
    assert "<h2>Accuracy</h2>" not in page


def test_files_with_labels_train_as_well(cli: Cli, tmp_path: Path) -> None:
    drawn = shapes((40, 12, 10))
    data = tmp_path / "data"
    for split in ("train", "val"):
        lines = ["image,labels"]
        (data / split).mkdir(parents=True)
        for number, (picture, row) in enumerate(zip(drawn[f"x_{split}"], drawn[f"y_{split}"], strict=True)):
            cv2.imwrite(str(data / split / f"{number}.png"), picture)
            lines.append(f"{split}/{number}.png,{';'.join(n for n, p in zip(SHAPES, row, strict=True) if p)}")
        (data / f"{split}.csv").write_text("\n".join(lines))
    arguments = ("--epochs", 1, "--steps", 1, "--batch", 8, "--class-weights", "balanced", "--no-augment")
    code, out, err = cli("train", "multilabel", "--data", data, "--out", "run", "--json", "r.json", *arguments)
    assert code == 0, err
    assert "mAP" in out
    assert "The dataset has no test part" in err
    report = json.loads(Path("r.json").read_text())
    assert report["counts"]["pictures_val"] == 12
    assert report["multilabel"]["classes"] == 3
    # One file alone: a share of its images is held out.
    code, out, err = cli("train", "multilabel", "--data", data / "train.csv", "--out", "one", *arguments)
    assert code == 0, err


def test_arrays_keep_their_shape(cli: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **shapes((8, 4, 4)))
    code, _, err = cli("train", "multilabel", "--data", "d.npz", "--out", "run", "--epochs", 1, "--steps", 1)
    assert code == 0, err
    blueprint, _ = read_checkpoint(Path("run/best.ckpt"))
    assert blueprint.contract is not None
    assert blueprint.contract.tensor_size == (24, 40)


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("multilabel:autoencoder", {}, "autoencoder: cannot be trained for labels"),
        ("multilabel:nothing", {}, "recipe: unknown name"),
        ("multilabel", {"y_train": np.zeros((8, 3), np.uint8)}, "a label has no training image"),
        ("multilabel", {"y_train": np.arange(8)}, "x_train: invalid targets"),
        ("multilabel", {"y_val": np.ones((4, 2), np.uint8)}, "x_val: invalid targets"),
        ("cnn", {}, "targets: must be one class index per image"),
    ],
)
def test_bad_use_ends_with_a_sentence(
    cli: Cli, tmp_path: Path, recipe: str, change: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "d.npz", **{**shapes((8, 4, 4)), **change})
    code, out, err = cli("train", recipe, "--data", "d.npz", "--out", "run")
    assert (code, out) == (2, "")
    assert message in err


def test_the_share_set_aside_is_the_same_for_the_same_seed() -> None:
    split = Split(torch.zeros(20, 1, 4, 4), torch.arange(60).reshape(20, 3), tuple(map(str, range(20))))
    left, aside = set_aside(split, 0.25, 7)
    assert (len(left), len(aside)) == (15, 5)
    assert set_aside(split, 0.25, 7)[1].names == aside.names != set_aside(split, 0.25, 8)[1].names
    assert not set(left.names) & set(aside.names)


def test_any_classifier_can_be_a_multilabel_recipe() -> None:
    recipe = find_recipe("multilabel:resnet18")
    assert (recipe.task, recipe.architecture) == ("multilabel", "torchvision:resnet18")
    with pytest.raises(InputError):
        find_recipe("multilabel:gan")
