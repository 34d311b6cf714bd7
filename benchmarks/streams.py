"""How much of what the CPU allows does the pipeline reach, with one stream and with several?

Decoding, preprocessing and inference are measured alone, in CPU time a frame; cores / their sum is what this machine
allows. Inference is measured once more on all cores at once, because they share caches. Beside it, round by round: the
pipeline on one 720p file, on several at once, with the `null` engine (its own cost), and a bare engine loop on a ready
tensor, one session with a thread for each core.

    python benchmarks/streams.py [--bundle BUNDLE.edge] [--engine onnxruntime] [--clip CLIP] [--rounds 5]
        [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import DEMO, Findings, clip_flag, output_flags, run

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.tasks.classify import classify_head

STREAMS = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """What a number of frames took: seconds on the wall, seconds of CPU of all threads of this process."""

    frames: int
    wall_s: float
    cpu_s: float

    @property
    def fps(self) -> float:
        return self.frames / self.wall_s

    @property
    def cpu_ms(self) -> float:
        return 1e3 * self.cpu_s / self.frames


def cost_of(work: Callable[[], int]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    frames = work()
    return Cost(frames, time.perf_counter() - wall, time.process_time() - cpu)


def write_720p(out: Path, clip: Path, frames: int) -> Path:
    """The clip's frames at 1280x720."""
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), 30, (1280, 720))
    with open_source(str(clip)) as source:
        for frame in islice(source, frames):
            writer.write(cv2.resize(frame.image, (1280, 720), interpolation=cv2.INTER_CUBIC))
    writer.release()
    return out


def alone(clip: Path, bundle: Bundle, engine_name: str, count: int) -> dict[str, Cost]:
    """Each stage by itself."""
    with open_source(str(clip)) as source:
        decode = cost_of(lambda: sum(1 for _ in source))
    with open_source(str(clip)) as source:
        frames = [frame.image for frame in islice(source, 30)]
    preprocess = Preprocessor(bundle.contract)
    with load_engine(bundle, engine_name, "fp32", threads=1) as engine:
        batch = engine.allocate_input(1)
        preprocess(frames[0], out=batch[0])

        def prepare() -> int:
            for i in range(count):
                preprocess(frames[i % len(frames)], out=batch[0])
            return count

        def infer() -> int:
            for _ in range(count):
                engine.run(batch)
            return count

        return {"decode": decode, "preprocess": cost_of(prepare), "inference": cost_of(infer)}


def side_by_side(bundle: Bundle, engine_name: str, engines: int, count: int) -> Cost:
    """So many engines of one thread at once, and nothing else: what cores that share caches and units really do."""
    with ExitStack() as stack:
        loaded = [stack.enter_context(load_engine(bundle, engine_name, "fp32", threads=1)) for _ in range(engines)]
        batches = [engine.allocate_input(1) for engine in loaded]
        for engine, batch in zip(loaded, batches, strict=True):
            engine.run(batch)

        def infer() -> int:
            with ThreadPoolExecutor(engines) as pool:
                list(
                    pool.map(
                        lambda pair: [pair[0].run(pair[1]) for _ in range(count)], zip(loaded, batches, strict=True)
                    )
                )
            return count * engines

        return cost_of(infer)


def bare(bundle: Bundle, engine_name: str, threads: int, count: int) -> Cost:
    """The engine's own call on a ready tensor, one session with so many threads."""
    with load_engine(bundle, engine_name, "fp32", threads=threads) as engine:
        batch = engine.allocate_input(1)
        batch[...] = np.random.default_rng(0).normal(size=batch.shape)
        for _ in range(10):
            engine.run(batch)
        return cost_of(lambda: sum(len(engine.run(batch)) for _ in range(count)))


def pipeline(
    clip: Path, bundle: Bundle, engine_name: str, workers: int, streams: int, frames: int
) -> tuple[Cost, Counter[str]]:
    """Cost of all frames of all streams, and how many of each had been decided when the first stream was through."""
    head = classify_head(bundle)
    engines = [load_engine(bundle, engine_name, "fp32", threads=1) for _ in range(workers)]
    for engine in engines:
        engine.run(engine.allocate_input(1))
    parts = [Worker(Preprocessor(bundle.contract), engine, head) for engine in engines]
    decided: Counter[str] = Counter()
    when_first: Counter[str] = Counter()

    def run() -> int:
        with Pipeline([Stream(f"{i}", lambda: open_source(str(clip))) for i in range(streams)], parts) as running:
            for decision in running:
                decided[decision.stream] += 1
                if not when_first and decided[decision.stream] == frames:
                    when_first.update(decided)
        return decided.total()

    cost = cost_of(run)
    for engine in engines:
        engine.close()
    return cost, when_first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="onnxruntime")
    clip_flag(parser, "is made 720p")
    parser.add_argument("--frames", type=int, default=300, help="of the clip")
    parser.add_argument("--rounds", type=int, default=5)
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("streams", arguments)
    bundle = Bundle.open(arguments.bundle)
    cores = len(os.sched_getaffinity(0))
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = write_720p(Path(folder) / "clip-720p.mp4", arguments.clip, arguments.frames)
        for _ in range(arguments.rounds):
            count = arguments.frames
            stages = alone(clip, bundle, arguments.engine, count)
            together = side_by_side(bundle, arguments.engine, cores, count)
            raw = bare(bundle, arguments.engine, cores, count)
            one, _ = pipeline(clip, bundle, arguments.engine, cores, 1, count)
            several, when_first = pipeline(clip, bundle, arguments.engine, cores, STREAMS, count)
            null, _ = pipeline(clip, bundle, "null", cores, 1, count)
            needed_ms = sum(cost.cpu_ms for cost in stages.values())
            shared_ms = needed_ms - stages["inference"].cpu_ms + together.cpu_ms
            beside_null_ms = stages["decode"].cpu_ms + stages["preprocess"].cpu_ms
            results.append(
                {
                    **{f"{stage}_cpu_ms": cost.cpu_ms for stage, cost in stages.items()},
                    "inference_side_by_side_cpu_ms": together.cpu_ms,
                    "allowed_fps": 1e3 * cores / needed_ms,
                    "allowed_side_by_side_fps": 1e3 * cores / shared_ms,
                    "one_stream_fps": one.fps,
                    "one_stream_cpu_ms": one.cpu_ms,
                    "several_streams_fps": several.fps,
                    "several_streams_cpu_ms": several.cpu_ms,
                    "null_fps": null.fps,
                    "own_cpu_ms": null.cpu_ms - beside_null_ms,
                    "bare_engine_fps": raw.fps,
                    "one_of_allowed": one.fps * needed_ms / 1e3 / cores,
                    "one_of_allowed_side_by_side": one.fps * shared_ms / 1e3 / cores,
                    "cpu_needed_of_used": needed_ms / one.cpu_ms,
                    "cpu_needed_side_by_side_of_used": shared_ms / one.cpu_ms,
                    "several_of_one": several.fps / one.fps,
                    "cpu_of_one_per_several": one.cpu_ms / several.cpu_ms,
                    "one_of_bare_engine": one.fps / raw.fps,
                    "slowest_of_fastest_stream": min(when_first.values()) / max(when_first.values()),
                }
            )
    rows = [[name, *(float(np.percentile([r[name] for r in results], q)) for q in (50, 0, 100))] for name in results[0]]
    found.table(
        f"{bundle.name} on {arguments.engine}, {cores} cores, {arguments.rounds} rounds",
        ["", "median", "lowest", "highest"],
        rows,
    )
    settings = {"bundle": bundle.name, "engine": arguments.engine, "rounds": arguments.rounds, "cores": cores}
    found.keep(settings, results)


if __name__ == "__main__":
    run(main)
