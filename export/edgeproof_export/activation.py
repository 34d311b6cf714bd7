"""What a classifier's output is (logits, softmax or sigmoid), by its graph or else by its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.onnx_files.nodes import Graph
from edgeproof_runtime.bundle.manifest import Activation
from edgeproof_runtime.errors import InputError

__all__ = ["Evidence", "of_graph", "of_operator", "of_values"]

_LARGEST_SUM_ERROR = 1e-3

# What leaves a distribution a distribution, and a probability a probability.
_THROUGH = (
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "QuantizeLinear",
    "DequantizeLinear",
    "GlobalAveragePool",
    "AveragePool",
    "ReduceMean",
    "Dropout",
)
_LINEAR = (
    "Gemm",
    "MatMul",
    "Conv",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "MatMulInteger",
    "ConvInteger",
    "FusedConv",
)
_KNOWN: dict[str, Activation] = {
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid",
    "Softmax": "softmax",
    "QLinearSoftmax": "softmax",
}
# Operators of PyTorch's linear layers and convolutions; a plain product may weigh probabilities.
_LINEAR_LAYERS = ("addmm", "linear", "convolution")
# Their values may all lie in 0..1 by chance.
_SIGNED = ("Tanh", "Softsign")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The activation of an output.

    Attributes:
        activation: what the graph has already applied.
        reason: how this is known, as the end of a sentence.
    """

    activation: Activation
    reason: str

    @property
    def sentence(self) -> str:
        """One line for reports and `inspect`."""
        return f"{'logits' if self.activation == 'none' else self.activation}, {self.reason}"


def of_graph(model: onnx.ModelProto, output: str) -> Evidence | None:
    """Return the activation that the last computing node of an output tells; None if it tells none."""
    graph = Graph(model.graph)
    node = graph.producers.get(graph.source(output, _THROUGH))
    if node is None:
        return None
    if node.op_type in _KNOWN:
        return Evidence(_KNOWN[node.op_type], f"by the graph's last operation, {node.op_type}")
    if node.op_type == "LogSoftmax":
        return Evidence("none", "by the graph's last operation, LogSoftmax, whose softmax are the probabilities")
    if node.op_type in _SIGNED:
        return Evidence("none", f"by the graph's last operation, {node.op_type}, whose values lie in -1..1")
    if node.op_type == "Add":  # a bias
        moving = [name for name in node.input if not graph.is_constant(name)]
        found = graph.producers.get(graph.source(moving[0], _THROUGH)) if len(moving) == 1 else None
        node = found or node
    if node.op_type in _LINEAR:
        return Evidence("none", f"by the graph's last operation, {node.op_type}")
    return None


def of_operator(operator: str) -> Evidence | None:
    """Return the activation that PyTorch's last computing operator tells; None if it tells none."""
    if operator in _LINEAR_LAYERS:
        return Evidence("none", "by the model's last operation, a linear layer")
    return None


def of_values(outputs: Sequence[NDArray[np.generic]]) -> Evidence:
    """Return the activation that the scores of several images tell.

    Logits of several images never add up to 1, and hardly ever all lie in 0..1.

    Args:
        outputs: scores ``C`` of each image.

    Raises:
        InputError: the scores are percentages, which no activation makes probabilities of.
    """
    scores = np.stack(outputs).astype(np.float64)
    sums = scores.sum(axis=1)
    if len(scores) > 1 and (scores >= 0).all() and (np.abs(sums - 100) < 100 * _LARGEST_SUM_ERROR).all():
        raise InputError(
            "output: the scores are percentages",
            got=f"the scores of each of {len(scores)} images add up to 100",
            expected="logits, or probabilities that add up to 1",
            fix="divide by 100 in the model, or export it without its last operation",
        )
    if (scores >= 0).all() and (np.abs(sums - 1) < _LARGEST_SUM_ERROR).all():
        return Evidence("softmax", f"because the scores of every image add up to 1 ({len(scores)} images)")
    if len(scores) > 1 and (scores >= 0).all() and (scores <= 1).all():
        return Evidence(
            "sigmoid",
            f"because every score lies in 0..1 and the sums ({sums.min():.3g} to {sums.max():.3g}) are not 1 "
            f"({len(scores)} images)",
        )
    return Evidence("none", f"because scores lie outside 0..1 ({scores.min():.3g} to {scores.max():.3g})")
