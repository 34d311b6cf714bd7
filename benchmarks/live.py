"""Do frames age when a camera is faster than the engine?

A test card at twice the rate that the engine reaches alone, newest frame first. The 99th percentile of frame age stands
beside its bound, three frame intervals and one inference; frames in = decided + overtaken + failed.

    python benchmarks/live.py [--bundle BUNDLE.edge] [--engine onnxruntime] [--seconds 30] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from common import DEMO, Findings, output_flags, run

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.workers import crew
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.tasks.classify import classify_head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--seconds", type=float, default=30.0)
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("live", arguments)
    bundle = Bundle.open(arguments.bundle)
    recorder = LatencyRecorder()
    with crew(bundle, classify_head(bundle), arguments.engine, "fp32", alone=True) as hands:
        (worker,) = hands.workers
        batch = worker.engine.allocate_input(1)
        begin = time.perf_counter()
        for _ in range(50):
            worker.engine.run(batch)
        rate = round(2 * 50 / (time.perf_counter() - begin))
        stream = Stream("camera", lambda: open_source(f"synthetic://320x240@{rate}"))
        with Pipeline(stream, hands.workers, recorder=recorder, duration_s=arguments.seconds) as pipeline:
            decided = sum(1 for _ in pipeline)
    counts = pipeline.counts
    age, inference, preprocess = (recorder.summary(stage) for stage in ("frame_age", "inference", "preprocess"))
    interval_ms = 1e3 * arguments.seconds / counts.frames_in
    rows = [
        ["camera, frames/s", counts.frames_in / arguments.seconds],
        ["decided, frames/s", decided / arguments.seconds],
        ["inference p50, ms", inference.p50_ms],
        ["inference p99, ms", inference.p99_ms],
        ["preprocessing p50, ms", preprocess.p50_ms],
        ["frame age p50, ms", age.p50_ms],
        ["frame age p99, ms", age.p99_ms],
        ["3 intervals + inference p50, ms", None if inference.p50_ms is None else 3 * interval_ms + inference.p50_ms],
        ["3 intervals + inference p99, ms", None if inference.p99_ms is None else 3 * interval_ms + inference.p99_ms],
        ["frames in", counts.frames_in],
        ["decided", counts.decided],
        ["overtaken", counts.overtaken],
        ["left at the end", counts.stopped],
        ["failed", counts.failed],
    ]
    found.table(f"{bundle.name} on {arguments.engine}, a camera twice as fast", ["", "value"], rows)
    adds_up = counts.frames_in == counts.decided + counts.dropped + counts.failed
    found.say(f"Frames in = decided + dropped + failed: {'yes' if adds_up else 'NO'}.")
    settings = {"bundle": bundle.name, "engine": arguments.engine, "seconds": arguments.seconds}
    found.keep(settings, [dict(map(tuple, rows))])  # type: ignore[arg-type]


if __name__ == "__main__":
    run(main)
