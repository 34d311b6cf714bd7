"""Tables with columns of other names, rows of other kinds, and images without their extension."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coloured import encoded
from dataset_forms import LABELS, WHICH, images, table
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.errors import InputError

NAMES = tuple(LABELS[which] for which in WHICH)
KNOWN = ("wasps", "moths", "bees", "ants")  # an order that sorting does not give


def targets(path: Path, labels: tuple[str, ...] = KNOWN) -> list[int]:
    return [sample.target for sample in LabelledData.open(path, labels)]


@pytest.mark.parametrize("header", ["image_id,target", "Image_Name,Label", "id,breed", "img_path,y", "x,y", "breed,id"])
@pytest.mark.parametrize("extension", ["", ".png"])
def test_columns_are_known_by_what_they_hold(tmp_path: Path, header: str, extension: str) -> None:
    ids = [name.removesuffix(".png") + extension for name in images(tmp_path)]
    rows = [tuple(header.split(",")), *zip(ids, NAMES, strict=True)]
    if header == "breed,id":
        rows = [rows[0], *zip(NAMES, ids, strict=True)]
    path = table(tmp_path / "d.csv", rows, ",")
    assert targets(path) == [KNOWN.index(name) for name in NAMES]
    assert len(ImageList.open(path)) == len(WHICH)
    told = [note for note in LabelledData.open(path, KNOWN).notes if "labels are taken from column breed" in note]
    assert len(told) == ("breed" in header)


def test_class_indices_of_traffic_signs(tmp_path: Path) -> None:
    rows = [("Filename", "Width", "Roi.X1", "ClassId")]
    rows += [(name, "16", "1", str(which)) for name, which in zip(images(tmp_path), WHICH, strict=True)]
    assert targets(table(tmp_path / "d.csv", rows, ";")) == list(WHICH)


def test_a_table_without_header_in_any_order(tmp_path: Path) -> None:
    names = images(tmp_path)
    assert targets(table(tmp_path / "a.csv", list(zip(NAMES, names, strict=True)), ",")) == [
        KNOWN.index(name) for name in NAMES
    ]
    three = [(name, str(7 + which), LABELS[which]) for name, which in zip(names, WHICH, strict=True)]
    data = LabelledData.open(table(tmp_path / "b.csv", three, ","), KNOWN)
    assert list(data.targets) == [KNOWN.index(name) for name in NAMES]
    assert data.notes == ["dataset: labels are taken from column 3."]


def test_a_table_without_header_keeps_its_first_row(tmp_path: Path) -> None:
    ids = [name.removesuffix(".png") for name in images(tmp_path)]
    assert targets(table(tmp_path / "a.csv", list(zip(ids, NAMES, strict=True)), ",")) == [
        KNOWN.index(name) for name in NAMES
    ]
    missing = table(tmp_path / "b.csv", [("images/9.png", "ants"), *zip(ids, NAMES, strict=True)], ",")
    with pytest.raises(InputError, match="no column of images"):
        LabelledData.open(missing, KNOWN)


def test_lines_of_path_and_label_between_commas(tmp_path: Path) -> None:
    path = table(tmp_path / "val.txt", list(zip(images(tmp_path), NAMES, strict=True)), ",")
    assert targets(path) == [KNOWN.index(name) for name in NAMES]


def test_json_of_columns_and_of_classes(tmp_path: Path) -> None:
    names = images(tmp_path)
    by_class = {label: [n for n, own in zip(names, NAMES, strict=True) if own == label] for label in LABELS}
    numbered = {"image": dict(enumerate(names)), "label": dict(enumerate(NAMES))}
    for number, raw in enumerate(({"image": names, "label": NAMES}, numbered, by_class)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(raw))
        data = LabelledData.open(path, KNOWN)
        assert sorted(sample.target for sample in data) == sorted(KNOWN.index(name) for name in NAMES)
        assert all(KNOWN[s.target] == NAMES[int(Path(s.name).stem)] for s in data)


def test_what_is_not_clear_is_refused(tmp_path: Path) -> None:
    names = images(tmp_path)
    both = table(tmp_path / "a.csv", [("one", "two"), *zip(names, names, strict=True)], ",")
    with pytest.raises(InputError, match="no column of images") as caught:
        LabelledData.open(both, KNOWN)
    assert caught.value.fix == "name the columns image and label"
    # Every value differs: sizes or comments rather than labels.
    sizes = table(tmp_path / "b.csv", [("one", "two"), *((n, f"{i} kB") for i, n in enumerate(names))], ",")
    with pytest.raises(InputError, match="images without labels"):
        LabelledData.open(sizes, KNOWN)
    (tmp_path / "images" / "0.jpg").write_bytes(encoded(0))
    doubled = table(tmp_path / "c.csv", [("path", "label"), ("images/0", "ants")], ",")
    with pytest.raises(InputError, match="image not found"):
        LabelledData.open(doubled, KNOWN)
    twice = table(tmp_path / "d.csv", [("path", "label"), (names[0], "ants"), (names[0], "bees")], ",")
    with pytest.raises(InputError, match="image listed twice") as caught:
        LabelledData.open(twice, KNOWN)
    assert caught.value.fix == "remove one of the rows"
    from_one = [("path", "label"), *((name, str(which + 1)) for name, which in zip(names, WHICH, strict=True))]
    with pytest.raises(InputError, match="out of range") as caught:
        LabelledData.open(table(tmp_path / "e.csv", from_one, ","), LABELS)
    assert caught.value.fix == "count the classes from 0: subtract 1"
