"""Run variants of a graph from their first changed node on: what lies before is computed once for all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgeproof_export.onnx_files.nodes import Graph, copied, nodes_of
from edgeproof_export.optimize.inputs import Inputs
from edgeproof_export.optimize.judge import Judge
from edgeproof_export.tasks.budget import Scores

__all__ = ["Tails"]

_KEPT_BYTES = 2**29

Values = dict[str, NDArray[Any]]


class Tails:
    """Scores of variants of one graph on the same images.

    The values that enter the tails are kept in memory; of variants that need too many the whole graph runs.

    Args:
        judge: how graphs run; one that computes them as they state.
        model: the graph.
        images: the images.
        variants: the variants in the order of their first changed nodes, each with the names of its changed nodes;
            read once, when the first scores are computed.
        threads: threads of a variant's session.
    """

    def __init__(
        self,
        judge: Judge,
        model: onnx.ModelProto,
        images: Inputs,
        variants: Iterable[tuple[onnx.ModelProto, Collection[str]]],
        threads: int = 1,
    ) -> None:
        self._judge, self._model, self._images, self._variants = judge, model, images, variants
        self._threads = threads
        self._once = Lock()
        self._image = model.graph.input[0]
        self._moving = Graph(model.graph).depending_on(self._image.name)

    def whole(self) -> Scores:
        """Return the scores of the graph itself, ``N x C``."""
        return np.concatenate([scores for scores, _ in self._batches])

    def scores(self, variant: onnx.ModelProto, changed: Collection[str]) -> Scores:
        """Return the scores of a variant, ``N x C``; may be called in several threads.

        Args:
            variant: the graph with other nodes; those before the first changed one are as in the graph, or left out.
            changed: names of the changed nodes.
        """
        with self._once:
            types, batches = self._kept, self._batches
        graph, entering = self._tail(variant, changed)
        if all(name in types for name in entering):
            graph.graph.input.extend(helper.make_tensor_value_info(name, types[name], None) for name in entering)
        else:
            graph, entering = variant, [self._image.name]
        session = self._judge.session(graph, self._threads)
        output = self._judge.output_name
        found = [
            session.run([output], {name: values[name] for name in entering})[0][: len(scores)].astype(np.float32)
            for scores, values in batches
        ]
        return np.concatenate(found)

    def _tail(self, model: onnx.ModelProto, changed: Collection[str]) -> tuple[onnx.ModelProto, list[str]]:
        """Return the nodes from the first changed one on, without inputs, and the names of the values that enter."""
        nodes = list(model.graph.node)
        first = next(place for place, node in enumerate(nodes) if node.name in changed)
        kept = [n for place, n in enumerate(nodes) if place >= first or self._moving.isdisjoint(n.output)]
        made = {name for node in kept for name in node.output}
        read = [name for part in kept for node in _with_inner(part) for name in node.input]
        read += [value.name for value in model.graph.output]
        entering = [name for name in dict.fromkeys(read) if name in self._moving and name not in made]
        tail = onnx.ModelProto()
        tail.ir_version = model.ir_version
        tail.opset_import.extend(model.opset_import)
        tail.graph.name = model.graph.name
        tail.graph.node.extend(kept)
        wanted = set(read)
        tail.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in wanted)
        tail.graph.output.extend(model.graph.output)
        return tail, entering

    @cached_property
    def _entering(self) -> list[list[str]]:
        """The values that enter the tail of each variant."""
        return [self._tail(variant, changed)[1] for variant, changed in self._variants]

    @cached_property
    def _session(self) -> tuple[Any, list[str]]:
        """The graph with every value that enters a tail as output, and the names of these values."""
        every = list(dict.fromkeys(n for names in self._entering for n in names if n != self._image.name))
        return self._judge.session(self._with_outputs(every), self._judge.cores), every

    @cached_property
    def _kept(self) -> dict[str, int]:
        """The values to keep, and their types: those that enter the last tails, as far as there is memory."""
        session, every = self._session
        image = next(self._images.batches(self._judge.batch_size(self._images)))
        values = dict(zip(every, session.run(every, {self._image.name: self._judge.filled(image)}), strict=True))
        left = _KEPT_BYTES * len(image) // len(self._images)
        kept: dict[str, int] = {self._image.name: self._image.type.tensor_type.elem_type}
        for names in reversed(self._entering):
            new = [name for name in names if name not in kept]
            left -= sum(values[name].nbytes for name in new)
            if left < 0:
                break
            kept.update({name: helper.np_dtype_to_tensor_dtype(values[name].dtype) for name in new})
        return kept

    @cached_property
    def _batches(self) -> list[tuple[Scores, Values]]:
        """Scores and kept values of each batch."""
        names, output = [name for name in self._kept if name != self._image.name], self._judge.output_name
        found = []
        for batch in self._images.batches(self._judge.batch_size(self._images)):
            feed = {self._image.name: self._judge.filled(batch)}
            scores, *values = self._session[0].run([output, *names], feed)
            found.append((scores[: len(batch)].astype(np.float32), feed | dict(zip(names, values, strict=True))))
        del self._session
        return found

    def _with_outputs(self, names: Sequence[str]) -> onnx.ModelProto:
        model = copied(self._model)
        known = {value.name for value in (*model.graph.output, *model.graph.input)}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
        return model


def _with_inner(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    return list(nodes_of(onnx.GraphProto(node=[node])))
