"""Capture a module as a graph of fixed shapes whose batch may nevertheless vary.

The module is captured for two batch sizes. Where both graphs are equal, nothing in them depends on the batch. A view's
shape that differs is computed from the number of values instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

__all__ = ["NotStaticError", "static_program"]

_VIEWS = ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")


class NotStaticError(Exception):
    """The graph depends on the batch size in more than the shape of views."""


def static_program(module: nn.Module, examples: Sequence[Tensor]) -> nn.Module:
    """Return a module of ATen operators with fixed shapes.

    Args:
        module: a module in eval mode.
        examples: one input for a graph of its batch size only, or two of different batch sizes.

    Raises:
        NotStaticError: the graph depends on the batch size.
    """
    first, *others = (torch.export.export(module, (example,), strict=False) for example in examples)
    for other in others:
        _open_batch(first, other)
    try:
        found: nn.Module = first.module(check_guards=False)
    except TypeError as error:  # PyTorch before 2.9 has no guards in modules
        if "check_guards" not in str(error):
            raise
        found = first.module()
    # The exporter calls train(False), which graph modules refuse.
    found.train = lambda mode=True: found  # type: ignore[method-assign]  # noqa: ARG005
    if isinstance(found, fx.GraphModule):
        named = _Named(found)
        found.forward = lambda image: named.run_named(image)
    return found


class _Named(fx.Interpreter):
    """Runs a graph; while it is traced, every operator is in the scopes of its modules in the original model.

    The exporter makes names of nodes and values from scopes, such as ``/blocks/blocks.0/Add``. A scope that is left and
    entered again would get another name: it stays open while operators of its module follow each other.
    """

    def run_named(self, image: Tensor) -> Any:
        """Run the graph on one input."""
        self._open: list[str] = []
        try:
            return self.run(image)
        finally:
            self._enter({})

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_function":
            # A module that is called twice is named ``conv@1`` the second time.
            stack = n.meta.get("nn_module_stack", {}).values()
            self._enter({str(name).split("@")[0]: kind for name, kind in stack if name})
        return super().run_node(n)

    def _enter(self, modules: Mapping[str, Any]) -> None:
        state: Any = torch._C._get_tracing_state()  # None outside of a trace, whatever its type hint says
        if state is None:
            return
        names = list(modules)
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._open, names, strict=False)))
        for _ in self._open[kept:]:
            state.pop_scope()
        for name in names[kept:]:
            kind = modules[name]
            state.push_scope(f"{kind if isinstance(kind, str) else torch.typename(kind)}::{name}")
        self._open = names


def _open_batch(program: ExportedProgram, other: ExportedProgram) -> None:
    """Change the views of a program whose shapes depend on the batch size.

    Raises:
        NotStaticError: something else differs.
    """
    one, two = list(program.graph.nodes), list(other.graph.nodes)
    if len(one) != len(two):
        raise NotStaticError("the number of operators depends on the batch size")
    for left, right in zip(one, two, strict=True):
        if isinstance(left.target, str) and isinstance(getattr(program.graph_module, left.target, None), nn.Module):
            raise NotStaticError(f"{left.name} calls a graph")
        if _told(left) == _told(right):
            continue
        shape = _open_shape(left, right)
        left.args = (left.args[0], shape, *left.args[2:])
    for name, value in program.constants.items():
        if isinstance(value, Tensor) and not torch.equal(value, other.constants[name]):
            raise NotStaticError(f"{name} depends on the batch size")
    program.graph_module.recompile()


def _told(node: fx.Node) -> tuple[str, ...]:
    return (node.op, str(node.target), repr(node.args), repr(node.kwargs))


def _open_shape(left: fx.Node, right: fx.Node) -> list[int]:
    """Return the shape of a view with -1 where the batch size stands."""
    if _told(left)[:2] != _told(right)[:2] or str(left.target) not in _VIEWS or str(left.args[0]) != str(right.args[0]):
        raise NotStaticError(f"{left.name} depends on the batch size")
    wanted, given = list(left.meta["val"].shape), list(right.meta["val"].shape)
    moving = [i for i, (a, b) in enumerate(zip(wanted, given, strict=True)) if a != b]
    if len(moving) != 1 or not _whole(left.args[1]):
        raise NotStaticError(f"{left.name} depends on the batch size")
    return [-1 if i == moving[0] else int(size) for i, size in enumerate(wanted)]


def _whole(shape: Any) -> bool:
    return isinstance(shape, (list, tuple)) and all(isinstance(size, int) for size in shape)
