"""Input contracts that cannot be right: by the range of values that reach the network, and by what it saw in training.

Every finding is a note with its numbers; none refuses an export, because an unusual network may want unusual values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.onnx_files.nodes import Graph, attribute, copied, inferred_values, prune
from edgeproof_runtime.contract.contract import InputContract

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden

__all__ = ["Statistics", "graph_statistics", "range_notes", "statistics_note", "training_notes"]

# Ranges of common contracts are 1 (0..1), 2 (-1..1), 3 to 5 (divided by a standard deviation) and 255 (0..255) wide.
_NARROWEST, _WIDEST = 0.05, 600.0
_WIDEST_NORMALISED, _WIDEST_RAW = 6.0, 100.0
# In standard deviations of training, median over channels. Photographs of other subjects stay below 1.
_FARTHEST_MEAN = 4.0
_LARGEST_SPREAD = 6.0
_LEAST_VARIANCE = 1e-10  # channels that training switched off
_KEPT = ("Cast", "Identity", "Transpose")

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a BatchNorm layer saw in training, and what it sees now.

    Attributes:
        name: name of the layer.
        mean, var: running statistics of training, per channel.
        seen: its input for the gate's images, ``N x C x ...``.
    """

    name: str
    mean: Values
    var: Values
    seen: Values


def range_notes(model: onnx.ModelProto, contract: InputContract) -> list[str]:
    """Return notes on contracts whose values, normalised by contract and graph, no network is trained on.

    Args:
        model: the model, whose first nodes may normalise as well.
        contract: its input contract.
    """
    mean, std = np.array(contract.mean), np.array(contract.std)
    low, high = (-mean / std, (255 / contract.scale - mean) / std)
    factor, offset, operations = _first_affine(model, contract.channels)
    first, last = factor * low + offset, factor * high + offset
    first, last = np.minimum(first, last), np.maximum(first, last)
    width = last - first
    shown = f"{first[0]:.4g} to {last[0]:.4g}"
    own = f", after the graph's own {' and '.join(dict.fromkeys(operations))}" if operations else ""
    reach = f"Input contract: pixels reach the network as {shown} (first channel){own}."
    check = f"Check --scale {contract.scale:g}, --mean and --std: mean and std are in units of x / scale."
    if (first > width).any() or (last < -width).any():
        return [f"{reach} That is far from 0, where networks are trained (ImageNet: -2.1 to 2.6). {check}"]
    if (width < _NARROWEST).any():
        return [f"{reach} Black and white hardly differ (ImageNet: -2.1 to 2.6). {check}"]
    if (width > _WIDEST).any():
        return [f"{reach} That is wider than any usual normalisation (at most 0 to 255). {check}"]
    normalises = bool(mean.any()) or bool((std != 1).any())
    subtracts = {"Sub", "Add", "BatchNormalization"} & set(operations)
    if normalises and subtracts:
        own_mean, own_std = -offset / factor, 1 / factor
        same = any(
            np.allclose(own_mean, mean * unit, rtol=0.02, atol=0.02 * unit)
            and np.allclose(own_std, std * unit, rtol=0.02)
            for unit in (1.0, contract.scale)
        )
        if same or (_WIDEST_NORMALISED < width.max() < _WIDEST_RAW) or width.min() < 0.5:
            what = "the same values as the contract" if same else f"{own_mean[0]:.4g} and divides by {own_std[0]:.4g}"
            return [
                f"Input contract: the graph begins by normalising itself (subtracts {what}), and the contract "
                f"normalises before it: pixels reach the network as {shown} (first channel). If the model was "
                "trained on plain pixels: --mean 0,0,0 --std 1,1,1."
            ]
    return []


def training_notes(
    statistics: Callable[[NDArray[np.generic]], Statistics | None] | None, cases: Sequence[Golden]
) -> list[str]:
    """Return a note if the golden cases lie far from what the first BatchNorm saw in training."""
    found = None if statistics is None else statistics(np.stack([case.tensor for case in cases]))
    note = None if found is None else statistics_note(found)
    return [] if note is None else [note]


def statistics_note(found: Statistics) -> str | None:
    """Return a note if a layer sees inputs far from those of its training; None if not, or if it cannot be told."""
    alive = found.var > _LEAST_VARIANCE
    if alive.sum() < 2 or np.ptp(found.mean) == 0 or np.ptp(found.var) == 0:
        return None  # statistics as initialised, or made up
    axes = (0, *range(2, found.seen.ndim))
    deviation = np.sqrt(found.var[alive])
    away = float(np.median(np.abs(found.seen.mean(axis=axes) - found.mean)[alive] / deviation))
    spread = float(np.median(found.seen.std(axis=axes)[alive] / deviation))
    if away <= _FARTHEST_MEAN and 1 / _LARGEST_SPREAD <= spread <= _LARGEST_SPREAD:
        return None
    return (
        f"Input contract: at {found.name} the gate's images lie {away:.1f} standard deviations from the mean of the "
        f"training, with {spread:.2g} times its spread (median of {int(alive.sum())} channels). The network sees "
        "inputs unlike those it was trained on: check --scale, --mean, --std and --color."
    )


def graph_statistics(
    model: onnx.ModelProto, run: Callable[[onnx.ModelProto, str], NDArray[np.generic]]
) -> Statistics | None:
    """Return the statistics of the first BatchNormalization of a graph; None without one.

    Args:
        model: the model.
        run: function that runs a model with this output on the gate's images.
    """
    graph = Graph(model.graph)
    node = next((one for one in model.graph.node if one.op_type == "BatchNormalization"), None)
    if node is None:
        return None
    mean, var = (graph.constant(name) for name in node.input[3:5])
    value = inferred_values(model).get(node.input[0]) or next(
        (one for one in model.graph.input if one.name == node.input[0]), None
    )
    if mean is None or var is None or value is None:
        return None
    cut = copied(model)
    del cut.graph.output[:]
    cut.graph.output.append(value)
    prune(cut)
    seen = run(cut, node.input[0])
    wide: list[Values] = [np.asarray(values, np.float64) for values in (mean, var, seen)]
    return Statistics(node.name or "the first BatchNormalization", *wide)


def _first_affine(model: onnx.ModelProto, channels: int) -> tuple[Values, Values, list[str]]:
    """Return factor and offset per channel that the first nodes of a graph apply to its input, and their types."""
    graph = Graph(model.graph)
    factor, offset, found = np.ones(channels), np.zeros(channels), list[str]()
    value = model.graph.input[0].name
    while (node := _only_reader(model.graph, value)) is not None:
        if node.op_type in _KEPT:
            value = node.output[0]
            continue
        terms = list(_affine(node, graph, value, channels))
        if not terms:
            break
        for scale, shift in terms:
            factor, offset = factor * scale, offset * scale + shift
        found.append(node.op_type)
        value = node.output[0]
    return factor, offset, found


def _affine(node: onnx.NodeProto, graph: Graph, value: str, channels: int) -> Iterator[tuple[Values, Values]]:
    """Yield factor and offset of a node that scales or shifts its input by constants."""
    zero, one = np.zeros(channels), np.ones(channels)
    if node.op_type == "BatchNormalization":
        parameters = [_per_channel(graph.constant(name), channels) for name in node.input[1:5]]
        if all(values is not None for values in parameters):
            scale, bias, mean, var = (np.asarray(values) for values in parameters)
            epsilon = attribute(node, "epsilon", 1e-5)
            factor = scale / np.sqrt(var + (epsilon if isinstance(epsilon, float) else 1e-5))
            yield factor, bias - factor * mean
        return
    if node.op_type not in ("Sub", "Add", "Mul", "Div") or len(node.input) != 2:
        return
    other = next((name for name in node.input if name != value), value)
    constant = _per_channel(graph.constant(other), channels)
    if constant is None:
        return
    first = node.input[0] == value
    if node.op_type == "Add":
        yield one, constant
    elif node.op_type == "Sub":
        yield (one, -constant) if first else (-one, constant)
    elif node.op_type == "Mul":
        yield constant, zero
    elif first and constant.all():
        yield 1 / constant, zero


def _per_channel(value: NDArray[np.generic] | None, channels: int) -> Values | None:
    if value is None or value.size not in (1, channels):
        return None
    return np.broadcast_to(np.asarray(value, np.float64).ravel(), (channels,))


def _only_reader(graph: onnx.GraphProto, value: str) -> onnx.NodeProto | None:
    readers: Sequence[onnx.NodeProto] = [node for node in graph.node if value in node.input]
    return readers[0] if len(readers) == 1 else None
