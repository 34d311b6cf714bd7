"""Find the first layer whose numbers move: intermediate values of an engine against the exported model's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.bundle.onnx_graph import OnnxGraph, OnnxNode
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.engines import Engine, catalog
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.tasks.registry import golden_inputs_of

__all__ = ["LayerDrift", "LayerTrace", "require_intermediate_values", "trace_layers"]

# A layer moves if its relative error is above the first figure and this many times that of what it reads. Rounding
# to 11 bits has a mean error of 2^-12; an int8 value is off by up to 1/254 of its range, small values by much more.
_MOVES = {"fp32": (1e-3, 8.0), "fp16": (1e-2, 8.0), "int8": (0.2, 3.0)}
_UNIT = {"fp32": 1e-6, "fp16": 2.0**-12, "int8": 2.0**-8}
_SHARE_OF_AVAILABLE = 1 / 8  # both engines hold the values, and their difference is computed in float64
# Of the outputs, between the engine with and without intermediate values: other kernels round otherwise.
_ROUNDING_ONLY = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.1}


@dataclass(frozen=True, slots=True)
class LayerDrift:
    """One intermediate value on an engine, compared with the same value of the exported model.

    Attributes:
        value: name of the ONNX value.
        module: full name of the PyTorch module, empty if the file does not say.
        operators: ONNX operators between the compared values before it and this one.
        nodes: their names.
        error: Euclidean norm of the difference over the reference's norm, for all golden cases together; infinite if
            the engine's value is not finite and the reference's is.
        before: largest ``error`` of the compared values that it is computed from.
        max_abs_diff: largest difference, in units of the value.
        max_abs: largest absolute value of the reference.
        not_finite: values that are not finite on the engine alone.
        moved: whether the error is more than the precision explains and began here.
    """

    value: str
    module: str
    operators: tuple[str, ...]
    nodes: tuple[str, ...]
    error: float
    before: float
    max_abs_diff: float
    max_abs: float
    not_finite: int
    moved: bool

    @property
    def name(self) -> str:
        """The PyTorch module, or else the ONNX value."""
        return self.module or self.value

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite error is null."""
        errors = (("error", self.error), ("before", self.before))
        figures = {key: value if math.isfinite(value) else None for key, value in errors}
        return {"name": self.name, **asdict(self), **figures}


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """All compared values of a model on an engine, in the order of the graph.

    Attributes:
        engine, version, precision: what was compared.
        reference: what it was compared with.
        golden_cases: number of golden inputs.
        layers: the compared values.
        not_compared: number of values of the exported model that the engine's model has not, or that no longer
            exist beside it (between a layer and its quantiser).
        output_shift: largest relative difference between the engine's outputs with and without intermediate values;
            values that must exist keep an engine from fusing their layers.
    """

    engine: str
    version: str
    precision: str
    reference: str
    golden_cases: int
    layers: tuple[LayerDrift, ...]
    not_compared: int
    output_shift: float

    @property
    def first(self) -> LayerDrift | None:
        """The earliest layer that moved."""
        return next((layer for layer in self.layers if layer.moved), None)

    @property
    def fuses_differently(self) -> bool:
        """Whether the engine computes other outputs where it must not fuse layers."""
        return not self.output_shift <= _ROUNDING_ONLY[self.precision]

    def verdict(self) -> str:
        """Say where the numbers move, in one or two sentences."""
        what = f"{self.engine} {self.precision}"
        first = self.first
        if first is None:
            worst = max(self.layers, key=lambda layer: layer.error)
            text = (
                f"{what}: no layer moves more than {self.precision} explains; largest error {worst.error:.2g}, "
                f"at {worst.name}"
            )
        elif first.not_finite:
            text = (
                f"{what}: the numbers first move at {first.name} ({' '.join(first.operators)}): {first.not_finite} "
                f"values not finite, where the reference has values up to {first.max_abs:.3g}"
            )
        else:
            text = (
                f"{what}: the numbers first move at {first.name} ({' '.join(first.operators)}): relative error "
                f"{first.error:.2g}, before it {first.before:.2g}"
            )
        if self.fuses_differently:
            text += (
                f". Its outputs differ by {self.output_shift:.2g} from those without intermediate values: "
                "look for the cause in what it fuses"
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        first = self.first
        return {
            **{k: v for k, v in asdict(self).items() if k != "layers"},
            "first": None if first is None else first.name,
            "verdict": self.verdict(),
            "layers": [layer.to_json() for layer in self.layers],
        }


def trace_layers(
    bundle: Bundle,
    name: str,
    artifact: ModelArtifact,
    cases: Sequence[GoldenCase],
    *,
    advance: Callable[[int, int], None] | None = None,
) -> LayerTrace:
    """Compare every intermediate value of an engine with the exported model's, on the golden inputs.

    The reference is the exported model on ONNX Runtime without graph optimisation. Of a quantised value the
    dequantised one is compared, so that int8 kernels compute as they do without this comparison.

    Args:
        bundle: bundle of the artifact.
        name: an engine that gives intermediate values.
        artifact: what the engine loads.
        cases: golden cases.
        advance: called with (done, total) of the golden cases and groups of values.

    Raises:
        InputError: the engine gives no intermediate values, or the model cannot be read or run.
        UnavailableError: ONNX Runtime, or the engine, is not available.
    """
    require_intermediate_values(name)
    base = bundle.artifact(max_batch=1)
    plan = _Plan(base.graph(), artifact.graph(), artifact.precision)
    inputs = golden_inputs_of(bundle)
    batches = []
    for case in cases:
        buffer = np.zeros((1, *artifact.input.shape), np.dtype(artifact.input.dtype))
        inputs.fill(case, buffer[0])
        batches.append(buffer)
    groups = plan.groups(base)
    meters = {value: _Meter() for group in groups for value in group}
    total, done = len(groups) * len(cases), 0
    with engines.load(name, replace(artifact, blob=None)) as plain:
        info, own = plain.describe(), [plain.run(batch) for batch in batches]
    shift = 0.0
    for group in groups:
        right, other = plan.taps(group)
        with (
            OnnxRuntimeEngine(base.tapped(right), as_stated=True) as reference,
            engines.load(name, artifact.tapped(other)) as engine,
        ):
            for batch, expected in zip(batches, own, strict=True):
                answers, given = reference.run(batch), engine.run(batch)
                shift = max(shift, *(_shift(a, b) for a, b in zip(expected, given, strict=False)))
                ours, theirs = plan.named(reference, answers, batch), plan.named(engine, given, batch)
                for value in group:
                    meters[value].update(ours[value], theirs[plan.stands_for[value]])
                done += 1
                if advance is not None:
                    advance(done, total)
    compared = {value: meter for value, meter in meters.items() if meter.compared}
    return LayerTrace(
        name,
        info.version,
        artifact.precision,
        f"onnxruntime {base.precision}, no graph optimisation",
        len(cases),
        tuple(plan.layers(compared)),
        len(plan.computed) - len(compared.keys() & plan.computed),
        shift,
    )


def require_intermediate_values(names: str) -> None:
    """Check that engines (``a,b`` or ``all``) give intermediate values, and that the reference is here.

    Raises:
        InputError: an engine is unknown or gives none.
        UnavailableError: ONNX Runtime is not available.
    """
    known = [entry.name for entry in catalog.offered() if entry.intermediate_values]
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name != "all" and not catalog.find(name).intermediate_values:
            raise InputError(
                "--layers: the engine gives no intermediate values",
                got=name,
                expected=", ".join(known),
                fix="--engine all",
            )
    reason = OnnxRuntimeEngine.unavailable_reason()
    if reason is not None:
        raise UnavailableError("--layers: requires ONNX Runtime as the reference", got=reason.what, fix=reason.fix)


class _Plan:
    """Which values of two graphs are compared.

    Attributes:
        stands_for: value of the exported model -> value of the engine's model that is compared with it.
        computed: values that the exported model computes.
    """

    def __init__(self, base: OnnxGraph, other: OnnxGraph, precision: str) -> None:
        self._base, self._other, self._precision = base, other, precision
        self.stands_for: dict[str, str] = {}
        names = [*base.inputs, *(name for node in base.nodes for name in node.outputs if name)]
        self.computed = frozenset(base.producers)
        present = {*other.producers, *other.inputs}
        self._dtypes: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name in names:
            quantized = _dequantized(other, name)
            if quantized is not None:
                self.stands_for[name] = quantized
            elif name in present and name not in base.inputs and not self._before_quantizer(name):
                self.stands_for[name] = name

    def _before_quantizer(self, name: str) -> bool:
        """Return whether the next layer's output is quantised: both may be one int8 kernel, which has no such value."""
        readers = self._other.readers.get(name, [])
        return any(_dequantized(self._other, output) is not None for node in readers for output in node.outputs)

    def groups(self, base: ModelArtifact) -> list[list[str]]:
        """Return the values to compare, in groups that fit in memory; an output of the model is in each."""
        wanted = [
            TensorSpec(v, (), "") for v in self.stands_for if v in self._base.producers and v not in self._base.outputs
        ]
        with OnnxRuntimeEngine(base.tapped(wanted), as_stated=True) as engine:
            self._dtypes = engine.output_types()
        sizes = {name: 4 * abs(math.prod(shape)) for name, (_, shape) in self._dtypes.items()}
        floats = [v for v in self.stands_for if self._dtypes.get(v, ("float32", ()))[0] in ("float32", "float16")]
        budget = _SHARE_OF_AVAILABLE * psutil.virtual_memory().available
        groups: list[list[str]] = [[]]
        used = 0
        for value in floats:
            if groups[-1] and used + sizes.get(value, 0) > budget:
                groups.append([])
                used = 0
            groups[-1].append(value)
            used += sizes.get(value, 0)
        return groups

    def taps(self, group: Sequence[str]) -> tuple[list[TensorSpec], list[TensorSpec]]:
        """Return the further outputs of both models for a group."""
        base, other = self._base, self._other
        ours = [v for v in group if v in base.producers and v not in base.outputs]
        theirs = [self.stands_for[v] for v in group]
        right = [TensorSpec(v, (), "") for v in ours]
        named = dict(zip(theirs, group, strict=True))
        return right, [
            TensorSpec(stand_in, *self._type(value))
            for stand_in, value in named.items()
            if stand_in in other.producers and stand_in not in other.outputs
        ]

    def _type(self, value: str) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of a value of the engine's model, where they are those of the exported model's."""
        if self._precision != "fp32" or value not in self._dtypes:
            return (), ""
        dtype, shape = self._dtypes[value]
        return shape[1:], dtype

    def named(self, engine: Engine, outputs: Sequence[Tensor], batch: Tensor) -> dict[str, Tensor]:
        """Return a run's values by name, and the input."""
        found = {spec.name: output for spec, output in zip(engine.artifact.outputs, outputs, strict=True)}
        return {engine.artifact.input.name: batch, **found}

    def layers(self, meters: dict[str, _Meter]) -> Iterator[LayerDrift]:
        """Yield the compared values in the graph's order, with what lies between them and the previous ones."""
        floor, jump = _MOVES[self._precision]
        errors = {value: meter.error for value, meter in meters.items()}
        for value, meter in meters.items():
            nodes, sources = self._between(value, meters)
            before = max((errors[source] for source in sources if source in errors), default=0.0)
            begins = math.isfinite(before) and errors[value] > jump * max(before, _UNIT[self._precision])
            yield LayerDrift(
                value,
                self._module(nodes),
                tuple(dict.fromkeys(node.operator for node in nodes)) or ("input",),
                tuple(node.name or node.outputs[0] for node in nodes),
                errors[value],
                before,
                meter.max_abs_diff,
                meter.max_abs,
                meter.not_finite,
                begins and errors[value] > floor,
            )

    def _between(self, value: str, compared: dict[str, _Meter]) -> tuple[list[OnnxNode], list[str]]:
        """Return the nodes between a value and the compared ones before it, in the graph's order, and those."""
        producers = self._base.producers
        found: dict[int, OnnxNode] = {}
        sources: list[str] = []
        waiting = [producers[value]] if value in producers else []
        while waiting:
            node = waiting.pop()
            if id(node) in found:
                continue
            found[id(node)] = node
            for name in node.inputs:
                if name in compared:
                    sources.append(name)
                elif name in producers:
                    waiting.append(producers[name])
        order = {id(node): number for number, node in enumerate(self._base.nodes)}
        return sorted(found.values(), key=lambda node: order[id(node)]), sources

    def _module(self, nodes: Sequence[OnnxNode]) -> str:
        """Return the module with weights among the nodes of a layer, else that of its last node."""
        weighted = [node for node in nodes if self._base.has_weights(node)]
        for node in (*weighted[:1], *nodes[::-1]):
            module = self._base.module(node)
            if module:
                return module
        return ""


class _Meter:
    """Adds up the differences of one value."""

    def __init__(self) -> None:
        self.compared = False
        self.max_abs_diff = self.max_abs = 0.0
        self.not_finite = 0
        self._difference = self._reference = 0.0

    def update(self, reference: Tensor, answer: Tensor) -> None:
        if reference.size != answer.size or not all(np.issubdtype(a.dtype, np.floating) for a in (reference, answer)):
            return
        self.compared = True
        right, given = reference.ravel(), answer.ravel()
        finite = np.isfinite(right)
        lost = finite & ~np.isfinite(given)
        if not finite.all() or lost.any():
            self.not_finite += int(np.count_nonzero(lost))
            finite &= ~lost
            right, given = right[finite], given[finite]
        wide: NDArray[np.float64] = right.astype(np.float64)
        difference = given.astype(np.float64)
        difference -= wide
        self.max_abs = max(self.max_abs, _largest(wide))
        self.max_abs_diff = max(self.max_abs_diff, _largest(difference))
        # BLAS, which `@` calls, would start its threads.
        self._difference += float(np.einsum("i,i->", difference, difference))
        self._reference += float(np.einsum("i,i->", wide, wide))

    @property
    def error(self) -> float:
        if self.not_finite:
            return math.inf
        if self._reference == 0.0:
            return 0.0 if self._difference == 0.0 else 1.0
        return math.sqrt(self._difference / self._reference)


def _largest(values: NDArray[np.float64]) -> float:
    return float(max(values.max(initial=0.0), -values.min(initial=0.0)))


def _dequantized(graph: OnnxGraph, name: str) -> str | None:
    """Return the value that quantising and dequantising makes of a value; None if it is not quantised."""
    for quantizer in graph.readers.get(name, []):
        if quantizer.operator != "QuantizeLinear" or quantizer.inputs[0] != name:
            continue
        for node in graph.readers.get(quantizer.outputs[0], []):
            if node.operator == "DequantizeLinear":
                return node.outputs[0]
    return None


def _shift(one: Tensor, other: Tensor) -> float:
    if not np.issubdtype(one.dtype, np.floating) or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0 if np.array_equal(one, other, equal_nan=np.issubdtype(one.dtype, np.floating)) else math.inf
    largest = float(np.abs(one).max(initial=0.0))
    difference = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))
    return difference / largest if largest else difference
