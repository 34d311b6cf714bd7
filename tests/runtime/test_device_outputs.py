"""edgeproof-run: its outputs destroy nothing, its messages are safe, its codes are those of edgeproof."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from bundles import LABELS, frames, make_bundle, transposed_onnx
from device_nodes import make_nodes
from unprivileged import held_to_permissions

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(device_program: Path, tmp_path: Path) -> Run:
    def call(*arguments: object, **how: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [device_program, *map(str, arguments)],
            **{"capture_output": True, "text": True, "timeout": 120, "check": False, "cwd": tmp_path, **how},  # type: ignore[call-overload]
        )

    return call


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A bundle, a folder of images, a clip, and links to images."""
    make_bundle(tmp_path / "B.edge", model=transposed_onnx())
    (tmp_path / "pics/deep").mkdir(parents=True)
    for number, frame in enumerate(frames(2, seed=5)):
        cv2.imwrite(str(tmp_path / f"pics/deep/{number}.png"), frame)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/soft").symlink_to(tmp_path / "pics/deep/0.png")
    (tmp_path / "out/hard").hardlink_to(tmp_path / "pics/deep/1.png")
    (tmp_path / "out/folder").symlink_to(tmp_path / "pics")
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        "pics/deep/0.png",
        "pics/new.json",
        "pics/deep/new.json",
        "out/soft",
        "out/hard",
        "out/folder/new.json",
        "B.edge/bundle.json",
        "B.edge/golden/new.json",
        "./out/../B.edge/x",
        "missing/x.json",
        "pics",
        "",
    ],
)
def test_no_output_touches_an_input(run: Run, place: Path, target: str) -> None:
    before = {path: path.stat() for path in place.rglob("*") if not path.is_symlink()}
    for option in ("--json", "--predictions"):
        done = run("B.edge", "--source", "pics", option, target)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
    after = {path: path.stat() for path in place.rglob("*") if not path.is_symlink()}
    assert before.keys() == after.keys()
    assert all(before[path].st_mtime_ns == after[path].st_mtime_ns for path in before)


def test_two_outputs_are_two_files(run: Run, place: Path) -> None:
    (place / "one").write_text("")
    (place / "two").hardlink_to(place / "one")
    (place / "three").symlink_to("new")
    for first, second in (("x", "./x"), ("one", "two"), ("three", "new"), ("-", "/dev/stdout")):
        done = run("B.edge", "--source", "pics", "--json", first, "--predictions", second)
        assert done.returncode == 2
        assert "--predictions and --json name it" in done.stderr


def test_every_kind_of_output_survives(run: Run, place: Path) -> None:
    nodes = make_nodes(place / "nodes")
    for option in ("--json", "--predictions"):
        command = ("B.edge", "--source", "pics", option)
        for name in ("null", "link", "link-to-file"):
            done = run(*command, nodes / name)
            assert done.returncode == 0, done.stderr
        done = run(*command, nodes / "full")
        assert done.returncode == 2
        assert "No space left" in done.stderr
        got: list[str] = []
        reader = threading.Thread(target=lambda got=got: got.append((nodes / "fifo").read_text()))
        reader.start()
        done = run(*command, nodes / "fifo")
        reader.join(20)
        assert done.returncode == 0, done.stderr
        for name in ("-", "/dev/stdout"):
            printed = run(*command, name)
            assert printed.returncode == 0
            assert "frames in" in printed.stderr
            for text in (got[0], printed.stdout):
                documents = [json.loads(text)] if option == "--json" else [json.loads(t) for t in text.splitlines()]
                assert documents
        assert (nodes / "link").is_symlink()
        assert (nodes / "link-to-file").is_symlink()
        (nodes / "new.txt").unlink()
    kinds = {name: stat.S_IFMT((nodes / name).stat().st_mode) for name in ("null", "full", "fifo")}
    assert kinds == {"null": stat.S_IFCHR, "full": stat.S_IFCHR, "fifo": stat.S_IFIFO}


def test_predictions_append_and_rotate(run: Run, place: Path) -> None:
    command = ("B.edge", "--source", "pics", "--predictions", "p.jsonl")
    for _ in range(2):
        assert run(*command).returncode == 0
    lines = [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()]
    assert ["run_began_unix_s" in line for line in lines] == [True, False, False] * 2
    for _ in range(3):
        assert run(*command, "--rotate-files", "1kB").returncode == 0
    files = list(place.glob("p*.jsonl"))
    assert len(files) > 2
    assert sum(file.read_text().count('"stream": ') for file in files) == 10
    for wrong in ("week", "0MB", "1", "-1MB", "99999999999999999999GB"):
        assert run(*command, "--rotate-files", wrong).returncode == 2


def test_control_characters_are_shown_escaped(run: Run, place: Path) -> None:
    shutil.move(place / "pics/deep/0.png", place / "pics/\x1b[31m\u202e0.png")
    done = run("B.edge", "--source", "pics", "--json", "r.json")
    assert done.returncode == 0
    assert "\\x1b[31m\\u202e0.png: " in done.stdout
    missing = run("B.edge", "--source", "\x1b]0;title\x07.png")
    assert "\\x1b]0;title\\x07.png" in missing.stderr
    for text in (done.stdout, done.stderr, missing.stderr, (place / "r.json").read_text()):
        assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("> /dev/full", 2),
        (">&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2> /dev/full", 0),
        ("| true; exit ${PIPESTATUS[0]}", None),
    ],
)
def test_standard_streams_of_every_kind(device_program: Path, place: Path, how: str, code: int | None) -> None:
    line = f"{device_program} B.edge --source pics --json r.json {how}"
    bash = shutil.which("bash") or "/bin/bash"
    done = subprocess.run([bash, "-c", line], capture_output=True, text=True, cwd=place, timeout=120, check=False)
    assert done.returncode == code or (code is None and done.returncode in (0, 141)), done.stderr
    if code != 2 and code is not None:
        json.loads((place / "r.json").read_text())
    if code == 2:
        assert "standard output: cannot be written" in done.stderr


def test_folders_that_cannot_be_read_are_named(device_program: Path, place: Path) -> None:
    (place / "pics/none").mkdir(mode=0)
    (place / "none").mkdir(mode=0)

    def run(source: str) -> subprocess.CompletedProcess[str]:
        command = [*held_to_permissions(), str(device_program), "B.edge", "--source", source, "--json", "r.json"]
        return subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=120, check=False)

    some, refused = run("pics"), run("none")
    assert some.returncode == 0, some.stderr
    assert "skipped none: a folder that cannot be read" in some.stderr
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[:2] == ["none: cannot be read", "  got:      Permission denied"]


def test_linked_folders_are_entered_once(run: Run, place: Path) -> None:
    (place / "pics/again").symlink_to(place / "pics")
    shutil.copytree(place / "pics/deep", place / "elsewhere")
    (place / "pics/linked").symlink_to(place / "elsewhere")
    done = run("B.edge", "--source", "pics", "--json", "r.json")
    assert done.returncode == 0
    names = sorted(line.split(": ")[0] for line in done.stdout.splitlines() if ".png: " in line)
    assert names == ["deep/0.png", "deep/1.png", "linked/0.png", "linked/1.png"]


@pytest.mark.parametrize("source", ["{}.mp4", "http://127.0.0.1:9/{}", "{}/*.mp4", "file:///{}"])
def test_long_names_are_names(run: Run, place: Path, source: str) -> None:
    done = run("B.edge", "--source", source.format("x" * 300))
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 4
    assert any(text in done.stderr for text in ("source not found", "connection refused", "no matching file"))


def test_a_label_that_is_not_ascii_in_the_c_locale_without_a_home(device_program: Path, tmp_path: Path) -> None:
    labels = tuple(f"Tür {number}" for number in range(len(LABELS)))
    make_bundle(tmp_path / "B.edge", labels=labels, model=transposed_onnx())
    cv2.imwrite(str(tmp_path / "a.png"), frames(1, seed=5)[0])
    command = [str(device_program), "B.edge", "--source", "a.png"]
    surroundings = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(command, env=surroundings, cwd=tmp_path, timeout=120, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a.png: Tür " in done.stdout.decode()
