"""Hostile options, outputs, surroundings and addresses, for every command."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hostile.base import copy
from hostile.mutations import HUGE_NAME, HUGE_NUMBER
from hostile.probe import ANY, GATES, REFUSED, Probe

__all__ = ["probes"]

_B = "in/good.edge"
_SECRET = "s3cr3t-Pa55"  # noqa: S105 - planted

# Each command that ends by itself, with what it needs to do real work in a second.
_WORKING: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", _B),
    "verify": ("verify", _B, "--engine", "onnxruntime"),
    "evaluate": ("evaluate", _B, "--data", "in/data", "--engine", "onnxruntime", "--no-evidence"),
    "run": ("run", _B, "--source", "in/pics", "--engine", "onnxruntime", "--workers", "1"),
    "compare": ("compare", "in/bench.json", "in/bench.json"),
    "doctor": ("doctor",),
}
_RUN = _WORKING["run"]


def _all(folder: Path) -> None:
    copy(
        folder,
        "good.edge",
        "many.edge",
        "data",
        "pics",
        "bench.json",
        "report.json",
        "clip.mp4",
        "model.onnx",
        "labels.txt",
        "streams.toml",
    )


def probes() -> Iterator[Probe]:
    """Yield the probes."""
    yield from _options()
    yield from _outputs()
    yield from _surroundings()
    yield from _addresses()
    yield from _device_options()


def _options() -> Iterator[Probe]:
    kind = "absurd option"
    numbers = (
        "0",
        "-1",
        "99999999999999999999",
        "1e9",
        "nan",
        "inf",
        "",
        "x",
        "0x10",
        "١",
        "1_000",
        " 1",
        HUGE_NUMBER,
        HUGE_NAME,
    )
    of: dict[tuple[str, ...], tuple[str, ...]] = {
        _WORKING["evaluate"]: ("--batch", "--limit", "--threads", "--min-top1", "--max-drop"),
        (*_RUN, "--max-frames", "2"): ("--workers", "--batch", "--top-k", "--threads", "--rate-limit", "--rotate", "--stable", "--threshold"),
        ("bench", _B, "--engine", "onnxruntime", "--duration", "0.1"): ("--batch", "--threads", "--streams", "--samples", "--target-qps", "--limit"),
        ("label", _B, "--data", "in/data", "--engine", "onnxruntime", "--out", "out/labels"): ("--batch", "--workers", "--threads", "--shard", "--on"),
        ("sample", _B): ("--n", "--seed"),
        ("compile", _B, "--target", "openvino"): ("--batch", "--workspace", "--optimization-level"),
        ("serve", _B, "--engine", "onnxruntime"): ("--threads", "--max-batch", "--queue", "--max-body-mb", "--port"),
        ("export", "in/model.onnx", "--out", "out/x.edge", "--labels", "in/labels.txt", "--engines", "onnxruntime"): ("--gate-images", "--opset", "--num-classes", "--input-size", "--channels", "--scale", "--mean", "--std", "--batch"),
        ("train", "cnn", "--data", "in/data", "--out", "out/t"): ("--epochs", "--batch", "--lr", "--size", "--steps", "--devices", "--nodes", "--patience", "--val-share", "--seed"),
        ("optimize", _B, "--data", "in/data"): ("--max-drop", "--calibration", "--samples"),
    }  # fmt: skip
    for base_argv, options in of.items():
        for option in options:
            command = base_argv[0]
            # Of numbers that may be meant, a server would run and a training would train.
            bad = [
                n
                for n in numbers
                if command not in ("serve", "train", "bench") or n not in ("0", " 1", "1_000", "١", "0x10")
            ]
            for number in bad[:: 2 if len(options) > 5 else 1]:
                if command in ("serve", "train") and number in ("1e9", "99999999999999999999", "-1") and option in ("--seed", "--epochs", "--steps", "--patience", "--lr"):  # fmt: skip
                    continue
                long = f"{len(number):,} characters" if len(number) > 100 else number
                yield Probe(kind=kind, surface="command", name=f"{command} {option} {long!r}", plant=_all, argv=(*base_argv, option, number), codes=GATES, writes=True)  # fmt: skip
    many = {
        "workers 512": (*_RUN, "--workers", "512"),
        "workers 100,000": (*_RUN, "--workers", "100000"),
        "threads 100,000": (*_RUN, "--threads", "100000"),
        "batch 1,000,000": (*_RUN, "--batch", "1000000"),
        "batch of evaluate": (*_WORKING["evaluate"], "--batch", "100000000"),
        "bench threads": ("bench", _B, "--threads", "100000", "--duration", "0.1", "--engine", "onnxruntime"),
        "bench streams": ("bench", _B, "--streams", "100000", "--duration", "0.1", "--engine", "onnxruntime"),
        "bench batch": ("bench", _B, "--batch", "100000000", "--duration", "0.1", "--engine", "onnxruntime"),
        "bench samples": ("bench", _B, "--samples-per-query", "1000000000", "--scenario", "multi-stream", "--duration", "0.1", "--engine", "onnxruntime"),
        "bench 2,000 batches": ("bench", _B, "--batch", ",".join(str(n + 1) for n in range(2000)), "--duration", "0.1", "--engine", "onnxruntime"),
        "top-k 10**9": (*_RUN, "--top-k", "1000000000", "--predictions", "out/p.jsonl"),
        "source synthetic huge": ("run", _B, "--source", "synthetic://60000x60000@30", "--max-frames", "2", "--engine", "onnxruntime"),
        "source synthetic fast": ("run", _B, "--source", "synthetic://64x48@100000000", "--max-frames", "2", "--engine", "onnxruntime"),
        "source of 10,000": ("run", _B, "--source", HUGE_NAME, "--engine", "onnxruntime"),
        "source a camera of 5,000 digits": ("run", _B, "--source", HUGE_NUMBER, "--engine", "onnxruntime"),
        "source synthetic of 5,000 digits": ("run", _B, "--source", f"synthetic://{HUGE_NUMBER}x48", "--engine", "onnxruntime"),
        "source csi of 5,000 digits": ("run", _B, "--source", f"csi://{HUGE_NUMBER}", "--engine", "onnxruntime"),
        "output of 5,000 digits": ("export", "in/model.onnx", "--out", "out/x.edge", "--input-size", "16", "--output", HUGE_NUMBER),
        "crop of 5,000 digits": (*_RUN, "--crop", f"0,0,1,{HUGE_NUMBER}"),
        "rotate-files of 5,000 digits": (*_RUN, "--rotate-files", f"{HUGE_NUMBER}MB", "--sink", "out/x.csv"),
        "mqtt qos of 5,000 digits": (*_RUN, "--sink", f"mqtt://127.0.0.1:1/a?qos={HUGE_NUMBER}"),
        "port of 5,000 digits": (*_RUN, "--sink", f"http://127.0.0.1:{HUGE_NUMBER}/x"),
        "bench threads of 5,000 digits": ("bench", _B, "--threads", HUGE_NUMBER, "--duration", "0.1", "--engine", "onnxruntime"),
        "gpu of 5,000 digits": ("compile", _B, "--target", "tensorrt-rtx", "--gpu", f"sm{HUGE_NUMBER}"),
        "source empty": ("run", _B, "--source", "", "--engine", "onnxruntime"),
        "source of brackets": ("run", _B, "--source", "[" * 3000 + "*", "--engine", "onnxruntime"),
        "source glob of everything": ("run", _B, "--source", "/proc/*/mem", "--engine", "onnxruntime"),
        "source pipeline": ("run", _B, "--source", "filesrc location=/etc/passwd ! appsink", "--engine", "onnxruntime"),
        "300 sources": ("run", _B, *(a for _ in range(300) for a in ("--source", "in/pics/0.png")), "--engine", "onnxruntime"),
        "duration of a million years": (*_RUN, "--duration", "9" * 30 + "d"),
        "duration of 10,000 digits": (*_RUN, "--duration", "9" * 10_000),
        "duration not ASCII": (*_RUN, "--duration", "٣s"),
        "stall of 1e300": (*_RUN, "--stall-timeout", "9" * 300),
        "crop huge": (*_RUN, "--crop", "0,0,99999999999,99999999999"),
        "crop not ASCII": (*_RUN, "--crop", "²,²,²,²"),
        "resolution": (*_RUN, "--resolution", "9" * 5000 + "x1"),
        "max-slowdown": (*_WORKING["compare"], "--max-slowdown", "nan%"),
        "engine unknown": ("verify", _B, "--engine", "\x1b[2Jevil"),
        "engine of 10,000": ("verify", _B, "--engine", HUGE_NAME),
        "precision of 10,000": ("verify", _B, "--precision", HUGE_NAME),
        "label of a control character": (*_WORKING["evaluate"], "--split", "\x1b[2J\u202e"),
        "unknown option": ("inspect", _B, "--\x1b[2J"),
        "unknown command": ("\x1b[2J",),
        "surrogate in a path": ("inspect", "in/\udcff.edge"),
        "surrogate as a source": ("run", _B, "--source", "in/\udcff\udcfe", "--engine", "onnxruntime"),
        "zero-width name": ("inspect", "in/\u200b\u202e.edge"),
        "sink unknown": (*_RUN, "--sink", "ftp://x"),
        "sink empty": (*_RUN, "--sink", ""),
        "port in use of 99999": (*_RUN, "--sink", "http://127.0.0.1:99999/x"),
        "sink not an address": (*_RUN, "--sink", "http://[::1/x"),
        "mqtt without host": (*_RUN, "--sink", "mqtt:///x"),
        "mqtt with a wildcard": (*_RUN, "--sink", "mqtt://127.0.0.1:1/a/#/+"),
        "source of a port of 99999": ("run", _B, "--source", "rtsp://127.0.0.1:99999/x", "--engine", "onnxruntime"),
        "source not an address": ("run", _B, "--source", "http://[::1/x", "--engine", "onnxruntime"),
        "hf folder": ("export", "hf:in/pics", "--out", "out/x.edge"),
        "camera codec": (*_WORKING["evaluate"], "--hops", "--camera", "\x1b[2J"),
        "against itself": (*_WORKING["evaluate"], "--against", HUGE_NAME),
        "gpu list": ("compile", _B, "--target", "tensorrt-rtx", "--gpu", ",".join(["sm99"] * 5000)),
        "target unknown": ("compile", _B, "--target", "\x1b[2J"),
    }  # fmt: skip
    for name, argv in many.items():
        yield Probe(kind=kind, surface="command", name=name, plant=_all, argv=argv, codes=GATES, writes=True)


@cache
def _can_make_nodes() -> bool:
    with TemporaryDirectory() as folder:
        try:
            os.mknod(Path(folder, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
            Path(folder, "null").write_bytes(b"x")
        except OSError:
            return False
    return True


def _outputs() -> Iterator[Probe]:
    """Outputs that are inputs, devices, links, or lie in what is read. Never the machine's own nodes: copies of them."""
    kind = "output over an input"
    clash: dict[str, tuple[tuple[str, ...], frozenset[int]]] = {
        "inspect --json the manifest": (("inspect", _B, "--json", f"{_B}/bundle.json"), REFUSED),
        "inspect --json the model": (("inspect", _B, "--json", f"{_B}/model.onnx"), REFUSED),
        "inspect --json a new file of the bundle": (("inspect", _B, "--json", f"{_B}/new.json"), REFUSED),
        "inspect --json the bundle": (("inspect", _B, "--json", _B), REFUSED),
        "inspect --json by a link": (("inspect", _B, "--json", "in/link.json"), REFUSED),
        "inspect --json by a hard link": (("inspect", _B, "--json", "in/hard.json"), REFUSED),
        "inspect --json by dots": (("inspect", _B, "--json", f"in/pics/../good.edge/../../{_B}/labels.txt"), REFUSED),
        "export --json the model": (("export", "in/model.onnx", "--out", "out/x.edge", "--input-size", "16", "--json", "in/model.onnx"), REFUSED),
        "export --out the model": (("export", "in/model.onnx", "--out", "in/model.onnx", "--input-size", "16", "--force"), REFUSED),
        "export --out a folder of images": (("export", "in/model.onnx", "--out", "in/pics", "--input-size", "16", "--force"), REFUSED),
        "export --out the folder of the model": (("export", "in/model.onnx", "--out", "in", "--input-size", "16", "--force"), REFUSED),
        "export --json the labels": (("export", "in/model.onnx", "--labels", "in/labels.txt", "--out", "out/x.edge", "--input-size", "16", "--json", "in/labels.txt"), REFUSED),
        "run --json an image": ((*_RUN, "--json", "in/pics/0.png"), REFUSED),
        "run --json beside the images": ((*_RUN, "--json", "in/pics/new.json"), REFUSED),
        "run --predictions an image": ((*_RUN, "--predictions", "in/pics/0.png"), REFUSED),
        "run --save the clip": (("run", _B, "--source", "in/clip.mp4", "--engine", "onnxruntime", "--save", "in/clip.mp4"), REFUSED),
        "run --sink the streams file": (("run", _B, "--source", "in/streams.toml", "--engine", "onnxruntime", "--sink", "in/streams.csv", "--json", "in/streams.toml"), REFUSED),
        "run --json a stream's source": (("run", _B, "--source", "in/streams.toml", "--engine", "onnxruntime", "--json", "in/clip.mp4"), REFUSED),
        "run two outputs in one": ((*_RUN, "--json", "out/a", "--predictions", "out/a"), REFUSED),
        "run two outputs by a link": ((*_RUN, "--json", "out/a", "--predictions", "out/../out/a"), REFUSED),
        "run --sink the bundle": ((*_RUN, "--sink", f"{_B}/events.csv"), REFUSED),
        "init --out the streams file": (("init", _B, "--out", "in/streams.toml"), REFUSED),
        "init --force --out the source": (("init", _B, "--source", "in/clip.mp4", "--force", "--out", "in/clip.mp4"), REFUSED),
        "init --force --out in the bundle": (("init", _B, "--force", "--out", f"{_B}/edgeproof.toml"), REFUSED),
        "init --force --out beside the images": (("init", _B, "--source", "in/pics", "--force", "--out", "in/pics/x.toml"), REFUSED),
        "evaluate --predictions beside the samples": ((*_WORKING["evaluate"], "--predictions", "in/data/x.csv"), REFUSED),
        "evaluate --predictions in the bundle": ((*_WORKING["evaluate"], "--predictions", f"{_B}/x.parquet"), REFUSED),
        "evaluate --json a sample": (("evaluate", _B, "--data", "in/data", "--engine", "onnxruntime", "--no-evidence", "--json", "in/data/x.json"), REFUSED),
        "evaluate --report in the bundle": ((*_WORKING["evaluate"], "--report", f"{_B}/golden/x.html"), REFUSED),
        "label --out in the bundle": (("label", _B, "--data", "in/data", "--engine", "onnxruntime", "--out", f"{_B}/labels"), REFUSED),
        "label --out beside the images": (("label", _B, "--data", "in/data", "--engine", "onnxruntime", "--out", "in/data"), REFUSED),
        "label --json an image": (("label", _B, "--data", "in/pics", "--engine", "onnxruntime", "--out", "out/labels", "--json", "in/pics/0.png"), REFUSED),
        "compare --json the old report": ((*_WORKING["compare"], "--json", "in/bench.json"), REFUSED),
        "report --out the report": (("report", "in/report.json", "--out", "in/report.json"), REFUSED),
        "verify --json the model": ((*_WORKING["verify"], "--json", f"{_B}/model.onnx"), REFUSED),
        "bench --json the bundle's labels": (("bench", _B, "--duration", "0.1", "--engine", "onnxruntime", "--json", f"{_B}/labels.txt"), REFUSED),
        "compile --json the model": (("compile", _B, "--target", "openvino", "--json", f"{_B}/model.onnx"), REFUSED),
        "compile --timing-cache the model": (("compile", _B, "--target", "openvino", "--timing-cache", f"{_B}/model.onnx"), REFUSED),
        "optimize --json the model": (("optimize", _B, "--data", "in/data", "--json", f"{_B}/model.onnx"), REFUSED),
        "train --out the data": (("train", "cnn", "--data", "in/data", "--out", "in/data", "--epochs", "1"), REFUSED),
        "train --out in the data": (("train", "cnn", "--data", "in/data", "--out", "in/data/cat", "--epochs", "1"), REFUSED),
        "train --json a sample": (("train", "cnn", "--data", "in/data", "--out", "out/t", "--epochs", "1", "--json", "in/data/cat/x.json"), REFUSED),
        "serve --json the model": (("serve", _B, "--port", "0", "--json", f"{_B}/model.onnx"), REFUSED),
        "demo --out a file": (("demo", "--out", "in/labels.txt"), REFUSED),
        "demo --out a bundle": (("demo", "--out", _B), REFUSED),
        "doctor --json a folder": (("doctor", "--json", "in/pics"), REFUSED),
        "doctor --json below a file": (("doctor", "--json", "in/labels.txt/x.json"), REFUSED),
        "doctor --json a long name": (("doctor", "--json", f"out/{HUGE_NAME}"), REFUSED),
        "doctor --json a link to itself": (("doctor", "--json", "in/loop"), REFUSED),
    }  # fmt: skip

    def plant(folder: Path) -> None:
        _all(folder)
        (folder / "link.json").symlink_to("good.edge/labels.txt")
        os.link(folder / "good.edge/labels.txt", folder / "hard.json")
        (folder / "loop").symlink_to("loop")

    for name, (argv, codes) in clash.items():
        yield Probe(kind=kind, surface="command", name=name, plant=plant, argv=argv, codes=codes)
    device: dict[str, tuple[str, ...]] = {
        "--json the manifest": (_B, "--verify", "--json", f"{_B}/bundle.json"),
        "--json in the bundle": (_B, "--verify", "--json", f"{_B}/new.json"),
        "--json an image": (_B, "--source", "in/pics", "--json", "in/pics/0.png"),
        "--json beside the images": (_B, "--source", "in/pics", "--json", "in/pics/new.json"),
        "--predictions an image": (_B, "--source", "in/pics", "--predictions", "in/pics/0.png"),
        "--predictions a hard link": (_B, "--source", "in/pics", "--predictions", "in/hard.json"),
        "--json a link": (_B, "--verify", "--json", "in/link.json"),
        "two outputs in one": (_B, "--source", "in/pics", "--json", "out/a", "--predictions", "out/a"),
        "--json a link to itself": (_B, "--verify", "--json", "in/loop"),
        "--json a folder": (_B, "--verify", "--json", "in/pics"),
        "--json a long name": (_B, "--verify", "--json", HUGE_NAME),
    }  # fmt: skip
    for name, argv in device.items():
        yield Probe(kind=kind, surface="edgeproof-run", name=name, plant=plant, argv=argv, codes=REFUSED)
    yield from _nodes()


def _nodes() -> Iterator[Probe]:
    kind = "output to a node"
    commands = {
        "inspect": ("inspect", _B, "--json"), "verify": (*_WORKING["verify"], "--json"), "evaluate": (*_WORKING["evaluate"], "--json"),
        "run": (*_RUN, "--json"), "run predictions": (*_RUN, "--predictions"), "compare": (*_WORKING["compare"], "--json"), "doctor": ("doctor", "--json"),
    }  # fmt: skip
    makers: dict[str, tuple[Callable[[Path], object], frozenset[int]]] = {
        "a link to a file": (
            lambda p: (p.parent.joinpath("target").write_text("old"), p.symlink_to("target")),
            frozenset({0}),
        ),
        "a link to nothing": (lambda p: p.symlink_to("../../out/made.json"), frozenset({0})),
        "a read-only folder": (lambda p: (p.mkdir(), p.chmod(0o555)), REFUSED),
    }
    if _can_make_nodes():
        makers["a null device"] = (lambda p: os.mknod(p, stat.S_IFCHR | 0o666, os.makedev(1, 3)), frozenset({0}))
        makers["a full device"] = (lambda p: os.mknod(p, stat.S_IFCHR | 0o666, os.makedev(1, 7)), REFUSED)
    for what, (make, codes) in makers.items():
        for command, argv in commands.items():

            def plant(folder: Path, make: Callable[[Path], object] = make) -> None:
                _all(folder)
                (folder / "nodes").mkdir()
                make(folder / "nodes/node")

            writes = what == "a link to a file"
            yield Probe(kind=kind, surface="command", name=f"{command} {what}", plant=plant, argv=(*argv, "in/nodes/node"), codes=codes, writes=writes, keeps=True)  # fmt: skip
        for argv in ((_B, "--verify", "--json"), (_B, "--source", "in/pics", "--predictions")):

            def plant_node(folder: Path, make: Callable[[Path], object] = make) -> None:
                _all(folder)
                (folder / "nodes").mkdir()
                make(folder / "nodes/node")

            yield Probe(kind=kind, surface="edgeproof-run", name=f"{argv[-1]} {what}", plant=plant_node, argv=(*argv, "in/nodes/node"), codes=codes, writes=what == "a link to a file", keeps=True)  # fmt: skip


def _surroundings() -> Iterator[Probe]:
    """Locales, closed and full outputs, users without a home, folders that cannot be written: real processes."""
    kind = "surroundings"
    ascii_env: dict[str, str | None] = {
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }

    def unicode_names(folder: Path) -> None:
        _all(folder)
        (folder / "good.edge").rename(folder / "größe猫.edge")

    ways: dict[str, dict[str, Any]] = {
        "ASCII": {"env": ascii_env, "plant": unicode_names, "argv": ("inspect", "in/größe猫.edge")},
        "ASCII verify": {"env": ascii_env, "argv": _WORKING["verify"]},
        "ASCII help": {"env": ascii_env, "argv": ("run", "--help")},
        "ASCII error": {"env": ascii_env, "argv": ("inspect", "in/né猫.edge"), "codes": REFUSED},
        "stdout full": {"stdout": "full", "argv": ("inspect", _B), "codes": REFUSED},
        "stdout full help": {"stdout": "full", "argv": ("train", "--help"), "codes": REFUSED},
        "stdout closed": {"stdout": "closed", "argv": ("inspect", _B)},
        "pipe closed": {"stdout": "pipe", "argv": ("train", "--help"), "codes": frozenset({0, 141, -13})},
        "pipe closed inspect": {"stdout": "pipe", "argv": ("inspect", _B), "codes": frozenset({0, 141, -13})},
        "no HOME": {"env": {"HOME": None, "XDG_CACHE_HOME": None, "EDGEPROOF_CACHE": None}, "argv": _WORKING["verify"]},
        "HOME a file": {"env": {"HOME": "{}/in/labels.txt", "EDGEPROOF_CACHE": None}, "argv": _WORKING["verify"]},
        "HOME relative": {"env": {"HOME": "in/pics/nowhere", "EDGEPROOF_CACHE": None}, "argv": ("inspect", _B)},
        "cache a file": {"env": {"EDGEPROOF_CACHE": "in/labels.txt"}, "argv": _WORKING["verify"]},
        "cache a link to itself": {"env": {"EDGEPROOF_CACHE": "/proc/self/fd/99"}, "argv": _WORKING["verify"]},
        "TMPDIR is absent": {"env": {"TMPDIR": "/nowhere"}, "argv": _WORKING["verify"]},
        "COLUMNS 0": {"env": {"COLUMNS": "0"}, "argv": ("inspect", _B)},
        "COLUMNS huge": {"env": {"COLUMNS": "1000000000"}, "argv": ("inspect", _B)},
        "COLUMNS text": {"env": {"COLUMNS": "x"}, "argv": ("inspect", _B)},
        "TERM evil": {"env": {"TERM": "\x1b[2J", "NO_COLOR": ""}, "argv": ("inspect", _B)},
    }  # fmt: skip
    can_become = os.geteuid() == 0 and shutil.which("setpriv") is not None
    if can_become:
        ways["unknown user"] = {"uid": 12345, "argv": ("inspect", _B)}
        ways["unknown user verify"] = {"uid": 12345, "env": {"HOME": None}, "argv": _WORKING["verify"]}
        ways["unknown user evaluate"] = {
            "uid": 12345,
            "env": {"HOME": "/root"},
            "argv": ("evaluate", _B, "--data", "in/data", "--engine", "onnxruntime"),
        }
        ways["unknown user writes"] = {"uid": 12345, "argv": ("inspect", _B, "--json", "in/x.json"), "codes": REFUSED}
    for name, way in ways.items():
        yield Probe(**{"kind": kind, "surface": "process", "name": name, "plant": _all, "codes": ANY, **way})
    device: dict[str, dict[str, Any]] = {
        "ASCII": {"env": {"LC_ALL": "C"}, "plant": unicode_names, "argv": ("in/größe猫.edge", "--verify")},
        "stdout full": {"stdout": "full", "argv": (_B, "--verify"), "codes": REFUSED},
        "stdout closed": {"stdout": "closed", "argv": (_B, "--verify"), "codes": ANY},
        "pipe closed": {"stdout": "pipe", "argv": (_B, "--verify"), "codes": frozenset({0, 141, -13})},
        "no HOME": {"env": {"HOME": None, "EDGEPROOF_CACHE": None}, "argv": (_B, "--verify")},
        "unknown user": {"uid": 12345 if can_become else None, "argv": (_B, "--verify")},
    }
    for name, way in device.items():
        yield Probe(**{"kind": kind, "surface": "edgeproof-run", "name": name, "plant": _all, "codes": ANY, **way})


def _addresses() -> Iterator[Probe]:
    """Addresses with a secret in them, which nothing may show or keep."""
    kind = "secret in an address"
    port = "127.0.0.1:9"  # nothing listens there
    sources = {
        "userinfo": f"rtsp://admin:{_SECRET}@{port}/x",
        "two ats": f"rtsp://admin:{_SECRET}@x@{port}/x",
        "slash in the password": f"rtsp://admin:a/{_SECRET}@{port}/x",
        "hash in the password": f"rtsp://admin:a#{_SECRET}@{port}/x",
        "query": f"http://{port}/v?pwd={_SECRET}",
        "query without a name": f"http://{port}/v?{_SECRET}",
        "DVR path": f"rtsp://{port}/user=admin_password={_SECRET}_channel=1.sdp",
        "capital scheme": f"RTSP://admin:{_SECRET}@{port}/x",
        "without host": f"rtsp://admin:{_SECRET}@",
        "percent": f"rtsp://admin:{_SECRET}%40@{port}/x",
        "pipeline": f"rtspsrc location=rtsp://admin:{_SECRET}@{port}/x ! appsink",
        "pipeline fields": f"rtspsrc location=rtsp://{port}/x user-id=admin user-pw={_SECRET} ! appsink",
        "unknown scheme": f"ftp://admin:{_SECRET}@{port}/x",
        "bad port": f"rtsp://admin:{_SECRET}@127.0.0.1:99999/x",
        "bad host": f"rtsp://admin:{_SECRET}@[::1/x",
        "a space": f"rtsp://admin:{_SECRET} @{port}/x",
        "a newline": f"rtsp://admin:{_SECRET}\n@{port}/x",
    }  # fmt: skip
    for name, source in sources.items():
        argv = (
            "run",
            _B,
            "--engine",
            "onnxruntime",
            "--duration",
            "1",
            "--reconnect",
            "never",
            "--json",
            "out/r.json",
            "--source",
            source,
        )
        yield Probe(
            kind=kind,
            surface="command",
            name=f"source {name}",
            plant=_all,
            argv=argv,
            secret=_SECRET,
            codes=REFUSED,
            keeps=True,
        )
        yield Probe(kind=kind, surface="edgeproof-run", name=f"source {name}", plant=_all, argv=(_B, "--json", "out/r.json", "--source", source), secret=_SECRET, codes=REFUSED, keeps=True)  # fmt: skip

        def streams(folder: Path, source: str = source) -> None:
            _all(folder)
            import json

            (folder / "s.toml").write_text(f"[door]\nsource = {json.dumps(source)}\nrotate = 7\n")

        yield Probe(kind=kind, surface="command", name=f"streams file {name}", plant=streams, argv=("run", _B, "--source", "in/s.toml"), secret=_SECRET, codes=REFUSED)  # fmt: skip
    sinks = {
        "mqtt": f"mqtt://u:{_SECRET}@{port}/t", "webhook userinfo": f"http://u:{_SECRET}@{port}/h", "webhook query": f"http://{port}/h?token={_SECRET}",
        "webhook path": f"http://{port}/services/T00/B00/{_SECRET}XXXXXXXXXXXX", "bot path": f"http://{port}/bot123456:{_SECRET}/send", "unknown": f"amqp://u:{_SECRET}@{port}/t",
    }  # fmt: skip
    for name, sink in sinks.items():
        argv = (*_RUN, "--json", "out/r.json", "--report", "out/r.html", "--sink", sink)
        yield Probe(
            kind=kind,
            surface="command",
            name=f"sink {name}",
            plant=_all,
            argv=argv,
            secret=_SECRET,
            codes=GATES,
            keeps=True,
        )
    long = {"one word of 1 MB": "a" * 100_000, "ats": "@" * 60_000, "colons": ":" * 60_000, "rtsp://": "rtsp://" * 10_000, "slashes": "/" * 60_000, "nested": "rtsp://a:b@" * 8_000}  # fmt: skip
    for name, text in long.items():
        yield Probe(
            kind=kind,
            surface="edgeproof-run",
            name=f"long {name}",
            plant=_all,
            argv=(_B, "--source", f"rtsp://{text}"),
            codes=REFUSED,
        )
        yield Probe(
            kind=kind,
            surface="command",
            name=f"long {name}",
            plant=_all,
            argv=("run", _B, "--source", f"rtsp://{text}", "--reconnect", "never"),
            codes=REFUSED,
        )


def _device_options() -> Iterator[Probe]:
    kind = "absurd option"
    options = (
        "--threads",
        "--max-frames",
        "--sample",
        "--seed",
        "--engine",
        "--precision",
        "--source",
        "--labels-from",
        "--unknown",
    )
    values = (
        "",
        "0",
        "-1",
        "99999999999999999999",
        "1e9",
        "nan",
        "x\x1b[2J\u202e",
        HUGE_NAME,
        HUGE_NUMBER,
        "%s%n%n",
        "../../x",
    )
    for option in options:
        for value in values:
            if option in ("--engine", "--source", "--precision") and value == "":
                continue
            shown = f"{len(value):,} characters" if len(value) > 100 else value
            yield Probe(kind=kind, surface="edgeproof-run", name=f"{option} {shown!r}", plant=_all, argv=(_B, "--source", "in/pics", option, value), codes=ANY)  # fmt: skip
    for name, argv in {"none": (), "empty": ("",), "only options": ("--verify", "--verify"), "two bundles": (_B, _B), "10,000 arguments": ("x",) * 10_000, "no value": (_B, "--source"), "threads 1,000": (_B, "--verify", "--threads", "1000")}.items():  # fmt: skip
        yield Probe(kind=kind, surface="edgeproof-run", name=name, plant=_all, argv=argv, codes=ANY)
