"""What does the runtime add to the engine's own call, from a camera frame to a label?

For each engine of this machine the bare call on a ready tensor takes turns with `Classifier(frame)`: preprocess, infer,
label. The `null` engine leaves what the harness itself costs.

    python benchmarks/overhead.py [--bundle BUNDLE.edge] [--size 640x480 ...] [--threads N] [--rounds 30]
        [--json FILE] [--write]

Over a small network, whose own call is short; from this folder:

    edgeproof export auto:seed_cnn_32 --out seed32.edge
    python overhead.py --bundle seed32.edge --size 32x32 --threads 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import DEMO, Findings, output_flags, run

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.measure import Plan, measure
from edgeproof_runtime.selection.auto import candidates

SIZES = ("640x480", "1280x720")


def contenders(classifier: Classifier, sizes: Sequence[str]) -> dict[str, Callable[[], object]]:
    """The engine's own call on a ready tensor, and frame to label at each size."""
    rng = np.random.default_rng(0)
    tensor = classifier.engine.allocate_input(1)
    tensor[...] = rng.normal(size=tensor.shape)
    calls: dict[str, Callable[[], object]] = {"engine alone": lambda: classifier.engine.run(tensor)}
    for title in sizes:
        width, height = map(int, title.split("x"))
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        calls[f"{title} to label"] = lambda frame=frame: classifier(frame).label
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--size", nargs="*", default=SIZES, metavar="WxH", help="of the frames")
    parser.add_argument("--threads", type=int, help="of the engine")
    parser.add_argument("--rounds", type=int, default=30, help="turns of 50 ms for each call")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("overhead", arguments)
    bundle = Bundle.open(arguments.bundle)
    results: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    for name in [*candidates(bundle, "fp32"), "null"]:
        with Classifier(bundle, name, "fp32", threads=arguments.threads) as classifier:
            timings = measure(contenders(classifier, arguments.size), Plan(turns=arguments.rounds))
        alone = timings["engine alone"]
        for timing in timings.values():
            summary = timing.summary
            ratio, more_us = timing.ratio_to(alone).estimate, 1e3 * (timing.typical_ms - alone.typical_ms)
            rows.append([f"{name}, {timing.name}", summary.p50_ms, summary.p90_ms, ratio, f"{more_us:.0f}"])
            extra = {"ratio": ratio, "more_us": more_us}
            results.append({"engine": name, "call": timing.name, **extra, **summary.to_json()})
    found.table(f"{bundle.name}, ms", ["engine and call", "p50", "p90", "x engine alone", "more, us"], rows)
    found.keep({"bundle": bundle.name, "rounds": arguments.rounds}, results)


if __name__ == "__main__":
    run(main)
