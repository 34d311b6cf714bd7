"""Does `auto` pick the candidate that is fastest here, and how long does it take?

Five networks (random weights, unless bundles are given): `auto` chooses with nothing remembered, then all of its
candidates that pass the golden cases are measured again, longer, interleaved, on freshly loaded engines. Its pick must
be within 5 % of the best of those, and the choice must take less than 60 s. Before, a fresh process whose user has no
cache asks for its first answer, unmeasured: from opening the bundle to the label of a frame it must take less than 2 s.

    python benchmarks/auto.py [--bundle BUNDLE.edge ...] [--turns 40] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from common import Findings, output_flags, print_table, run

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.measure import Plan, Timing, measure
from edgeproof_runtime.selection.auto import choose, load_engine
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.host import cpu_features

SLOWER_AT_MOST = 0.05
SECONDS_AT_MOST = 60.0
FIRST_SECONDS_AT_MOST = 2.0
FIRST_ANSWER = """
import logging, sys, time
import numpy as np
from edgeproof_runtime import Classifier
logging.disable()
frame = np.zeros((480, 640, 3), np.uint8)
begin = time.perf_counter()
with Classifier(sys.argv[1]) as classifier:
    classifier(frame)
    print(time.perf_counter() - begin, classifier.engine.name)
"""


def seed_cnn_32() -> Any:
    """The seed CNN for 32x32: two convolutions with pooling, two dense layers."""
    return _seed_cnn(32)


def seed_cnn_224() -> Any:
    """The same for 224x224."""
    return _seed_cnn(224)


def mobilenet_v3_small() -> Any:
    """MobileNetV3-small, random, its normalisation settled on noise: else its activations vanish, and engines would
    be held against each other on rounding alone."""
    import torch
    import torchvision

    from edgeproof_runtime.contract.contract import InputContract

    model = torchvision.models.mobilenet_v3_small(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 224, 224))
    model.edgeproof_contract = InputContract()
    return model


def _seed_cnn(size: int) -> Any:
    from edgeproof_export.networks import PlainCNN
    from edgeproof_runtime.contract.contract import InputContract

    model: Any = PlainCNN(classes=10, size=size)
    model.edgeproof_contract = InputContract(resize="squash", resize_size=(size, size), crop_size=None)
    return model


_MODELS = (
    "timm:tf_efficientnet_lite0",
    "auto:mobilenet_v3_small",
    "torchvision:resnet18",
    "auto:seed_cnn_32",
    "auto:seed_cnn_224",
)


def exported(folder: Path) -> Iterator[Bundle]:
    """The five networks as bundles."""
    from edgeproof_export import export_bundle

    for model in _MODELS:
        name = model.partition(":")[2]
        weights = None if model.startswith("auto:") else "random"
        yield export_bundle(model, folder / f"{name}.edge", weights=weights, gate_images=8).bundle


def first_answer(bundle: Bundle) -> tuple[float, str]:
    """Seconds to the first label where nothing is remembered, not even that an engine is harmless; and the engine."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", FIRST_ANSWER, str(bundle.path)]
        done = subprocess.run(
            command, env={**os.environ, "EDGEPROOF_CACHE": cache}, stdout=subprocess.PIPE, text=True, check=True
        )
    seconds, engine = done.stdout.split()
    return float(seconds), engine


def measured_again(bundle: Bundle, rows: list[EngineRow], turns: int) -> list[Timing]:
    """Every candidate on a freshly loaded engine, in turns."""
    with ExitStack() as stack:
        calls = {}
        for number, row in enumerate(rows):
            engine = stack.enter_context(load_engine(bundle, row.name, row.precision or "fp32", threads=row.threads))
            calls[str(number)] = partial(engine.run, engine.allocate_input(1))
        plan = Plan(turns=turns, block_ms=60.0, min_runs=5, untimed_ms=10.0, warm_up_s=1.0)
        return list(measure(calls, plan).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, nargs="*", default=[], help="instead of the five networks")
    parser.add_argument("--turns", type=int, default=40)
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("auto", arguments)
    summary, results = [], []
    with tempfile.TemporaryDirectory() as folder:
        bundles = [Bundle.open(path) for path in arguments.bundle] or exported(Path(folder))
        for bundle in bundles:
            first = [first_answer(bundle) for _ in range(3)]
            first_s, first_engine = sorted(first)[1]
            begin = time.monotonic()
            choice = choose(bundle, remember=False)
            seconds = time.monotonic() - begin
            rows = [row for row in choice.rows if row.passed]
            again = measured_again(bundle, rows, arguments.turns)
            best = min(timing.typical_ms for timing in again)
            table = []
            for row, timing in zip(rows, again, strict=True):
                what = [row.name, row.precision or "", row.threads or 0]
                figures = [row.median_ms or 0.0, timing.typical_ms, timing.summary.p50_ms or 0.0]
                table.append([*what, *figures, timing.typical_ms / best])
                results.append({"bundle": bundle.name, "row": [str(v) for v in table[-1]]})
            print_table(
                f"{bundle.name}, ms; auto took {seconds:.1f} s",
                ["engine", "precision", "threads", "auto", "again", "again p50", "x best"],
                table,
            )
            for sentence in not_worth_it(choice.rows, cpu_features()):
                print(sentence)
            slower = again[0].typical_ms / best - 1
            met = slower <= SLOWER_AT_MOST and seconds <= SECONDS_AT_MOST and first_s <= FIRST_SECONDS_AT_MOST
            pick = f"{rows[0].name} {rows[0].precision}, {rows[0].threads} threads"
            unmeasured = [first_engine, f"{first_s:.2f}"]
            summary.append([bundle.name, *unmeasured, pick, f"{slower:.1%}", f"{seconds:.1f}", "yes" if met else "NO"])
    found.table(
        "What `auto` picked, against the fastest of its candidates measured again",
        ["model", "unmeasured", "first answer, s", "picked", "slower than the best", "seconds", "met"],
        summary,
    )
    settings = {"turns": arguments.turns, "summary": summary}
    found.keep(settings, results)
    if any(row[-1] == "NO" for row in summary):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
