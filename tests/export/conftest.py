"""Bundles that the export layer's tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from networks import MODELS, export_onnx, write_bundle


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a bundle by the model's name, made once; tests that change one copy it."""
    folder = tmp_path_factory.mktemp("bundles")

    def get(name: str) -> Path:
        path = folder / f"{name}.edge"
        if not path.exists():
            torch.manual_seed(0)
            make, size, classes = MODELS[name]
            export_onnx(make(), size, folder / f"{name}.onnx")
            write_bundle(path, folder / f"{name}.onnx", size, classes)
        return path

    return get
