"""From a 720p clip to a label per frame: how fast, next to what people use otherwise?

Ultralytics' own nano classifier, exported to ONNX by Ultralytics itself (random weights: nothing is downloaded); same
clip, same threads. Every contender is a warm process that classifies the clip once a round, one after another in random
order; `bare_onnxruntime` does not even decode: it is what ONNX Runtime gives with one session.

Ultralytics, ort-vision-sdk and openvino-model-api come from an environment of their own, `.venv-peers`, made first.

    python benchmarks/peers.py [--rounds 7] [--frames 300] [--only NAME,NAME] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, Findings, output_flags
from peer_scripts import CONTENDERS
from streams import write_720p

from edgeproof_runtime.host import usable_cores

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers"
PACKAGES = ("ultralytics", "ultralytics-thop", "ort-vision-sdk", "openvino-model-api")
LIGHT = ("polars", "py-cpuinfo", "pyyaml", "requests", "scipy")
OURS = ("edgeproof", "bare_onnxruntime", "cv2_and_onnxruntime", "torchvision_and_onnxruntime")
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


def peers_python() -> Path:
    """Python of an environment that has the peers, and PyTorch, OpenCV and the engines from this one."""
    python = PEERS / "bin" / "python"
    if not (PEERS / ".ready").exists():
        venv.create(PEERS, with_pip=True)
        (folder,) = PEERS.glob("lib/python*/site-packages")
        (folder / "this.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([*install, *LIGHT], check=True)
        # Without their dependencies: a second OpenCV or PyTorch would make another race of it.
        subprocess.run([*install, "--no-deps", *PACKAGES], check=True)
        (PEERS / ".ready").touch()
    return python


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
    process = subprocess.Popen(
        [program, str(HERE / "peer_scripts.py"), name, *arguments, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / f"{name}.txt").open("w"),
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "YOLO_VERBOSE": "False"},
        cwd=folder,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        said = (folder / f"{name}.txt").read_text().strip().splitlines()
        raise RuntimeError(said[-1] if said else "it ended")
    return process


def ask(process: subprocess.Popen[str]) -> dict[str, Any]:
    """One round of one contender."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return dict(json.loads(process.stdout.readline()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=DATA / "videos" / "bottle-detection.mp4", help="is made 720p")
    parser.add_argument("--frames", type=int, default=300, help="of the clip")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--only", help="contenders, separated by commas")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("peers", arguments)
    names = arguments.only.split(",") if arguments.only else list(CONTENDERS)
    python = peers_python()
    running: dict[str, subprocess.Popen[str]] = {}
    taken: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        try:
            inputs = prepare(folder, python, arguments.clip, arguments.frames)
            for name in names:
                try:
                    running[name] = start(name, python, inputs, arguments.threads, folder)
                except RuntimeError as error:
                    print(f"{name} is left out: {error}")
            taken = {name: [] for name in running}
            for number in range(arguments.rounds):
                for name in random.Random(number).sample(list(running), len(running)):
                    taken[name].append(ask(running[name]))
        finally:
            for process in running.values():
                process.kill()
                process.wait()
    results = []
    rows: list[list[object]] = []
    fps = {name: np.array([len(one["top1"]) / one["wall_s"] for one in rounds]) for name, rounds in taken.items()}
    for name, rates in sorted(fps.items(), key=lambda item: -float(np.median(item[1]))):
        ratio = float(np.median(fps["edgeproof"] / rates)) if "edgeproof" in fps else float("nan")
        cpu_ms = float(np.median([1e3 * one["cpu_s"] / len(one["top1"]) for one in taken[name]]))
        rows.append([name, float(np.median(rates)), cpu_ms, ratio])
        results.append({"name": name, "fps": rates.tolist(), "cpu_ms_per_frame": cpu_ms, "edgeproof_times": ratio})
    found.table(
        f"720p clip of {arguments.frames} frames, {arguments.threads} threads, median of {arguments.rounds} rounds",
        ["contender", "frames/s", "CPU ms a frame", "edgeproof is x times as fast"],
        rows,
    )
    settings = {"frames": arguments.frames, "rounds": arguments.rounds, "threads": arguments.threads}
    found.keep(settings, results)


if __name__ == "__main__":
    main()
