"""Execution contexts of a plan, one per batch size, with their CUDA graphs, one per input address.

NVIDIA advises one context per captured shape: a context's memory belongs to the shape that it is set to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from edgeproof_runtime.engines import _cuda
from edgeproof_runtime.engines._outputs import GrowingOutput

__all__ = ["Lane", "Lanes"]

_MOST_CONTEXTS = 4  # each holds the memory of the plan's activations
_MOST_GRAPHS = 64  # per context; as many buffers may take turns


class Lane:
    """A context that is set to one batch size, and its graphs.

    Attributes:
        context: TensorRT's execution context.
        batch: batch size that the context is set to; None before the first.
        address: address of the input that the context is set to; None before the first.
        growing: outputs whose size TensorRT knows only after a run.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.batch: int | None = None
        self.address: int | None = None
        self.growing: dict[str, GrowingOutput] = {}
        self._graphs: OrderedDict[int, _cuda.Graph | None] = OrderedDict()

    def graph(self, address: int) -> _cuda.Graph | None:
        """Return the graph of an input address; None if it has none yet."""
        return self._graphs.get(address)

    def seen(self, address: int) -> bool:
        """Return whether a batch at this address was run directly, so that the next can be captured."""
        return address in self._graphs

    def keep(self, address: int, graph: _cuda.Graph | None) -> None:
        """Keep an address as seen, or its graph; the one that waited longest makes room."""
        self._graphs[address] = graph
        self._graphs.move_to_end(address)
        while len(self._graphs) > _MOST_GRAPHS:
            oldest = self._graphs.popitem(last=False)[1]
            if oldest is not None:
                oldest.close()

    def drop_graphs(self) -> None:
        """Destroy all graphs and forget what the context is set to."""
        self.batch = self.address = None
        graphs, self._graphs = list(self._graphs.values()), OrderedDict()
        for graph in graphs:
            if graph is not None:
                graph.close()


class Lanes:
    """The lanes of an engine by batch size; the one used longest ago makes room.

    Args:
        create: creates a context; returns None without memory for it.
        most: most lanes; None for the default.
    """

    def __init__(self, create: Callable[[], Any], *, most: int | None = None) -> None:
        self._create = create
        self._most = most or _MOST_CONTEXTS
        self._lanes: OrderedDict[int | None, Lane] = OrderedDict()

    def open(self) -> bool:
        """Create the first context; return whether there is memory for it."""
        context = self._create()
        if context is not None:
            self._lanes[None] = Lane(context)
        return context is not None

    def of(self, batch: int) -> Lane:
        """Return the lane of a batch size; its context may be set to another one, or to none."""
        lane = self._lanes.pop(batch, None) or self._lanes.pop(None, None) or self._new()
        self._lanes[batch] = lane
        return lane

    def drop_graphs(self) -> None:
        """Destroy the graphs of all lanes."""
        for lane in self._lanes.values():
            lane.drop_graphs()

    def close(self) -> None:
        """Destroy graphs and contexts."""
        try:
            self.drop_graphs()
        finally:
            self._lanes.clear()

    @property
    def captured(self) -> int:
        """Number of graphs."""
        return sum(graph is not None for lane in self._lanes.values() for graph in lane._graphs.values())

    def _new(self) -> Lane:
        context = self._create() if len(self._lanes) < self._most else None
        if context is not None:
            return Lane(context)
        self._most = len(self._lanes)  # no memory for more
        _, lane = self._lanes.popitem(last=False)
        lane.drop_graphs()
        return lane
