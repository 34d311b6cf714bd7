"""From a 720p clip to a label per frame: how fast, next to what people use otherwise?

Ultralytics' own nano classifier, exported to ONNX by Ultralytics itself (random weights: nothing is downloaded); same
clip, same threads. Every contender is a warm process that classifies the clip once a round, one after another in random
order; `bare_onnxruntime` does not even decode: it is what ONNX Runtime gives with one session. `edgeproof` runs on ONNX
Runtime, too.

Ultralytics, ort-vision-sdk and openvino-model-api come from an environment of their own, `.venv-peers`, made first.

    python benchmarks/peers.py [--rounds 7] [--frames 300] [--only NAME,NAME]
        [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, Findings, clip_flag, output_flags, run
from matplotlib.figure import Figure
from peer_environment import peers_python, versions
from peer_scripts import CONTENDERS
from streams import write_720p

from edgeproof.report.svg import COLORS, Draw, Plotter
from edgeproof.report.wording import three_digits
from edgeproof_runtime.system.host import usable_cores

OURS = ("edgeproof", "edgeproof_on_openvino", "bare_onnxruntime", "cv2_and_onnxruntime", "torchvision_and_onnxruntime")
REFERENCE = "edgeproof"  # what the others are held against
CONTRACT = (
    *("--resize", "shortest", "--resize-size", "224", "--crop-size", "224", "--filter", "bilinear"),
    *("--scale", "255", "--mean", "0,0,0", "--std", "1,1,1"),
)
EXPORT = """
import sys, torch
from ultralytics import YOLO
torch.manual_seed(0)
yolo = YOLO("yolo11n-cls.yaml")
torch.save(yolo.model.state_dict(), "weights.pt")
yolo.export(format="onnx", imgsz=224, simplify=False, opset=17)
"""


def prepare(folder: Path, python: Path, clip: Path, count: int) -> list[str]:
    """Model, weights, bundle and clip: the arguments of `peer_scripts.py` behind the contender's name."""
    subprocess.run([str(python), "-c", EXPORT], cwd=folder, check=True, capture_output=True)
    (folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
    model = folder / "yolo11n-cls.onnx"
    command = [sys.executable, "-m", "edgeproof", "export", str(model), "--out", str(folder / "yolo11n-cls.edge")]
    subprocess.run(
        [*command, "--labels", str(folder / "labels.txt"), *CONTRACT], check=True, capture_output=True, cwd=folder
    )
    video = write_720p(folder / "clip.mp4", clip, count)
    return [str(path) for path in (model, folder / "weights.pt", folder / "yolo11n-cls.edge", video)]


def start(name: str, python: Path, arguments: list[str], threads: int, folder: Path) -> subprocess.Popen[str]:
    """A contender, warm."""
    program = sys.executable if name in OURS else str(python)
    # What an interrupted compilation left in the user's cache would fail in every later run.
    own_cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    process = subprocess.Popen(
        [program, str(HERE / "peer_scripts.py"), name, *arguments, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / f"{name}.txt").open("w"),
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "YOLO_VERBOSE": "False", **own_cache},
        cwd=folder,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        said = (folder / f"{name}.txt").read_text().strip().splitlines() or ["it ended"]
        errors = [line for line in said if re.match(r"[\w.]*(Error|Failed)\b", line)]  # advice may stand under them
        raise RuntimeError((errors or said)[-1])
    return process


def ask(process: subprocess.Popen[str]) -> dict[str, Any]:
    """One round of one contender."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return dict(json.loads(process.stdout.readline()))


def bars(results: Sequence[Mapping[str, Any]]) -> Draw:
    """Rate of each contender, its lowest and highest round, and how many times as fast edgeproof is."""

    def draw(figure: Figure, _narrow: bool) -> str:
        ax = figure.add_subplot()
        fastest = max(max(one["fps"]) for one in results)
        for row, one in enumerate(results):
            ours = one["name"].startswith(REFERENCE)
            rate = float(np.median(one["fps"]))
            look = (
                {"color": COLORS["accent"]}
                if ours
                else {"facecolor": "none", "edgecolor": COLORS["ink"], "hatch": "//"}
            )
            ax.barh(row, rate, height=0.6, **look)
            ax.plot([min(one["fps"]), max(one["fps"])], [row, row], color=COLORS["ink"], marker="|", linewidth=1.2)
            times = "" if one["name"] == REFERENCE else f"   edgeproof is {one['edgeproof_times']:.1f}×"
            ax.text(
                max(*one["fps"], rate) + 0.02 * fastest,
                row,
                f"{three_digits(rate)}{times}",
                va="center",
                weight="bold" if ours else "normal",
            )
        ax.set_xlim(0, 1.55 * fastest)
        ax.set_yticks(range(len(results)), [one["name"].replace("_", " ") for one in results])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("frames per second, median; lines: lowest to highest round")
        return "Frames per second of each contender"

    return draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    clip_flag(parser, "is made 720p")
    parser.add_argument("--frames", type=int, default=300, help="of the clip")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--only", help="contenders, separated by commas")
    output_flags(parser)
    arguments = parser.parse_args()
    names = [REFERENCE, *arguments.only.split(",")] if arguments.only else list(CONTENDERS)
    python = peers_python()
    found = Findings("peers", arguments, packages=versions())
    running: dict[str, subprocess.Popen[str]] = {}
    taken: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        try:
            inputs = prepare(folder, python, arguments.clip, arguments.frames)
            for name in dict.fromkeys(names):
                try:
                    running[name] = start(name, python, inputs, arguments.threads, folder)
                except RuntimeError as error:
                    if name == REFERENCE:
                        raise
                    found.say(f"{name} is left out: {error}")
            taken = {name: [] for name in running}
            for number in range(arguments.rounds):
                for name in random.Random(number).sample(list(running), len(running)):
                    taken[name].append(ask(running[name]))
        finally:
            for process in running.values():
                process.kill()
                process.wait()
    fps = {name: np.array([len(one["top1"]) / one["wall_s"] for one in rounds]) for name, rounds in taken.items()}
    results: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    for name in sorted(fps, key=lambda name: -float(np.median(fps[name]))):
        cpu_ms = float(np.median([1e3 * one["cpu_s"] / len(one["top1"]) for one in taken[name]]))
        low, typical, high = (float(np.percentile(fps[REFERENCE] / fps[name], q)) for q in (0, 50, 100))
        rows.append([name, float(np.median(fps[name])), cpu_ms, typical, f"{low:.2f} to {high:.2f}"])
        results.append(
            {"name": name, "fps": fps[name].tolist(), "cpu_ms_per_frame": cpu_ms, "edgeproof_times": typical}
        )
    found.table(
        f"720p clip of {arguments.frames} frames, {arguments.threads} threads, median of {arguments.rounds} rounds",
        ["contender", "frames/s", "CPU ms a frame", f"{REFERENCE} is x times as fast", "lowest to highest round"],
        rows,
    )
    if arguments.write:
        Plotter().write_png(bars(results), HERE / "peers.png", width=700, height=50 + 30 * len(results))
        found.say("![Frames per second of each contender](peers.png)")
    settings = {"frames": arguments.frames, "rounds": arguments.rounds, "threads": arguments.threads}
    found.keep(settings, results)


if __name__ == "__main__":
    run(main)
