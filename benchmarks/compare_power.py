"""How often does `edgeproof compare` catch an engine that became 10 % slower, and how often does it cry wolf?

Each trial is two processes that run `edgeproof bench` on the same engine, one after the other, as a regression gate
would. In half of the trials the second process's engine sleeps 10 % of each inference longer. Both are judged by
`edgeproof compare` with its default bounds.

    python benchmarks/compare_power.py [--bundle BUNDLE.edge] [--engine openvino] [--slowed 10] [--unchanged 20]
        [--seconds 6] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import DEMO, Findings, output_flags, print_table, run

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.evidence.compare import Bounds, compare_reports


def slow_down(name: str, share: float) -> None:
    """Replace an engine by one that sleeps a share of each inference longer."""
    original = catalog.find(name).load_class()

    class Slowed(original):  # type: ignore[misc, valid-type]
        def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
            begin = time.perf_counter()
            outputs: tuple[Tensor, ...] = super()._run(batch)
            took = time.perf_counter() - begin
            # A sleep is late by some 60 microseconds: what is short is waited for.
            end = begin + (1 + share) * took
            if share * took > 1e-3:
                time.sleep(share * took - 1e-4)
            while time.perf_counter() < end:
                pass
            return outputs

    globals()["Slowed"] = Slowed
    catalog.register(replace(catalog.find(name), implementation=f"{__name__}:Slowed"))


def bench_once(arguments: argparse.Namespace, out: Path, share: float) -> dict[str, Any]:
    """One `edgeproof bench` in a process of its own."""
    command = [sys.executable, __file__, "--bundle", str(arguments.bundle), "--engine", arguments.engine]
    command += ["--seconds", str(arguments.seconds), "--one", str(out), "--share", str(share)]
    subprocess.run(command, check=True, capture_output=True)
    return dict(json.loads(out.read_text()))


def without_yardsticks(report: dict[str, Any]) -> dict[str, Any]:
    """The same report, to see what the yardsticks are good for: as if from a machine without neighbours."""
    host = {**report["host"], "os": {**report["host"]["os"], "virtualized": False}}
    return {**report, "host": host, "bench": {**report["bench"], "yardsticks": []}}


def one(arguments: argparse.Namespace) -> None:
    """What `bench_once` starts: the command line itself, with the engine slowed if asked."""
    from edgeproof.cli import main as edgeproof

    if arguments.share:
        slow_down(arguments.engine, arguments.share)
    flags = ["--engine", arguments.engine, "--duration", str(arguments.seconds), "--driver", "builtin"]
    sys.argv = ["edgeproof", "bench", str(arguments.bundle), *flags, "--json", str(arguments.one)]
    edgeproof()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--slowed", type=int, default=10, help="trials with a slowed engine")
    parser.add_argument("--unchanged", type=int, default=20, help="trials without")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each bench")
    output_flags(parser)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        one(arguments)
        return
    found = Findings("compare_power", arguments)
    trials = [0.1] * arguments.slowed + [0.0] * arguments.unchanged
    results: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, share in enumerate(trials):
            old = bench_once(arguments, Path(folder) / "old.json", 0.0)
            new = bench_once(arguments, Path(folder) / "new.json", share)
            (pair,) = compare_reports(old, new, Bounds()).pairs
            (bare,) = compare_reports(without_yardsticks(old), without_yardsticks(new), Bounds()).pairs
            results.append({"share": share, **pair.to_json(), "without_yardsticks": bare.to_json()})
            what = "slowed" if share else "unchanged"
            ratio = pair.slowdown
            figures = [ratio.estimate, ratio.low, ratio.high, pair.verdict, bare.slowdown.estimate]
            rows.append([f"{number + 1} {what}", *figures])
            print(*rows[-1], flush=True)
    heads = ["trial", "ratio", "low", "high", "verdict", "without the yardsticks"]
    print_table("new over old, in units of the yardsticks", heads, rows)
    counts: list[list[object]] = []
    for share, what in ((0.1, "10 % slower"), (0.0, "unchanged")):
        chosen = [r for r in results if r["share"] == share]
        judged = [
            [sum(r["verdict"] == verdict for r in kind) for verdict in ("slower", "cannot tell")]
            for kind in (chosen, [r["without_yardsticks"] for r in chosen])
        ]
        counts.append([what, len(chosen), *judged[0], *judged[1]])
    heads = ["second run", "trials", "called slower", "cannot tell", "slower without the yardsticks", "cannot tell"]
    found.table(f"{arguments.bundle.stem} on {arguments.engine}, {arguments.seconds:g} s each", heads, counts)
    settings = {"bundle": arguments.bundle.name, "engine": arguments.engine, "seconds": arguments.seconds}
    found.keep(settings, results)


if __name__ == "__main__":
    run(main)
