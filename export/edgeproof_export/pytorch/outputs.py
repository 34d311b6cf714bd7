"""Outputs of PyTorch classifiers of any structure, as one tensor ``N x classes``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._python_dispatch import TorchDispatchMode

from edgeproof_export.heads import Head, OneColumn, find_head
from edgeproof_export.pytorch.modules import as_float32
from edgeproof_export.pytorch.tracing import described, user_line
from edgeproof_export.quietly import quiet
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import whole_number

__all__ = ["Scores", "classifier_of", "with_head"]

Key = str | int
# Operators that keep the meaning of values.
_THROUGH = (
    "view",
    "_unsafe_view",
    "reshape",
    "_reshape_alias",
    "squeeze",
    "unsqueeze",
    "flatten",
    "select",
    "slice",
    "permute",
    "transpose",
    "t",
    "clone",
    "detach",
    "alias",
    "contiguous",
    "_to_copy",
    "to",
)
_SIGMOIDS = ("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_")


class Scores(nn.Module):
    """A model with its class scores as the only output.

    Args:
        model: the model.
        path: keys that lead to the output: names of a mapping or dataclass, positions of a sequence.
        head: what the output means.
    """

    def __init__(self, model: nn.Module, path: tuple[Key, ...], head: Head) -> None:
        super().__init__()
        self.model = model
        self.path = path
        self.columns: int = head.columns if head.changes else 0
        self.logit: bool = head.one_column == "logit" or head.sigmoid
        self.binary: bool = head.one_column is not None

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``N x classes``, as `Head.scores` does with arrays."""
        found = self.model(x)
        for key in self.path:
            found = getattr(found, key) if _is_record(found) and isinstance(key, str) else found[key]
        scores: Tensor = found
        if self.columns:
            scores = scores.to(torch.float32).reshape(-1, self.columns)
        if self.logit:
            scores = scores.sigmoid()
        if self.binary:
            scores = torch.cat([1 - scores, scores], dim=1)
        return scores

    def train(self, mode: bool = True) -> Scores:  # noqa: ARG002
        """Stay as it is: graphs of torch.export refuse the call."""
        return self


def with_head(model: nn.Module | ExportedProgram, head: Head) -> nn.Module:
    """Return a model with a head on its only output."""
    call: nn.Module = model.module() if isinstance(model, ExportedProgram) else model
    return _wrapped(call, (), head)


def classifier_of(
    model: nn.Module | ExportedProgram, contract: InputContract, spec: str, wanted: str | None = None
) -> tuple[nn.Module | ExportedProgram, Head, tuple[str, ...]]:
    """Return a float32 model whose only output is ``N x classes``, what its head means, and notes for the report.

    Args:
        model: a module in eval mode, or an exported program.
        contract: input contract.
        spec: name in error messages.
        wanted: value of ``--output``: a name, or the position of an output.

    Raises:
        InputError: the model fails on the contract's tensor, no output holds class scores, or several may.
    """
    count = min(2, contract.batch.max)
    batch = _probe(contract, count)
    notes: tuple[str, ...] = ()
    if isinstance(model, nn.Module):
        lower = model
        model, dtype = as_float32(lower)
        if dtype is not None:
            notes = (_precision_note(lower, model, batch, dtype),)
    call: Any = model.module() if isinstance(model, ExportedProgram) else model
    recorder = _Recorder()
    answer = _answer(call, batch, contract, spec, recorder)
    found = list(_leaves(answer, ()))
    names = [".".join(map(str, path)) or "logits" for path, _ in found]
    values = [_array(value) for _, value in found]
    if wanted is not None and wanted not in names and (number := whole_number(wanted)) is not None:
        wanted = names[number] if number < len(names) else wanted
    tensors = {name: value for name, (_, value) in zip(names, found, strict=True) if isinstance(value, Tensor)}

    def meaning(name: str, values: NDArray[Any]) -> OneColumn:
        inside = bool(values.min() >= 0 and values.max() <= 1)
        return "probability" if inside and recorder.operator(tensors[name]) in _SIGMOIDS else "logit"

    def computed_from(one: str, other: str) -> bool:
        return recorder.leads(tensors[other], tensors[one])

    try:
        head = find_head(spec, names, values, count, wanted=wanted, one_column=meaning, computed_from=computed_from)
    except InputError as error:
        if count > 1 and wanted is None and _takes_single(call, contract, spec):
            raise _single_only(spec, error) from error
        raise
    head = dataclasses.replace(head, operator=recorder.operator(tensors[head.output]))
    path = found[head.index][0]
    if not path and not head.changes:
        return model, head, (*notes, *head.notes)
    return _wrapped(call, path, head), head, (*notes, *head.notes)


def _wrapped(call: nn.Module, path: tuple[Key, ...], head: Head) -> Scores:
    if isinstance(call, torch.fx.GraphModule):  # refuses train(), which exporters call
        call.train = lambda mode=True: call  # type: ignore[method-assign]  # noqa: ARG005
    wrapped = Scores(call, path, head)
    wrapped.training = False
    return wrapped


def _precision_note(lower: nn.Module, model: nn.Module, batch: Tensor, dtype: str) -> str:
    """Return a note that the model was converted to float32, with the largest difference of its first output."""
    note = f"The weights are {dtype}; they were converted to float32 for the export"
    try:
        with torch.no_grad(), quiet():
            given = batch.to(next(lower.parameters()).dtype) if batch.is_floating_point() else batch
            first, second = (next(_leaves(answer, ()))[1].double() for answer in (lower(given), model(batch)))
        change = float((first - second).abs().max()) / (float(second.abs().max()) or 1.0)
    except Exception as error:  # half precision lacks operators on CPUs
        return f"{note}, and not compared: {described(error)}."
    return f"{note}: relative to the largest output, outputs change by at most {change:.1g} on noise."


def _answer(
    call: Any, batch: Tensor, contract: InputContract, spec: str, recorder: TorchDispatchMode | None = None
) -> Any:
    try:
        with torch.no_grad(), quiet():
            if recorder is None:
                return call(batch)
            with recorder:
                return call(batch)
    except Exception as error:  # user code may raise anything
        line = user_line(error)
        failed = InputError(
            f"{spec}: fails on the contract's tensor",
            got=described(error) + (f", at {line}" if line else ""),
            expected=f"a model for inputs {contract.dtype} {tuple(batch.shape)}",
            fix="return a module whose forward() takes the images alone"
            if any(text in str(error) for text in ("positional argument", "missing value for argument"))
            else "check size, colour and layout: " + contract.summary(),
        )
        if len(batch) > 1 and _takes_single(call, contract, spec):
            raise _single_only(spec, failed) from error
        raise failed from error


def _takes_single(call: Any, contract: InputContract, spec: str) -> bool:
    try:
        answer = _answer(call, _probe(contract, 1), contract, spec)
        find_head(spec, *_named(answer), 1)
    except InputError:
        return False
    return True


def _single_only(spec: str, error: InputError) -> InputError:
    return InputError(
        f"{spec}: takes single images only",
        got=f"for a batch of 2: {error.got}",
        expected="a model for any batch size",
        fix="--batch 1,1,1 exports it for single images",
    )


def _named(answer: Any) -> tuple[list[str], list[object]]:
    found = list(_leaves(answer, ()))
    return [".".join(map(str, path)) or "logits" for path, _ in found], [_array(value) for _, value in found]


def _probe(contract: InputContract, count: int) -> Tensor:
    """Return different images of noise within the range of the contract's tensors."""
    pixels = np.random.default_rng(0).integers(0, 256, contract.tensor_shape(count)).astype(np.float32)
    if contract.dtype == "uint8":
        return torch.from_numpy(pixels.astype(np.uint8))
    values = (pixels / contract.scale - np.mean(contract.mean)) / np.mean(contract.std)
    return torch.from_numpy(values.astype(np.dtype(contract.dtype)))


def _leaves(value: Any, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], Any]]:
    """Yield path and value of everything that a model returned; None is left out."""
    if value is None:
        return
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif _is_record(value):
        for name in _fields(value):
            yield from _leaves(getattr(value, name), (*path, name))
    elif isinstance(value, (list, tuple)) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _is_record(value: Any) -> bool:
    """Return whether a value is a dataclass or a named tuple."""
    if isinstance(value, (Mapping, type)):
        return False
    return dataclasses.is_dataclass(value) or (isinstance(value, tuple) and hasattr(value, "_fields"))


def _fields(value: Any) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return tuple(value._fields)  # type: ignore[attr-defined]  # a named tuple
    return tuple(item.name for item in dataclasses.fields(value))


def _array(value: Any) -> object:
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    array: NDArray[np.generic] = (value.double() if value.dtype == torch.bfloat16 else value).cpu().numpy()
    return array


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its base is untyped
    """Records which operator computed each tensor, and from which tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, tuple[str, list[int]]] = {}
        self._kept: list[Tensor] = []  # an id is reused when its tensor is gone

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        given = [id(item) for item in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(item, Tensor)]
        for item in torch.utils._pytree.tree_leaves(answer):
            if isinstance(item, Tensor) and id(item) not in given:
                self._kept.append(item)
                self._made[id(item)] = (func.overloadpacket.__name__, given)
            elif isinstance(item, Tensor):  # in place
                self._made[id(item)] = (func.overloadpacket.__name__, self._made.get(id(item), ("", []))[1])
        return answer

    def operator(self, tensor: Tensor) -> str:
        """Return the operator that computed the values of a tensor; empty if unknown."""
        name, given = self._made.get(id(tensor), ("", []))
        while name in _THROUGH and given:
            name, given = self._made.get(given[0], ("", []))
        return name

    def leads(self, start: Tensor, end: Tensor) -> bool:
        """Return whether ``end`` was computed from ``start``."""
        seen, waiting = set(), [id(end)]
        while waiting:
            for parent in self._made.get(waiting.pop(), ("", []))[1]:
                if parent == id(start):
                    return True
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return False
