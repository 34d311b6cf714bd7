"""Datasets as public ones are published: lists of other machines, folds, and forms that are named and not read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from coloured import encoded, picture
from dataset_forms import LABELS, WHICH, images, table
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.data.forms.foreign import foreign_dataset
from edgeproof_runtime.data.splits import group_files
from edgeproof_runtime.errors import InputError


def opened(path: Path) -> LabelledData:
    data = LabelledData.open(path, LABELS)
    assert list(data.targets) == list(WHICH)
    return data


def write(path: Path, which: int, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(which, number))


def test_tiny_imagenet_has_a_list_in_its_split_and_a_test_without_labels(tmp_path: Path) -> None:
    for number, which in enumerate(WHICH):
        write(tmp_path / "val/images" / f"val_{number}.png", which, number)
        write(tmp_path / "train" / LABELS[which] / "images" / f"{number}.png", which, number)
        write(tmp_path / "test/images" / f"{number}.png", which, number)
    lines = (f"val_{number}.png\t{LABELS[which]}\t0\t0\t62\t62\n" for number, which in enumerate(WHICH))
    (tmp_path / "val/val_annotations.txt").write_text("".join(lines))
    (tmp_path / "wnids.txt").write_text("\n".join(LABELS))
    data = opened(tmp_path)
    assert data.split == "val"
    assert any("test has no class folders" in note for note in data.notes)


@pytest.mark.parametrize(
    ("prefix", "left_out"),
    [
        ("/home/alice/project/images/", "/home/alice/project/"),
        ("C:\\Users\\me\\images\\", "C:/Users/me/"),
        ("gs://bucket/set/images/", "gs://bucket/set/"),
        ("https://example.com/", "https://example.com/"),
        ("/data/upload/1/", "/data/upload/1/"),
    ],
)
def test_paths_of_another_place_keep_what_is_here(tmp_path: Path, prefix: str, left_out: str) -> None:
    images(tmp_path)
    rows = [("image", "label"), *((f"{prefix}{number}.png", LABELS[which]) for number, which in enumerate(WHICH))]
    data = opened(table(tmp_path / "d.csv", rows, ","))
    assert list(data.notes) == [f"dataset: paths are of another place: {left_out} is left out."]


def test_a_path_of_this_machine_is_not_another_place(tmp_path: Path) -> None:
    images(tmp_path / "d")
    write(tmp_path / "elsewhere/0.png", 0, 0)
    path = table(tmp_path / "d/d.csv", [("image", "label"), (str(tmp_path / "elsewhere/0.png"), "ants")], ",")
    with pytest.raises(InputError, match="invalid image path"):
        LabelledData.open(path, LABELS)


def test_names_count_rather_than_numbers_that_follow_another_order(tmp_path: Path) -> None:
    rows = [("image", "label", "label_name")]
    rows += [(name, str((which + 1) % 3), LABELS[which]) for name, which in zip(images(tmp_path), WHICH, strict=True)]
    data = opened(table(tmp_path / "d.csv", rows, ","))
    assert list(data.notes) == [
        "dataset: column label_name has the model's labels and is taken; column label has numbers."
    ]
    other = LabelledData.open(tmp_path / "d.csv", ("0", "1", "2"))
    assert list(other.targets) == [(which + 1) % 3 for which in WHICH]


def test_a_list_of_paths_is_labelled_by_their_folders(tmp_path: Path) -> None:
    for number, which in enumerate(WHICH):
        write(tmp_path / "images" / LABELS[which] / f"{number}.png", which, number)
    (tmp_path / "labels").mkdir()
    for ending in (".png", ""):
        lines = (f"{LABELS[which]}/{number}{ending}\n" for number, which in enumerate(WHICH))
        (tmp_path / "labels/test1.txt").write_text("".join(lines))
        data = opened(tmp_path / "labels/test1.txt")
        assert list(data.notes) == ["dataset: test1.txt: labels are taken from the folders of the images."]


def test_the_last_of_several_numbers_is_not_the_label(tmp_path: Path) -> None:
    names = [f"pet_{number}" for number in range(len(WHICH))]
    for name, which in zip(names, WHICH, strict=True):
        write(tmp_path / f"{name}.png", which, int(name[-1]))
    path = tmp_path / "list.txt"
    head = "#Image CLASS-ID SPECIES BREED ID\n"
    path.write_text(head + "".join(f"{name} {which} 1 1\n" for name, which in zip(names, WHICH, strict=True)))
    with pytest.raises(InputError, match="without labels"):
        LabelledData.open(path, LABELS)
    path.write_text(head + "".join(f"{name} {LABELS[which]}  1 1\n" for name, which in zip(names, WHICH, strict=True)))
    opened(path)


def test_excel_says_its_separator_in_the_first_line(tmp_path: Path) -> None:
    rows = [("sep=;",), ("image;label",)]
    rows += [(f"{name};{LABELS[which]}",) for name, which in zip(images(tmp_path), WHICH, strict=True)]
    opened(table(tmp_path / "d.csv", rows, ","))


def test_folds_are_not_classes(tmp_path: Path) -> None:
    for fold in ("fold1", "fold2", "fold3"):
        for number, which in enumerate(WHICH):
            write(tmp_path / fold / LABELS[which] / f"{number}.png", which, number)
    for labels in (LABELS, ("0", "1", "2")):
        with pytest.raises(InputError, match="class folders inside other folders") as caught:
            LabelledData.open(tmp_path, labels)
    assert "--split fold1" in str(caught.value)
    assert len(LabelledData.open(tmp_path, LABELS, split="fold2")) == len(WHICH)


def test_folders_inside_class_folders_are_no_folds(tmp_path: Path) -> None:
    for number, which in enumerate(WHICH):
        for camera in ("left", "right"):
            write(tmp_path / LABELS[which] / camera / f"{number}.png", which, number)
    assert len(LabelledData.open(tmp_path, LABELS)) == 2 * len(WHICH)


def test_a_file_of_two_splits_is_none(tmp_path: Path) -> None:
    assert group_files([Path("train_test_split.txt")]) == {}
    assert list(group_files([Path("train-00000-of-00002.parquet"), Path("val_list.txt")])) == ["train", "val"]
    names = [f"{k + 1:03d}.{label}" for k, label in enumerate(LABELS)]
    for number, which in enumerate(WHICH):
        write(tmp_path / "images" / names[which] / f"{number}.png", which, number)
    (tmp_path / "train_test_split.txt").write_text("1 1\n2 0\n")
    data = LabelledData.open(tmp_path, LABELS)
    assert data.ids == tuple(names)
    assert data.split is None


@pytest.mark.parametrize(
    "labels",
    [np.eye(3)[list(WHICH)], np.array(WHICH, float), np.array([LABELS[which] for which in WHICH]), np.array(WHICH)],
    ids=["one-hot", "floats", "names", "integers"],
)
def test_labels_of_arrays(tmp_path: Path, labels: NDArray[np.generic]) -> None:
    pictures = np.stack([picture(which, number)[..., ::-1] for number, which in enumerate(WHICH)])
    np.savez(tmp_path / "d.npz", x_test=pictures, y_test=labels)
    opened(tmp_path / "d.npz")


@pytest.mark.parametrize("labels", [[[1, 1, 0]] * 5, [0.5] * 5, [np.nan] * 5, [np.inf] * 5], ids=str)
def test_labels_of_arrays_that_are_no_classes(tmp_path: Path, labels: Sequence[object]) -> None:
    np.savez(tmp_path / "d.npz", x_test=np.zeros((5, 16, 16, 3), np.uint8), y_test=np.array(labels))
    with pytest.raises(InputError, match="must be one class index per image"):
        LabelledData.open(tmp_path / "d.npz", LABELS)


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (lambda x: x.transpose(0, 3, 1, 2), "x_test.transpose(0, 2, 3, 1)"),
        (lambda x: x.astype(np.float32) / 255, "(x_test * 255).round().astype(np.uint8)"),
        (lambda x: x.astype(np.float64), "x_test.round().astype(np.uint8)"),
        (lambda x: x.astype(np.float32) / 127.5 - 1, "undo the normalisation"),
    ],
)
def test_arrays_that_are_almost_images(
    tmp_path: Path, change: Callable[[NDArray[np.generic]], NDArray[np.generic]], fix: str
) -> None:
    pictures = np.stack([picture(which, number)[..., ::-1] for number, which in enumerate(WHICH)])
    np.savez(tmp_path / "d.npz", x_test=change(pictures), y_test=np.array(WHICH))
    with pytest.raises(InputError, match="not an array of images") as caught:
        LabelledData.open(tmp_path / "d.npz", LABELS)
    assert fix in (caught.value.fix or "")


@pytest.mark.parametrize(
    "name",
    [
        "t10k-images-idx3-ubyte.gz",
        "data_batch_1",
        "test_batch.bin",
        "test_32x32.mat",
        "data.h5",
        "data.mdb",
        "val-00000-of-00001.tfrecord",
        "cifar10-test.tfrecord-00000-of-00001",
        "labels.xlsx",
        "data.pkl",
        "x_test.npy",
        "test.pt",
        "val.lst",
        "data.yaml",
        "clip.mp4",
    ],
)
def test_datasets_of_other_programs_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x01\x02\x03" * 8)
    known = foreign_dataset(tmp_path / name)
    assert known is not None
    with pytest.raises(InputError, match="not a dataset") as caught:
        LabelledData.open(tmp_path / name, LABELS)
    assert (caught.value.got, caught.value.fix) == (known.kind, known.fix)


@pytest.mark.parametrize(
    ("given", "what", "fix"),
    [
        ("https://example.com/data.zip", "https://example.com/data.zip: not a dataset", "download it"),
        ("uoft-cs/cifar10", "no such file", "hf download --repo-type dataset uoft-cs/cifar10"),
    ],
)
def test_data_that_is_not_on_this_machine(given: str, what: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        LabelledData.open(Path(given), LABELS)
    assert what in str(caught.value)
    assert fix in (caught.value.fix or "")
