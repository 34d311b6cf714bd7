"""Replaying the golden cases: does this machine do to a frame what PyTorch did when the bundle was made?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeproof_runtime.bundle.engine_record import read_record
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import OutputsMeter

__all__ = [
    "compiled_gate",
    "frame_gates",
    "label_gate",
    "latent_gate",
    "output_gate",
    "preprocessing_gate",
]


def frame_gates(bundle: Bundle, cases: Sequence[GoldenCase]) -> list[Gate]:
    """The gates that need no engine: preprocessing (of a generator, its seeds), and labels where there are some."""
    labels = label_gate(bundle, cases)
    first = preprocessing_gate(bundle, cases) if bundle.manifest.latent is None else latent_gate(bundle, cases)
    return [first, *([labels] if labels is not None else [])]


def compiled_gate(bundle: Bundle) -> Gate | None:
    """Every compiled engine must come from the very ONNX model that the bundle holds; None where there is none.

    No engine is loaded: this holds on a machine that could not run them as well.
    """
    stale = []
    for entry in bundle.engines():
        record = read_record(bundle.path / entry.info)
        model = bundle.manifest.model_for(entry.precision, entry.target)
        if model is None or record.onnx_sha256 != bundle.sha256(model):
            stale.append(entry.path)
    if not bundle.engines():
        return None
    which = f": {', '.join(stale)} did not come from it" if stale else ""
    return Gate.judge(
        "compiled engines",
        f"the model that each compiled engine was built from with the bundle's own{which}",
        {"n": float(len(bundle.engines())), "stale": float(len(stale))},
        at_most={"stale": 0.0},
    )


def latent_gate(bundle: Bundle, cases: Sequence[GoldenCase]) -> Gate:
    """Every golden seed must become its golden latent vector, but for the last bit (see `latents`)."""
    made = [latents(case.seed or 0, 0, 1, bundle.latent.size)[0] for case in cases]
    largest = max(
        float(np.abs(one - case.tensor).max()) if one.shape == case.tensor.shape else float("inf")
        for one, case in zip(made, cases, strict=True)
    )
    return Gate.judge(
        "latent vectors",
        "this machine's latent vectors with those of the export, seed by seed",
        {"n": float(len(cases)), "max_abs_diff": largest},
        at_most={"max_abs_diff": 2.0**-21},
    )


def preprocessing_gate(bundle: Bundle, cases: Sequence[GoldenCase]) -> Gate:
    """Every golden frame must become its golden tensor without one differing bit."""
    preprocess = Preprocessor(bundle.contract)
    differing = wrong_shape = 0
    largest = 0.0
    for case in cases:
        tensor = preprocess(case.frame)
        if tensor.shape != case.tensor.shape or tensor.dtype != case.tensor.dtype:
            wrong_shape += 1
            continue
        different = tensor.view(np.uint8) != case.tensor.view(np.uint8)
        differing += int(different.any(axis=-1).sum()) if different.any() else 0
        largest = max(largest, float(np.abs(tensor.astype(np.float64) - case.tensor.astype(np.float64)).max()))
    return Gate.judge(
        "preprocessing",
        "this machine's input tensors with those of the export, bit for bit",
        {
            "n": float(len(cases)),
            "differing_rows": float(differing),
            "wrong_shape": float(wrong_shape),
            "max_abs_diff": largest,
        },
        at_most={"differing_rows": 0.0, "wrong_shape": 0.0},
    )


def label_gate(bundle: Bundle, cases: Sequence[GoldenCase]) -> Gate | None:
    """The labels must name PyTorch's first answers as they did at the export; None without labels."""
    named = [case for case in cases if case.top1 is not None and case.label is not None]
    if not named or not bundle.labels:
        return None
    other = sum(bundle.labels[case.top1] != case.label for case in named if case.top1 is not None)
    return Gate.judge(
        "labels",
        "labels.txt with the labels of PyTorch's first answers at the export",
        {"n": float(len(named)), "differing": float(other)},
        at_most={"differing": 0.0},
    )


def output_gate(bundle: Bundle, engine: Engine, cases: Sequence[GoldenCase]) -> Gate:
    """What the engine answers for the golden cases, their inputs made here, against PyTorch's answers."""
    preprocess = Preprocessor(bundle.contract) if bundle.manifest.latent is None else None
    buffer = engine.allocate_input(1)
    outputs = bundle.manifest.outputs
    meter = OutputsMeter(outputs, ranked=bundle.manifest.task == "classify")
    for case in cases:
        if preprocess is not None:
            preprocess(case.frame, out=buffer[0])
        else:
            buffer[0] = latents(case.seed or 0, 0, 1, bundle.latent.size)[0]
        answers = engine.run(buffer)
        for output, expected, answer in zip(outputs, case.outputs, answers, strict=True):
            if expected.shape != answer.shape[1:]:
                raise BundleError(
                    f"golden case {case.name} does not fit the model",
                    got=f"{output.name} {expected.shape}",
                    expected=answer.shape[1:],
                    fix="export the bundle again",
                )
        meter.update([expected[None] for expected in case.outputs], answers, [case.name])
    precision = engine.artifact.precision
    return meter.gate(f"parity {engine.name} {precision}", f"{engine.name} with PyTorch", precision)
