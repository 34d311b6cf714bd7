"""Heads of other people's models: which output holds the class scores, and how they become ``N x C``.

`find_head` reads the outputs of one batch, whatever framework computed them. The `Head` that it returns works on both
sides of the parity gate: `Head.scores` on the reference's arrays, `Head.write` on the ONNX graph.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeproof_runtime.errors import InputError

__all__ = ["BINARY_LABELS", "Head", "OneColumn", "find_head", "fresh_name"]

OneColumn = Literal["logit", "probability"]
"""Meaning of a head with one value per image: the positive class's logit, or its probability."""

BINARY_LABELS = ("negative", "positive")

Array = NDArray[np.generic]
T = TypeVar("T", bound=np.floating)

# Names that libraries give to outputs that are not the prediction.
_BESIDES = re.compile(
    r"(^|[_./])(aux|feat|feature|features|embed|embedding|embeddings|hidden|pooled|pool|attn|attention)"
)
_SAME = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How the outputs of a model become class scores.

    Attributes:
        output: name of the output.
        index: position of the output among the model's outputs.
        columns: values per image in the output.
        plain: whether the output already is float32 ``N x columns``.
        one_column: meaning of a head with one value, which becomes two classes; None with several columns.
        sigmoid: whether a sigmoid is applied to the output.
        operator: operator of PyTorch that computed the output; empty if unknown.
        notes: notes for the report.
    """

    output: str
    index: int
    columns: int
    plain: bool
    one_column: OneColumn | None = None
    sigmoid: bool = False
    operator: str = ""
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes: two for a head with one value."""
        return 2 if self.one_column else self.columns

    @property
    def changes(self) -> bool:
        """Whether `write` adds nodes to a graph with this output alone."""
        return not self.plain or self.one_column is not None or self.sigmoid

    @property
    def result(self) -> str:
        """Name of the value with the class scores in the graph that `write` returns."""
        if not self.changes:
            return self.output
        return "class_probabilities" if self.one_column or self.sigmoid else "class_scores"

    def with_sigmoid(self) -> Head:
        """Return the same head with probabilities instead of logits."""
        return self if self.one_column else replace(self, sigmoid=True)

    def scores(self, outputs: Sequence[Array]) -> Array:
        """Return the class scores ``N x classes`` of the model's outputs, in float32 where anything changes."""
        values = outputs[self.index]
        if not self.changes:
            return values
        scores = np.asarray(values, np.float32).reshape(-1, self.columns)
        if self.one_column == "logit" or self.sigmoid:
            scores = _sigmoid(scores)
        if self.one_column:
            scores = np.concatenate([1 - scores, scores], axis=1)
        return scores

    def write(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the model with the class scores as its only output, ``N x classes``, named `result`.

        Args:
            model: a model with the output `output`.
        """
        done = onnx.ModelProto()
        done.CopyFrom(model)
        graph = done.graph
        found = next(value for value in graph.output if value.name == self.output)
        elem_type = found.type.tensor_type.elem_type
        last = self.output
        steps: list[tuple[str, list[str], dict[str, int]]] = []
        if elem_type not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
            steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
        if not self.plain:
            steps.append(("Reshape", [_constant(graph, np.array([-1, self.columns], np.int64), "shape")], {}))
        if self.one_column == "logit" or self.sigmoid:
            steps.append(("Sigmoid", [], {}))
        for kind, more, attributes in steps:
            last = _append(graph, kind, [last, *more], **attributes)
        if self.one_column:
            one = _constant(graph, np.ones(1, np.float32), "one")
            last = _append(graph, "Concat", [_append(graph, "Sub", [one, last]), last], axis=1)
        if self.changes:
            graph.node[-1].output[0] = last = self.result
        dims = list(found.type.tensor_type.shape.dim)
        rows = (dims[0].dim_param or dims[0].dim_value or "batch") if dims else "batch"
        if len(dims) == 1 and self.columns > 1:
            rows = 1  # one image's scores without a batch dimension
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, [rows, self.classes]))
        return done


def find_head(
    spec: str,
    names: Sequence[str],
    outputs: Sequence[object],
    count: int,
    *,
    wanted: str | None = None,
    one_column: Callable[[str, Array], OneColumn] | None = None,
    computed_from: Callable[[str, str], bool] | None = None,
) -> Head:
    """Find the output with the class scores.

    Args:
        spec: name of the model in error messages.
        names: names of the outputs; positions as text where a framework gives none.
        outputs: their values for one batch; what is not an array is passed over.
        count: number of images in the batch; at least 2, except for models that take only one.
        wanted: value of ``--output``.
        one_column: function from name and values of a head with one value to its meaning; None takes values outside
            0..1 for logits.
        computed_from: function that tells whether one output is computed from another: the later one is the head.

    Raises:
        InputError: no output holds class scores, or several may.
    """
    listed = ", ".join(f"{name} {_shown(value)}" for name, value in zip(names, outputs, strict=True))
    columns = {i: n for i, value in enumerate(outputs) if (n := _columns(value, count)) is not None}
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"--output: {spec} has no such output", got=wanted, expected=listed)
        index = list(names).index(wanted)
        if index not in columns:
            raise InputError(
                f"--output: {wanted} holds no class scores",
                got=f"{_shown(outputs[index])} for a batch of {count}",
                expected=f"({count}, classes) of a float type; the outputs are {listed}",
            )
        reason = None
    else:
        if not columns:
            raise InputError(
                f"{spec}: not a classifier",
                got=f"{listed or 'no outputs'} for a batch of {count}",
                expected=f"an output ({count}, classes) of a float type",
                fix=next((fix for value in outputs if (fix := _mend(value, count)) is not None), None),
            )
        index, reason = _clear_choice(spec, names, outputs, list(columns), listed, computed_from)
    value = np.asarray(outputs[index])
    notes = [] if reason is None else [f"Output {names[index]} is taken, {reason}; --output NAME takes another."]
    meaning = None
    if columns[index] == 1:
        meaning = (one_column or _by_values)(names[index], value.reshape(-1, 1))
        described = "a logit" if meaning == "logit" else "a probability"
        notes.append(
            f"Output {names[index]} is one value per image, {described}: "
            "exported as two classes with the probabilities (1 - p, p)."
        )
    if columns[index] > 2 and _unit_length(value.reshape(count, -1)):
        notes.append(
            f"Output {names[index]} has vectors of length 1, as an embedding has: if they are not class scores, the "
            "largest value is no prediction."
        )
    plain = value.ndim == 2 and value.shape == (count, columns[index]) and value.dtype == np.float32
    if value.ndim > 2:
        notes.append(f"Output {names[index]} {value.shape} is squeezed to ({count}, {columns[index]}).")
    return Head(
        output=names[index],
        index=index,
        columns=columns[index],
        plain=plain,
        one_column=meaning,
        notes=tuple(notes),
    )


def fresh_name(graph: onnx.GraphProto, wanted: str) -> str:
    """Return a name that no value of the graph has: the wanted one, or the next with a number."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {item.name for item in (*graph.input, *graph.output, *graph.initializer, *graph.value_info)}
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _clear_choice(
    spec: str,
    names: Sequence[str],
    outputs: Sequence[object],
    candidates: list[int],
    listed: str,
    computed_from: Callable[[str, str], bool] | None,
) -> tuple[int, str | None]:
    """Return the output that is clearly the prediction, and why; None as reason if there is no other."""
    if len(candidates) == 1:
        return candidates[0], None if len(names) == 1 else "the only one with class scores"
    arrays = {i: np.asarray(outputs[i], np.float64).reshape(len(np.asarray(outputs[i])), -1) for i in candidates}
    kept = _without_repeats(candidates, arrays)
    if len(kept) == 1:
        return kept[0], "the others hold the same scores"
    named = [i for i in kept if names[i].lower().rsplit("/", 1)[-1].rsplit(".", 1)[-1] == "logits"]
    if len(named) == 1:
        return named[0], "by its name"
    several = [i for i in kept if not _BESIDES.search(names[i].lower())]
    if len(several) == 1:
        return several[0], "the others are named as features or auxiliary heads"
    if computed_from is not None:
        last = [i for i in kept if all(j == i or computed_from(names[i], names[j]) for j in kept)]
        if len(last) == 1:
            return last[0], "the others are features from which it is computed"
    raise InputError(
        f"{spec}: several outputs may hold the class scores",
        got=listed,
        expected="one output, or one that is clearly the prediction",
        fix=f"--output {names[kept[-1]]}, or another of these names",
    )


def _without_repeats(candidates: Sequence[int], arrays: dict[int, NDArray[np.float64]]) -> list[int]:
    """Leave out outputs that say the same: copies, the softmax of kept logits, logits with a kept sigmoid."""
    kept: list[int] = []
    for i in candidates:
        same = next((j for j in kept if arrays[i].shape == arrays[j].shape and _says_same(arrays[j], arrays[i])), None)
        if same is None:
            kept.append(i)
        elif _close(_sigmoid(arrays[same]), arrays[i]) or _close(_softmax(arrays[i]), arrays[same]):
            # Of logits and their sigmoid the latter is exact; of a softmax and its logits the logits are.
            kept[kept.index(same)] = i
    return kept


def _says_same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    forms = (
        (one, other),
        (_softmax(one), other),
        (one, _softmax(other)),
        (_sigmoid(one), other),
        (one, _sigmoid(other)),
    )
    return any(_close(a, b) for a, b in forms)


def _columns(value: object, count: int) -> int | None:
    """Return the number of scores per image; None if a value does not hold class scores of the batch."""
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating) or value.size == 0:
        return None
    if value.ndim == 1 and count == 1 and len(value) > 1:
        return len(value)  # the batch dimension was squeezed away
    if value.ndim == 0 or len(value) != count:
        return None
    wide = [n for n in value.shape[1:] if n != 1]
    return math.prod(wide) if len(wide) <= 1 else None


def _mend(value: object, count: int) -> str | None:
    """Return what to change in a model whose output is not class scores, by its type and shape."""
    if not isinstance(value, np.ndarray) or value.ndim < 2 or value.size == 0:
        return None
    if not np.issubdtype(value.dtype, np.floating):
        return "let the model return the float scores before they are rounded, compared or cast"
    if value.ndim == 2 and value.shape[1] == count:
        return f"transpose it in the model: (classes, {count}) to ({count}, classes)"
    if len(value) != count:
        return None
    if value.ndim == 4:
        return "a map for each image, as of segmentation: average it in the model, or export a classifier"
    if value.ndim == 3:
        return "several rows for each image, as of detection, tokens or frames: take one or average them in the model"
    return None


def _unit_length(rows: Array) -> bool:
    """Return whether every row has a Euclidean norm of 1 and negative values, which no activation of scores gives."""
    wide = rows.astype(np.float64)
    return bool((wide < 0).any() and np.allclose(np.linalg.norm(wide, axis=1), 1.0, atol=1e-3))


def _by_values(_name: str, values: Array) -> OneColumn:
    numbers = values.astype(np.float64)
    return "probability" if bool(((numbers >= 0) & (numbers <= 1)).all()) else "logit"


def _shown(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _close(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool(np.allclose(one, other, rtol=1e-4, atol=_SAME))


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.exp(values - values.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(values: NDArray[T]) -> NDArray[T]:
    positive: NDArray[T] = np.asarray(0.5 * (1 + np.tanh(0.5 * values)), values.dtype)  # does not overflow
    return positive


def _constant(graph: onnx.GraphProto, value: NDArray[np.generic], name: str) -> str:
    found = fresh_name(graph, f"head_{name}")
    graph.initializer.append(numpy_helper.from_array(value, found))
    return found


def _append(graph: onnx.GraphProto, kind: str, inputs: Sequence[str], **attributes: int) -> str:
    out = fresh_name(graph, f"head_{kind.lower()}")
    node = helper.make_node(kind, list(inputs), [out], name=out)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    graph.node.append(node)
    return out
