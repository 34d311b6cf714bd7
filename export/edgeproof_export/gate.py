"""The parity gate: compare every CPU engine of this machine with PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.dataset import ImageList, LabelledImages
from edgeproof_runtime.engines import Engine, catalog
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import EdgeproofError, EngineFaultError, GateError, InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import BOUNDS, OutputsMeter

__all__ = [
    "ParityOutcome",
    "gated_engines",
    "labelled_tensors",
    "require",
    "required_engines",
    "run_parity",
    "tensors_of",
]

_BATCH = 8
_CHUNK_BYTES = 64 * 2**20
_LABELLED_BATCH = 64
_LABELLED_BYTES = 16 * 2**20

# The folder of the bundle being written, which is gone when the message is read.
_FOLDER = re.compile(r"[^\s'\"]*/(?=model(\.[\w-]+)?\.onnx)")

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ParityOutcome:
    """Results of the parity gate.

    Attributes:
        gates: one gate for the reference, one per engine that must pass or passed.
        missed: gates of engines that missed their bound and need not pass.
        engines: every considered engine.
        worst: image with the largest difference, by gate name.
        notes: notes for the report.
        pictures: number of compared images.
        arithmetic: precision that the model computes in.
    """

    gates: tuple[Gate, ...]
    missed: tuple[Gate, ...]
    engines: tuple[EngineRow, ...]
    worst: dict[str, str]
    notes: tuple[str, ...]
    pictures: int
    arithmetic: str

    def provenance(self) -> dict[str, Any]:
        """Return what the bundle keeps: the arithmetic if it is fp16, and the engines that did not pass."""
        fields = ("name", "version", "reason")
        left_out = [{name: getattr(row, name) for name in fields} for row in self.engines if not row.passed]
        return {
            **({"arithmetic": "fp16"} if self.arithmetic == "fp16" else {}),
            **({"engines_left_out": left_out} if left_out else {}),
        }


def gated_engines() -> list[str]:
    """Return the names of this machine's CPU engines, on which an export is gated.

    GPU engines are gated at evaluation: they round fp32 products (TF32) by default.
    """
    here = engines.available()
    return [entry.name for entry in catalog.offered() if entry.device == "cpu" and entry.name in here]


def required_engines(named: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the engines that an export must pass on.

    Args:
        named: names, or names separated by commas; None means ONNX Runtime.

    Raises:
        InputError: a name is unknown, or no CPU engine's.
        UnavailableError: an engine is not installed.
    """
    parts = (named or "onnxruntime").split(",") if named is None or isinstance(named, str) else named
    names = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    gated = [entry.name for entry in catalog.offered() if entry.device == "cpu"]
    for name in names:
        if catalog.find(name).name not in gated:
            raise InputError(
                "--engines: not gated at the export",
                got=name,
                expected=", ".join(gated),
                fix=f"edgeproof evaluate BUNDLE --data DATA --engine {name}, after the export",
            )
        engines.require(name, "fp32")
    if not names:
        raise InputError("--engines: names no engine", expected=", ".join(gated))
    return names


@np.errstate(invalid="ignore")  # the gates count what is not finite
def run_parity(
    artifact: ModelArtifact,
    reference: Callable[[NDArray[np.generic]], Sequence[NDArray[np.generic]]],
    reference_name: str,
    names: Sequence[str],
    inputs: Iterable[tuple[list[str], NDArray[np.generic]]],
    total: int,
    advance: Advance,
    *,
    required: Collection[str] = ("onnxruntime",),
    ranked: bool = True,
) -> ParityOutcome:
    """Compare engines with the reference.

    The first input runs alone, the others in batches, which detects a batch dimension that is fixed.

    Args:
        artifact: the model; its ``max_batch`` bounds the batches, its ``bounds`` are those of the gates.
        reference: function from a batch to one array ``N x ...`` per output.
        reference_name: name for messages, such as ``PyTorch``.
        names: engines to compare with it.
        inputs: names and tensors in batches; `tensors_of` makes them from images.
        total: largest possible number of inputs.
        advance: called with (done, total).
        required: engines that must pass. Others that do not run the model, or miss their bound, are noted and left out.
        ranked: whether the outputs are scores of classes.

    Raises:
        GateError: a required engine does not run the model.
    """
    with ExitStack() as stack:
        loaded, rows, notes = _load(names, artifact, stack, required)
        meters = {name: OutputsMeter(artifact.outputs, ranked=ranked) for name in loaded}
        not_finite, compared, repeated, neighbours = 0, 0, 0.0, 0.0
        extremes: list[NDArray[np.generic]] = []
        for pictures, tensors in inputs:
            slices = _slices(len(tensors), min(_BATCH, artifact.max_batch))
            expected = _joined([reference(tensors[part]) for part in slices])
            extremes += [expected[0].min(axis=0), expected[0].max(axis=0)]
            not_finite += sum(int(np.count_nonzero(~np.isfinite(output))) for output in expected)
            if compared == 0:
                again = reference(tensors[slices[0]])
                firsts = [first[slices[0]] for first in expected]
                repeated = max(
                    _relative(one, first, float(np.abs(first).max())) for one, first in zip(again, firsts, strict=True)
                )
                neighbours = _neighbours(reference, tensors, expected, slices)
            # One engine at a time: threads that still spin after a run slow the next engine.
            for name in list(loaded):
                try:
                    answers = [_shaped(loaded[name].run(tensors[part]), expected, part) for part in slices]
                except InputError as error:
                    _refuse(name, error, rows, notes, required)
                    del loaded[name], meters[name]
                    continue
                meters[name].update(expected, _joined(answers), pictures)
            compared += len(tensors)
            advance(compared, total)
        versions = {name: engine.describe().version for name, engine in loaded.items()}
    if compared > 1:
        notes += _constant_note(reference_name, np.stack(extremes))
    gates = [_reference_gate(reference_name, compared, not_finite, repeated, neighbours, artifact.bounds)]
    missed: list[Gate] = []
    worst: dict[str, str] = {}
    for name, meter in meters.items():
        gate = meter.gate(f"parity {name} {artifact.bounds}", f"{name} with {reference_name}", artifact.bounds)
        worst[gate.name] = meter.worst
        reason = None if gate.passed else f"missed its bound: {gate.misses()}"
        rows.append(EngineRow(name, versions[name], None, gate.passed, reason=reason))
        (gates if gate.passed or name in required else missed).append(gate)
        if reason is not None:
            notes.append(f"{name} {versions[name]} {reason}: left out")
    return ParityOutcome(tuple(gates), tuple(missed), tuple(rows), worst, tuple(notes), compared, artifact.bounds)


def require(gates: Sequence[Gate], parity: ParityOutcome, reference_name: str) -> None:
    """Raise if a gate failed that must pass.

    Raises:
        GateError: names all failed gates, their values and bounds, and the worst image.
    """
    if not all(gate.passed for gate in gates):
        gates, worst = [*gates, *parity.missed], parity.worst
        failed = [gate for gate in gates if not gate.passed]
        raise GateError(
            f"export: failed {len(failed)} of {len(gates)} gates; no bundle was written",
            got="; ".join(_missed(gate, worst.get(gate.name)) for gate in failed),
            expected="; ".join(dict.fromkeys(_bounds(gate) for gate in failed)),
            fix=_advice(failed, reference_name),
        )


def _load(
    names: Sequence[str], artifact: ModelArtifact, stack: ExitStack, required: Collection[str]
) -> tuple[dict[str, Engine], list[EngineRow], list[str]]:
    loaded: dict[str, Engine] = {}
    rows: list[EngineRow] = []
    notes: list[str] = []
    engines.try_out(names, artifact)
    for name in names:
        try:
            loaded[name] = stack.enter_context(engines.load(name, artifact))
        except EdgeproofError as error:
            _refuse(name, error, rows, notes, required)
    return loaded, rows, notes


def _refuse(
    name: str, error: EdgeproofError, rows: list[EngineRow], notes: list[str], required: Collection[str]
) -> None:
    fault = isinstance(error, EngineFaultError)
    reason = error.what if fault or error.got is None else f"{error.what}: {error.got}"
    reason = _FOLDER.sub("", reason)
    if name in required:
        called = "ONNX Runtime" if name == "onnxruntime" else name
        others = " or ".join(one for one in gated_engines() if one != name)
        fix = "look for code that depends on the batch's size (a loop over it) or on values (if, int(), .item())"
        fix += f"; or --engines {others}, if {called} is not needed" if others else ""
        raise GateError(f"export: {called} cannot run the model; no bundle was written", got=reason, fix=fix) from error
    rows.append(EngineRow(name, None, None, None, reason=reason))
    notes.append(f"{reason}: left out" if fault else f"{name}: cannot run this model, left out: {reason}")


def tensors_of(
    images: ImageList, positions: Sequence[int], contract: InputContract
) -> Iterable[tuple[list[str], NDArray[np.generic]]]:
    """Return names and tensors of the readable images, in batches that limit the memory.

    Every iteration reads the images again.

    Args:
        images: the images.
        positions: positions of the images to use.
        contract: input contract.
    """
    return _ImageTensors(images, positions, contract)


@dataclass(frozen=True, slots=True)
class _ImageTensors:
    images: ImageList
    positions: Sequence[int]
    contract: InputContract

    def __iter__(self) -> Iterator[tuple[list[str], NDArray[np.generic]]]:
        preprocess = Preprocessor(self.contract)
        size = max(1, _CHUNK_BYTES // _tensor_bytes(self.contract))
        names: list[str] = []
        tensors: list[NDArray[np.generic]] = []
        for _, picture in self.images.indexed(self.positions):
            names.append(picture.name)
            tensors.append(preprocess(picture.frame))
            if len(tensors) == size:
                yield names, np.stack(tensors)
                names, tensors = [], []
        if tensors:
            yield names, np.stack(tensors)


def labelled_tensors(
    data: LabelledImages[Any], contract: InputContract
) -> Iterator[tuple[list[Any], NDArray[np.generic]]]:
    """Targets and tensors of the readable images, a batch at a time.

    Args:
        data: labelled images.
        contract: input contract.
    """
    size = max(1, min(_LABELLED_BATCH, contract.batch.max, _LABELLED_BYTES // _tensor_bytes(contract)))
    preprocess = Preprocessor(contract)
    targets: list[Any] = []
    tensors: list[NDArray[np.generic]] = []
    for sample in data:
        targets.append(sample.target)
        tensors.append(preprocess(sample.frame))
        if len(tensors) == size:
            yield targets, np.stack(tensors)
            targets, tensors = [], []
    if tensors:
        yield targets, np.stack(tensors)


def _slices(count: int, batch: int) -> list[slice]:
    """Return slices of one image alone, then of batches."""
    edges = [0, *range(1, count, batch), count]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _tensor_bytes(contract: InputContract) -> int:
    return int(np.prod(contract.tensor_shape())) * np.dtype(contract.dtype).itemsize


def _joined(parts: Sequence[Sequence[NDArray[np.generic]]]) -> list[NDArray[np.generic]]:
    """Concatenate the batches of every output."""
    return [np.concatenate(batches) for batches in zip(*parts, strict=True)]


def _shaped(
    answers: Sequence[NDArray[np.generic]], expected: Sequence[NDArray[np.generic]], part: slice
) -> list[NDArray[np.generic]]:
    """Replace outputs of another shape by NaN: they cannot be compared."""
    return [
        answer if answer.shape == one[part].shape else np.full_like(one[part], np.nan)
        for answer, one in zip(answers, expected, strict=True)
    ]


def _relative(again: NDArray[np.generic], first: NDArray[np.generic], scale: float) -> float:
    """Return the largest difference relative to ``scale``; NaN where a value is not finite."""
    return float(np.abs(again.astype(np.float64) - first.astype(np.float64)).max() / (scale or 1.0))


def _neighbours(
    reference: Callable[[NDArray[np.generic]], Sequence[NDArray[np.generic]]],
    tensors: NDArray[np.generic],
    expected: Sequence[NDArray[np.generic]],
    slices: Sequence[slice],
) -> float:
    """Return by how much the last image of a batch gets other outputs alone, relative to the batch's largest output."""
    batch = next((part for part in slices if part.stop - part.start > 1), None)
    if batch is None:
        return 0.0
    last = slice(batch.stop - 1, batch.stop)
    found = 0.0
    for alone, together in zip(reference(tensors[last]), expected, strict=True):
        found = max(found, _relative(alone, together[last], float(np.abs(together[batch]).max())))
    return found


def _reference_gate(name: str, n: int, not_finite: int, repeated: float, neighbours: float, arithmetic: str) -> Gate:
    return Gate.judge(
        f"{name} itself",
        f"{name}'s outputs for the same image, computed twice, and alone or in a batch; must be finite",
        {
            "n": float(n),
            "values_not_finite": float(not_finite),
            "repeat_relative_diff": repeated,
            "neighbour_relative_diff": neighbours,
        },
        at_most={
            "values_not_finite": 0.0,
            "repeat_relative_diff": 1e-5,
            "neighbour_relative_diff": BOUNDS[arithmetic].relative_diff,
        },
    )


def _constant_note(name: str, extremes: NDArray[np.generic]) -> list[str]:
    """Return a note if the outputs are so constant that parity does not test the input."""
    values = extremes.astype(np.float64)
    spread, scale = float(np.ptp(values, axis=0).max()), float(np.abs(values).max())
    if not spread <= BOUNDS["fp32"].relative_diff * scale:  # nor what is not finite
        return []
    return [
        f"{name}'s outputs hardly depend on the image (spread {spread:.2g} at a scale of {scale:.2g}), "
        "so parity proves little."
    ]


def _missed(gate: Gate, worst: str | None) -> str:
    figures = ", ".join(f"{name} {gate.measured.get(name, float('nan')):.4g}" for name in gate.missed())
    absolute = gate.measured.get("max_abs_diff")
    more = f", max_abs_diff {absolute:.4g}" if absolute is not None else ""
    return f"{gate.name}: {figures}{more}" + (f", worst on {worst}" if worst else "")


def _bounds(gate: Gate) -> str:
    signs = {"min": "at least", "max": "at most"}
    return ", ".join(
        f"{name} {' and '.join(f'{signs[side]} {value:g}' for side, value in gate.bound[name].items())}"
        for name in gate.missed()
    )


def _advice(failed: Sequence[Gate], reference_name: str) -> str:
    names = {gate.name for gate in failed}
    if f"{reference_name} itself" in names:
        if any(gate.missed() == ["neighbour_relative_diff"] for gate in failed):
            return (
                "an image's outputs depend on the other images of its batch, as with x[x > t].mean() or a softmax over "
                "the batch: compute them for each image, or --batch 1,1,1"
            )
        return "fix the model first: its outputs are not finite, or change between runs (dropout, random crops)"
    if "preprocessing vs torchvision" in names:
        return "report this contract and image: the runtime must equal torchvision bit for bit"
    if names & {"class order", "above chance"}:
        return (
            "check the order of the classes (--class-ids, --class-order, --labels), the weights and the input contract"
        )
    if reference_name != "PyTorch":
        return (
            f"these engines compute the file differently than {reference_name}: name the engines that must pass "
            "with --engines, or export the model again with another opset"
        )
    return "look for code that behaves differently while it is exported (torch.compiler.is_exporting, Python branches)"
