"""Replay the golden cases: does this machine compute what PyTorch computed at the export?"""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_runtime.bundle.engine_record import read_record
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.engines import Engine, catalog
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import OutputsMeter
from edgeproof_runtime.system.steps import step
from edgeproof_runtime.tasks.registry import golden_inputs_of, task_of

__all__ = ["compiled_gate", "frame_gates", "output_gate"]


def frame_gates(bundle: Bundle, cases: Sequence[GoldenCase]) -> list[Gate]:
    """Return the gates that require no engine: inputs computed on this machine, and labels."""
    return golden_inputs_of(bundle).gates(cases)


def compiled_gate(bundle: Bundle) -> Gate | None:
    """Check that every compiled engine was built from the bundle's ONNX model; None without compiled engines.

    No engine is loaded, so this works on machines that cannot run them.
    """
    stale = []
    for entry in bundle.engines():
        record = read_record(bundle.read(entry.info), entry.info)
        model = bundle.model_for(entry.precision, catalog.int8_shape(entry.target))
        if model is None or record.onnx_sha256 != bundle.sha256(model):
            stale.append(entry.path)
    if not bundle.engines():
        return None
    which = f": {', '.join(stale)} not built from it" if stale else ""
    return Gate.judge(
        "compiled engines",
        f"the model that each compiled engine was built from with the bundle's model{which}",
        {"n": float(len(bundle.engines())), "stale": float(len(stale))},
        at_most={"stale": 0.0},
    )


def output_gate(bundle: Bundle, engine: Engine, cases: Sequence[GoldenCase], *, batch: int = 1) -> Gate:
    """Compare the engine's outputs for the golden cases with PyTorch's; the inputs are computed on this machine.

    Args:
        bundle: the bundle of the cases.
        engine: a loaded engine.
        cases: golden cases.
        batch: samples per run, all of one case: the smallest batch that a compiled engine accepts.
    """
    inputs = golden_inputs_of(bundle)
    buffer = engine.allocate_input(batch)
    outputs = bundle.manifest.outputs
    meter = OutputsMeter(outputs, ranked=task_of(bundle).ranked)
    with step(f"replay {len(cases)} golden cases on {engine.name}, {engine.artifact.precision}"):
        for case in cases:
            inputs.fill(case, buffer[0])
            buffer[1:] = buffer[0]
            answers = [output[:1] for output in engine.run(buffer)]
            for output, expected, answer in zip(outputs, case.outputs, answers, strict=True):
                if expected.shape != answer.shape[1:]:
                    raise BundleError(
                        f"golden case {case.name}: does not match the model",
                        got=f"{output.name} {expected.shape}",
                        expected=answer.shape[1:],
                        fix="export the bundle again",
                    )
            meter.update([expected[None] for expected in case.outputs], answers, [case.name])
    artifact = engine.artifact
    return meter.gate(f"parity {engine.name} {artifact.precision}", f"{engine.name} with PyTorch", artifact.bounds)
