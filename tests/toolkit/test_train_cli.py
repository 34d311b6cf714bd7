"""`edgeproof train` as one types it: what it writes, what export makes of it, and how bad input ends."""

from __future__ import annotations

import csv
import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from command_line import Cli
from edgeproof_export.checkpoint import read_checkpoint
from edgeproof_runtime.errors import InputError

CLASSES = 3


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(count: int, *, seed: int, size: int = 16, gray: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bars that lie, stand or cross, on noise: what a small network learns in seconds."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 90, (count, size, size, 3), dtype=np.uint8)
    targets = np.arange(count) % CLASSES
    for picture, target in zip(pictures, targets, strict=True):
        at = int(rng.integers(3, size - 3))
        if target != 1:
            picture[at - 1 : at + 1] = 230
        if target != 0:
            picture[:, at - 1 : at + 1] = 230
    return (pictures[..., 0] if gray else pictures), targets


def save(path: Path, **changes: Any) -> Path:
    x_train, y_train = drawn(120, seed=0)
    x_test, y_test = drawn(60, seed=1)
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return save(tmp_path / "bars.npz")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Class folders of PNG files of differing sizes; one is no picture, one is damaged."""
    root = tmp_path / "bars"
    pictures, targets = drawn(45, seed=2, size=24)
    for number, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
        path = root / ("flat", "upright", "cross")[target] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[: 24 - number % 4])
    (root / "cross" / "broken.png").write_bytes((root / "cross" / "2.png").read_bytes()[:200])
    (root / "cross" / "notes.txt").write_text("no picture")
    return root


@pytest.mark.slow
def test_two_commands_from_arrays_to_a_bundle(cli: Cli, npz: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "train", "cnn", "--data", npz, "--out", "run", "--epochs", 6, "--batch", 16, "--no-flip", "--report", "r.html"
    )
    assert code == 0, err
    assert "cnn on the test images" in out
    assert "next: edgeproof export run/best.ckpt" in out
    run = tmp_path / "run"
    written = {p.name for p in run.iterdir()}
    assert {
        "best.ckpt", "last.ckpt", "metrics.csv", "curves.png", "confusion.png", "calibration.png", "report.json",
        "tensorboard",
    } <= written  # fmt: skip
    assert any(p.name.startswith("events.out.tfevents") for p in (run / "tensorboard").iterdir())
    for name in ("best.ckpt", "last.ckpt"):
        assert "edgeproof" in torch.load(run / name, weights_only=True)
    report = json.loads((run / "report.json").read_text())
    assert report["kind"] == "train"
    assert report["accuracy"]["top1"] > 0.8
    assert report["counts"]["pictures_train"] + report["counts"]["pictures_val"] == 120
    assert report["training"]["judged_on"] == "test"
    assert len(report["training"]["history"]) == 6
    assert "Expected calibration error" in (tmp_path / "r.html").read_text()
    assert cv2.imread(str(run / "curves.png")).std() > 5

    code, out, err = cli("export", "run/best.ckpt", "--data", npz, "--out", "bars.edge")
    assert code == 0, err
    correct = report["counts"]["correct"]
    assert f"{correct} of 60 correct" in out
    assert "(x/255 - [" in out
    code, out, err = cli("evaluate", "bars.edge", "--data", npz, "--engine", "onnxruntime", "--json", "e.json")
    assert code == 0, err
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"]["f1"] == pytest.approx(
        report["accuracy"]["f1"], abs=1e-12
    )


def test_what_is_reported_is_what_scikit_learn_says_of_the_checkpoint(cli: Cli, npz: Path, tmp_path: Path) -> None:
    assert cli("train", "lenet", "--data", npz, "--out", "run", "--epochs", 2, "--color", "gray")[0] == 0
    from edgeproof.training.module import input_stage
    from edgeproof_runtime.contract.preprocess import Preprocessor

    blueprint, network = read_checkpoint(tmp_path / "run/best.ckpt")
    contract = blueprint.contract
    assert contract is not None
    assert contract.color == "gray"
    x, y = drawn(60, seed=1)
    gray = np.stack([Preprocessor(contract).uint8_stage(p, color="rgb") for p in x]).transpose(0, 3, 1, 2)
    answers = network(input_stage(torch.from_numpy(gray), contract)).argmax(1).numpy()
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["accuracy"]["f1"] == pytest.approx(f1_score(y, answers, average="macro"), abs=1e-12)


def test_class_folders_with_damage(cli: Cli, folders: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "train", "cnn", "--data", folders, "--out", "run", "--epochs", 1, "--size", 16, "--optimizer", "sgd",
        "--loss", "mse", "--class-weights", "balanced", "--normalize", "255", "--rotation", 5, "--scale", 0.1,
        "--schedule", "cosine", "--val-share", 0.2,
    )  # fmt: skip
    assert code == 0, err
    assert "cnn on the validation images" in out
    assert "so they are optimistic" in err
    assert "Skipped cross/broken.png" in err
    assert "Skipped cross/notes.txt: not an image" in err
    assert "The images differ in size, 24x21 to 24x24" in err
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["counts"]["pictures_failed"] == 2
    settings = report["settings"]
    assert (settings["loss"], settings["optimizer"], settings["batch"]) == ("mse", "sgd", 64)
    assert settings["augmentation"] == "flip, rotation 5°, crop 2 px, scale 0.1"
    blueprint, _ = read_checkpoint(tmp_path / "run/best.ckpt")
    assert blueprint.labels == blueprint.class_ids == ("cross", "flat", "upright")
    assert blueprint.contract is not None
    assert blueprint.contract.mean == (0.0, 0.0, 0.0)


@pytest.mark.slow
def test_resuming_goes_on_where_it_stopped(cli: Cli, npz: Path, folders: Path, tmp_path: Path) -> None:
    base = ("train", "cnn", "--data", npz, "--out", "run", "--batch", 32)
    assert cli(*base, "--epochs", 1)[0] == 0
    code, _, err = cli(*base, "--epochs", 1)
    assert code == 2
    assert "run: not empty" in err
    code, _, err = cli("train", "cnn", "--data", "typo", "--out", "run", "--force")
    assert code == 2
    assert "typo: not a dataset" in err
    assert (tmp_path / "run/best.ckpt").is_file()
    assert cli("train", "autoencoder", "--data", "typo", "--out", "new")[0] == 2
    (folders / "empty").mkdir()
    assert cli("train", "cnn", "--data", folders, "--out", "new", "--epochs", 1)[0] == 2
    assert cli("train", "cnn", "--data", npz, "--out", "new", "--lr", "inf")[0] == 2
    assert not (tmp_path / "new").exists()
    assert cli(*base, "--epochs", 3, "--resume")[0] == 0
    rows = list(csv.DictReader((tmp_path / "run/metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert int(rows[2]["step"]) == 3 * int(rows[0]["step"])
    code, _, err = cli("train", "lenet", "--data", npz, "--out", "run", "--resume")
    assert code == 2
    assert "checkpoint: of another training" in err


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(cli: Cli, npz: Path, tmp_path: Path) -> None:
    states = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ("--data", npz, "--out", name, "--epochs", 1, "--steps", 2, "--seed", seed)
        assert cli("train", "cnn", *arguments)[0] == 0
        states.append(read_checkpoint(tmp_path / name / "best.ckpt")[1].state_dict())
    a, b, c = states
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


@pytest.mark.slow
def test_fine_tuning_takes_a_checkpoint_and_its_normalisation(cli: Cli, npz: Path, tmp_path: Path) -> None:
    assert cli("train", "cnn", "--data", npz, "--out", "first", "--epochs", 1)[0] == 0
    x, y = drawn(80, seed=5)
    other = save(tmp_path / "other.npz", x_train=x // 2, y_train=y % 2, y_test=None, x_test=None)
    code, _, err = cli(
        "train", "cnn", "--data", other, "--out", "second", "--weights", "first/best.ckpt", "--epochs", 1
    )
    assert code == 0, err
    assert "start from initial values" in err
    contracts = [read_checkpoint(tmp_path / name / "best.ckpt")[0].contract for name in ("first", "second")]
    assert contracts[0] == contracts[1]


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(cli: Cli, npz: Path, tmp_path: Path) -> None:
    base = ("train", "cnn", "--data", npz, "--out", "run", "--optimizer", "sgd", "--batch", 32)
    assert cli(*base, "--epochs", 1)[0] == 0
    good = (tmp_path / "run/last.ckpt").read_bytes()
    code, out, err = cli(*base, "--epochs", 3, "--resume", "--lr", "1e30")
    assert (code, out) == (2, "")
    assert "is not finite; last good checkpoints: run/best.ckpt, run/last.ckpt" in err
    assert re.search(r"at step \d+, epoch 2", err)
    assert "a lower --lr (now 1e+30)" in err
    assert (tmp_path / "run/last.ckpt").read_bytes() == good
    assert cli(*base, "--epochs", 2, "--resume")[0] == 0
    code, _, err = cli(*base, "--force", "--lr", "1e30")
    assert code == 2
    assert "no checkpoint: no epoch was finished" in err
    assert not (tmp_path / "run/best.ckpt").exists()


def test_no_room_for_checkpoints_is_said_first_and_a_full_disk_loses_nothing(
    cli: Cli, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof.training import fit

    with monkeypatch.context() as small:
        small.setattr(fit.shutil, "disk_usage", lambda _path: SimpleNamespace(free=2**20))
        code, _, err = cli("train", "cnn", "--data", npz, "--out", "run", "--epochs", 1)
    assert code == 2
    assert "too little disk space for the checkpoints" in err
    assert cli("train", "cnn", "--data", npz, "--out", "full", "--epochs", 1)[0] == 0
    good = (tmp_path / "full/last.ckpt").read_bytes()

    def full(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io._atomic_save", full)
    code, _, err = cli("train", "cnn", "--data", npz, "--out", "full", "--epochs", 2, "--resume")
    assert code == 2
    assert "full: disk full" in err
    assert "then --resume" in err
    assert (tmp_path / "full/last.ckpt").read_bytes() == good


X, Y = drawn(30, seed=3)
BAD_DATA: dict[str, tuple[dict[str, Any], str]] = {
    "one class": ({"y_train": np.zeros(120, int), "y_test": np.zeros(60, int)}, "requires at least two classes"),
    "a class without pictures": ({"y_train": np.array([0, 2] * 60)}, "a class has no training image"),
    "a label out of range": ({"y_test": np.full(60, 9)}, "class index out of range"),
    "a negative label": ({"y_train": np.array([-1, 1] * 60)}, "class index out of range"),
    "labels that are floats": ({"y_train": np.linspace(0, 1, 120)}, "y_train is not an array of class indices"),
    "grey among colour": ({"x_test": drawn(60, seed=1, gray=True)[0]}, "grey and colour images mixed"),
    "too few labels": ({"y_train": np.arange(50) % 3}, "targets: must be one per image"),
    "pictures of floats": ({"x_train": np.zeros((120, 16, 16, 3))}, "not an array of images"),
    "no pictures to learn from": ({"x_train": None}, "no array x_train"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_arrays_end_with_a_sentence(cli: Cli, tmp_path: Path, kind: str) -> None:
    changes, message = BAD_DATA[kind]
    code, out, err = cli("train", "cnn", "--data", save(tmp_path / "bad.npz", **changes), "--out", "run")
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet19",), "recipe: unknown name"),
        (("cnn", "--loss", "adversarial"), "--loss: unsupported for cnn, task classify"),
        (("cnn", "--loss", "hinge"), "--loss: unknown value"),
        (("cnn", "--lr", "0"), "--lr: must be above 0"),
        (("cnn", "--class-weights", "a,b"), "not a list of numbers"),
        (("cnn", "--class-weights", "1,2"), "must be one number per class"),
        (("cnn", "--weights", "absent.pth"), "weights not found"),
        (("cnn", "--weights", "pretrained"), "no pretrained weights for cnn"),
        (("cnn", "--resume",), "nothing to resume"),
        (("lenet", "--size", "8"), "too small for this network"),
        (("resnet18", "--color", "gray", "--size", "32"), "--color: torchvision:resnet18 requires rgb"),
        (("cnn", "--color", "gray", "--normalize", "imagenet"), "imagenet requires colour images"),
        (("cnn", "--val-share", "0"), "requires validation images"),
    ],
)  # fmt: skip
def test_bad_usage_ends_with_a_sentence(cli: Cli, npz: Path, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = cli("train", *arguments, "--data", npz, "--out", "run")
    assert (code, out) == (2, "")
    assert message in err


def test_bad_folders_end_with_a_sentence(cli: Cli, folders: Path, tmp_path: Path) -> None:
    (folders / "empty").mkdir()
    code, _, err = cli("train", "cnn", "--data", folders, "--out", "run")
    assert code == 2
    assert "a class has no training image" in err
    assert "empty" in err
    (folders / "empty").rmdir()
    for path in (folders / "flat").iterdir():
        path.write_bytes(b"\xff\xd8\xff damaged")
    code, _, err = cli("train", "cnn", "--data", folders, "--out", "run")
    assert code == 2
    assert "got:      flat" in err
    shutil.rmtree(folders / "flat")
    shutil.rmtree(folders / "cross")
    code, _, err = cli("train", "cnn", "--data", folders, "--out", "run")
    assert code == 2
    assert "one class, upright" in err
    code, _, err = cli("train", "cnn", "--data", tmp_path / "absent", "--out", "run")
    assert code == 2
    assert ": not a dataset" in err


def test_a_gpu_that_is_not_there(cli: Cli, npz: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code, _, err = cli("train", "cnn", "--data", npz, "--out", "run", "--device", "gpu")
    assert code == 3
    assert "not available on this machine" in err


def test_without_the_extra_the_pip_line_is_named(cli: Cli, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "lightning" else find(name, *more))
    code, _, err = cli("train", "cnn", "--data", npz, "--out", "run")
    assert code == 3
    assert "packages not installed\n  got:      lightning" in err
    assert 'pip install "edgeproof[train]"' in err


def test_a_checkpoint_that_is_none_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match="holds no state dict"):
        read_checkpoint(path)
    torch.save({"state_dict": {"fc.weight": torch.zeros(5, 3)}, "pytorch-lightning_version": "2.5"}, path)
    with pytest.raises(InputError, match="weights without their architecture") as caught:
        read_checkpoint(path)
    assert "a Lightning checkpoint (version 2.5) of 1 tensors" in str(caught.value.got)
    torch.save({"edgeproof": {"schema": "edgeproof.checkpoint/1"}}, path)
    with pytest.raises(InputError, match=": damaged"):
        read_checkpoint(path)
    path.write_bytes(b"PK damaged")
    with pytest.raises(InputError):
        read_checkpoint(path)


@pytest.mark.slow
def test_two_processes_train_together(npz: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeproof", "train", "cnn", "--data", str(npz), "--out", "run", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--devices", "2", "--epochs", "2", "--batch", "16"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cnn on the test images") == 1
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["training"]["device"] == "2 x cpu"
    # 114 pictures, half of them each, 16 at a time
    assert report["counts"]["steps"] == 2 * 4
