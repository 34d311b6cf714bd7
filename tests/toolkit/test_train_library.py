"""The classic architectures, from a few steps of training through export and its gate to `run`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from command_line import Cli
from edgeproof_export.checkpoint import read_checkpoint
from growing_files import predictions_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of coloured noise, told apart by their colour."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(12):
        label, channel = (("blue", 0), ("red", 2))[number % 2]
        picture = rng.integers(0, 120, (64, 64, 3), dtype=np.uint8)
        picture[..., channel] += 100
        (root / label).mkdir(exist_ok=True)
        cv2.imwrite(str(root / label / f"{number}.png"), picture)
    return root


@pytest.mark.timeout(1800)  # VGG-11 is half a gigabyte, written and read several times
@pytest.mark.parametrize("name", ["alexnet", "vgg11", "googlenet", "resnet18"])
def test_a_classic_goes_all_the_way(cli: Cli, photographs: Path, tmp_path: Path, name: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        arguments = ("--epochs", 1, "--steps", 2, "--batch", 4, "--size", 64, "--val-share", 0.2, "--momentum", 0)
        code, _, err = cli("train", name, "--data", photographs, "--out", "run", *arguments)
        assert code == 0, err
        code, out, err = cli("export", "run/best.ckpt", "--data", photographs, "--out", "x.edge", "--gate-images", 4)
        assert code == 0, err
    finally:
        torch.set_num_threads(threads)
    assert "parity onnxruntime fp32" in out
    code, _, err = cli("run", "x.edge", "--source", photographs, "--engine", "onnxruntime", "--predictions", "p.jsonl")
    assert code == 0, err
    lines = predictions_in(tmp_path / "p.jsonl")
    assert len(lines) == 12
    shutil.rmtree(tmp_path)  # half a gigabyte of VGG


def test_resnet20_goes_on_from_its_published_weights(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    arrays = np.load(data_dir / "cifar10/cifar10.npz", allow_pickle=False)
    positions = np.random.default_rng(0).permutation(20_000)[:480]
    np.savez(
        tmp_path / "part.npz",
        x_train=arrays["x_train"][positions],
        y_train=arrays["y_train"][positions],
        x_test=arrays["x_test"][:400],
        y_test=arrays["y_test"][:400],
    )
    weights = data_dir / "weights/resnet20-12fca82f.th"
    code, _, err = cli("train", "resnet20", "--data", "part.npz", "--weights", weights, "--out", "run", "--epochs", 1)
    assert code == 0, err
    assert "the tensors under 'state_dict.module.' were taken" in err
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["accuracy"]["top1"] > 0.88
    contract = read_checkpoint(tmp_path / "run/best.ckpt")[0].contract
    assert contract is not None
    assert contract.mean == (0.485, 0.456, 0.406)
