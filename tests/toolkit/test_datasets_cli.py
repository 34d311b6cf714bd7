"""Datasets as people have them, through the commands: split, order of the classes, forms, EXIF."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from coloured import FLAGS, encoded, picture, write_folders, write_model
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle

pytestmark = pytest.mark.slow

NUMBERS = tuple(str(i) for i in range(12))
AS_TEXT = sorted(range(12), key=str)
ON = ("--engine", "onnxruntime")


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of twelve classes that nothing names; its class i has the i-th folder name in text order."""
    from edgeproof_export import ContractFlags, export_bundle

    folder = tmp_path_factory.mktemp("unnamed")
    flags = ContractFlags(input_size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)
    export_bundle(str(write_model(folder / "m.onnx", AS_TEXT)), folder / "unnamed.edge", contract=flags)
    return folder / "unnamed.edge"


@pytest.fixture
def bundle(unnamed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unnamed, tmp_path / "unnamed.edge"))


def test_the_tutorial_s_two_classes_are_not_train_and_val(cli: Cli, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", [0, 1])
    for split in ("train", "val"):
        write_folders(tmp_path / "hymenoptera" / split, ("ants", "bees"), each=10, seed=100 * (split == "val"))
    arguments = ("--out", tmp_path / "m.edge", "--data", tmp_path / "hymenoptera", "--json", tmp_path / "x.json")
    code, out, err = cli("export", model, *FLAGS, *arguments)
    assert code == 0, err
    assert "20 of 20 correct" in out
    assert "dataset: split val (no test found" in err
    assert json.loads((tmp_path / "x.json").read_text())["settings"]["split"] == "val"
    assert Bundle.open(tmp_path / "m.edge").labels == ("ants", "bees")
    evaluate = ("evaluate", tmp_path / "m.edge", "--data", tmp_path / "hymenoptera", *ON)
    code, out, err = cli(*evaluate, "--json", tmp_path / "e.json")
    assert code == 0, err
    assert "n = 20" in out
    assert "--split chooses" in err
    report = json.loads((tmp_path / "e.json").read_text())
    assert report["settings"]["split"] == "val"
    assert [gate["name"] for gate in report["gates"]][-1] == "drop from PyTorch"
    code, _, err = cli(*evaluate, "--split", "test")
    assert code == 2
    assert "splits train, val" in err


@pytest.mark.parametrize(
    ("order", "names", "chosen"),
    [
        (AS_TEXT, NUMBERS, "text"),
        (range(12), tuple(f"class{i}" for i in range(12)), "natural"),
        (range(12), tuple(str(i + 1) for i in range(12)), "natural"),
    ],
    ids=["ImageFolder's 0..11", "timm's class0..class11", "1..12"],
)
def test_an_export_settles_the_order_by_measuring_and_keeps_it(
    cli: Cli, tmp_path: Path, order: list[int], names: tuple[str, ...], chosen: str
) -> None:
    model = write_model(tmp_path / "m.onnx", order)
    write_folders(tmp_path / "d" / "train", names, each=1)
    write_folders(tmp_path / "d" / "val", names, each=3)
    code, out, err = cli(
        "export", model, *FLAGS, "--out", tmp_path / "m.edge", "--data", tmp_path / "d", "--split", "val"
    )
    assert code == 0, err
    assert f"Class order: {chosen}, settled by measuring both" in err
    assert "text order " in err
    assert "natural order " in err
    assert "36 of 36 correct" in out, "only the split asked for, every class right"
    expected = tuple(sorted(names)) if chosen == "text" else names
    bundle = Bundle.open(tmp_path / "m.edge")
    assert bundle.labels == bundle.class_ids == expected
    code, out, err = cli("evaluate", tmp_path / "m.edge", "--data", tmp_path / "d", *ON)
    assert code == 0, err
    assert "100.00%" in out


def test_an_order_that_measuring_does_not_settle_is_refused(cli: Cli, tmp_path: Path) -> None:
    # Images of one colour: both orders are equally wrong.
    model = write_model(tmp_path / "m.onnx", AS_TEXT)
    for name in NUMBERS:
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "0.png").write_bytes(encoded(0))
    command = ("export", model, *FLAGS, "--out", tmp_path / "m.edge", "--data", tmp_path / "d")
    code, _, err = cli(*command)
    assert code == 2
    assert "text order 1 of 12 right (8.3%), natural order 1 of 12 right (8.3%)" in err
    assert "--class-order text" in err
    assert not (tmp_path / "m.edge").exists()


def test_an_evaluation_does_not_choose_the_order(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    data = write_folders(tmp_path / "d", NUMBERS, each=3)
    command = ("evaluate", bundle, "--data", data, *ON)
    code, _, err = cli(*command)
    assert code == 2
    assert "--class-order text (torchvision's ImageFolder), --class-order natural (timm), or --class-ids FILE" in err
    assert cli(*command, "--class-order", "text")[0] == 0
    (tmp_path / "ids.json").write_text(json.dumps({str(i): name for i, name in enumerate(sorted(NUMBERS))}))
    assert cli(*command, "--class-ids", tmp_path / "ids.json")[0] == 0
    code, out, err = cli(*command, "--class-order", "natural", "--json", tmp_path / "e.json")
    assert code == 1
    assert "16.67%" in out
    assert "Under another order of the classes top-1 would be 100.0%" in err
    assert "names sorted as text" in err
    report = json.loads((tmp_path / "e.json").read_text())
    assert [gate["name"] for gate in report["gates"] if not gate["passed"]] == ["class order"]
    assert report["settings"]["class_order"] == "natural"


def test_class_ids_off_by_one_fail_with_and_without_hops(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    pictures = np.stack([picture(which, seed)[..., ::-1] for seed in range(4) for which in range(12)])
    right = np.array([AS_TEXT.index(which) for _ in range(4) for which in range(12)])
    for name, targets in (("right", right), ("wrong", (right + 1) % 12)):
        np.savez(tmp_path / f"{name}.npz", x_test=pictures, y_test=targets)
    assert cli("evaluate", bundle, "--data", tmp_path / "right.npz", *ON)[0] == 0
    command = ("evaluate", bundle, "--data", tmp_path / "wrong.npz", *ON, "--json", tmp_path / "e.json")
    for more in ((), ("--against", "openvino")):
        code, out, err = cli(*command, *more)
        assert code == 1
        assert "every class index one lower" in err
        report = json.loads((tmp_path / "e.json").read_text())
        assert report["accuracy"]["top1"] == 0.0
        if more:
            assert report["hops"]["culprit"] is None
            assert report["hops"]["verdict"].startswith("The fault is before the first hop.")
            assert "The fault is before the first hop." in " ".join(out.split())


def test_an_export_of_labels_in_another_order_leaves_no_bundle(cli: Cli, tmp_path: Path) -> None:
    names = tuple("abcdefghijkl")
    model = write_model(tmp_path / "m.onnx", [*range(1, 12), 0])
    data = write_folders(tmp_path / "d", names, each=4)
    (tmp_path / "labels.txt").write_text("\n".join(names))
    command = ("export", model, *FLAGS, "--out", tmp_path / "m.edge", "--data", data)
    for more in ((), ("--labels", tmp_path / "labels.txt")):
        code, _, err = cli(*command, *more)
        assert code == 1
        assert "class order: gain 1" in err
        assert not (tmp_path / "m.edge").exists()
    (tmp_path / "labels.json").write_text(json.dumps({"id2label": {i: names[(i + 1) % 12] for i in range(12)}}))
    code, out, err = cli(*command, "--labels", tmp_path / "labels.json")
    assert code == 0, err
    assert "48 of 48 correct" in out


def test_labels_as_json_and_csv(cli: Cli, tmp_path: Path) -> None:
    names = ("cat", "dog", "fish")
    model = write_model(tmp_path / "m.onnx", [0, 1, 2])
    data = write_folders(tmp_path / "d", names, each=3)
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}, indent=2))
    (tmp_path / "labels.csv").write_text("index,label\n2,fish\n1,dog\n0,cat\n")
    for file in ("config.json", "labels.csv"):
        command = ("export", model, *FLAGS, "--out", tmp_path / "m.edge", "--data", data, "--force")
        code, out, err = cli(*command, "--labels", tmp_path / file)
        assert code == 0, err
        assert "9 of 9 correct" in out
        assert Bundle.open(tmp_path / "m.edge").labels == names


def test_turned_photographs_are_said_and_applied(cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    names = ("ants", "bees")
    model = write_model(tmp_path / "m.onnx", [0, 11])
    upside_down = Image.Exif()
    upside_down[0x112] = 3
    for which, name in ((0, "ants"), (11, "bees")):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(18):
            upright = np.concatenate([picture(which, number), picture(1, number)])[..., ::-1]
            photograph = Image.fromarray(np.ascontiguousarray(upright[::-1, ::-1]))
            photograph.save(tmp_path / "d" / name / f"{number}.jpg", exif=upside_down, quality=95)
    (tmp_path / "labels.txt").write_text("\n".join(names))
    options = (*FLAGS, "--out", tmp_path / "m.edge", "--labels", tmp_path / "labels.txt", "--data", tmp_path / "d")
    code, out, err = cli("export", model, *options, "--exif")
    assert code == 0, err
    assert "36 of 36 correct" in out
    assert "EXIF" not in err
    evaluate = ("evaluate", tmp_path / "m.edge", "--data", tmp_path / "d", *ON)
    code, out, err = cli(*evaluate, "--json", tmp_path / "e.json")
    assert code == 1
    assert "top-1      50.00%" in out
    assert "36 of 36 images carry an EXIF rotation: `run` turns them, this command does not" in err
    report = json.loads((tmp_path / "e.json").read_text())
    assert any("--exif applies it" in text for text in report["warnings"])
    assert "drop from PyTorch" not in {gate["name"] for gate in report["gates"]}, "turned images are other images"
    code, out, err = cli(*evaluate, "--exif", "--json", tmp_path / "e.json")
    assert code == 0, err
    assert "top-1      100.00%" in out
    assert json.loads((tmp_path / "e.json").read_text())["settings"]["exif"] is True


def test_optimize_takes_the_same_options(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    data = write_folders(tmp_path / "d" / "val", NUMBERS, each=10).parent
    command = ("optimize", bundle, "--data", data, "--precision", "fp16")
    code, _, err = cli(*command)
    assert code == 2
    assert "--class-order" in err
    code, _, err = cli(*command, "--class-order", "text", "--json", tmp_path / "o.json")
    assert code == 0, err
    assert "split val (no test found" in err
    assert json.loads((tmp_path / "o.json").read_text())["settings"]["split"] == "val"
