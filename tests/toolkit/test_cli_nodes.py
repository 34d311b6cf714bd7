"""Every output option of every command given a device, a FIFO, a link or standard output: the node is still there.

The options come from the table of inputs and outputs, so that a new one is tried too.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

import edgeproof
from bundles import LABELS, make_bundle, make_generator_bundle, write_clip, write_sorted
from command_line import Cli
from device_nodes import make_nodes
from edgeproof.cli import _COMMANDS
from edgeproof.cli._paths import Writes, marks_of
from edgeproof_export.optimize import judge, recipes
from edgeproof_runtime.measure import Plan
from quick_choice import choose_quickly
from registries import registry
from serving import PLAIN, started
from signing import make_key

# A run of each command that ends soon, without the outputs that are tried. It lies in the folder of `place`.
BASE: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "init": ("init", "B.edge", "--force"),
    "train": ("train", "cnn", "--data", "data.npz", "--epochs", "1", "--batch", "32"),
    "export": (
        "export",
        "model.onnx",
        "--input-size",
        "16",
        "--mean",
        "0.5,0.5,0.5",
        "--std",
        "0.2,0.2,0.2",
        "--engines",
        "onnxruntime",
        "--force",
    ),
    "optimize": ("optimize", "B.edge", "--data", "data.npz", "--precision", "fp16", "--max-drop", "1", "--force"),
    "verify": ("verify", "B.edge", "--engine", "opencv"),
    "evaluate": ("evaluate", "B.edge", "--data", "sorted", "--engine", "opencv"),
    "run": ("run", "B.edge", "--source", "clip.mp4", "--engine", "opencv", "--threshold", "0"),
    "label": ("label", "B.edge", "--data", "sorted", "--engine", "opencv"),
    "sample": ("sample", "G.edge", "--n", "2", "--engine", "onnxruntime"),
    "tune": ("tune", "B.edge", "--engine", "opencv"),
    "bench": ("bench", "B.edge", "--engine", "opencv", "--duration", "1"),
    "compare": ("compare", "r.json", "r.json"),
    "report": ("report", "r.json"),
    "serve": ("serve", "B.edge", "--port", "0", "--engine", "opencv", "--source", "clip.mp4", "--threshold", "0"),
    "service install": ("service", "install", "B.edge", "--source", "clip.mp4"),
    "compile": ("compile", "B.edge", "--target", "openvino"),
    "triton": ("triton", "B.edge", "--repository", "models"),
    "sign": ("sign", "B.edge", "--key", "key.pem"),
    "inspect": ("inspect", "B.edge"),
    "doctor": ("doctor",),
    "push": ("push", "B.edge", "oci://REGISTRY/b:new"),
    "pull": ("pull", "oci://REGISTRY/b:v1"),
    "agent": ("agent", "--ref", "oci://REGISTRY/b:v1", "--once", "--engine", "opencv"),
}
REQUIRED = {
    "label": ("--out", "labels"),
    "train": ("--out", "run"),
    "export": ("--out", "new.edge"),
    "sample": ("--grid", "grid.png"),
}
OF_REGISTRY = ("push", "pull", "agent")
REQUIRED |= {"pull": ("--out", "P.edge"), "agent": ("--bundle-dir", "device")}
NODES = ("null", "link", "fifo", "-", "stdout", "link-to-file", "full")
OPTIONS = {
    name: {mark.option: mark.mark for mark in marks_of(command) if isinstance(mark.mark, Writes)}
    for name, command in _COMMANDS.items()
}
STREAMS = ("file", "image", "page", "table", "settings", "lines")
# Every option with every node takes half an hour. `test_cli_paths` tries every node with the quick commands.
ALL = bool(os.environ.get("EDGEPROOF_ALL_NODES"))
TURNS = [
    (command, turn)
    for command, options in OPTIONS.items()
    if any(mark.kind in STREAMS for mark in options.values()) and (ALL or command != "demo")  # which takes a minute
    for turn in (range(len(NODES)) if ALL else (0, 6))
]


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running.host


@pytest.fixture
def place(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A folder with the inputs of all commands."""
    monkeypatch.setitem(recipes.RECIPES, "cpu", (recipes.RECIPES["tensorrt"][0],))
    monkeypatch.setattr(judge, "_PLAN", Plan(turns=2, duration_s=0.1, block_ms=1.0, min_runs=1, warm_up_s=0.01))
    choose_quickly(monkeypatch, tmp_path / "cache")
    bundle = make_bundle(tmp_path / "B.edge")
    if request.node.callspec.params["command"] in OF_REGISTRY:
        host = request.getfixturevalue("registry_host")
        for name in OF_REGISTRY:
            monkeypatch.setitem(BASE, name, tuple(word.replace("REGISTRY", host) for word in BASE[name]))
        edgeproof.push(bundle, f"oci://{host}/b:v1")
    make_generator_bundle(tmp_path / "G.edge")
    make_key(tmp_path / "key.pem", tmp_path / "key.pub")
    (tmp_path / "model.onnx").write_bytes((bundle.path / "model.onnx").read_bytes())
    write_clip(tmp_path / "clip.mp4")
    write_sorted(tmp_path / "sorted", bundle)
    rng = np.random.default_rng(5)
    arrays = {f"x_{part}": rng.integers(0, 256, (60, 20, 20, 3), dtype=np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(60) % len(LABELS) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    return make_nodes(tmp_path / "nodes")


@contextmanager
def intact(nodes: Path) -> Iterator[None]:
    """Check that every node is still what it was."""
    before = {path.name: (stat.S_IFMT(path.lstat().st_mode), path.lstat().st_ino) for path in nodes.iterdir()}
    yield
    after = {path.name: (stat.S_IFMT(path.lstat().st_mode), path.lstat().st_ino) for path in nodes.iterdir()}
    assert {name: after.get(name) for name in before} == before


@contextmanager
def drained(fifo: Path) -> Iterator[list[bytes]]:
    """Read a FIFO until its writer closes it, or nobody came."""
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    yield got
    with open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "wb"):  # noqa: PTH123 - lets a reader without a writer end
        pass
    reader.join(20)
    assert not reader.is_alive()


def run_serve(arguments: list[str], cwd: Path) -> tuple[int, str, str]:
    """Serve until it answers, then stop."""
    with started(*arguments, cwd=cwd) as server:
        if server.port is not None:
            assert httpx.get(f"{server.url}/healthz", **PLAIN, timeout=60).status_code == 200
        code, out, err = server.end(signal.SIGINT)
    assert "Traceback" not in err, err
    return code, out, err


def call(cli: Cli, place: Path, arguments: list[object]) -> tuple[int, str, str]:
    texts = [str(argument) for argument in arguments]
    return run_serve(texts[1:], place) if texts[0] == "serve" else cli(*texts)


def test_every_command_with_an_output_is_tried() -> None:
    assert set(BASE) >= {command for command, options in OPTIONS.items() if options}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "turn"), TURNS)
def test_outputs_go_into_a_node_or_are_refused(cli: Cli, place: Path, nodes: Path, command: str, turn: int) -> None:
    if command == "compare":
        assert cli("bench", "B.edge", "--engine", "opencv,onnxruntime", "--duration", "1", "--json", "r.json")[0] == 0
    if command == "report":
        assert cli("verify", "B.edge", "--engine", "opencv", "--json", "r.json")[0] == 0
    options = [option for option, mark in OPTIONS[command].items() if mark.kind in STREAMS]
    arguments: list[object] = [*BASE[command]]
    required = REQUIRED.get(command, ())
    if required and required[0] not in options:
        arguments += required
    given: dict[str, str] = {}
    names = iter(NODES[turn:] + NODES[:turn])
    for option in options:
        closed = {"stdout"} if command != "serve" else set()  # of pytest, in this process
        if {"-", "stdout"} & set(given.values()) or OPTIONS[command][option].kind == "image":
            closed = {"-", "stdout"}  # one place, and of text
        name = next(name for name in names if name not in closed)
        if name == "link-to-file":
            name += {"page": ".html", "image": ".png", "table": ".csv"}.get(OPTIONS[command][option].kind, "")
            name += ".csv" if option == "--sink" else ""
            (nodes / name).is_symlink() or (nodes / name).symlink_to(f"new{name}")
        given[option] = name
        arguments += [option, name if name == "-" else nodes / name]
    with intact(nodes), drained(nodes / "fifo") as got:
        code, out, err = call(cli, place, arguments)
    full = "full" in given.values()
    sinks = [option for option, name in given.items() if name == "full" and option in ("--sink", "--predictions")]
    assert code == (2 if full and not sinks else 0) or (full and code == 2), (given, err)
    if full and not (code == 0 and sinks):  # events that never came need no space
        assert "No space left" in err, (given, err)
        return
    for option, name in given.items():
        if name == "fifo":
            assert got, option
            assert got[0] or command == "serve", option
        if name == "-":
            assert out or command == "serve", option
        if name.startswith("link-to-file"):
            assert (nodes / name).is_file(), option


@pytest.mark.parametrize(
    ("command", "option"),
    [(c, o) for c, options in OPTIONS.items() for o, mark in options.items() if mark.kind not in STREAMS],
)
def test_folders_videos_and_caches_are_no_nodes(cli: Cli, place: Path, nodes: Path, command: str, option: str) -> None:
    required = REQUIRED.get(command, ())
    base = [*BASE[command], *(() if option in required else required)]
    for name in ("null", "full", "fifo", "link", "stdout", "-"):
        with intact(nodes):
            code, out, err = cli(*base, option, name if name == "-" else nodes / name)
        assert (code, out) == (2, ""), (name, err)
        assert "is not a" in err or "is a file" in err, (name, err)
