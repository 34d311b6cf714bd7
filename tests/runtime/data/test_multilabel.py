"""Multi-label datasets: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeproof_runtime.data.multilabel import MultilabelData
from edgeproof_runtime.errors import InputError

LABELS = ("cat", "dog", "person")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((8, 12, 3), 40 * number, np.uint8))
    return tmp_path


def table(folder: Path, text: str, name: str = "test.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


FORMS = {
    "list.csv": "image,labels\nimages/0.png,dog; cat\nimages/1.png,\nimages/2.png,person\n",
    "columns.csv": "image,dog,cat,person\nimages/0.png,1,1,0\n\nimages/1.png,0,0,0\nimages/2.png,0,0,1\n",
    "bom.csv": '\ufeffImage,Labels\r\n"images/0.png","cat;dog"\r\nimages\\1.png,""\r\n./images/2.png,person;person\r\n',
    "object.json": '{"images/0.png": ["cat", "dog"], "images/1.png": [], "images/2.png": ["person"]}',
    "list.json": json.dumps(
        [
            {"image": "images/0.png", "labels": ["cat", "dog"]},
            {"labels": [], "image": "images/1.png"},
            {"image": "images/2.png", "labels": ["person"]},
        ]
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(folder: Path, name: str) -> None:
    path = table(folder, FORMS[name], name)
    data = MultilabelData.open(path, LABELS)
    assert [(s.name, s.target) for s in data] == [
        ("images/0.png", (0, 1)),
        ("images/1.png", ()),
        ("images/2.png", (2,)),
    ]
    assert data.target_array.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    own = MultilabelData.open(path)
    assert own.names == (("dog", "cat", "person") if name == "columns.csv" else LABELS)
    assert own.targets[0] == (0, 1)


def test_a_folder_has_a_file_for_each_split(folder: Path) -> None:
    table(folder, "image,labels\nimages/0.png,cat\n", "train.csv")
    table(folder, '{"images/1.png": ["dog"]}', "val.json")
    assert MultilabelData.open(folder, LABELS, split="train").targets == ((0,),)
    assert MultilabelData.open(folder, LABELS, split="val").targets == ((1,),)
    unasked = MultilabelData.open(folder, LABELS)
    assert (unasked.split, unasked.targets) == ("val", ((1,),))
    assert "split val (no test found" in unasked.notes[0]
    with pytest.raises(InputError, match="no split test"):
        MultilabelData.open(folder, LABELS, split="test")
    table(folder, "image,labels\nimages/0.png,cat\n", "val.csv")
    with pytest.raises(InputError, match="both a CSV and a JSON file"):
        MultilabelData.open(folder, LABELS, split="val")


def test_arrays(tmp_path: Path) -> None:
    pictures, shown = np.zeros((2, 6, 6), np.uint8), np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    np.savez(tmp_path / "d.npz", x_test=pictures, y_test=shown)
    data = MultilabelData.open(tmp_path / "d.npz", LABELS)
    assert (data.targets, data.names) == (((0, 2), ()), LABELS)
    assert MultilabelData.open(tmp_path / "d.npz").names == ("0", "1", "2")
    with pytest.raises(InputError, match=r"x_test: invalid targets.*\n.*\(2, 3\).*\n.*\(N, 2\)"):
        MultilabelData.open(tmp_path / "d.npz", LABELS[:2])
    np.savez(tmp_path / "e.npz", x_test=pictures, y_test=np.array([1, 0]))
    with pytest.raises(InputError, match="x_test: invalid targets"):
        MultilabelData.open(tmp_path / "e.npz", LABELS)
    np.savez(tmp_path / "f.npz", x_test=pictures, y_test=np.full((2, 3), 0.5))
    with pytest.raises(InputError, match=r"values \[0.5\]"):
        MultilabelData.open(tmp_path / "f.npz", LABELS)


def test_fingerprint_moves_with_labels_and_pixels(folder: Path) -> None:
    path = table(folder, FORMS["list.csv"])
    before = MultilabelData.open(path, LABELS).fingerprint()
    assert MultilabelData.open(table(folder, FORMS["list.json"], "x.json"), LABELS).fingerprint() == before
    table(folder, FORMS["list.csv"].replace("dog; cat", "dog"))
    assert MultilabelData.open(path, LABELS).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", r"a.csv:1: header not recognised"),
        ("a.csv", "images/0.png,cat\n", r"a.csv:1: header not recognised"),
        ("a.csv", "image\nimages/0.png\n", r"a.csv:1: header not recognised"),
        ("a.csv", "image,labels\n", "no images listed"),
        ("a.csv", "image,cat,cat\nimages/0.png,1,1\n", "a.csv:1: class columns must differ"),
        ("a.csv", "image,labels\n\nimages/0.png,cat,dog\n", r"a.csv:3: wrong number of columns"),
        ("a.csv", "image,cat,dog,person\nimages/0.png,1,0,2\n", r"a.csv:2: invalid value in column person"),
        ("a.csv", "image,labels\nimages/0.png,cat;dgo\n", r"a.csv:2: unknown label\n  got:      'dgo'"),
        ("a.csv", "image,cat,dog\nimages/0.png,1,0\n", "a.csv: no column for a class of the model"),
        ("a.csv", "image,cat,dog,person,bus\nimages/0.png,1,0,0,0\n", "a.csv:1: unknown class column"),
        ("a.csv", 'image,labels\nimages/0.png,"cat\n', "a.csv:2: invalid CSV"),
        ("a.csv", "image,labels\nimages/0.png,cat\nimages/0.png,dog\n", r"a.csv:3: image listed twice.*\n.*a.csv:2"),
        ("a.csv", "image,labels\n../0.png,cat\n", "a.csv:2: invalid image path"),
        ("a.csv", "image,labels\n/0.png,cat\n", "a.csv:2: invalid image path"),
        ("a.csv", "image,labels\nimages/0.png,cat\nno.png,\n", r"a.csv:3: image not found.*\n.*1 of 2 missing: no.png"),
        ("a.json", "{\n'", "a.json:2: invalid JSON"),
        ("a.json", "3", "neither an object nor a list"),
        ("a.json", '{"images/0.png": "cat"}', "a.json, 'images/0.png': invalid entry"),
        ("a.json", '{"images/0.png": {"cat": 1}}', "a.json, 'images/0.png': invalid entry"),
        ("a.json", '{"images/0.png": ["cat", 3]}', "invalid label"),
        ("a.json", '{"images/0.png": ["cat"], "images/0.png": ["dog"]}', "image listed twice"),
        ("a.json", '[{"image": "images/0.png"}]', "a.json, entry 0: invalid entry"),
        ("a.json", '["images/0.png"]', "a.json, entry 0: invalid entry"),
        ("a.json", "[" * 100_000, "invalid JSON"),
    ],
)
def test_refused_with_file_and_line(folder: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultilabelData.open(table(folder, text, name), LABELS)


def test_a_missing_or_unreadable_file(folder: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        MultilabelData.open(folder / "none.csv", LABELS)
    (folder / "b.csv").write_bytes(b"image,labels\n\xff\xfe,cat\n")
    with pytest.raises(InputError, match=r"b.csv: cannot be read"):
        MultilabelData.open(folder / "b.csv", LABELS)


def test_a_damaged_image_is_left_out_by_name(folder: Path) -> None:
    (folder / "images/1.png").write_bytes(b"")
    data = MultilabelData.open(table(folder, FORMS["list.csv"]), LABELS)
    assert [sample.target for sample in data] == [(0, 1), (2,)]
    assert [item.name for item in data.skipped] == ["images/1.png"]
