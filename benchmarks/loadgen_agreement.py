"""Do our single-stream percentiles agree with MLCommons' LoadGen, and what does the harness itself cost?

- same queries: LoadGen drives, and its own summary of each slice is held against our clock inside the callback.
- same engine: LoadGen's slices and the built-in driver's blocks take turns; percentiles of each over all of them.
- harness: the `null` engine under both drivers.

    python benchmarks/loadgen_agreement.py [--bundle BUNDLE.edge] [--engine openvino] [--turns 40]
        [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import DEMO, Findings, output_flags, run

from edgeproof_runtime.bench.systems import Configuration, EngineSystem
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.measure import Plan, take_turns
from edgeproof_runtime.measure.loadgen import LoadGen
from edgeproof_runtime.measure.scenarios import Load, built_in

SLICE = Plan(block_ms=1000.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--turns", type=int, default=40, help="of one second for each driver")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("loadgen_agreement", arguments)
    bundle = Bundle.open(arguments.bundle)
    cases = load_golden(bundle)
    results: list[dict[str, Any]] = []
    for name in (arguments.engine, "null"):
        system = EngineSystem(bundle, Configuration(name), cases)
        driver = LoadGen(system, Load(), SLICE)
        try:
            # The null engine answers a hundred thousand queries a second: a few slices are plenty.
            blocks = take_turns(
                {"loadgen": driver.block, "builtin": built_in(system, Load(), SLICE)},
                turns=arguments.turns if name != "null" else 4,
            )
        finally:
            system.close()
        pooled = {kind: np.concatenate([block.values_ms for block in taken]) for kind, taken in blocks.items()}
        rows: list[list[object]] = []
        for percentile in ("p50", "p90", "p99"):
            apart = [abs(s.ours_ms[percentile] / s.theirs_ms[percentile] - 1) for s in driver.slices]
            ours, theirs = (
                float(np.percentile(pooled[kind], float(percentile[1:]))) for kind in ("builtin", "loadgen")
            )
            rows.append([percentile, float(np.median(apart)), max(apart), theirs, ours, ours / theirs])
            results.append(
                {
                    "engine": name,
                    "percentile": percentile,
                    "same_queries_median_difference": rows[-1][1],
                    "same_queries_largest_difference": rows[-1][2],
                    "loadgen_ms": theirs,
                    "builtin_ms": ours,
                }
            )
        by_loadgen, by_us = len(pooled["loadgen"]), len(pooled["builtin"])
        found.table(
            f"{name}: {by_loadgen} queries by LoadGen {driver.version()}, {by_us} built in",
            ["", "same queries: median slice", "worst slice", "LoadGen ms", "built-in ms", "built-in / LoadGen"],
            [[row[0], f"{row[1]:.4%}", f"{row[2]:.4%}", *row[3:]] for row in rows],
        )
    found.keep({"bundle": bundle.name, "turns": arguments.turns}, results)


if __name__ == "__main__":
    run(main)
