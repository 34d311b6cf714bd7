"""How long does it take from a PyTorch network to an ONNX file?

Ultralytics' nano classifier with the same random weights, each in a fresh process, imports included: `edgeproof
export`, Ultralytics' own export, and `torch.onnx.export` alone, with the dynamo exporter (edgeproof's) and with the
older one (Ultralytics'). edgeproof's time contains what the others leave out: golden cases, and a gate that holds every
CPU engine against PyTorch.

    python benchmarks/export_time.py [--rounds 3] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import run_once
from common import HERE, Findings, output_flags, run
from peer_environment import peers_packages, peers_python, versions
from peers import CONTRACT, EXPORT

TORCH = """
import sys, torch
from export_time import network
dynamo = sys.argv[1] == "dynamo"
batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"input": {0: "batch"}}}
example = torch.zeros(2, 3, 224, 224)
torch.onnx.export(network(), (example,), sys.argv[1] + ".onnx", input_names=["input"], dynamo=dynamo, **batch)
"""


def network() -> Any:
    """The network, with the weights that `peers.EXPORT` draws, giving probabilities alone as its exported file does."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    found = YOLO("yolo11n-cls.yaml").model.eval()
    found.model[-1].export = True
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    output_flags(parser)
    arguments = parser.parse_args()
    peers_python()
    found = Findings("export_time", arguments, packages=versions())
    taken: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        labels = folder / "labels.txt"
        labels.write_text("".join(f"class {i}\n" for i in range(1000)))
        ours = ["-m", "edgeproof", "export", "export_time:network", "--out", "model.edge", "--force", *CONTRACT]
        commands = {
            "edgeproof export, all gates": [*ours, "--labels", str(labels)],
            "torch.onnx.export, dynamo": ["-c", TORCH, "dynamo"],
            "torch.onnx.export, TorchScript": ["-c", TORCH, "torchscript"],
            "ultralytics export": ["-c", EXPORT],
        }
        environment = {**os.environ, "PYTHONPATH": f"{peers_packages()}:{HERE}", "YOLO_VERBOSE": "False"}
        taken = {name: [] for name in commands}
        for number in range(arguments.rounds):
            for name in random.Random(number).sample(list(commands), len(commands)):
                taken[name].append(run_once([sys.executable, *commands[name]], cwd=folder, env=environment))
    rows: list[list[object]] = []
    results: list[dict[str, Any]] = []
    theirs_s = np.array([ms for ms, _ in taken["ultralytics export"]]) / 1e3
    for name, values in taken.items():
        times_s, peak_mb = np.array([ms for ms, _ in values]) / 1e3, max(mb for _, mb in values)
        ratio = float(np.median(times_s / theirs_s))
        rows.append([name, float(np.median(times_s)), float(times_s.max()), peak_mb, ratio])
        results.append({"name": name, "times_s": times_s.tolist(), "peak_mb": peak_mb, "ratio": ratio})
    title = f"Fresh process to a written file, median of {arguments.rounds}"
    found.table(title, ["", "seconds", "longest", "peak MB", "of ultralytics' time"], rows)
    found.keep({"rounds": arguments.rounds}, results)


if __name__ == "__main__":
    run(main)
