"""Lists of class names, as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.data.class_names import read_class_names
from edgeproof_runtime.errors import InputError

NAMES = ("cat", "dog, big", "fish")
BY_INDEX = {str(i): name for i, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.txt", "cat\ndog, big\nfish\n\n"),
        ("labels.txt", "\ufeffcat\r\ndog, big\r\nfish"),
        ("classes.txt", "0 cat\n1 dog, big\n2 fish\n"),
        ("classes.txt", "2: fish\n0: cat\n1: dog, big\n"),
        ("classes.txt", "1 cat\n2 dog, big\n3 fish\n"),
        ("labels.json", json.dumps(NAMES)),
        ("labels.json", json.dumps(BY_INDEX)),
        ("labels.json", json.dumps({name: int(i) for i, name in BY_INDEX.items()})),
        ("config.json", json.dumps({"id2label": BY_INDEX, "label2id": {}, "architectures": ["ViT"], "num_labels": 3})),
        ("labels.json", json.dumps({"classes": NAMES})),
        ("class_index.json", json.dumps({i: [f"n0{i}", name] for i, name in BY_INDEX.items()})),
        ("labels.txt", json.dumps(BY_INDEX)),
        ("coco.json", json.dumps({"categories": [{"id": 90 - i, "name": name} for i, name in enumerate(NAMES[::-1])]})),
        ("labels.csv", 'index,label\n0,cat\n1,"dog, big"\n2,fish\n'),
        ("labels.csv", '"dog, big",1\ncat,0\nfish,2\n'),
        ("labels.csv", "id;name\n0;cat\n2;fish\n1;dog, big\n"),
        ("labels.csv", 'label\ncat\n"dog, big"\nfish\n'),
        ("labels.tsv", "0\tcat\n1\tdog, big\n2\tfish\n"),
        ("config.json", json.dumps({"label2id": {"fish": "2", "cat": "0", "dog, big": "1"}})),
        ("labels.txt", '"cat"\n"dog, big"\n"fish"\n'),
        ("labels.txt", str(list(NAMES))),
        ("labels.txt", str({int(i): name for i, name in BY_INDEX.items()})),
    ],
)
def test_every_form_gives_the_same_names(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    assert read_class_names(tmp_path / file, "labels", 3) == NAMES


def test_pairs_of_id_and_label_give_either(tmp_path: Path) -> None:
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}))
    assert read_class_names(path, "labels") == ("tench", "goldfish")
    assert read_class_names(path, "class ids") == ("n01440764", "n01443537")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("l.txt", "", "does not name every class"),
        ("l.txt", "cat\n\ndog", "line 2 is empty"),
        ("l.txt", "cat\ndog", "2 lines"),
        ("l.json", '["cat", "dog"]', "2 classes"),
        ("l.json", "{", "invalid JSON"),
        ("l.json", '{"0": "cat", "2": "dog", "3": "fish"}', "classes not recognised"),
        ("l.json", '{"cat": 0, "dog": 0, "fish": 1}', "classes not recognised"),
        ("l.json", '{"a": "cat"}', "classes not recognised"),
        ("l.txt", '{"0:" "2dog"}', "classes not recognised"),
        ("l.txt", '[{(0, 1): b"cat"}]', "classes not recognised"),
        ("l.txt", "{{}}", "invalid JSON"),
        ("l.txt", f"[0x{'f' * 4000}]", "invalid JSON"),
        ("l.json", "[1, 2, 3]", "classes not recognised"),
        ("l.csv", "a,b\nc,d\ne,f\n", "columns not recognised"),
        ("l.csv", "0,cat\n1,dog, big\n2,fish\n", "row 2 has another number of columns"),
        ("l.csv", "index,label\n1,cat\n2,dog\n3,fish\n", "columns not recognised"),
        ("l.csv", "", "does not name every class"),
        ("data.yaml", "names: [cat, dog, fish]", "not a list of names"),
    ],
)
def test_what_does_not_name_every_class_once_is_refused(tmp_path: Path, file: str, content: str, message: str) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / file, "labels", 3)
    with pytest.raises(InputError, match="cannot be read"):
        read_class_names(tmp_path / "none.txt", "labels", 3)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "l.txt").write_text("chat\nchèvre\n", encoding=encoding)
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_class_names(tmp_path / "l.txt", "labels")
    assert caught.value.fix == "save the file as UTF-8"


def test_numbers_within_names_stay(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("3 series\n5 series\n7 series\n")
    assert read_class_names(tmp_path / "l.txt", "labels") == ("3 series", "5 series", "7 series")


@given(content=st.binary(max_size=200), suffix=st.sampled_from((".txt", ".csv", ".tsv", ".json")))
def test_any_bytes_are_names_or_one_message(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"names{suffix}"
    path.write_bytes(content)
    try:
        names = read_class_names(path, "labels")
    except InputError:
        return
    assert names
    assert all(isinstance(name, str) for name in names)


def _folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_a_folder_of_class_folders_names_its_classes(tmp_path: Path) -> None:
    assert read_class_names(_folder(tmp_path / "a", "dog", "cat", ".git"), "labels", 2) == ("cat", "dog")
    splits = _folder(tmp_path / "b", "train/cat", "train/dog", "train/owl", "val/cat", "val/dog")
    assert read_class_names(splits, "labels") == ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no class folders"),
        (("cat", "dog", "owl"), "got:      3 class folders"),
        (("2", "10"), "order of the classes is not clear"),
        (("Zebra", "ape"), "order of the classes is not clear"),  # timm's order ignores case
    ],
)
def test_a_folder_that_does_not_say_the_classes_is_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError) as refused:
        read_class_names(_folder(tmp_path / "a", *names), "labels", 2)
    assert message in str(refused.value)
