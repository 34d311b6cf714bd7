"""Accuracy of a bundle on labelled data, through the same preprocessing and engine that run on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.dataset import LabelledData, Sample
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import AccuracyMeter, AccuracyResult
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.tasks.classify import Prediction, probabilities

__all__ = ["Evaluation", "answers", "evaluate", "groups"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        accuracy: over every readable picture.
        recorder: per picture, preprocess and inference (a batch's time divided by its size), milliseconds.
        correct: pictures whose first answer was right.
        elapsed_s: wall time, decoding included.
    """

    accuracy: AccuracyResult
    recorder: LatencyRecorder
    correct: int
    elapsed_s: float


def evaluate(
    bundle: Bundle,
    engine: Engine,
    data: LabelledData,
    *,
    batch: int = 1,
    limit: int | None = None,
    on_sample: Callable[[Sample, Prediction], None] | None = None,
) -> Evaluation:
    """Classify labelled pictures.

    Args:
        bundle: where contract and labels come from.
        engine: loaded with a ``max_batch`` of at least ``batch``.
        data: the pictures.
        batch: pictures per inference.
        limit: stop after so many pictures.
        on_sample: is told of every picture and its prediction.

    Raises:
        InputError: not one picture could be read.
    """
    classes = bundle.manifest.outputs[0].shape[0]
    activation = bundle.manifest.outputs[0].activation
    meter, recorder = AccuracyMeter(classes), LatencyRecorder()
    correct = 0
    begin = time.monotonic()
    for group, outputs in answers(bundle, engine, data, recorder, batch=batch, limit=limit):
        scores = probabilities(outputs[0], activation)
        targets = [sample.target for sample in group]
        meter.update(scores, targets)
        correct += int((scores.argmax(axis=1) == targets).sum())
        if on_sample is not None:
            for sample, row in zip(group, scores, strict=True):
                on_sample(sample, Prediction(row, bundle.labels))
    return Evaluation(meter.result(), recorder, correct, time.monotonic() - begin)


def answers(
    bundle: Bundle, engine: Engine, data: LabelledData, recorder: LatencyRecorder, *, batch: int, limit: int | None
) -> Iterator[tuple[list[Sample], tuple[Tensor, ...]]]:
    """Readable pictures in groups, with the engine's outputs for each group.

    Args:
        bundle: where the contract comes from.
        engine: loaded with a ``max_batch`` of at least ``batch``.
        data: the pictures.
        recorder: is given preprocess and inference of each picture (a batch's time divided by its size).
        batch: pictures per inference.
        limit: stop after so many pictures.

    Raises:
        InputError: not one picture could be read.
    """
    preprocess = Preprocessor(bundle.contract)
    buffer = engine.allocate_input(batch)
    group: list[Sample] = []
    for group in groups(data, batch, limit):
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
        raise InputError("not one picture of the data could be read", got=reasons or "no pictures")


def groups(data: LabelledData, size: int, limit: int | None) -> Iterator[list[Sample]]:
    """Readable pictures, ``size`` at a time, at most ``limit`` of them."""
    group: list[Sample] = []
    for seen, sample in enumerate(data):
        if seen == limit:
            break
        group.append(sample)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
