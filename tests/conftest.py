"""Fixtures that every layer's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.pop("COLUMNS", None)  # test processes get one, and the command line would fold its tables to it


BUILT = Path(__file__).resolve().parents[1] / "build/app/runtime/cpp/app/edgeproof-run"


@pytest.fixture(scope="session")
def device_program() -> Path:
    """edgeproof-run: the one that EDGEPROOF_RUN names, else that of `make app`; skips without."""
    path = Path(os.environ.get("EDGEPROOF_RUN", BUILT))
    if not path.is_file():
        pytest.skip(f"{path} is not built: cmake --preset app && cmake --build --preset app, or set EDGEPROOF_RUN")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data: the folder that EDGEPROOF_DATA names, else ../shared/data beside the checkout; skips without."""
    folder = Path(os.environ.get("EDGEPROOF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there; name its folder in EDGEPROOF_DATA")
    return folder
