"""Every command, and edgeproof-run, in places that fail: full disks, limits of the system, streams that are closed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostile.base import copy
from hostile.places import MOUNTS, PLACES, can_mount
from hostile.probe import GATES, Probe

__all__ = ["probes"]

_B = "in/good.edge"
_KIND = "places that fail"
_UNKNOWN_USER = 12345
_COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", _B, "--json", "out/i.json"),
    "verify": ("verify", _B, "--engine", "onnxruntime", "--json", "out/v.json"),
    "evaluate": ("evaluate", _B, "--data", "in/data", "--engine", "onnxruntime", "--report", "out/e.html"),
    "run": ("run", _B, "--source", "in/pics", "--engine", "onnxruntime", "--workers", "1", "--predictions", "out/p.jsonl", "--save", "out/v.mp4"),
    "bench": ("bench", _B, "--engine", "onnxruntime", "--duration", "0.1", "--json", "out/b.json"),
    "compare": ("compare", "in/bench.json", "in/bench.json", "--json", "out/c.json"),
    "report": ("report", "in/report.json", "--out", "out/r.html"),
    "doctor": ("doctor", "--json", "out/d.json"),
    "export": ("export", "in/model.onnx", "--out", "out/x.edge", "--labels", "in/labels.txt", "--input-size", "16", "--engines", "onnxruntime"),
    "export of weights": ("export", "timm:resnet10t", "--weights", "in/weights.pth", "--num-classes", "5", "--out", "out/x.edge", "--engines", "onnxruntime"),
    "compile": ("compile", _B, "--target", "openvino"),
    "optimize": ("optimize", _B, "--data", "in/data", "--precision", "fp16", "--json", "out/o.json"),
}  # fmt: skip
_DEVICE: dict[str, tuple[str, ...]] = {
    "--verify": (_B, "--verify", "--json", "out/v.json"),
    "--source": (_B, "--source", "in/pics", "--predictions", "out/p.jsonl", "--json", "out/r.json"),
    "video": (_B, "--source", "in/clip.mp4", "--max-frames", "5"),
}
# It builds with an engine, whose threads a fork does not copy, and then tries the result in a child.
_NEVER_FORKED = ("compile",)
_SILENT = ("stderr closed", "stderr full", "all streams closed", "files of 4 kB")


def _all(folder: Path) -> None:
    copy(
        folder, "good.edge", "data", "pics", "bench.json", "report.json", "clip.mp4", "model.onnx", "labels.txt", "weights.pth"
    )  # fmt: skip


def probes() -> Iterator[Probe]:
    """Yield the probes: every command in every place."""
    for place in PLACES:
        if place in MOUNTS and not can_mount():
            continue
        more: dict[str, Any] = {"place": place, "plant": _all, "codes": GATES, "writes": True, "keeps": True}
        more["silent"] = place in _SILENT
        if place in ("no more processes", "without users", "umask 777"):
            if os.geteuid() != 0:
                continue
            more["uid"] = _UNKNOWN_USER  # the limit does not hold for root
        if place == "HOME full":
            more["env"] = {"EDGEPROOF_CACHE": None}
        for name, argv in _COMMANDS.items():
            surface = "process" if name in _NEVER_FORKED else "command"
            yield Probe(kind=_KIND, surface=surface, name=f"{name}, {place}", argv=_found_from(place, argv), **more)
        for name, argv in _DEVICE.items():
            yield Probe(kind=_KIND, surface="edgeproof-run", name=f"{name}, {place}", argv=_found_from(place, argv), **more)  # fmt: skip


def _found_from(place: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return arguments that name the same files where the working folder is another one."""
    absolute = place == "working folder gone"
    return tuple("{}/" + text if absolute and text.startswith(("in/", "out/")) else text for text in argv)
