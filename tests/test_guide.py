"""docs/from-training-to-device.md is executed: the first commands of each family, on a small budget."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeproof.cli import main

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[1] / "docs/from-training-to-device.md"


def commands(section: str) -> list[str]:
    """The first indented block below a heading."""
    text = PAGE.read_text().split(f"## {section}\n", 1)[1]
    found = re.search(r"(?:^ {4}edgeproof .*\n)+", text, re.MULTILINE)
    assert found is not None, section
    return [line.strip() for line in found.group().splitlines()]


def run(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, line


def test_the_classifier_s_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    targets = np.arange(60) % 10
    np.savez("cifar10.npz", x_train=pictures, y_train=targets, x_test=pictures[:20], y_test=targets[:20])
    cv2.imwrite("frame.png", pictures[0])
    train, export, live = commands("Classifier")
    run(monkeypatch, f"{train} --epochs 1")
    run(monkeypatch, export)
    run(monkeypatch, live.replace("--source 0", "--source frame.png --engine onnxruntime"))
