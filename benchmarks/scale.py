"""How fast are two workers of a Ray cluster on one machine, and what do they leave behind when they are killed?

20,000 images of CIFAR-10 as PNG files, ResNet-20 with its published weights, ONNX Runtime: `edgeproof label` in one
process on all cores, and on a local Ray cluster of as many workers as cores, in turns. Then once with a worker that is
killed in the middle, and once with everything killed in the middle and the command repeated. All must leave the rows
of `edgeproof evaluate` in one process, image for image. Rates count from the first results on: how long a cluster takes
to start is a column of its own.

    python benchmarks/scale.py [--rounds 3] [--images 20000] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from common import DATA, HERE, Findings, output_flags, run

from edgeproof_runtime.errors import UnavailableError

EXAMPLES = HERE.parent / "examples"
SHARD = 1000


def write_images(root: Path, count: int) -> None:
    """The first training images of each class, in class folders."""
    names = (EXAMPLES / "cifar10_labels.txt").read_text().split()
    arrays = np.load(DATA / "cifar10/cifar10.npz")
    images, targets = arrays["x_train"], arrays["y_train"]
    for name in names:
        (root / name).mkdir(parents=True)
    for number in range(count):
        path = root / names[int(targets[number])] / f"{number:05}.png"
        cv2.imwrite(str(path), np.ascontiguousarray(images[number, ..., ::-1]))


def edgeproof(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    words = [sys.executable, "-m", "edgeproof", *map(str, arguments)]
    return subprocess.Popen(words, cwd=cwd, text=True, stdout=subprocess.DEVNULL, start_new_session=True)


def finished(process: subprocess.Popen[str]) -> None:
    if process.wait() != 0:
        raise SystemExit(f"{process.args}: exit code {process.returncode}")


def label(folder: Path, out: str, *options: str, midway: Callable[[psutil.Process], None] | None = None) -> Any:
    """Label the images; call ``midway`` when half of the files are there."""
    began = time.monotonic()
    command = ("label", "bundle.edge", "--data", "images", "--out", out, "--engine", "onnxruntime", "--shard", SHARD)
    process = edgeproof(*command, *options, "--json", f"{out}.json", cwd=folder)
    if midway is not None:
        half = len(list((folder / "images").rglob("*.png"))) // SHARD // 2
        while process.poll() is None and len(list((folder / out).glob("part-*"))) < half:
            time.sleep(0.02)
        if process.poll() is None:
            midway(psutil.Process(process.pid))
    process.wait()
    if process.returncode == -signal.SIGKILL:
        return None
    finished(process)
    report = json.loads((folder / f"{out}.json").read_text())
    return {**report, "took_s": time.monotonic() - began}


def kill_worker(process: psutil.Process) -> None:
    """Kill one worker of the cluster."""
    workers = [one for one in process.children(recursive=True) if "MapWorker" in " ".join(one.cmdline())]
    workers[0].send_signal(signal.SIGKILL)
    print(f"killed worker {workers[0].pid} of {len(workers)}")


def kill_everything(process: psutil.Process) -> None:
    """Kill the command and all processes of its cluster."""
    every = [*process.children(recursive=True), process]
    for one in every:
        one.send_signal(signal.SIGKILL)
    psutil.wait_procs(every[:-1], timeout=20)  # the last is Popen's, which must see how it ended
    print(f"killed {len(every)} processes")


def rows_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(folder).to_pylist()
    return {row["path"]: (row["label"], row["probability"], row["margin"], row["error"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=20_000)
    output_flags(parser)
    arguments = parser.parse_args()
    try:
        import ray
    except ImportError as error:
        raise UnavailableError("Ray: not installed", fix='pip install "edgeproof[ray]"') from error
    os.environ.pop("RAY_ADDRESS", None)
    found = Findings("scale", arguments, packages={"ray": ray.__version__})
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_images(folder / "images", arguments.images)
        weights = DATA / "weights/resnet20-12fca82f.th"
        export = ("export", "resnet20_cifar:resnet20", "--weights", weights, "--labels", "cifar10_labels.txt")
        finished(edgeproof(*export, "--engines", "onnxruntime", "--out", folder / "bundle.edge", cwd=EXAMPLES))
        evaluate = ("evaluate", "bundle.edge", "--data", "images", "--engine", "onnxruntime", "--no-evidence")
        finished(edgeproof(*evaluate, "--predictions", "p.jsonl", "--json", "e.json", cwd=folder))
        lines = map(json.loads, (folder / "p.jsonl").read_text().splitlines())
        expected = {one["path"]: (one["label"], one["probability"], one["margin"], None) for one in lines}
        correct = json.loads((folder / "e.json").read_text())["counts"]["correct"]

        results: list[dict[str, Any]] = []

        def keep(name: str, out: str, report: dict[str, Any]) -> None:
            rows = rows_of(folder / out)
            different = sum(rows.get(path) != row for path, row in expected.items())
            right = sum(Path(path).parent.name == row[0] for path, row in rows.items())
            results.append(
                {
                    "name": name,
                    "images_per_s": report["throughput_fps"],
                    "took_s": report["took_s"],
                    "rows": len(rows),
                    "different": different,
                    "correct": right,
                    "workers": report["settings"]["workers"],
                    "labelled_earlier": report["counts"]["frames_labelled_earlier"],
                }
            )
            if different or len(rows) != len(expected) or right != correct:
                raise SystemExit(f"{name}: {different} of {len(rows)} rows differ from evaluate's {len(expected)}")

        for number in range(arguments.rounds):
            turns = [("one process", ()), ("Ray", ("--on", "ray"))]
            for name, options in turns if number % 2 == 0 else turns[::-1]:
                out = f"{name.replace(' ', '-')}-{number}"
                keep(name, out, label(folder, out, *options))
        keep("Ray, a worker killed", "killed", label(folder, "killed", "--on", "ray", midway=kill_worker))
        if label(folder, "repeated", "--on", "ray", midway=kill_everything) is not None:
            raise SystemExit("the command ended before it was killed: give more --images")
        keep("Ray, all killed, repeated", "repeated", label(folder, "repeated", "--on", "ray"))

    names = list(dict.fromkeys(one["name"] for one in results))
    own = {name: [one for one in results if one["name"] == name] for name in names}
    rates = {name: float(np.median([one["images_per_s"] for one in own[name]])) for name in names}
    rows = [
        [
            name,
            rates[name],
            rates[name] / rates["one process"],
            float(np.median([one["took_s"] for one in own[name]])),
            own[name][0]["workers"],
            own[name][0]["labelled_earlier"],
            sum(one["different"] for one in own[name]),
        ]
        for name in names
    ]
    head = ["", "images/s", "of one process", "seconds in all", "workers", "labelled earlier", "rows unlike evaluate's"]
    found.table(f"{arguments.images} images, median of {arguments.rounds} (killed ones: once)", head, rows)
    found.say(f"Top-1 is right for {correct} of {arguments.images} in every row, as `evaluate` counts.")
    found.keep({"rounds": arguments.rounds, "images": arguments.images}, results)


if __name__ == "__main__":
    run(main)
