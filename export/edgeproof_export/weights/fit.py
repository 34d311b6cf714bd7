"""Fit the weights of a file into a module: by name under any prefix, or by order if only the names differ."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edgeproof_export.weights.file import Weights
from edgeproof_export.weights.misfits import misfit, require_floats
from edgeproof_export.weights.renamed import renamed
from edgeproof_export.weights.sub_trees import (
    COUNTER,
    Agrees,
    SubTree,
    choose,
    fitting,
    in_order,
    nearest,
    plain,
    shown_prefix,
    unused,
)
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import some

__all__ = ["Fitted", "fit_backbone", "fit_weights", "weights_digest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Weights taken from a file.

    Attributes:
        prefix: prefix of their names in the file.
        ema: whether they are averaged (EMA) weights, where the file has others as well; else None.
        notes: notes for the report.
    """

    prefix: str
    ema: bool | None
    notes: Sequence[str] = ()

    def described(self, source: str) -> str:
        """Return the source with the choice between averaged and other weights."""
        if self.ema is None:
            return source
        return f"{source}, {'averaged (EMA)' if self.ema else 'raw'} weights under {shown_prefix(self.prefix)}"


def fit_weights(module: nn.Module, weights: Weights, *, ema: bool | None = None) -> Fitted:
    """Load weights into a module.

    Finds the one sub-tree of the file that has the model's names and shapes. If the names differ but number, order and
    shapes agree, the tensors are assigned in order.

    Args:
        module: module, changed in place.
        weights: tensors of a file.
        ema: True for averaged weights, False for the others, None for averaged ones if there are any.

    Raises:
        InputError: the weights do not fit; the module must not be used.
    """
    own = _own(module)
    fitted, _ = _fit(module, own, weights, ema, lambda name, tensor: _same_shape(tensor, own[name]))
    return fitted


def fit_backbone(module: nn.Module, weights: Weights, classes: int, *, ema: bool | None = None) -> tuple[Fitted, bool]:
    """Load weights for fine-tuning: a last layer for other classes keeps its initial values.

    Args:
        module: module for ``classes``, changed in place.
        weights: tensors of a file.
        classes: number of classes of the module.
        ema: as in `fit_weights`.

    Returns:
        The weights taken, and whether a layer keeps its initial values.

    Raises:
        InputError: more than the last layer does not fit.
    """
    own = _own(module)

    def agrees(name: str, tensor: Tensor) -> bool:
        # A layer by class: one row per class, otherwise the same shape.
        wanted = own[name]
        by_class = wanted.ndim > 0 and len(wanted) == classes and tensor.shape[1:] == wanted.shape[1:]
        return _same_shape(tensor, wanted) or (by_class and tensor.ndim > 0)

    fitted, fresh = _fit(module, own, weights, ema, agrees)
    notes = [f"{weights.source}: has other classes, {some(fresh, 4)} start from initial values"] if fresh else []
    return replace(fitted, notes=[*notes, *fitted.notes]), bool(fresh)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 (hex) over names, dtypes, shapes and values of a state dict, in its order."""
    total = hashlib.sha256()
    for name, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _fit(
    module: nn.Module, own: Mapping[str, Tensor], weights: Weights, ema: bool | None, agrees: Agrees
) -> tuple[Fitted, list[str]]:
    """Load what fits; return it, and the names that agree but keep the module's values."""
    tied = _tied(own)
    optional = {name for name in own if name.rpartition(".")[2] == COUNTER} | {*tied, *tied.values()}
    found = fitting(weights, own, optional, agrees)
    found = [tree for tree in found if all({name, first} & tree.tensors.keys() for name, first in tied.items())]
    notes: list[str] = []
    if not found and (others := renamed(module, weights)) is not None:
        found = fitting(others, own, optional, agrees)
        if found:
            weights = others
            notes.append(f"{weights.source}: timm converted the names, which are not those of its model")
    if not found:
        found = in_order(weights, own)
        if not found:
            raise misfit(weights, nearest(weights, own), own)
        notes.append(
            f"{weights.source}: the names of the {len(own)} tensors differ from the model's; number, order and shapes "
            "agree, so they were assigned in order"
        )
    tree, averaged = choose(found, weights.source, ema)
    notes += [*_taken(weights, tree, found, averaged), *_load(module, own, tied, weights.source, tree)]
    kept = [name for name, tensor in tree.tensors.items() if not _same_shape(tensor, own[name])]
    return Fitted(prefix=tree.prefix, ema=averaged, notes=notes), kept


def _own(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module by their names without wrappers' components."""
    return {plain(name): tensor for name, tensor in module.state_dict().items()}


def _load(
    module: nn.Module, own: Mapping[str, Tensor], tied: Mapping[str, str], source: str, tree: SubTree
) -> list[str]:
    """Copy the tensors into the module; return a note on converted dtypes."""
    given = dict(tree.tensors)
    require_floats(given, own, source)
    for name, first in tied.items():
        known = [given[item] for item in (name, first) if item in given]
        if len(known) == 2 and not torch.equal(*known):
            raise InputError(
                f"{source}: {first} and {name} differ, but are one tensor in the model",
                fix="check that the weights belong to this architecture",
            )
        given[name] = given[first] = known[0]
    dtypes = Counter(
        f"{tensor.dtype} to {own[name].dtype}".replace("torch.", "")
        for name, tensor in given.items()
        if tensor.is_floating_point() and tensor.dtype != own[name].dtype
    )
    names = {plain(name): name for name in module.state_dict()}
    module.load_state_dict(
        {
            names[name]: given[name].reshape(tensor.shape) if _fits(given, name, tensor) else tensor
            for name, tensor in own.items()
        }
    )
    return [f"{source}: {count} tensors were converted from {change}." for change, count in dtypes.items()]


def _fits(given: Mapping[str, Tensor], name: str, wanted: Tensor) -> bool:
    return name in given and _same_shape(given[name], wanted)


def _taken(weights: Weights, tree: SubTree, found: Sequence[SubTree], averaged: bool | None) -> list[str]:
    """Return notes on what was taken of the file, and what was not."""
    source, notes = weights.source, []
    teachers = [shown_prefix(item.prefix) for item in found if item.role == "teacher" != tree.role]
    if averaged is not None:
        other = shown_prefix(next(item for item in found if (item.role == "average") != averaged).prefix)
        taken, left = ("averaged (EMA)", "--no-ema") if averaged else ("raw, not averaged", "--ema")
        notes.append(
            f"{source}: the {taken} weights under {shown_prefix(tree.prefix)} were taken; {left} takes those under "
            f"{other}."
        )
    elif tree.role == "average":
        notes.append(f"{source}: holds averaged (EMA) weights, under {shown_prefix(tree.prefix)}.")
    elif _beyond_container(weights, tree) or teachers:
        notes.append(f"{source}: the tensors under {shown_prefix(tree.prefix)} were taken.")
    if teachers:
        prefix = teachers[0].strip("'").rstrip(".")
        notes.append(f"{source}: a teacher's weights, under {teachers[0]}, fit as well: --weights {source}:{prefix}.")
    lists = [name for name in weights.unnamed if "ema" in name.lower() or "shadow" in name.lower()]
    if lists:
        notes.append(f"{source}: the averaged weights in {lists[0]} have no names and cannot be assigned.")
    return notes + unused(weights, tree, found)


def _beyond_container(weights: Weights, tree: SubTree) -> bool:
    """Return whether the prefix goes beyond the dictionary that holds the tensors."""
    full = next(iter(tree.full_names))
    return len(plain(weights.containers[full])) < len(tree.prefix)


def _same_shape(left: Tensor, right: Tensor) -> bool:
    """Return whether the shapes agree; a scalar may have the shape () or (1,)."""
    return left.shape == right.shape or (left.numel() == right.numel() == 1 and max(left.ndim, right.ndim) <= 1)


def _tied(own: Mapping[str, Tensor]) -> dict[str, str]:
    """Return names whose tensor is that of an earlier name, with that name."""
    first: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in own.items():
        if tensor.numel():
            key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if key in first:
                tied[name] = first[key]
            else:
                first[key] = name
    return tied
