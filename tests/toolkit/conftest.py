"""Fixtures for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import write_clip
from command_line import Cli
from edgeproof.cli import main


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["edgeproof", *(str(a) for a in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes, and stripes with a hole."""
    root, rng = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    for folder, count in (("train/good", 16), ("test/good", 6), ("test/hole", 6)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            picture = 90 + 20 * np.sin(np.arange(70) / 4)[None] + rng.normal(0, 3, (80, 70))
            if folder.endswith("hole"):
                picture[20:45, 20:45] = 250
            cv2.imwrite(str(root / folder / f"{number}.png"), picture.astype(np.uint8))
    return root
