"""How long from starting a process to its first label of one JPEG, and how much memory does it take?

Each contender is a fresh process: our Python on each engine, the device program where it is built and from its Debian
package where `make packages` left one (unpacked, with the OpenCV and FFmpeg of this machine), all on OpenVINO
also with the model compiled ahead (`edgeproof compile --target openvino`), and, from `.venv-peers`, `ultralytics` with
its own nano classifier (the architecture with random weights: nothing is downloaded).

    python benchmarks/cold_start.py [--bundle BUNDLE.edge] [--rounds 7] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import DEMO, Findings, output_flags, run
from peer_environment import peers_python, versions

from edgeproof.demo import photographs
from edgeproof_export.compile import compile_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.metrics.latency import summarize
from edgeproof_runtime.selection.auto import candidates

DEVICE_PROGRAM = Path("build/app/runtime/cpp/app/edgeproof-run")
OURS = """
import sys, cv2
from edgeproof import Classifier
print(Classifier(sys.argv[1], sys.argv[2])(cv2.imread(sys.argv[3])).label)
"""
# A child's peak memory starts at its parent's: started from here, nobody would be below NumPy, OpenCV and ONNX Runtime.
LAUNCHER = """
import os, sys, time
null = os.open(os.devnull, os.O_WRONLY)
begin = time.perf_counter()
child = os.posix_spawn(
    sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
)
_, status, usage = os.wait4(child, 0)
print((time.perf_counter() - begin) * 1e3, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
ULTRALYTICS = """
import sys
from ultralytics import YOLO
print(YOLO("yolo11n-cls.yaml")(sys.argv[1], verbose=False)[0].probs.top1)
"""


def device_programs(folder: Path) -> dict[str, Path]:
    """The device program as built, and as the Debian package brings it, unpacked into `folder`; what is there."""
    found = {"edgeproof-run": DEVICE_PROGRAM} if DEVICE_PROGRAM.exists() else {}
    if not found:
        print(f"{DEVICE_PROGRAM} is not built (`make app`): left out")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "none")  # dist may hold others'
    packages = sorted(Path("dist").glob(f"edgeproof-run_*_{architecture}.deb"))
    if packages:
        subprocess.run([shutil.which("dpkg-deb") or "dpkg-deb", "-x", str(packages[-1]), str(folder)], check=True)
        found["edgeproof-run of the .deb"] = folder / "usr/bin/edgeproof-run"
    else:
        print(f"no dist/edgeproof-run_*_{architecture}.deb (`make packages`): left out")
    return found


def contenders(bundle: Bundle, compiled: Bundle, picture: Path, programs: dict[str, Path]) -> dict[str, list[str]]:
    """Command line of each contender that this machine has; `compiled` is the bundle with OpenVINO's compiled model."""
    python = [sys.executable, "-c"]
    names = [c for c in candidates(bundle, "fp32") if c != "null"]
    variants = [(name, bundle) for name in names] + [("openvino", compiled)] * ("openvino" in names)
    found = {
        f"edgeproof, Python, {name}{', compiled' * (which is compiled)}": [
            *python,
            OURS,
            str(which.path),
            name,
            str(picture),
        ]
        for name, which in variants
    }
    for title, program in programs.items():
        for name, which in (("openvino", bundle), ("openvino", compiled), ("opencv", bundle)):
            command = [str(program), str(which.path), "--source", str(picture), "--engine", name]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                found[f"{title}, {name}{', compiled' * (which is compiled)}"] = command
    found["ultralytics"] = [str(peers_python()), "-c", ULTRALYTICS, str(picture)]
    return found


def run_once(command: Sequence[str], **more: Any) -> tuple[float, float]:
    """Wall time in milliseconds and peak resident memory in MB of one process; `more` is for `subprocess.run`."""
    launched = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}")
    took_ms, peak_kb = done.stdout.split()
    return float(took_ms), float(peak_kb) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--rounds", type=int, default=7)
    output_flags(parser)
    arguments = parser.parse_args()
    peers_python()
    found = Findings("cold_start", arguments, packages=versions())
    bundle = Bundle.open(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.jpg"
        cv2.imwrite(str(picture), photographs()[0].frame)
        copy = Path(shutil.copytree(bundle.path, Path(folder) / bundle.path.name))
        compiled = compile_bundle(Bundle.open(copy), "openvino").bundle
        commands = contenders(bundle, compiled, picture, device_programs(Path(folder) / "package"))
        taken: dict[str, list[tuple[float, float]]] = {}
        for name, command in commands.items():
            try:
                run_once(command)
                taken[name] = []
            except RuntimeError as error:
                if name.startswith("edgeproof"):
                    raise
                found.say(f"{name} is left out: {error}")
        order = list(taken)
        for _ in range(arguments.rounds):
            random.Random(0).shuffle(order)
            for name in order:
                taken[name].append(run_once(commands[name]))
    rows: list[list[object]] = []
    results: list[dict[str, Any]] = []
    peer = np.array([ms for ms, _ in taken.get("ultralytics", [])])
    for name, values in taken.items():
        times = np.array([ms for ms, _ in values])
        memory_mb = max(mb for _, mb in values)
        ratio = float(np.median(times / peer)) if len(peer) else None
        rows.append([name, float(np.median(times)), float(times.max()), memory_mb, ratio])
        results.append({"name": name, "memory_mb": memory_mb, "ratio": ratio, **summarize(times).to_json()})
    title = f"Process start to first label, median of {arguments.rounds}"
    found.table(title, ["contender", "p50 ms", "max ms", "peak MB", "of ultralytics' time"], rows)
    found.keep({"bundle": bundle.name, "rounds": arguments.rounds}, results)


if __name__ == "__main__":
    run(main)
