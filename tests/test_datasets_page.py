"""docs/datasets.md is executed: every form of its table is made and evaluated, and its claims about names hold."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dataset_forms as forms
from coloured import encoded, picture, write_model
from edgeproof.library.evaluate import evaluate
from edgeproof_export import ContractFlags, export_bundle
from edgeproof_runtime.data.splits import split_of

PAGE = (Path(__file__).parents[1] / "docs/datasets.md").read_text(encoding="utf-8")


def folders(root: Path) -> None:
    for number, which in enumerate(forms.WHICH):
        (root / forms.LABELS[which]).mkdir(parents=True, exist_ok=True)
        (root / forms.LABELS[which] / f"{number}.png").write_bytes(encoded(which, number))


def splits(root: Path) -> None:
    folders(root / "train")
    folders(root / "val")


def arrays(root: Path) -> None:
    pictures = np.stack([picture(which, number)[..., ::-1] for number, which in enumerate(forms.WHICH)])
    np.savez(root.with_suffix(".npz"), x_test=pictures, y_test=np.array(forms.WHICH))


WRITERS: dict[str, Callable[[Path], object]] = {
    "folders": folders,
    "splits": splits,
    "arrays": arrays,
    **{write.__name__.removeprefix("write_"): write for write in forms.WRITERS},
}


def rows(section: str) -> list[list[str]]:
    text = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.slow
def test_every_form_of_the_table_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    write_model(tmp_path / "m.onnx", [0, 1, 2])
    Path("labels.json").write_text(json.dumps(forms.LABELS))
    flags = ContractFlags(input_size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)
    export_bundle("m.onnx", "m.edge", labels=Path("labels.json"), contract=flags)
    listed = [re.findall(r"`([^`]+)`", row[0])[0] for row in rows("Forms")]
    assert {Path(name).parts[0].removesuffix(".npz") for name in listed} == set(WRITERS)
    for name in listed:
        first = Path(name).parts[0].removesuffix(".npz")
        WRITERS[first](tmp_path / first)
        report = evaluate("m.edge", name, engine="onnxruntime", evidence=False)
        accuracy = report.sections["accuracy"]
        assert (accuracy["n"], accuracy["top1"]) == (len(forms.WHICH), 1.0), name
    assert "pyarrow" in sys.modules


def test_the_names_of_splits_are_the_page_s() -> None:
    sentence = PAGE.split("under any of its usual names:", 1)[1].split("; in any case", 1)[0]
    groups = [re.findall(r"`(\w+)`", group) for group in sentence.split(";")]
    assert [{split_of(name) for name in group} for group in groups] == [{"train"}, {"val"}, {"test"}]
    assert sum(map(len, groups)) == 12
