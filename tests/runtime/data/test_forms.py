"""Datasets in the forms that people have: every form gives the same images and the same classes."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coloured import encoded, picture, write_folders
from dataset_forms import (
    LABELS,
    VARIANTS,
    WHICH,
    WRITERS,
    arrow_table,
    images,
    member,
    table,
    write_coco,
    write_parquet,
    write_tar,
    write_tsv,
)
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.forms.registry import FORMS
from edgeproof_runtime.errors import InputError, UnavailableError


@pytest.mark.parametrize("write", [*WRITERS, *VARIANTS], ids=lambda write: write.__name__)
def test_every_form_gives_the_same_images_and_classes(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path / "d")
    data = LabelledData.open(path, LABELS)
    samples = list(data)
    assert [sample.target for sample in samples] == list(WHICH)
    for number, (sample, which) in enumerate(zip(samples, WHICH, strict=True)):
        np.testing.assert_array_equal(sample.frame, picture(which, number))
    assert len({sample.name for sample in samples}) == len(WHICH)
    assert not any(str(tmp_path) in sample.name for sample in samples)
    assert [sample.target for sample in data] == list(WHICH), "a second pass reads the same"
    assert data.fingerprint() == LabelledData.open(path, LABELS).fingerprint()
    assert len(ImageList.open(path)) in (len(WHICH), 1)  # Kaggle's own test folder has no labels


def test_the_table_of_forms_is_whole() -> None:
    suffixes = [suffix for form in FORMS for suffix in form.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_numbers_with_a_list_of_classes_go_by_name_or_by_the_list(tmp_path: Path) -> None:
    path = write_parquet(tmp_path)
    assert LabelledData.open(path, LABELS).notes[0].startswith("dataset: split test")
    unnamed = LabelledData.open(path, ("0", "1", "2"))
    assert unnamed.ids == ("moths", "bees", "ants")
    assert list(unnamed.targets) == [("moths", "bees", "ants").index(LABELS[which]) for which in WHICH]
    assert "in the order of the dataset's own list" in unnamed.notes[1]
    with pytest.raises(InputError, match="some are named after labels and some are not"):
        LabelledData.open(path, ("ants", "bees", "wasps"))
    # ImageNet's names with all synonyms, of which some are the labels, at the same places.
    assert LabelledData.open(path, ("moth", "bees", "ant")).targets == unnamed.targets


def test_text_labels_of_a_column_have_no_order_of_their_own(tmp_path: Path) -> None:
    names = images(tmp_path)
    path = table(tmp_path / "d.csv", [("path", "label"), *((n, f"c{9 + i}") for i, n in enumerate(names))], ",")
    with pytest.raises(InputError, match="the order of the classes is not clear"):
        LabelledData.open(path, tuple("01234"))
    # 1..5 of five classes are neither indices nor names.
    path = table(tmp_path / "d.csv", [("path", "label"), *((n, str(1 + i)) for i, n in enumerate(names))], ",")
    with pytest.raises(InputError, match="class index 5"):
        LabelledData.open(path, tuple("01234"))


def test_numbers_are_indices_unless_they_are_names(tmp_path: Path) -> None:
    arrays = tmp_path / "d.npz"
    np.savez(arrays, x_test=np.zeros((3, 8, 8), np.uint8), y_test=np.arange(3))
    for ids in (None, ("n01", "n02", "n03"), ("2", "1", "0")):
        assert LabelledData.open(arrays, LABELS, class_ids=ids).targets == (0, 1, 2)
    (tmp_path / "wnids.txt").write_text("n01\nn02\nn03\n")
    assert LabelledData.open(arrays, LABELS, class_ids=tmp_path / "wnids.txt").targets == (0, 1, 2)
    names = images(tmp_path)[:3]

    def numbered(*labels: int) -> Path:
        rows = [("path", "label"), *((name, str(label)) for name, label in zip(names, labels, strict=True))]
        return table(tmp_path / "d.csv", rows, ",")

    assert LabelledData.open(numbered(0, 2, 1), LABELS, class_ids=("n01", "n02", "n03")).targets == (0, 2, 1)
    assert LabelledData.open(numbered(1, 2, 3), LABELS, class_ids=("1", "2", "3")).targets == (0, 1, 2)
    assert LabelledData.open(numbered(1, 2, 3), ("1", "2", "3")).targets == (0, 1, 2)
    with pytest.raises(InputError, match="class indices or names, not clear which"):
        LabelledData.open(numbered(1, 2, 1), LABELS, class_ids=("1", "2", "3"))
    (tmp_path / "ids.txt").write_text("0\n1\n2\n")
    assert LabelledData.open(numbered(1, 2, 1), LABELS, class_ids=tmp_path / "ids.txt").targets == (1, 2, 1)


def test_numbers_written_as_fractions(tmp_path: Path) -> None:
    names = images(tmp_path)[:3]
    rows = [("path", "label"), *zip(names, ("10.0", "2.0", "1.0"), strict=True)]
    path = table(tmp_path / "d.csv", rows, ",")
    assert LabelledData.open(path, tuple(map(str, range(12)))).targets == (10, 2, 1)
    assert LabelledData.open(path, ("1.0", "2.0", "10.0")).targets == (2, 1, 0), "they are names of the model"


@pytest.mark.parametrize(
    ("column", "cells", "taken", "split"),
    [
        ("is_valid", ("True", "False", "True"), (2, 1), "val"),
        ("is_train", ("0", "1", "0"), (2, 1), "test"),
        ("Is_Test", ("no", "yes", "no"), (0,), "test"),
        ("is_valid", ("True", "", "maybe"), (2, 0, 1), None),
    ],
)
def test_a_column_of_true_and_false_is_a_split(
    tmp_path: Path, column: str, cells: tuple[str, ...], taken: tuple[int, ...], split: str | None
) -> None:
    rows = list(zip(images(tmp_path)[:3], (LABELS[which] for which in WHICH[:3]), cells, strict=True))
    data = LabelledData.open(table(tmp_path / "d.csv", [("path", "label", column), *rows], ","), LABELS)
    assert (data.targets, data.split) == (taken, split)
    objects = [dict(zip(("path", "label", column), row, strict=True)) for row in rows]
    (tmp_path / "d.json").write_text(json.dumps(objects))
    assert LabelledData.open(tmp_path / "d.json", LABELS).targets == taken


def test_columns_of_a_web_dataset_in_parquet(tmp_path: Path) -> None:
    columns = {"jpg": [encoded(which) for which in WHICH], "cls": list(WHICH), "__key__": ["a", "b", "c", "d", "e"]}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    assert LabelledData.open(tmp_path / "d.parquet", LABELS).targets == WHICH


def test_a_coco_file_whose_ids_are_text(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    raw = json.loads(path.read_text())
    for entry in raw["categories"]:
        entry["id"] = f"c{entry['id']}"
    for entry in raw["annotations"]:
        entry["category_id"] = f"c{entry['category_id']}"
    path.write_text(json.dumps(raw))
    assert [sample.target for sample in LabelledData.open(path, LABELS)] == list(WHICH)


@pytest.mark.parametrize("name", ["d.zip", "d.tar.gz", "d.tgz"])
def test_an_archive_is_named_with_the_command_that_unpacks_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(InputError, match="not a dataset") as caught:
        LabelledData.open(tmp_path / name, LABELS)
    assert str(caught.value.fix).startswith("unzip" if name == "d.zip" else "tar xf")


def test_a_tar_of_class_folders_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        for number, which in enumerate(WHICH):
            member(tar, f"{LABELS[which]}/{number}.png", encoded(which, number))
    with pytest.raises(InputError, match="images without labels") as caught:
        LabelledData.open(tmp_path / "d.tar", LABELS)
    assert "KEY.cls" in str(caught.value.expected)
    assert "tar xf" in str(caught.value.fix)
    assert len(ImageList.open(tmp_path / "d.tar")) == len(WHICH)


def test_a_tiff_in_cielab_is_said(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "ants").mkdir()
    Image.new("LAB", (8, 8), (120, 60, 40)).save(tmp_path / "ants" / "lab.tif")
    Image.new("RGB", (8, 8), (120, 60, 40)).save(tmp_path / "ants" / "rgb.tif")
    data = LabelledData.open(tmp_path, LABELS)
    assert len(list(data)) == 2
    assert [note.split(",")[0] for note in data.notes] == ["1 of 2 images are TIFF in CIELab"]


def test_unlabelled_forms_are_images(tmp_path: Path) -> None:
    pq.write_table(arrow_table(label=[-1] * 5), tmp_path / "d.parquet")
    assert len(list(ImageList.open(tmp_path / "d.parquet"))) == len(WHICH)
    with pytest.raises(InputError, match="images without labels"):
        LabelledData.open(tmp_path / "d.parquet", LABELS)
    table(tmp_path / "d.csv", [("path",), *((name,) for name in images(tmp_path))], ",")
    assert len(list(ImageList.open(tmp_path / "d.csv"))) == len(WHICH)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("d.csv", "a,b\n1,2\n", "no column of images"),
        ("d.csv", "path,label\nnone.png,ants\n", r"d.csv:2: image not found"),
        ("d.csv", "path,label\n../x.png,ants\n", "invalid image path"),
        ("d.csv", "path,label\n/etc/hosts,ants\n", "invalid image path"),
        ("d.csv", "images/9.png,ants\nimages/0.png,ants\n", "no column of images"),
        ("d.csv", "path,label\nimages/0.png\n", "wrong number of columns"),
        ("d.csv", "path,label\nimages/0.png,ants\nimages/0.png,bees\n", "image listed twice"),
        ("d.csv", "path,label\nimages/0.png,ants\nimages/1.png,\n", "no label"),
        ("d.csv", "path,label\n", "no images listed"),
        ("d.csv", "path,ants,bees\nimages/0.png,1,1\nimages/1.png,0,1\n", "without labels|no labels|unlabelled"),
        ("d.csv", "path,class,category\nimages/0.png,ants,x\n", "more than one column of labels"),
        ("d.json", "{", "invalid JSON"),
        ("d.json", '[{"image": 1, "label": "a"}]', "invalid entry"),
        ("d.jsonl", '{"file": "images/0.png", "label": "ants"}\nx', "d.jsonl:2: invalid JSON"),
        ("d.txt", "images/0.png ants\nimages/1.png\n", "no label"),
        ("d.parquet", "PAR1", "cannot be read"),
        ("d.tar", "no tar at all, and long enough to be one" * 30, "not a plain tar file"),
    ],
)
def test_damage_is_one_message(tmp_path: Path, file: str, content: str, message: str) -> None:
    images(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message):
        LabelledData.open(tmp_path / file, LABELS)


def test_a_coco_image_of_two_categories_is_refused(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["category_id"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"images with several categories\n.*1 of 5, such as 0.png: ants, moths"):
        LabelledData.open(path, LABELS)


def test_a_compressed_or_damaged_tar(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    write_tar(tmp_path / "plain")
    with tarfile.open(tmp_path / "d.tar", "w:gz") as tar:
        member(tar, "a.png", encoded(0))
    with pytest.raises(InputError, match=r"not a plain tar file(.|\n)*gunzip"):
        LabelledData.open(tmp_path / "d.tar", LABELS)
    whole = (tmp_path / "plain" / "test-000000.tar").read_bytes()
    (tmp_path / "d.tar").write_bytes(whole[:900])
    with pytest.raises(InputError, match=r"d.tar"):
        list(LabelledData.open(tmp_path / "d.tar", LABELS))


@pytest.mark.parametrize("labels", [("moths", "bees", "ants"), ("0", "1", "2")])
def test_labels_in_text_files_of_a_tar(tmp_path: Path, labels: tuple[str, ...]) -> None:
    def write(path: Path, label: Callable[[int], str]) -> Path:
        with tarfile.open(path, "w") as tar:
            for number, which in enumerate(WHICH):
                member(tar, f"{number}.png", encoded(which, number))
                member(tar, f"{number}.txt", label(which).encode())
        return path

    named = labels[0] != "0"
    path = write(tmp_path / "a.tar", lambda which: LABELS[which] if named else str(which))
    expected = [labels.index(LABELS[which]) if named else which for which in WHICH]
    assert [sample.target for sample in LabelledData.open(path, labels)] == expected
    captions = write(tmp_path / "b.tar", lambda which: f"a photograph of {which} insects " + "on a leaf " * 30)
    assert len(ImageList.open(captions)) == len(WHICH)
    with pytest.raises(InputError, match="images without labels"):
        LabelledData.open(captions, labels)


def test_labels_of_parquet_in_lists_and_none(tmp_path: Path) -> None:
    pictures = [encoded(which, number) for number, which in enumerate(WHICH)]
    pq.write_table(pa.table({"image": pictures, "label": [[which] for which in WHICH]}), tmp_path / "a.parquet")
    assert list(LabelledData.open(tmp_path / "a.parquet", LABELS).targets) == list(WHICH)
    pq.write_table(pa.table({"image": pictures, "label": [None, *WHICH[1:]]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="row 0: not a label") as caught:
        LabelledData.open(tmp_path / "b.parquet", LABELS)
    assert caught.value.fix == "leave the images without a label out"


def test_a_tar_s_huge_member_is_refused_when_it_is_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        member(tar, "a.png", encoded(0))
        member(tar, "a.cls", b"0")
        info = tarfile.TarInfo("b.png")
        info.size = 300 << 20
        tar.addfile(info, _Zeros(info.size))
        member(tar, "b.cls", b"1")
    data = LabelledData.open(tmp_path / "d.tar", LABELS)
    assert [sample.name for sample in data] == ["a.png"]
    assert "bytes" in data.skipped[0].reason


class _Zeros(io.RawIOBase):
    """A file of zeros."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, count: int = -1) -> bytes:  # type: ignore[override]
        count = min(count, self._left)
        self._left -= count
        return bytes(count)


def test_without_pyarrow_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnavailableError, match=r'pip install "edgeproof\[data\]"') as caught:
        LabelledData.open(path, LABELS)
    assert caught.value.exit_code == 3


def test_a_row_without_an_image_is_skipped(tmp_path: Path) -> None:
    broken = [{"bytes": None, "path": None}, {"bytes": b"x", "path": "a"}, {"bytes": None, "path": "gone.png"}]
    good = [{"bytes": encoded(0), "path": "a"}, {"bytes": encoded(1), "path": "b"}]
    pq.write_table(arrow_table(image=[*broken, *good]), tmp_path / "d.parquet")
    data = LabelledData.open(tmp_path / "d.parquet", LABELS)
    assert [sample.name for sample in data] == ["d[3]", "d[4]"]
    assert [skipped.name for skipped in data.skipped] == ["d[0]", "d[1]", "d[2]"]


def test_class_folders_stay_class_folders_beside_other_files(tmp_path: Path) -> None:
    root = write_folders(tmp_path, LABELS, each=1)
    for name in ("results.csv", "README.txt", "classes.json", "d.jsonl"):
        (root / name).write_text("not,a\ndataset,1\n")
    assert LabelledData.open(root, LABELS).targets == (0, 1, 2)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.png").write_bytes(encoded(0))
    (tmp_path / "flat" / "predictions.csv").write_text("frame,score\n1,0.5\n")
    assert len(ImageList.open(tmp_path / "flat")) == 1
    split = write_tsv(tmp_path / "tsv").parent
    assert LabelledData.open(split, LABELS).split == "test"
    assert LabelledData.open(split, LABELS, split="train").targets == (0,)
    with pytest.raises(InputError, match=r"no split val\n.*splits test, train"):
        LabelledData.open(split, LABELS, split="val")
    two = tmp_path / "two"
    images(two)
    for name in ("a.csv", "b.csv"):
        table(two / name, [("path", "label"), ("images/0.png", "ants")], ",")
    with pytest.raises(InputError, match=r"more than one dataset file\n.*a.csv, b.csv"):
        LabelledData.open(two, LABELS)


def test_exif_and_16_bits_are_said(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "ants").mkdir()
    (tmp_path / "bees").mkdir()
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10] = 255
    turned = Image.Exif()
    turned[0x112] = 6
    for suffix in ("jpg", "png", "webp", "tif"):
        Image.fromarray(pixels).save(tmp_path / "ants" / f"turned.{suffix}", exif=turned)
    Image.fromarray(pixels).save(tmp_path / "ants" / "upright.jpg")
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    for suffix in ("png", "tif", "pgm"):
        cv2.imwrite(str(tmp_path / "bees" / f"grey16.{suffix}"), deep)
    cv2.imwrite(str(tmp_path / "bees" / "colour16.png"), np.stack([deep] * 3, -1))
    data = LabelledData.open(tmp_path, LABELS)
    assert data.notes == [], "nothing is read before it is asked for"
    loader = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in tmp_path.rglob("*.*")}
    for sample in data:
        theirs = loader[Path(sample.name).name][..., ::-1]
        if "grey16" in sample.name:
            # As the note says: the high byte here, all above 255 white there.
            np.testing.assert_array_equal(sample.frame[..., 0], deep >> 8)
            np.testing.assert_array_equal(theirs[..., 0], np.minimum(deep, 255))
        else:
            assert sample.frame.shape == theirs.shape
            assert np.abs(sample.frame.astype(int) - theirs).max() <= 2
    # TIFF is turned by both, whatever is asked.
    assert [note.split(":")[0] for note in data.notes] == [
        "3 of 9 images carry an EXIF rotation",
        "3 of 9 images are grey with 16 bits",
    ]
    assert "--exif applies it" in data.notes[0]
    applied = LabelledData.open(tmp_path, LABELS, exif=True)
    assert {s.name: s.frame.shape[:2] for s in applied if "turned" in s.name}.values() == {(30, 20)} or all(
        s.frame.shape[:2] == (30, 20) for s in applied if "turned" in s.name
    )
    assert len(applied.notes) == 1
    assert applied.fingerprint() != data.fingerprint()


def test_photographs_are_the_same_from_folders_a_tar_and_parquet(tmp_path: Path, data_dir: Path) -> None:
    files = sorted((data_dir / "imagenet-samples").glob("*/*.JPEG"))[:6]
    wnids = tuple(file.parent.name for file in files)
    for file in files:
        (tmp_path / "d" / file.parent.name).mkdir(parents=True)
        shutil.copy(file, tmp_path / "d" / file.parent.name)
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        for file in files:
            member(tar, f"{file.stem}.jpeg", file.read_bytes())
            member(tar, f"{file.stem}.cls", file.parent.name.encode())
    rows = {"image": [file.read_bytes() for file in files], "label": list(wnids)}
    pq.write_table(pa.table(rows), tmp_path / "d.parquet", row_group_size=4)
    labels = tuple(f"label {i}" for i in range(6))
    found = [
        [
            (sample.target, sample.frame.tobytes())
            for sample in LabelledData.open(tmp_path / name, labels, class_ids=wnids)
        ]
        for name in ("d", "d.tar", "d.parquet")
    ]
    assert found[0] == found[1] == found[2]
    assert [target for target, _ in found[0]] == list(range(6))


@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: f"path,label\n{text}".encode("utf-8", "replace")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(("image", "label", "images", "annotations", "categories", "id")), inner
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    suffix=st.sampled_from((".csv", ".tsv", ".json", ".jsonl", ".txt", ".tar", ".parquet", ".arrow", ".npz")),
)
@settings(max_examples=150)
def test_any_bytes_are_one_message(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"hostile{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        LabelledData.open(path, LABELS)
