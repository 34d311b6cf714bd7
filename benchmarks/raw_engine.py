"""What does `edgeproof bench` say of an engine, next to the engine's own tools on the same model file?

OpenVINO's `benchmark_app` and a bare loop around ONNX Runtime, one query after another on a ready tensor. Each is a
fresh process with the same number of threads; they take turns.

    python benchmarks/raw_engine.py [--bundle BUNDLE.edge] [--rounds 5] [--seconds 4] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import DEMO, Findings, output_flags, run

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.system.host import usable_cores

# Median latency in ms and inferences per second.
Answer = tuple[float, float]

LOOP = """
import sys, time
import numpy as np, onnxruntime as ort
model, shape, threads, seconds = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3]), float(sys.argv[4])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
tensor = np.random.default_rng(0).random([int(n) for n in shape], np.float32)
for length_s in (1.0, seconds):
    taken_ms, begin = [], time.perf_counter()
    while time.perf_counter() < begin + length_s:
        before = time.perf_counter_ns()
        session.run(None, {name: tensor})
        taken_ms.append((time.perf_counter_ns() - before) / 1e6)
print(np.median(taken_ms), len(taken_ms) / (time.perf_counter() - begin))
"""


def edgeproof(engine: str, bundle: Bundle, threads: int, seconds: float, folder: Path) -> Answer:
    report = folder / "bench.json"
    command = [sys.executable, "-m", "edgeproof", "bench", str(bundle.path), "--engine", engine, "--precision", "fp32"]
    command += ["--threads", str(threads), "--duration", str(seconds), "--driver", "builtin", "--json", str(report)]
    subprocess.run(command, check=True, capture_output=True)
    (one,) = json.loads(report.read_text())["bench"]["configurations"]
    return one["latency_ms"]["p50"], one["throughput_fps"]


def benchmark_app(bundle: Bundle, threads: int, seconds: float, folder: Path) -> Answer:
    command = [str(Path(sys.executable).parent / "benchmark_app"), "-m", str(model_of(bundle)), "-d", "CPU"]
    command += ["-hint", "none", "-api", "sync", "-nstreams", "1", "-nthreads", str(threads), "-t", str(round(seconds))]
    command += ["-shape", f"[{','.join(map(str, shape_of(bundle)))}]"]
    command += ["-json_stats", "-report_type", "no_counters", "-report_folder", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads((folder / "benchmark_report.json").read_text())["execution_results"]
    return float(found["latency (ms)"]), float(found["throughput"])


def bare_loop(bundle: Bundle, threads: int, seconds: float, folder: Path) -> Answer:
    shape = ",".join(map(str, shape_of(bundle)))
    command = [sys.executable, "-c", LOOP, str(model_of(bundle)), shape, str(threads), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    latency_ms, rate = map(float, done.stdout.split())
    return latency_ms, rate


def model_of(bundle: Bundle) -> Path:
    return bundle.locate(bundle.models["fp32"]).resolve()


def shape_of(bundle: Bundle) -> tuple[int, ...]:
    return bundle.contract.tensor_shape()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="that each measures, without its start")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("raw_engine", arguments)
    bundle = Bundle.open(arguments.bundle)
    threads = usable_cores()
    contenders: dict[str, tuple[Callable[..., Answer], str | None]] = {
        "benchmark_app": (benchmark_app, None),
        "edgeproof bench, openvino": (partial(edgeproof, "openvino"), "benchmark_app"),
        "bare loop, onnxruntime": (bare_loop, None),
        "edgeproof bench, onnxruntime": (partial(edgeproof, "onnxruntime"), "bare loop, onnxruntime"),
    }
    taken: dict[str, list[Answer]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for name in random.Random(number).sample(list(contenders), len(contenders)):
                taken[name].append(contenders[name][0](bundle, threads, arguments.seconds, Path(folder)))
    rows: list[list[object]] = []
    results: list[dict[str, Any]] = []
    for name, (_, beside) in contenders.items():
        latency_ms, rate = (np.array(column) for column in zip(*taken[name], strict=True))
        row: list[object] = [name, float(np.median(latency_ms)), float(np.median(rate)), None, None]
        if beside is not None:
            ratios = latency_ms / [ms for ms, _ in taken[beside]]
            row[3:] = [float(np.median(ratios)), f"{ratios.min():.3f} to {ratios.max():.3f}"]
        rows.append(row)
        results.append({"name": name, "latency_ms": latency_ms.tolist(), "fps": rate.tolist(), "ratio": row[3]})
    found.table(
        f"{bundle.path.stem}, {threads} threads, median of {arguments.rounds} rounds of {arguments.seconds:g} s",
        ["", "median latency, ms", "inferences/s", "latency over the one above", "lowest to highest round"],
        rows,
    )
    found.keep({"bundle": bundle.name, "threads": threads, "rounds": arguments.rounds}, results)


if __name__ == "__main__":
    run(main)
