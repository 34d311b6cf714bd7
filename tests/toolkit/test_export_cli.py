"""`edgeproof export` as one types it: what stands on stdout, what in files, and how bad input ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from bundles import evidence_of, frames
from command_line import Cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for number, frame in enumerate(frames(5)):
        cv2.imwrite(str(root / f"{number}.png"), frame)
    return root


def test_what_is_printed_and_written(cli: Cli, folder: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "export", "factories:tiny", "--data", folder, "--out", "t.edge", "--json", "r.json", "--batch", "1,2,4"
    )
    assert code == 0
    assert "t.edge: " in out
    assert "input: rgb 16x16, shortest 20 bicubic, crop 16" in out
    assert "parity onnxruntime fp32" in out
    assert "edgeproof verify t.edge" in out
    assert "edgeproof run t.edge --source 0" in out
    assert "No labels: " in err
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    evidence = evidence_of(tmp_path / "t.edge", "export")
    assert report == evidence
    assert (report["kind"], report["passed"]) == ("export", True)
    bundle = json.loads((tmp_path / "t.edge/bundle.json").read_text(encoding="utf-8"))
    assert bundle["input"]["contract"]["batch"] == {"min": 1, "opt": 2, "max": 4}


def test_a_contract_by_flags(cli: Cli, folder: Path, tmp_path: Path) -> None:
    code, out, _ = cli(
        "export",
        "factories:without_contract", "--data", folder, "--out", "t.edge", "--resize", "letterbox",
        "--resize-size", "8x8",
        "--fill", "114,114,114", "--mean", "0,0,0", "--std", "1,1,1", "--filter", "bicubic", "--color", "bgr",
        "--report", "r.html",
    )  # fmt: skip
    assert code == 0
    assert "input: bgr 8x8, letterbox 8 bicubic, (x/255 - [0 0 0]) / [1 1 1]" in out
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "parity onnxruntime fp32" in page


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["torchvision:resnet19"], 2, "did you mean"),
        (["factories:raises"], 2, "the configuration is missing"),
        (["factories:tiny", "--weights", "absent.pth"], 2, "weights not found"),
        (["factories:tiny", "--labels", "absent.txt"], 2, "cannot be read"),
        (["factories:tiny", "--data", "absent"], 2, "absent: not a dataset"),
        (["factories:tiny", "--mean", "a,b,c"], 2, "--mean: not a list of numbers"),
        (["factories:tiny", "--input-size", "big"], 2, "--input-size: not a size"),
        (["factories:tiny", "--input-size", "9" * 5000], 2, "--input-size: not a size"),
        (["factories:tiny", "--color", "9" * 5000], 2, "unknown --color"),
        (["factories:tiny", "--batch", f"1,2,{'9' * 5000}"], 2, "--batch: not three integers"),
        (["factories:tiny", "--batch", "1,2"], 2, "--batch: not three integers"),
        (["factories:tiny", "--batch", "2,4,8"], 2, "--batch: the minimum must be 1"),
        (["factories:tiny", "--activation", "tanh"], 2, "--activation: unknown"),
        (["factories:tiny", "--color", "cmyk"], 2, "unknown --color"),
        (["factories:without_contract"], 2, "--input-size 224 --mean"),
        (["factories:nan_weights"], 2, "not numbers"),
        (["factories:nan_outputs"], 1, "failed"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_its_code(
    cli: Cli, folder: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    data = [] if "--data" in arguments else ["--data", folder]
    got, out, err = cli("export", *arguments, *data, "--out", "out/bad.edge")
    assert got == code
    assert message in err
    assert out == ""
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_nothing_of_the_libraries_reaches_the_terminal(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeproof", "export", "timm:test_byobnet", "--weights", "random"]
    done = subprocess.run(
        [*command, "--data", str(folder), "--out", "t.edge"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("note: ") for line in done.stderr.splitlines()), done.stderr
