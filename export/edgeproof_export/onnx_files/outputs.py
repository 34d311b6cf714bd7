"""Outputs of other people's ONNX files: labels that the graph itself decides, and the scores before them."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from edgeproof_export.onnx_files.nodes import Graph, attribute, copied, inferred_values

__all__ = ["scores_before_labels"]

_SHAPED = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten")
_CHOICES = ("ArgMax", "TopK")
_SKLEARN = "ai.onnx.ml"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def scores_before_labels(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...] | None, list[str]]:
    """Return the model with scores as outputs where its graph ends in a decision.

    A ZipMap (scikit-learn) makes dictionaries of the probabilities, an ArgMax or TopK keeps only the best classes, a
    QuantizeLinear (TensorFlow Lite) rounds them; the tensor before becomes the output. Labels of scikit-learn's
    classifiers are dropped.

    Returns:
        The model, the labels that a ZipMap or classifier holds, and notes for the report.
    """
    model = copied(model)
    graph = Graph(model.graph)
    labels: tuple[str, ...] | None = None
    notes: list[str] = []
    kept: list[onnx.ValueInfoProto] = []
    before: dict[str, tuple[str, str]] = {}
    decided: set[str] = set()
    for value in model.graph.output:
        node = graph.producers.get(graph.source(value.name, _SHAPED))
        if node is None:
            kept.append(value)
        elif node.op_type == "ZipMap" and node.domain == _SKLEARN:
            labels = labels or _class_labels(node)
            before[node.input[0]] = (value.name, "ZipMap")
        elif node.op_type == "QuantizeLinear":
            before[node.input[0]] = (value.name, "quantised")
        elif node.op_type in _CHOICES and node.domain != _SKLEARN:
            before[node.input[0]] = (value.name, node.op_type)
            decided.add(node.input[0])
        elif (
            node.op_type.endswith("Classifier") and node.domain == _SKLEARN and node.output[0] == _source(graph, value)
        ):
            labels = labels or _class_labels(node)
        elif node.op_type == "ArrayFeatureExtractor" or not _is_float(value):
            labels = labels or _class_labels(node)
            if node.op_type != "ArrayFeatureExtractor":
                kept.append(value)
        else:
            kept.append(value)
    # The score of the best class alone, beside its index.
    kept = [value for value in kept if _best_of(graph, value) not in decided]
    if before and any(_is_float(value) for value in kept) and not _only_zip_maps(before):
        before = {name: how for name, how in before.items() if how[1] == "ZipMap"}
    known = {value.name for value in kept}
    inferred = inferred_values(model)
    del model.graph.output[:]
    model.graph.output.extend(kept)
    for name, (output, kind) in before.items():
        if name not in known:
            model.graph.output.append(
                inferred.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None])
            )
        what = {"ZipMap": "dictionaries made by a ZipMap", "quantised": "quantised"}.get(kind, f"the result of {kind}")
        notes.append(f"Output {output} is {what}: the scores before it, {name}, are taken.")
    return model, labels, notes


def _only_zip_maps(before: dict[str, tuple[str, str]]) -> bool:
    return all(kind == "ZipMap" for _, kind in before.values())


def _best_of(graph: Graph, value: onnx.ValueInfoProto) -> str | None:
    node = graph.producers.get(graph.source(value.name, _SHAPED))
    return node.input[0] if node is not None and node.op_type == "ReduceMax" else None


def _source(graph: Graph, value: onnx.ValueInfoProto) -> str:
    return graph.source(value.name, _SHAPED)


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type in _FLOATS


def _class_labels(node: onnx.NodeProto) -> tuple[str, ...] | None:
    """Return the labels of a scikit-learn node, by class index."""
    for name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
        found = attribute(node, name)
        if isinstance(found, (list, tuple)) and found:
            return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in found)
    return None
