"""Where the time of a run goes, layer by layer, by each engine's own profiler."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.onnx_graph import OnnxGraph, OnnxNode
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import LayerTime, catalog
from edgeproof_runtime.tasks.registry import golden_inputs_of

__all__ = ["LayerTimes", "time_layers"]

_RUNS = 30
_SEPARATORS = re.compile(r"[\s+,(){}\[\]]+|\.\.\.")
_BACK = 4  # steps from an activation to the layer that an engine fused it with


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """The layers of an engine, the slowest first.

    Attributes:
        engine, precision, batch: what was measured.
        clock: whose times they are.
        runs: number of timed runs.
        layers: layers as the engine executes them.
        modules: full name of the PyTorch module of each layer; empty if not known.
    """

    engine: str
    precision: str
    batch: int
    clock: str
    runs: int
    layers: tuple[LayerTime, ...]
    modules: tuple[str, ...]

    @property
    def total_ms(self) -> float:
        """Sum of the layers' times in ms."""
        return sum(layer.ms for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        total = self.total_ms or 1.0
        rows = [
            {"name": one.name, "module": module, "type": one.kind, "ms": one.ms, "share": one.ms / total}
            for one, module in zip(self.layers, self.modules, strict=True)
        ]
        figures = {key: value for key, value in asdict(self).items() if key not in ("layers", "modules")}
        return {**figures, "total_ms": self.total_ms, "layers": rows}


def time_layers(
    bundle: Bundle, name: str, artifact: ModelArtifact, *, batch: int = 1, threads: int | None = None
) -> LayerTimes:
    """Time the layers of an engine on a golden input.

    Args:
        bundle: bundle of the artifact.
        name: name of the engine.
        artifact: what the engine loads.
        batch: samples per run.
        threads: CPU threads; None for the engine's default.

    Raises:
        InputError: the model cannot be loaded or run.
        UnavailableError: the engine is not available, or gives no times of layers.
    """
    entry = catalog.find(name)
    buffer = _inputs(bundle, artifact, batch)
    found = engines.layer_times(name, artifact, buffer, runs=_RUNS, threads=threads)
    found.sort(key=lambda layer: -layer.ms)
    model = bundle.artifact(artifact.precision, int8_shape=entry.int8_shape)
    modules = _Modules(model.graph())
    return LayerTimes(
        name,
        artifact.precision,
        batch,
        entry.layer_clock or "the engine's profiler",
        _RUNS,
        tuple(found),
        tuple(modules.of(layer) for layer in found),
    )


def _inputs(bundle: Bundle, artifact: ModelArtifact, batch: int) -> Tensor:
    case = load_golden(bundle)[0]
    buffer = np.zeros((batch, *artifact.input.shape), np.dtype(artifact.input.dtype))
    golden_inputs_of(bundle).fill(case, buffer[0])
    buffer[1:] = buffer[0]
    return buffer


class _Modules:
    """Finds the PyTorch module of an engine's layer by the names of ONNX nodes and values in it."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self._nodes = {**{node.name: node for node in graph.nodes if node.name}, **graph.producers}

    def of(self, layer: LayerTime) -> str:
        """Return the module of the layer with weights that it covers, else of any; empty if not known."""
        nodes = [self._nodes[name] for name in self._names(layer.covers) if name in self._nodes]
        nodes += [before for node in nodes for before in self._before(node, layer.kind)]
        weighted = [node for node in nodes if self._graph.has_weights(node)]
        named = (self._graph.module(node) for node in (*weighted, *nodes))
        return next((name for name in named if name), "")

    @staticmethod
    def _names(covers: Sequence[str]) -> Iterable[str]:
        for text in covers:
            yield text
            yield from filter(None, _SEPARATORS.split(text))

    def _before(self, node: OnnxNode, kind: str) -> Iterable[OnnxNode]:
        """Yield the node of the engine's type that an activation was fused with."""
        for _ in range(_BACK):
            if node.operator == kind or not node.inputs or node.inputs[0] not in self._graph.producers:
                return
            node = self._graph.producers[node.inputs[0]]
            if node.operator == kind:
                yield node
