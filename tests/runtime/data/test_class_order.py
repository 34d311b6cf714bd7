"""The order of classes is never guessed: names by name, or in an order that is clear or chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coloured import write_folders
from edgeproof_runtime.data.class_order import ClassOrderError, are_indices, in_order
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.errors import InputError

NUMBERS = tuple(str(i) for i in range(12))


def index_of(data: LabelledData) -> dict[str, int]:
    return {sample.name.split("/")[0]: sample.target for sample in data}


@pytest.mark.parametrize(
    "names", [NUMBERS, tuple(f"class{i}" for i in range(12)), tuple(str(i + 1) for i in range(12))]
)
@pytest.mark.parametrize("labels", [NUMBERS, tuple(f"label {i}" for i in range(12))])
def test_two_orders_are_not_guessed(tmp_path: Path, names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    root = write_folders(tmp_path, names, each=1)
    with pytest.raises(ClassOrderError, match="the order of the classes is not clear") as caught:
        LabelledData.open(root, labels)
    assert "--class-order text" in str(caught.value.fix)
    assert "--class-ids" in str(caught.value.fix)
    text = LabelledData.open(root, labels, class_order="text")
    assert index_of(text) == {name: i for i, name in enumerate(sorted(names))}
    assert text.ids == tuple(sorted(names))
    assert index_of(LabelledData.open(root, labels, class_order="natural")) == {n: i for i, n in enumerate(names)}
    ids = tmp_path.parent / f"{tmp_path.name}.txt"
    ids.write_text("\n".join(reversed(names)))
    by_ids = index_of(LabelledData.open(root, labels, class_ids=ids))
    assert by_ids == {name: 11 - i for i, name in enumerate(names)}
    with pytest.raises(InputError, match="mutually exclusive"):
        LabelledData.open(root, labels, class_ids=ids, class_order="text")
    with pytest.raises(InputError, match=r"--class-order: unknown"):
        LabelledData.open(root, labels, class_order="random")


def test_one_order_is_said(tmp_path: Path) -> None:
    root = write_folders(tmp_path, ("ants", "bees"), each=1)
    for labels, why in ((("0", "1"), "have no names"), (("ameise", "biene"), "match no label")):
        data = LabelledData.open(root, labels)
        assert index_of(data) == {"ants": 0, "bees": 1}
        assert why in data.notes[0]
        assert "text order: ants, bees" in data.notes[0]
    assert LabelledData.open(root, ("bees", "ants")).notes == []
    # Case is another order too: ImageFolder sorts Bees before ants, timm after.
    other = write_folders(tmp_path / "case", ("Bees", "ants"), each=1)
    with pytest.raises(ClassOrderError, match="not clear"):
        LabelledData.open(other, ("0", "1"))


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (("Ants", "BEES", "moths"), ("moths", "bees", "ants")),
        (("red ant", "honey_bee", "moth"), ("moth", "honey bee", "red_ant")),
        (("fourmi\u0301", "bees", "moths"), ("moths", "bees", "fourm\u00ed")),
    ],
)
def test_names_in_another_case_or_form_are_the_labels(
    tmp_path: Path, folders: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    root = write_folders(tmp_path, folders, each=1)
    data = LabelledData.open(root, labels)
    assert [index_of(data)[name] for name in folders] == [2, 1, 0]
    assert "without regard to case and separators" in data.notes[0]
    ids = tmp_path.parent / f"{tmp_path.name}.txt"
    ids.write_text("\n".join(labels))
    by_ids = LabelledData.open(root, ("0", "1", "2"), class_ids=ids)
    assert [index_of(by_ids)[name] for name in folders] == [2, 1, 0]


def test_labels_that_differ_in_case_only_stay_apart(tmp_path: Path) -> None:
    root = write_folders(tmp_path, ("B", "c"), each=1)
    with pytest.raises(InputError, match="some are named after labels and some are not"):
        LabelledData.open(root, ("b", "a", "B", "C"))


def test_numbers_of_some_classes_are_among_all(tmp_path: Path) -> None:
    some = write_folders(tmp_path / "some", ("0", "3", "9"), each=1)
    assert index_of(LabelledData.open(some, NUMBERS[:10])) == {"0": 0, "3": 3, "9": 9}
    with pytest.raises(ClassOrderError):
        LabelledData.open(some, NUMBERS)
    assert index_of(LabelledData.open(some, NUMBERS, class_order="text")) == {"0": 0, "3": 5, "9": 11}


def test_classes_without_images_count(tmp_path: Path) -> None:
    write_folders(tmp_path / "s" / "train", ("ants", "bees", "moths"), each=1)
    write_folders(tmp_path / "s" / "val", ("ants", "moths"), each=1)
    data = LabelledData.open(tmp_path / "s", tuple("012"))
    assert index_of(data) == {"ants": 0, "moths": 2}
    assert data.ids == ("ants", "bees", "moths")
    (write_folders(tmp_path / "f", ("ants", "moths"), each=1) / "bees").mkdir()
    assert index_of(LabelledData.open(tmp_path / "f", tuple("012"))) == {"ants": 0, "moths": 2}
    # What is no class at all does not count.
    (tmp_path / "f" / "__MACOSX").mkdir()
    (tmp_path / "f" / "bees").rmdir()
    assert index_of(LabelledData.open(tmp_path / "f", ("0", "1"))) == {"ants": 0, "moths": 1}


def test_the_ids_of_a_bundle_apply_to_folders_of_such_names_only(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "n", ("n02", "n01"), each=1)
    assert index_of(LabelledData.open(root, ("cat", "dog"), class_ids=("n01", "n02"))) == {"n01": 0, "n02": 1}
    named = write_folders(tmp_path / "l", ("dog", "cat"), each=1)
    assert index_of(LabelledData.open(named, ("cat", "dog"), class_ids=("n01", "n02"))) == {"cat": 0, "dog": 1}
    with pytest.raises(InputError, match="not in the bundle's class ids"):
        LabelledData.open(
            write_folders(tmp_path / "x", ("n01", "cat"), each=1), ("cat", "dog"), class_ids=("n01", "n02")
        )


@given(st.sets(st.integers(0, 999), min_size=1, max_size=20))
def test_orders_hold_every_name_once_and_agree_with_text_and_numbers(numbers: set[int]) -> None:
    names = [f"c{number}" for number in numbers]
    assert in_order(names, "text", len(names)) == sorted(names)
    assert in_order(names, "natural", len(names)) == [f"c{number}" for number in sorted(numbers)]


def test_index_names_are_no_names() -> None:
    assert are_indices(("0", "1", "2"))
    assert not are_indices(("0", "1", "10"))
    assert not are_indices(("1", "2"))
