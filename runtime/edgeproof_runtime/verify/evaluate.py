"""Evaluate a bundle on a dataset, with the preprocessing and engine that run on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.dataset import ImageList, LabelledImages, Sample
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.engines.base import FrameEngine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.record import Judge
from edgeproof_runtime.tasks.registry import judge_of
from edgeproof_runtime.verify.image_results import ImageResults

__all__ = ["Evaluation", "evaluate", "groups", "outputs_of"]


S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes:
        judge: the task's judge, with every readable sample.
        recorder: preprocess and inference per sample (a batch's time divided by its size), milliseconds.
        elapsed_s: wall time, decoding included, seconds.
    """

    judge: Judge
    recorder: LatencyRecorder
    elapsed_s: float


def evaluate(
    bundle: Bundle,
    engine: Engine,
    data: LabelledImages[Any],
    *,
    batch: int = 1,
    limit: int | None = None,
    on_sample: Callable[[Sample, Decision, str], None] | None = None,
    on_outputs: Callable[[tuple[Tensor, ...]], None] | None = None,
    results: ImageResults | None = None,
    outputs_from: Callable[[LatencyRecorder], Iterator[tuple[list[Any], tuple[Tensor, ...]]]] | None = None,
) -> Evaluation:
    """Predict the samples of a dataset and compare with their ground truth.

    Args:
        bundle: its contract, task and labels apply.
        engine: loaded with a ``max_batch`` of at least ``batch``.
        data: from the task's `edgeproof_runtime.tasks.record.Task.open_dataset`.
        batch: samples per inference.
        limit: stop after this many samples.
        on_sample: called with every sample, its prediction and its ground truth.
        on_outputs: called with the outputs for each batch.
        results: gets a row for every sample, in the dataset's order.
        outputs_from: computes the outputs elsewhere, in groups as `outputs_of` yields them; None computes them here.

    Raises:
        InputError: the task has no metric, or no sample could be read.
    """
    judge, recorder = judge_of(bundle), LatencyRecorder()
    begin = time.monotonic()
    computed = (
        outputs_of(bundle, engine, data, recorder, batch=batch, limit=limit)
        if outputs_from is None
        else outputs_from(recorder)
    )
    for group, outputs in computed:
        decisions = judge.add_batch(outputs, data, [sample.target for sample in group])
        if on_outputs is not None:
            on_outputs(outputs)
        for sample, decision in zip(group, decisions, strict=True):
            if results is not None:
                results.add({"path": sample.name, **judge.row(data, sample.target, decision)})
            if on_sample is not None:
                on_sample(sample, decision, judge.truth_of(data, sample.target))
    return Evaluation(judge, recorder, time.monotonic() - begin)


def outputs_of(
    bundle: Bundle,
    engine: Engine,
    data: LabelledImages[Any] | ImageList,
    recorder: LatencyRecorder,
    *,
    batch: int,
    limit: int | None,
) -> Iterator[tuple[list[Any], tuple[Tensor, ...]]]:
    """Yield readable samples, or images without labels, in groups, with the engine's outputs for each group.

    Raises:
        InputError: no image could be read.
    """
    preprocess = Preprocessor(bundle.contract)
    buffer = engine.allocate_input(batch)
    images: Iterable[Any] = data
    group: list[Any] = []
    for group in groups(images, batch, limit):
        if isinstance(engine, FrameEngine) and engine.preprocesses:
            started = time.perf_counter_ns()
            outputs = engine.run_frames([sample.frame for sample in group])
            for _ in group:
                recorder.add("inference", (time.perf_counter_ns() - started) / 1e6 / len(group))
            yield group, outputs
            continue
        for slot, sample in zip(buffer, group, strict=False):
            started = time.perf_counter_ns()
            preprocess(sample.frame, out=slot)
            recorder.add("preprocess", (time.perf_counter_ns() - started) / 1e6)
        started = time.perf_counter_ns()
        outputs = engine.run(buffer[: len(group)])
        inference_ms = (time.perf_counter_ns() - started) / 1e6 / len(group)
        for _ in group:
            recorder.add("inference", inference_ms)
        yield group, outputs
    if not group:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in data.skipped[:3])
        raise InputError("dataset: no image could be read", got=reasons or "no images")


def groups(data: Iterable[S], size: int, limit: int | None) -> Iterator[list[S]]:
    """Yield readable samples, ``size`` at a time, at most ``limit`` of them."""
    group: list[S] = []
    for seen, sample in enumerate(data):
        if seen == limit:
            break
        group.append(sample)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
