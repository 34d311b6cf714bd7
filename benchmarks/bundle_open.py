"""What does it cost that an engine loads the bytes that were hashed, against another version of edgeproof?

Times `Bundle.open` and the engine's load, the trial process's outcome known, in fresh processes of both versions that
take turns; the model is a ResNet-50 with random weights (98 MB). Also the peak memory of each process.

    git worktree add --detach /tmp/COMMIT COMMIT    # and build its extension there
    python benchmarks/bundle_open.py --before /tmp/COMMIT [--rounds 15] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from common import Findings, output_flags

ENGINES = ("onnxruntime", "openvino", "opencv")
# Comes after the .pth files, in child processes too: an editable install is found before any path, but for this.
SITE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
"""
LOAD = """
import json, resource, sys, time
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.reader import Bundle
path, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
found = []
for _ in range(times + 1):
    wall, cpu = time.perf_counter(), cpu_s()
    engine = engines.load(name, Bundle.open(path).artifact(max_batch=1))
    found.append(((time.perf_counter() - wall) * 1e3, (cpu_s() - cpu) * 1e3))
    engine.close()
    if len(found) == 1:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"wall_ms": [w for w, _ in found[1:]], "cpu_ms": [c for _, c in found[1:]], "peak_kib": peak}))
"""
EXPORT = """
import sys, edgeproof
edgeproof.export("torchvision:resnet50", out=sys.argv[1], weights="random")
"""


def run(site: Path, tree: Path | None, code: str, *arguments: object) -> str:
    """Run code with the packages of a source tree, or the installed ones, and return what it prints."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    environment = dict(os.environ)
    if tree is not None:
        layers = (tree.absolute() / layer for layer in ("runtime", "export", "toolkit"))
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (site, *layers)))
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="source tree of the other version, built")
    parser.add_argument("--bundle", type=Path, help="a bundle that both versions read (default: ResNet-50)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--loads", type=int, default=5, help="loads of each process")
    output_flags(parser)
    arguments = parser.parse_args()
    findings = Findings("bundle_open", arguments)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE, encoding="utf-8")
        bundle = arguments.bundle
        if bundle is None:
            bundle = Path(folder) / "resnet50.edge"
            run(site, arguments.before, EXPORT, bundle)  # the older version writes what both read
        versions = {"before": arguments.before, "now": None}
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for engine in ENGINES:
            for tree in versions.values():
                run(site, tree, LOAD, bundle, engine, 0)  # the trial
        for _ in range(arguments.rounds):
            turns = [(engine, version) for engine in ENGINES for version in versions]
            random.shuffle(turns)
            for engine, version in turns:
                line = run(site, versions[version], LOAD, bundle, engine, arguments.loads).splitlines()[-1]
                found.setdefault((engine, version), []).append(json.loads(line))
        size = (bundle / "model.onnx").stat().st_size / 1e6
        rows = [row(engine, found) for engine in ENGINES]
        findings.table(
            f"`Bundle.open` and engine load, model.onnx of {size:.0f} MB, median of {arguments.rounds} processes",
            ("engine", "before, ms", "now, ms", "ratio", "CPU before, ms", "CPU now, ms", "CPU ratio", *PEAKS),
            [list(row.values()) for row in rows],
        )
        findings.keep({"rounds": arguments.rounds, "loads": arguments.loads}, rows)


PEAKS = ("peak before, MB", "peak now, MB")


def row(engine: str, found: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
    def of(version: str, what: str) -> float:
        # The fastest load of a process: other processes only ever slow one down.
        return median(min(one[what]) for one in found[engine, version])

    def peak(version: str) -> str:
        return f"{median(one['peak_kib'] for one in found[engine, version]) / 1e3:.0f}"

    times = {what: (of("before", what), of("now", what)) for what in ("wall_ms", "cpu_ms")}
    cells: dict[str, Any] = {"engine": engine}
    for what, (before, now) in times.items():
        cells |= {
            f"{what}_before": f"{before:.1f}",
            f"{what}_now": f"{now:.1f}",
            f"{what}_ratio": f"{now / before:.3f}",
        }
    return cells | {"peak_before": peak("before"), "peak_now": peak("now")}


if __name__ == "__main__":
    main()
