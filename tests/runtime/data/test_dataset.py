from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.errors import InputError

LABELS = ["cat", "espresso", "rocket"]
PHOTOGRAPHS = {"cat": skimage.data.chelsea, "espresso": skimage.data.coffee, "rocket": skimage.data.rocket}


@pytest.fixture(scope="module")
def encoded() -> dict[str, bytes]:
    return {
        label: cv2.imencode(".png", cv2.resize(load()[:, :, ::-1], (64, 48)))[1].tobytes()
        for label, load in PHOTOGRAPHS.items()
    }


def folder_of(root: Path, encoded: dict[str, bytes], names: dict[str, str]) -> Path:
    """One folder per name, holding the photograph of the label it maps to."""
    for name, label in names.items():
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(encoded[label])
    return root


def targets(data: LabelledData) -> dict[str, int]:
    return {sample.name: sample.target for sample in data}


def test_folders_named_after_labels_take_the_labels_order(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"rocket": "rocket", "cat": "cat"})
    data = LabelledData.open(root, LABELS)
    assert targets(data) == {"cat/1.png": 0, "rocket/1.png": 2}
    assert len(data) == 2
    np.testing.assert_array_equal(
        next(iter(data)).frame, cv2.imdecode(np.frombuffer(encoded["cat"], np.uint8), cv2.IMREAD_COLOR)
    )


def test_class_ids_give_the_order(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"n02": "cat", "n01": "espresso"})
    ids = tmp_path / "ids.txt"
    ids.write_text("n02\nn00\nn01\n")
    assert targets(LabelledData.open(root, LABELS, class_ids=ids)) == {"n02/1.png": 0, "n01/1.png": 2}


def test_sorted_order_only_where_the_numbers_agree(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"n0": "cat", "n1": "espresso", "n2": "rocket"})
    assert targets(LabelledData.open(root, LABELS)) == {"n0/1.png": 0, "n1/1.png": 1, "n2/1.png": 2}
    with pytest.raises(InputError, match=r"3 folders.*\n.*exactly 4 folders.*\n.*--class-ids"):
        LabelledData.open(root, [*LABELS, "boat"])


def test_nothing_is_guessed(tmp_path, encoded):
    mixed = folder_of(tmp_path / "mixed", encoded, {"cat": "cat", "espreso": "espresso", "rocket": "rocket"})
    with pytest.raises(InputError, match="espreso"):
        LabelledData.open(mixed, LABELS)
    doubled = folder_of(tmp_path / "doubled", encoded, {"crane": "cat"})
    with pytest.raises(InputError, match="'crane' as classes 0, 2"):
        LabelledData.open(doubled, ["crane", "boat", "crane"])
    numbers = folder_of(tmp_path / "numbers", encoded, {str(i): "cat" for i in range(11)})
    with pytest.raises(InputError, match="another order"):
        LabelledData.open(numbers, [f"class {i}" for i in range(11)])
    ids = tmp_path / "ids.txt"
    ids.write_text("crane\n")
    with pytest.raises(InputError, match="1 lines"):
        LabelledData.open(doubled, LABELS, class_ids=ids)
    with pytest.raises(InputError, match="cannot be read"):
        LabelledData.open(doubled, LABELS, class_ids=tmp_path / "none.txt")


def test_bad_files_are_skipped_counted_and_named(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"cat": "cat", "rocket": "rocket"})
    (root / "cat" / "truncated.png").write_bytes(encoded["cat"][:500])
    (root / "cat" / "empty.jpg").touch()
    (root / "rocket" / "notes.txt").write_text("hello")
    (root / "loose.png").write_bytes(encoded["cat"])
    data = LabelledData.open(root, LABELS)
    assert list(targets(data)) == ["cat/1.png", "rocket/1.png"]
    skipped = {s.name: s.reason for s in data.skipped}
    assert set(skipped) == {"cat/truncated.png", "cat/empty.jpg", "rocket/notes.txt", "loose.png"}
    assert "truncated" in skipped["cat/truncated.png"]
    assert skipped["loose.png"] == "not in a class folder"
    assert len(list(data)) == 2
    assert len(data.skipped) == 4, "a second pass names nothing twice"


def test_previews_of_other_programs_are_no_images(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"cat": "cat", "rocket": "rocket", "@eaDir": "cat", "__MACOSX": "cat"})
    for folder in ("cat/@eaDir", "rocket/#recycle", "cat/.ipynb_checkpoints"):
        (root / folder).mkdir()
        (root / folder / "1.png").write_bytes(encoded["cat"])
    (root / "cat" / "._1.png").write_bytes(b"\0\5\x16\7")
    (root / "cat" / ".DS_Store").touch()
    assert list(targets(LabelledData.open(root, LABELS))) == ["cat/1.png", "rocket/1.png"]


def test_other_files_are_named_where_there_are_no_images(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    for read in (lambda: LabelledData.open(tmp_path, LABELS), lambda: ImageList.open(tmp_path)):
        with pytest.raises(InputError, match=r"1 other files \(.heic\); the first is a HEIC image") as caught:
            read()
        assert caught.value.fix == "convert them to JPEG or PNG"


def test_a_file_that_disappears_is_named(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"cat": "cat", "rocket": "rocket"})
    data = LabelledData.open(root, LABELS)
    (root / "cat" / "1.png").unlink()
    assert list(targets(data)) == ["rocket/1.png"]
    assert data.skipped[0].name == "cat/1.png"


def test_a_split_folder_is_taken_where_it_is_no_class(tmp_path, encoded):
    for split in ("train", "test"):
        folder_of(tmp_path / "d" / split, encoded, {"cat": "cat"})
    assert targets(LabelledData.open(tmp_path / "d", LABELS, split="train")) == {"cat/1.png": 0}


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    for name in ("notes.txt", "notes.doc"):
        (tmp_path / name).write_text("hello")
    for path, message in (
        ("none", "nothing"),
        ("notes.txt", "image not found"),
        ("notes.doc", "another kind"),
        ("empty", "no class folders"),
        ("classes", "no images in the class folders"),
    ):
        with pytest.raises(InputError, match=message):
            LabelledData.open(tmp_path / path, LABELS)
    with pytest.raises(InputError, match="no images"):
        ImageList.open(tmp_path / "empty")


def test_classes_with_names_are_matched_by_name_or_refused():
    pictures = np.zeros((3, 8, 8, 3), np.uint8)
    data = LabelledData.from_arrays(pictures, np.array([0, 1, 2]), classes=3, name="known")
    names = ("rocket", "cat", "espresso")
    assert data.matched(names, ["tiger", *LABELS]).targets == (3, 1, 2)
    assert data.matched(names, ["0", "1", "2"]).targets == (0, 1, 2)
    for labels in (["0", "1"], [str(number) for number in range(1000)], [*LABELS[:2], "tiger", "lion"]):
        with pytest.raises(InputError, match="the dataset's classes do not match the model's"):
            data.matched(names, labels)


def test_fingerprint_follows_names_targets_and_content_not_the_place(tmp_path, encoded):
    names = {"cat": "cat", "rocket": "rocket"}
    here = folder_of(tmp_path / "here", encoded, names)
    shutil.copytree(here, tmp_path / "there")
    first = LabelledData.open(here, LABELS).fingerprint()
    assert LabelledData.open(tmp_path / "there", LABELS).fingerprint() == first
    assert LabelledData.open(here, ["rocket", "cat", "espresso"]).fingerprint() != first
    (here / "cat" / "1.png").write_bytes(encoded["espresso"])
    assert LabelledData.open(here, LABELS).fingerprint() != first


def test_arrays_are_keras_convention(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 8, 9, 3), dtype=np.uint8)
    path = tmp_path / "d.npz"
    np.savez(path, x_test=pictures, y_test=np.arange(20).reshape(20, 1) % 3, x_train=pictures[:2, :, :, :1])
    data = LabelledData.open(path, LABELS)
    samples = list(data)
    assert [s.target for s in samples] == [i % 3 for i in range(20)]
    assert samples[3].name == "x_test[3]"
    np.testing.assert_array_equal(samples[3].frame, pictures[3, :, :, ::-1])
    assert data.skipped == []
    grey = list(ImageList.open(path, split="train"))
    np.testing.assert_array_equal(grey[1].frame, pictures[1, :, :, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_test": np.zeros((2, 4, 4), np.uint8)}, "no array y_test"),
        ({"x_test": np.zeros((2, 4, 4), np.float32), "y_test": [0, 1]}, "float32"),
        ({"x_test": np.zeros((2, 3, 4, 4), np.uint8), "y_test": [0, 1]}, "height, width, 3"),
        ({"x_test": np.zeros((0, 4, 4), np.uint8), "y_test": np.zeros(0, np.int64)}, "empty"),
        ({"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": [0, 3]}, "class index 3"),
        ({"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": [0, -1]}, "class index -1"),
        ({"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": [0.0, 0.5]}, "integers"),
        ({"x_test": np.zeros((2, 4, 4), np.uint8), "y_test": [0, 1, 2]}, "3 for 2 images"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message):
        LabelledData.open(tmp_path / "d.npz", LABELS)


def test_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "d.npz"
    with pytest.raises(InputError, match="No such file"):
        LabelledData.open(path, LABELS)
    np.savez_compressed(path, x_test=np.random.default_rng(0).integers(0, 255, (9, 99, 99)), y_test=np.zeros(9, int))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for content in (whole[: len(whole) // 2], bytes(damaged), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            LabelledData.open(path, LABELS)
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(InputError, match="single array"):
        LabelledData.open(path, LABELS)
    np.savez(path, x_test=np.array([{"pickled": 1}]), y_test=[0])
    with pytest.raises(InputError, match="unsupported dtype"):
        LabelledData.open(path, LABELS)


def test_unlabelled_pictures(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {"a": "cat", "b": "rocket"})
    (root / "notes.txt").write_text("hello")
    images = ImageList.open(root)
    assert [picture.name for picture in images] == ["a/1.png", "b/1.png"]
    assert [s.name for s in images.skipped] == ["notes.txt"]
    assert len(ImageList.open(root / "a" / "1.png")) == 1
    assert len(images.fingerprint()) == 64


def test_leaving_early_leaves_no_thread_behind(tmp_path, encoded):
    root = folder_of(tmp_path / "d", encoded, {f"c{i}": "cat" for i in range(30)})
    for _picture in ImageList.open(root):
        break


def test_imagenet_samples_by_wnid(data_dir):
    data = LabelledData.open(
        data_dir / "imagenet-samples",
        [f"class {i}" for i in range(1000)],
        class_ids=data_dir / "imagenet-wnids.txt",
    )
    assert len(data) == 500
    wnids = (data_dir / "imagenet-wnids.txt").read_text().split()
    assert all(name.split("/")[0] == wnids[target] for name, target in targets(data).items())
    assert data.skipped == []


def test_cifar10(data_dir):
    data = LabelledData.open(data_dir / "cifar10" / "cifar10.npz", [str(i) for i in range(10)])
    assert len(data) == 10_000
    assert np.bincount(data.targets).tolist() == [1000] * 10
