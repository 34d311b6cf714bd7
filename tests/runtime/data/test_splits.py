"""Splits of a dataset: which folders are splits, which is taken, and what is said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coloured import write_folders
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.splits import split_of
from edgeproof_runtime.errors import InputError

LABELS = ("ants", "bees")


def names(data: LabelledData | ImageList) -> list[str]:
    return [sample.name for sample in data]


@pytest.mark.parametrize(
    ("folders", "taken"),
    [
        (("train", "val"), "val"),
        (("train", "val", "test"), "test"),
        (("Training", "Valid"), "Valid"),
        (("trn", "dev", "tst"), "tst"),
        (("TRAIN", "eval"), "eval"),
        (("training", "validation", "evaluation"), "evaluation"),
        (("train2017", "val2017"), "val2017"),
        (("training_set", "test_set"), "test_set"),
        (("Train-images", "valset"), "valset"),
        (("validation",), "validation"),
    ],
)
def test_split_folders_are_never_classes(tmp_path: Path, folders: tuple[str, ...], taken: str) -> None:
    for number, folder in enumerate(folders):
        write_folders(tmp_path / folder, LABELS, each=number + 1)
    for labels in (LABELS, ("0", "1")):
        data = LabelledData.open(tmp_path, labels)
        assert (data.split, len(data)) == (taken, 2 * (folders.index(taken) + 1))
        assert set(data.targets) == {0, 1}
        assert f"split {taken} (" in data.notes[0]
    images = ImageList.open(tmp_path, split=folders[0])
    assert (images.split, len(images)) == (folders[0], 2)
    if taken != "test":
        assert "--split" in LabelledData.open(tmp_path, LABELS).notes[0]


def test_the_split_is_asked_for_by_any_of_its_names_or_refused(tmp_path: Path) -> None:
    for folder in ("train", "valid"):
        write_folders(tmp_path / folder, LABELS, each=1)
    assert LabelledData.open(tmp_path, LABELS, split="val").split == "valid"
    for split in ("test", "fold1"):
        with pytest.raises(InputError, match=rf"no split {split}\n.*splits train, valid"):
            LabelledData.open(tmp_path, LABELS, split=split)
        with pytest.raises(InputError, match=f"no split {split}"):
            ImageList.open(tmp_path, split=split)
    write_folders(tmp_path / "val", LABELS, each=1)
    with pytest.raises(InputError, match="more than one split is named like val"):
        LabelledData.open(tmp_path, LABELS)
    assert LabelledData.open(tmp_path, LABELS, split="valid").split == "valid"


def test_a_folder_without_splits_has_none(tmp_path: Path) -> None:
    write_folders(tmp_path, LABELS, each=1)
    assert LabelledData.open(tmp_path, LABELS).split is None
    with pytest.raises(InputError, match=r"no split val\n.*folders ants, bees.*\n.*\n.*leave --split out"):
        LabelledData.open(tmp_path, LABELS, split="val")
    write_folders(tmp_path / "fold1", LABELS, each=2)
    assert len(LabelledData.open(tmp_path, LABELS, split="fold1")) == 4


def test_training_images_alone_are_not_evaluated_unasked(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", LABELS, each=1)
    with pytest.raises(InputError, match=r"no test or val split\n.*\n.*\n.*--split train"):
        LabelledData.open(tmp_path, LABELS)
    assert len(LabelledData.open(tmp_path, LABELS, split="train")) == 2
    assert LabelledData.open(tmp_path, LABELS, prefer=("train", "val")).split == "train"


def test_a_test_folder_without_labels_is_left_out_of_the_choice(tmp_path: Path) -> None:
    for folder in ("train", "val"):
        write_folders(tmp_path / folder, LABELS, each=1)
    write_folders(tmp_path, ("test",), each=3)
    data = LabelledData.open(tmp_path, LABELS)
    assert data.split == "val"
    assert "test has no class folders" in data.notes[0]
    assert ImageList.open(tmp_path).split == "test"


def test_the_advice_is_a_split_that_can_be_taken(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", LABELS, each=1)
    write_folders(tmp_path, ("test",), each=3)
    with pytest.raises(InputError, match="no test or val split") as caught:
        LabelledData.open(tmp_path, LABELS)
    assert caught.value.fix == "--split train", "test has no class folders"


def test_splits_below_one_folder_are_found(tmp_path: Path) -> None:
    for folder in ("train", "val"):
        write_folders(tmp_path / "hymenoptera" / "images" / folder, LABELS, each=1)
    (tmp_path / "hymenoptera" / "annotations").mkdir()
    (tmp_path / "hymenoptera" / "README.txt").write_text("hello")
    data = LabelledData.open(tmp_path, LABELS)
    assert (data.split, names(data)) == ("val", ["ants/0.png", "bees/0.png"])
    assert LabelledData.open(tmp_path, LABELS, split="train").split == "train"
    around = write_folders(tmp_path / "archive" / "dataset", LABELS, each=1).parent
    assert LabelledData.open(around, LABELS).targets == (0, 1)


def test_what_is_not_clear_is_refused_by_name(tmp_path: Path) -> None:
    # A vehicle "train" among vehicles is a class; beside folders of splits it is not.
    vehicles = write_folders(tmp_path / "vehicles", ("bus", "train", "car"), each=1)
    assert LabelledData.open(vehicles, ("bus", "car", "train")).targets == (0, 1, 2)
    write_folders(vehicles / "train", ("steam", "electric"), each=1)
    assert LabelledData.open(vehicles, ("bus", "car", "train")).targets == (0, 1, 2, 2, 2)
    (tmp_path / "vehicles").rename(tmp_path / "nested")
    vehicles = write_folders(tmp_path / "vehicles", ("bus", "train", "car"), each=1)
    assert LabelledData.open(vehicles, ("0", "1", "2")).split is None
    inside = tmp_path / "inside"
    for label in LABELS:
        write_folders(inside / label, ("train", "test"), each=1)
    with pytest.raises(InputError, match=r"splits inside the class folders\n.*ants/\{test,train\}"):
        LabelledData.open(inside, LABELS)
    mixed = write_folders(tmp_path / "mixed", ("train", "val", "cat"), each=1)
    with pytest.raises(InputError, match=r"both split folders and other folders of images\n.*cat, train, val"):
        LabelledData.open(mixed, LABELS)


def test_arrays_take_test_else_val(tmp_path: Path) -> None:
    pictures, targets = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    path = tmp_path / "d.npz"
    np.savez(path, x_train=pictures, y_train=targets, x_val=pictures[:2], y_val=targets[:2])
    data = LabelledData.open(path, LABELS)
    assert (data.split, len(data)) == ("val", 2)
    assert "split val (no test found" in data.notes[0]
    with pytest.raises(InputError, match=r"no split test\n.*train, val"):
        LabelledData.open(path, LABELS, split="test")
    np.savez(path, x_test=pictures, y_test=targets)
    assert LabelledData.open(path, LABELS).notes == []
    # MedMNIST's names.
    np.savez(path, train_images=pictures, train_labels=targets, test_images=pictures, test_labels=targets[:, None])
    assert LabelledData.open(path, LABELS).targets == (0, 1, 0, 1)
    # An array of any other name is asked for by it.
    np.savez(path, x_night=pictures, y_night=targets)
    assert LabelledData.open(path, LABELS, split="night").split == "night"


@given(st.text(alphabet=st.characters(categories=("Ll", "Lu", "Nd")), max_size=12))
def test_only_the_usual_names_are_splits(name: str) -> None:
    usual = r"(train|training|trn|val|valid|validation|dev|eval|test|testing|tst|evaluation)"
    usual += r"(set|data|dataset|images|imgs|split)?([0-9]{4})?"
    assert (split_of(name) is not None) == (re.fullmatch(usual, name.lower(), re.ASCII) is not None)
