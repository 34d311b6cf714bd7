"""What commands read and write: every path is marked, and no output destroys an input, a bundle or a node."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.models import ParameterInfo

from bundles import make_bundle, write_clip
from command_line import Cli
from device_nodes import make_nodes
from edgeproof.cli import _COMMANDS
from edgeproof.cli._paths import Marked, Reads, Writes, check_paths, marks_of
from edgeproof_runtime.errors import InputError

PATHS = re.compile(r"FILE|DIR|DATA|SRC|MODEL|BUNDLE|SINK|\.(json|html|png|mp4|jsonl|edge)\b")
NO_PATH = {
    ("evaluate", "against"),  # ENGINE|PRECISION
    ("train", "backbone"),  # a name of torchvision or timm
}


def parameters() -> list[tuple[str, str, Any, str]]:
    found = []
    for command, function in _COMMANDS.items():
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
            extras = get_args(parameter.annotation)[1:]
            metavar = " ".join(str(e.metavar or "") for e in extras if isinstance(e, ParameterInfo))
            found.append((command, name, parameter.annotation, metavar))
    return found


def test_every_parameter_that_may_name_a_file_is_marked() -> None:
    marked = {(command, m.parameter) for command, function in _COMMANDS.items() for m in marks_of(function)}
    may_name = {
        (command, name)
        for command, name, annotation, metavar in parameters()
        if "Path" in str(annotation).partition("Option")[0].partition("Argument")[0] or PATHS.search(metavar)
    }
    assert may_name - marked - NO_PATH == set()
    assert len(marked) > 60


def test_the_marks_know_the_options_by_their_names() -> None:
    names = {(c, m.option): m.mark for c, f in _COMMANDS.items() for m in marks_of(f)}
    assert names["run", "--sink"] == Writes("lines")
    assert names["export", "--out"] == Writes("bundle")
    assert names["export", "MODEL"] == Reads()
    assert names["verify", "--report"] == Writes("page")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Inputs of every kind; nothing in them may change."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics/deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for name in ("pics/p.png", "pics/deep/q.png", "m.onnx", "old.json", "data.csv", "listed.png", "clip.mp4"):
        (tmp_path / name).write_text(name)
    (tmp_path / "B.edge").mkdir()
    (tmp_path / "B.edge/bundle.json").write_text("{}")
    (tmp_path / "streams.toml").write_text('[a]\nsource = "clip.mp4"\nlabels_from = "truth.csv"\n')
    (tmp_path / "truth.csv").write_text("x")
    (tmp_path / "out/soft").symlink_to(tmp_path / "pics/p.png")
    (tmp_path / "out/folder").symlink_to(tmp_path / "pics")
    (tmp_path / "out/hard").hardlink_to(tmp_path / "pics/deep/q.png")
    (tmp_path / "out/hard-onnx").hardlink_to(tmp_path / "m.onnx")
    return tmp_path


def check(read: object, write: object, kind: str = "file", **more: Any) -> bool:
    marks = [Marked("r", "SRC", Reads()), Marked("w", "--w", Writes(kind))]  # type: ignore[arg-type]
    return check_paths([*marks, Marked("v", "--v", Writes("file"))], {"r": read, "w": write, **more})


@pytest.mark.parametrize(
    ("read", "write"),
    [
        ("m.onnx", "m.onnx"),
        ("m.onnx", "./pics/../m.onnx"),
        ("m.onnx:prefix", "m.onnx"),
        ("m.onnx", "out/hard-onnx"),
        ("pics", "pics/p.png"),
        ("pics", "pics/new.json"),
        ("pics", "pics/deep/new.json"),
        ("pics", "pics/new/new.json"),
        ("hf:pics", "pics/new.json"),
        ("anomalib:m.onnx", "m.onnx"),
        ("pics", "out/soft"),
        ("pics", "out/folder/new.json"),
        ("out/folder", "pics/new.json"),
        ("pics", "out/hard"),
        ("pics/*.png", "pics/p.png"),
        ("pics/**/*.png", "pics/deep/q.png"),
        (".", "new.json"),
        ("streams.toml", "clip.mp4"),
        ("streams.toml", "truth.csv"),
        (["old.json", "m.onnx"], "m.onnx"),
        ("data.csv", "listed.png"),
        ("${PICS}", "pics/p.png"),
        ("nothing", "B.edge/report.json"),
        ("nothing", "B.edge/evidence/deep/report.json"),
    ],
)
def test_an_output_never_touches_an_input(
    place: Path, monkeypatch: pytest.MonkeyPatch, read: object, write: object
) -> None:
    monkeypatch.setenv("PICS", "pics")
    for kind in ("file", "lines"):
        with pytest.raises(InputError):
            check(read, write, kind)
    for absolute in (place / str(write), str(place / str(write))):
        with pytest.raises(InputError):
            check(read, absolute)


@pytest.mark.parametrize(
    ("read", "write"),
    [
        ("m.onnx", "report.json"),
        ("pics", "pics.json"),
        ("pics/*.png", "pics/new.json"),
        ("timm:lenet", "old.json"),
        ("rtsp://user:pics@pics/pics", "out/new.json"),
        ("0", "new/folder/x.json"),
        ("v4l2src ! appsink", "x.json"),
        ("nul\0", "x.json"),
        ("x" * 5000, "x.json"),
        ("${NONE_SUCH}", "x.json"),
        ("", "x.json"),
    ],
)
def test_other_outputs_pass(place: Path, read: str, write: str) -> None:
    assert check(read, write) is False


@pytest.mark.parametrize("write", ["pics", "m.onnx/x.json", "nul\0", "x" * 300, "out"])
def test_outputs_that_cannot_be_written(place: Path, write: str) -> None:
    with pytest.raises(InputError):
        check("nothing", write)


def test_two_outputs_are_two_files(place: Path) -> None:
    (place / "one").write_text("")
    (place / "two").hardlink_to(place / "one")
    (place / "three").symlink_to("new")
    for first, second in (("x", "x"), ("x", "./x"), ("one", "two"), ("three", "new"), ("-", "/dev/stdout"), ("-", "-")):
        with pytest.raises(InputError, match=r"--w and --v name it"):
            check("nothing", first, v=second)
    assert check("nothing", "x", v="-") is True


def test_a_bundle_that_is_written_replaces_no_input(place: Path) -> None:
    for read, write in (
        ("m.onnx", "m.onnx"),
        ("B.edge/bundle.json", "B.edge"),
        ("pics", "pics"),
        ("pics", "pics/new.edge"),
        ("pics/deep", "pics"),
        ("nothing", "B.edge/inner.edge"),
        ("nothing", "m.onnx"),
        ("nothing", "-"),
    ):
        with pytest.raises(InputError):
            check(read, write, "bundle")
    with pytest.raises(InputError, match="lies in a bundle"):
        check("nothing", "new.edge", "bundle", v="new.edge/report.json")
    assert check("m.onnx", "B.edge", "bundle") is False, "a bundle may be replaced: --force is asked for later"
    assert check("m.onnx", "new.edge", "bundle") is False


def test_a_folder_that_is_filled_holds_no_input(place: Path) -> None:
    for read, write in (("pics", "pics"), ("pics", "pics/new"), ("nothing", "B.edge"), ("nothing", "m.onnx/x")):
        with pytest.raises(InputError):
            check(read, write, "folder")
    (place / "best.ckpt").write_text("")
    marks = [Marked("r", "--weights", Reads()), Marked("w", "--out", Writes("folder", owns=("*.ckpt",)))]
    with pytest.raises(InputError, match=r"best\.ckpt: would be overwritten"):
        check_paths(marks, {"r": "best.ckpt", "w": "."})
    assert check_paths(marks, {"r": "m.onnx", "w": "."}) is False


def test_streams_are_no_place_for_videos_and_folders(place: Path) -> None:
    os.mkfifo(place / "fifo")
    for kind in ("video", "cache", "folder", "bundle"):
        for name in ("fifo", "-"):
            with pytest.raises(InputError):
                check("nothing", name, kind)
    assert check("nothing", "fifo", "page") is False
    with pytest.raises(InputError, match="not an HTML file name"):
        check("nothing", "page.pdf", "page")


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "B.edge", "--json", "B.edge/model.onnx"),
        ("run", "B.edge", "--source", "pics", "--json", "pics/0.png"),
        ("run", "B.edge", "--source", "pics", "--predictions", "pics/new.jsonl"),
        ("run", "B.edge", "--source", "clip.mp4", "--save", "clip.mp4"),
        ("run", "B.edge", "--source", "clip.mp4", "--sink", "B.edge/events.csv"),
        ("export", "B.edge/model.onnx", "--out", "n.edge", "--json", "B.edge/model.onnx"),
        ("export", "copy.onnx", "--out", "n.edge", "--json", "copy.onnx"),
        ("export", "B.edge/model.onnx", "--out", "B.edge", "--force"),
        ("export", "copy.onnx", "--out", "fifo", "--force"),
        ("compile", "B.edge", "--target", "openvino", "--json", "B.edge/x.json"),
        ("verify", "B.edge", "--json", "B.edge/labels.txt"),
        ("evaluate", "B.edge", "--data", "pics", "--report", "pics/p.html"),
        ("optimize", "B.edge", "--data", "pics", "--work", "pics/work"),
        ("bench", "B.edge", "--json", "B.edge/bundle.json"),
        ("compare", "a.json", "b.json", "--json", "b.json"),
        ("report", "page.html"),
        ("train", "cnn", "--data", "pics", "--out", "pics/run"),
        ("serve", "B.edge", "--source", "clip.mp4", "--json", "clip.mp4"),
        ("doctor", "--json", "B.edge/doctor.json"),
    ],
)
def test_no_command_destroys_what_it_reads(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    shutil.copy(bundle.path / "model.onnx", tmp_path / "copy.onnx")
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics/0.png").write_bytes(b"an image")
    for name in ("a.json", "b.json", "page.html"):
        (tmp_path / name).write_text("{}")
    write_clip(tmp_path / "clip.mp4")
    os.mkfifo(tmp_path / "fifo")
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    code, out, err = cli(*command)
    assert (code, out) == (2, "")
    assert "would be" in err or "lies in" in err or "is not a folder" in err, err
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    after = {path: path.stat() for path in tmp_path.rglob("*")}
    changed = [p for p in before if p not in after or before[p].st_mtime_ns != after[p].st_mtime_ns]
    assert (changed, set(after) - set(before)) == ([], set())


OUTPUTS: dict[str, tuple[str, ...]] = {
    "inspect --json": ("inspect", "B.edge", "--json"),
    "verify --json": ("verify", "B.edge", "--engine", "opencv", "--json"),
    "verify --report": ("verify", "B.edge", "--engine", "opencv", "--report"),
    "run --json": ("run", "B.edge", "--engine", "opencv", "--source", "clip.mp4", "--json"),
    "run --predictions": ("run", "B.edge", "--engine", "opencv", "--source", "clip.mp4", "--predictions"),
    "run --sink": ("run", "B.edge", "--engine", "opencv", "--source", "clip.mp4", "--threshold", "0", "--sink"),
    "report --out": ("report", "r.json", "--out"),
    "doctor --json": ("doctor", "--json"),
}


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    return make_nodes(tmp_path / "nodes")


@pytest.mark.slow
@pytest.mark.parametrize("which", OUTPUTS)
def test_every_kind_of_output_survives(cli: Cli, tmp_path: Path, nodes: Path, which: str) -> None:
    make_bundle(tmp_path / "B.edge")
    write_clip(tmp_path / "clip.mp4")
    if which.startswith("report"):
        assert cli("run", "B.edge", "--engine", "opencv", "--source", "clip.mp4", "--json", "r.json")[0] == 0
    command = OUTPUTS[which]
    code, _, err = cli(*command, nodes / "null")
    assert code == 0, err
    code, _, err = cli(*command, nodes / "link")
    assert code == 0, err
    code, _, err = cli(*command, nodes / "full")
    assert "No space left" in err
    assert code == 2 or "sink" in which, "a sink counts its failures"
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((nodes / "fifo").read_bytes()))
    reader.start()
    code, _, err = cli(*command, nodes / "fifo")
    reader.join(20)
    assert code == 0, err
    code, printed, err = cli(*command, "-")
    assert code == 0, err
    for content in (got[0].decode(), printed):
        _is_whole(which, content)
    if "report" not in which:
        code, _out, err = cli(*command, nodes / "link-to-file") if "sink" not in which else (0, "", "")
        assert code == 0, err
    assert (nodes / "link").is_symlink()
    assert (nodes / "link-to-file").is_symlink()
    modes = {name: stat.S_IFMT((nodes / name).stat().st_mode) for name in ("null", "full", "fifo")}
    assert modes == {"null": stat.S_IFCHR, "full": stat.S_IFCHR, "fifo": stat.S_IFIFO}


def _is_whole(which: str, content: str) -> None:
    read: dict[str, Callable[[str], object]] = {
        "--json": json.loads,
        "--predictions": lambda text: [json.loads(line) for line in text.splitlines()],
        "--report": lambda text: text.index("</html>"),
        "--out": lambda text: text.index("</html>"),
        "--sink": lambda text: text.index("stream,label"),
    }
    read[which.partition(" ")[2]](content)
