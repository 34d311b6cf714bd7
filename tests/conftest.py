"""Fixtures that every layer's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.pop("COLUMNS", None)  # test processes get one, and the command line would fold its tables to it


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data: the folder that EDGEPROOF_DATA names, else ../shared/data beside the checkout; skips without."""
    folder = Path(os.environ.get("EDGEPROOF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there; name its folder in EDGEPROOF_DATA")
    return folder
