"""`edgeproof evaluate --predictions`: a row per image as CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import (
    LABELS,
    make_bundle,
    make_defect_bundle,
    make_generator_bundle,
    make_multilabel_bundle,
    write_sorted,
)
from command_line import Cli
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import csv_value
from edgeproof_runtime.verify.image_results import ImageResults


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return [{key: csv_value(cell) for key, cell in row.items()} for row in csv.DictReader(text)]


def json_rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A classifier and labelled images, of which the second and the last lie in the wrong folder."""
    bundle = make_bundle(tmp_path / "B.edge")
    write_sorted(tmp_path / "sorted", bundle)
    images = sorted((tmp_path / "sorted").rglob("*.png"))
    for image in (images[1], images[-1]):
        wrong = next(label for label in LABELS if label != image.parent.name)
        image.rename(tmp_path / "sorted" / wrong / f"moved-{image.name}")
    return tmp_path


def test_the_three_formats_hold_the_same_and_agree_with_the_report(cli: Cli, place: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        command = ("evaluate", "B.edge", "--data", "sorted", "--engine", "onnxruntime", "--batch", 4)
        code, _, err = cli(*command, "--predictions", f"p.{suffix}", "--json", "r.json")
        assert code == 0, err
        assert f"predictions p.{suffix}" in err
    report = json.loads((place / "r.json").read_text())
    lines, table = json_rows(place / "p.jsonl"), pq.read_table(place / "p.parquet").to_pylist()
    assert lines == table
    cells = csv_rows(place / "p.csv")
    assert [list(row) for row in cells] == [list(row) for row in lines]
    for row, line in zip(cells, lines, strict=True):
        for key, cell in row.items():
            value = line[key]
            assert cell == (str(value).lower() if isinstance(value, bool) else str(value)), key
    assert len(lines) == report["accuracy"]["n"] == 12
    assert sum(row["correct"] for row in lines) == report["counts"]["correct"] == 10
    for row in lines:
        assert (place / "sorted" / str(row["path"])).is_file()
        assert row["ground_truth"] == Path(str(row["path"])).parent.name
        assert row["correct"] == (row["label"] == row["ground_truth"])
        ranked = [row["probability"], *(row[f"probability_{rank}"] for rank in range(2, 6))]
        assert ranked == sorted(ranked, reverse=True)  # type: ignore[type-var]
        assert {row["label"], *(row[f"label_{rank}"] for rank in range(2, 6))} == set(LABELS)
        assert row["margin"] == pytest.approx(row["probability"] - row["probability_2"])  # type: ignore[operator]


def test_rows_of_anomalies_and_of_several_labels(cli: Cli, tmp_path: Path) -> None:
    make_defect_bundle(tmp_path / "D.edge")
    rng = np.random.default_rng(0)
    for kind, spread in (("good", 0), ("scratch", 120)):
        (tmp_path / "kinds" / kind).mkdir(parents=True)
        for number in range(2):
            picture = np.clip(128 + spread * rng.normal(0, 1, (24, 24)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "kinds" / kind / f"{number}.png"), picture)
    command = ("--engine", "onnxruntime", "--predictions", "p.jsonl", "--json", "r.json")
    assert cli("evaluate", "D.edge", "--data", "kinds", *command)[0] == 0
    rows = json_rows(tmp_path / "p.jsonl")
    assert [list(row) for row in rows] == [["path", "ground_truth", "label", "correct", "score", "threshold"]] * 4
    for row in rows:
        defect = row["score"] > row["threshold"]  # type: ignore[operator]
        assert row["label"] == ("defect" if defect else "good")
        assert row["correct"] == (defect == (row["ground_truth"] == "scratch"))
    make_multilabel_bundle(tmp_path / "M.edge")
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    (tmp_path / "m.csv").write_text("image,labels\n0.png,cat;dog\n1.png,\n2.png,moth\n")
    assert cli("evaluate", "M.edge", "--data", "m.csv", *command)[0] == 0
    rows = json_rows(tmp_path / "p.jsonl")
    assert [row["ground_truth"] for row in rows] == ["cat|dog", "none", "moth"]
    report = json.loads((tmp_path / "r.json").read_text())["multilabel"]
    assert sum(bool(row["correct"]) for row in rows) == round(report["exact_match"] * 3)
    for row in rows:
        limits = zip(LABELS, (0.2, 0.4, 0.5, 0.6, 0.8), strict=True)
        present = [label for label, limit in limits if row[f"probability {label}"] >= limit]  # type: ignore[operator]
        assert row["label"] == ("|".join(present) or "none")


def test_texts_are_no_formulas_and_whole_in_every_format(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    names = ["=1+1.png", "+a", "-b", "@c", "\td", 'e"f,g\n.png', "h\0i", os.fsdecode(b"j\xff.png"), "kö.png", "-5"]
    read = [*names[:6], r"h\x00i", r"j\udcff.png", "kö.png", "-5"]
    for suffix in ("csv", "jsonl", "parquet"):
        results = ImageResults(tmp_path / f"p.{suffix}")
        for name in names:
            results.add({"path": name, "correct": True, "score": math.nan, "margin": None})
        results.write()
    raw = (tmp_path / "p.csv").read_bytes()
    assert b"\0" not in raw
    assert raw.decode("utf-8").splitlines()[1] == "'=1+1.png,true,,"
    assert [row["path"] for row in csv_rows(tmp_path / "p.csv")] == read
    rows = json_rows(tmp_path / "p.jsonl")
    assert [row["path"] for row in rows] == read
    assert rows == pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows[0] == {"path": "=1+1.png", "correct": True, "score": None, "margin": None}


def test_an_earlier_file_is_replaced_whole_or_stays(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("evaluate", "B.edge", "--data", "sorted", "--engine", "onnxruntime", "--predictions")
    (place / "p.csv").write_text("earlier")
    shutil.copytree(place / "sorted", place / "empty")
    for image in (place / "empty").rglob("*.png"):
        image.write_bytes(b"no image")
    code, _, _ = cli("evaluate", "B.edge", "--data", "empty", "--engine", "onnxruntime", "--predictions", "p.csv")
    assert (code, (place / "p.csv").read_text()) == (2, "earlier")
    for _ in range(2):
        assert cli(*command, "p.csv")[0] == 0
    assert len(csv_rows(place / "p.csv")) == 12
    assert cli(*command, "p.csv", "--min-top1", 0.99)[0] == 1, "a failed gate keeps the file"
    assert not list(place.glob(".p.csv*"))
    code, out, _ = cli(*command, "-")
    assert code == 0
    assert len([json.loads(line) for line in out.splitlines()]) == 12


def test_what_cannot_be_written_is_said_before_any_work(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> tuple[int, str]:
        code, out, err = cli("evaluate", "B.edge", "--data", "sorted", "--predictions", name)
        assert out == ""
        return code, err

    for name in ("p.json", "p.xlsx", "p", "p.csv.gz"):
        code, err = refused(name)
        assert (code, "FILE.csv, FILE.jsonl or FILE.parquet" in err) == (2, True), err
    for name in ("sorted/p.csv", "B.edge/p.csv"):
        assert refused(name)[0] == 2
    monkeypatch.setattr("edgeproof_runtime.verify.image_results.find_spec", lambda _: None)
    code, err = refused("p.parquet")
    assert (code, 'pip install "edgeproof[data]"' in err) == (3, True)
    with pytest.raises(InputError, match="unknown format"):
        ImageResults(place / "p.txt")
    make_generator_bundle(place / "G.edge")
    code, _, _ = cli("evaluate", "G.edge", "--data", "sorted", "--predictions", "p.csv")
    assert (code, (place / "p.csv").exists()) == (2, False)


def test_a_class_more_than_once_is_judged_by_its_index(tmp_path: Path, cli: Cli) -> None:
    """ImageNet has two classes "crane": the label alone does not tell whether a prediction is right."""
    bundle = make_bundle(tmp_path / "B.edge", labels=("crane", "crane", "crane", "crane", "crane"))
    rng = np.random.default_rng(3)
    np.savez(tmp_path / "d.npz", x_test=rng.integers(0, 256, (10, 20, 20, 3), dtype=np.uint8), y_test=np.arange(10) % 5)
    command = ("evaluate", bundle.path, "--data", "d.npz", "--engine", "onnxruntime")
    code, _, err = cli(*command, "--predictions", "p.jsonl", "--json", "r.json")
    assert code == 0, err
    correct = sum(bool(row["correct"]) for row in json_rows(tmp_path / "p.jsonl"))
    assert correct == json.loads((tmp_path / "r.json").read_text())["counts"]["correct"] < 10
