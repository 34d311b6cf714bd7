"""Find the sub-tree of a checkpoint that holds a model's tensors, under any prefix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from edgeproof_export.weights.file import Weights
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import some

__all__ = [
    "COUNTER",
    "Agrees",
    "Role",
    "SubTree",
    "choose",
    "fitting",
    "in_order",
    "nearest",
    "plain",
    "shown_prefix",
    "unused",
]

Role = Literal["model", "average", "teacher", "training"]

COUNTER = "num_batches_tracked"  # of BatchNorm: absent before PyTorch 0.4.1, and not used by inference
# Components that wrappers insert within names: torch.compile, FSDP, activation checkpointing.
_INSERTED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Buffers without meaning for inference: counters of BatchNorm and of the profiler thop, and indices that models compute
# themselves but stored in earlier versions.
_NO_LAYERS = frozenset(
    {COUNTER, "total_ops", "total_params", "attn_mask", "position_ids", "relative_coords_table"}
    | {"relative_position_index"}
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ROLES: Mapping[str, frozenset[str]] = {
    "training": frozenset(
        [
            "acc",
            "accuracy",
            "auc",
            "auroc",
            "callbacks",
            "confmat",
            "criteria",
            "criterion",
            "criterions",
            "history",
            "loss",
            "losses",
            "metric",
            "metrics",
            "opt",
            "optim",
            "optimizer",
            "optimizers",
            "rng",
            "sampler",
            "scaler",
            "scheduler",
            "schedulers",
        ]
    ),
    "average": frozenset(["average", "averaged", "averaging", "avg", "ema", "polyak", "shadow", "swa"]),
    "teacher": frozenset(["momentum", "target", "teacher"]),
}
_TRAINING_NAMES = frozenset({"class_weights", "pos_weight", "global_step", "epoch", "step"})

# Whether the tensor of a name has a shape that the model takes.
Agrees = Callable[[str, Tensor], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubTree:
    """Tensors of a checkpoint under one prefix.

    Attributes:
        prefix: prefix of the full names, without wrappers' components.
        tensors: tensors by their name below the prefix, of the model's namespace only.
        full_names: their names in the file.
        role: what the prefix says about them.
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    full_names: frozenset[str]
    role: Role


def plain(name: str, *, modules: bool = False) -> str:
    """Return a name without the components that wrappers insert; ``modules``: without ``module`` as well."""
    dropped = _INSERTED | {"module"} if modules else _INSERTED
    return ".".join(part for part in name.split(".") if part not in dropped)


@cache
def role_of(component: str) -> Role:
    """Return what a component of a name says about the tensors below it."""
    if component in _TRAINING_NAMES:
        return "training"
    words = {word.lower() for word in _WORDS.findall(component)}
    for role, marks in _ROLES.items():
        if words & marks:
            return role  # type: ignore[return-value]  # keys of _ROLES
    return "model"


def fitting(weights: Weights, own: Iterable[str], optional: Iterable[str], agrees: Agrees) -> list[SubTree]:
    """Return every sub-tree that has all of the model's tensors, in fitting shapes, and no further layers.

    Args:
        weights: the checkpoint.
        own: names of the model's tensors, without wrappers' components.
        optional: those that may be absent.
        agrees: whether a tensor fits.
    """
    own_names, may_lack = set(own), set(optional)
    for modules in (False, True):
        names = _plain_names(weights.tensors, modules=modules)
        found = []
        for prefix in _prefixes(names, own_names):
            tree = _tree(weights, names, prefix, own_names)
            missing = own_names - set(tree.tensors)
            whole = missing <= may_lack and tree.tensors.keys() <= own_names
            if whole and all(agrees(name, tensor) for name, tensor in tree.tensors.items()):
                found.append(tree)
        if found or all(name == plain(name, modules=True) for name in names):
            return found
    return []


def in_order(weights: Weights, own: Mapping[str, Tensor]) -> list[SubTree]:
    """Return every container whose tensors agree with the model's in number, order and shapes, under other names."""
    members: dict[str, dict[str, str]] = {}
    for full, container in weights.containers.items():
        key = full[len(container) :]
        if role_of(key.partition(".")[0]) == "model" and key.rpartition(".")[2] != "n_averaged":
            members.setdefault(container, {})[key] = full
    names = {name: name for name in weights.tensors}
    found = []
    for container, keys in members.items():
        role = _role(container, names)
        for counters in (True, False):
            wanted = {n: t for n, t in own.items() if counters or n.rpartition(".")[2] != COUNTER}
            tensors = [weights.tensors[full] for full in keys.values()]
            if role != "training" and _same_order(dict(zip(keys, tensors, strict=True)), wanted):
                assigned = dict(zip(wanted, tensors, strict=True))
                taken = frozenset(keys.values())
                found.append(SubTree(prefix=container, tensors=assigned, full_names=taken, role=role))
                break
    return found


def nearest(weights: Weights, own: Iterable[str]) -> SubTree:
    """Return the sub-tree that has most of the model's names; the largest container if none has any."""
    own_names = set(own)
    names = _plain_names(weights.tensors, modules=False)
    counts = _prefixes(names, own_names)
    if counts:
        best = max(counts, key=lambda prefix: (counts[prefix], _role(prefix, names) == "model", -len(prefix)))
        return _tree(weights, names, best, own_names)
    sizes = Counter(c for c in weights.containers.values() if _role(c, names) != "training")
    largest = max(sizes or Counter(weights.containers.values()), key=lambda c: (sizes[c], -len(c)))
    return _tree(weights, names, largest, own_names)


def choose(found: Sequence[SubTree], source: str, ema: bool | None) -> tuple[SubTree, bool | None]:
    """Choose among fitting sub-trees: averaged weights where present (as timm does), else the model's.

    Args:
        found: sub-trees, at least one.
        source: name of the file in messages.
        ema: True for averaged weights, False for the others, None for averaged ones if there are any.

    Returns:
        The sub-tree, and whether it is the average; None if the file gave no choice.

    Raises:
        InputError: the file lacks what was asked for, or several sub-trees remain.
    """
    averages = [tree for tree in found if tree.role == "average"]
    others = [tree for tree in found if tree.role == "model"] or [tree for tree in found if tree.role == "teacher"]
    if ema is not None and not (averages if ema else others):
        have, option = ("no averaged (EMA) weights", "--ema") if ema else ("only averaged (EMA) weights", "--no-ema")
        raise InputError(
            f"{source}: has {have} that fit the model",
            got=", ".join(shown_prefix(tree.prefix) for tree in found),
            fix=f"leave {option} out",
        )
    pool = averages if averages and ema is not False else others
    first = pool[0]
    different = [tree for tree in pool[1:] if not _equal(first.tensors, tree.tensors)]
    if different:
        prefixes = [tree.prefix for tree in (first, *different)]
        raise InputError(
            f"{source}: several sets of weights fit the model",
            got=", ".join(map(shown_prefix, prefixes)),
            expected="one, or the prefix of the one to take",
            fix=f"--weights {source}:{next(prefix for prefix in prefixes if prefix).rstrip('.')}",
        )
    return first, (first.role == "average") if averages and others else None


def unused(weights: Weights, tree: SubTree, others: Sequence[SubTree] = ()) -> list[str]:
    """Return notes that name the tensors outside a sub-tree.

    Args:
        weights: the checkpoint.
        tree: the sub-tree.
        others: other sub-trees that fit, named elsewhere.
    """
    named = tree.full_names.union(*(other.full_names for other in others))
    groups: dict[str, list[str]] = {}
    for name in weights.tensors:
        if name not in named:
            groups.setdefault(_group(name, tree.prefix), []).append(name)
    parts: dict[bool, list[str]] = {True: [], False: []}
    for group, members in groups.items():
        known = group.startswith("*") or any(role_of(part) != "model" for part in group.split("."))
        parts[known].append(members[0] if len(members) == 1 else f"{group} ({len(members)} tensors)")
    notes = [f"{weights.source}: not used, as part of the training: {some(parts[True], 8)}."] if parts[True] else []
    if parts[False]:
        notes.append(
            f"{weights.source}: not used, the model has no such layers: {some(parts[False], 8)}. "
            "If they belong to it, MODEL must be another architecture."
        )
    return notes


def shown_prefix(prefix: str) -> str:
    """Return a prefix as shown in messages."""
    return repr(prefix) if prefix else "the top level"


def _plain_names(names: Iterable[str], *, modules: bool) -> dict[str, str]:
    """Return the full names by their plain ones; unchanged if two would become one."""
    given = list(names)
    stripped = {plain(name, modules=modules): name for name in given}
    return stripped if len(stripped) == len(given) else {name: name for name in given}


def _prefixes(names: Mapping[str, str], own: set[str]) -> Counter[str]:
    """Count for each prefix how many names are a name of the model behind it."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            if name[start:] in own:
                counts[name[:start]] += 1
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return Counter({prefix: n for prefix, n in counts.items() if _role(prefix, names) != "training"})


def _tree(weights: Weights, names: Mapping[str, str], prefix: str, own: set[str]) -> SubTree:
    """Return the tensors below a prefix that belong to the model's namespace.

    Beside the model's own names these are further tensors of its modules, and of unknown modules in the same
    container: layers that the model lacks. Losses, metrics and averages are no layers.
    """
    roots = {name.partition(".")[0] for name in own}
    below = {name[len(prefix) :]: full for name, full in names.items() if name.startswith(prefix)}
    container = next((weights.containers[full] for name, full in below.items() if name in own), prefix)
    tensors, full_names = {}, set()
    for name, full in below.items():
        root, _, _ = name.partition(".")
        if name not in own:
            if name.rpartition(".")[2] in _NO_LAYERS:
                continue
            if root not in roots and (role_of(root) != "model" or weights.containers[full] != container):
                continue
        tensors[name] = weights.tensors[full]
        full_names.add(full)
    return SubTree(prefix=prefix, tensors=tensors, full_names=frozenset(full_names), role=_role(prefix, names))


def _role(prefix: str, names: Mapping[str, str]) -> Role:
    parts = [part for part in prefix.split(".") if part]
    roles = {role_of(part) for part in parts}
    if "training" in roles and "average" not in roles:
        return "training"
    if "average" in roles or (parts and _is_averaged(parts, names)):
        return "average"
    return "teacher" if "teacher" in roles else "model"


def _is_averaged(parts: Sequence[str], names: Mapping[str, str]) -> bool:
    """Return whether the tensors are those of an `AveragedModel`, or of Lightning's callback for it."""
    if parts[0] == "state_dict" and "averaging_state.n_averaged" in names:
        return True
    heads = (parts[:index] for index, part in enumerate(parts) if part == "module")
    return any(".".join([*head, "n_averaged"]) in names for head in heads)


def _same_order(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    # A name on both sides must be at the same place, else the orders differ.
    return len(given) == len(own) and all(
        a.shape == b.shape and (left == right or (left not in own and right not in given))
        for (left, a), (right, b) in zip(given.items(), own.items(), strict=True)
    )


def _equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def _group(name: str, prefix: str) -> str:
    """Return the part of a name to the first component that differs from the prefix."""
    if (leaf := name.rpartition(".")[2]) in _NO_LAYERS:
        return f"*.{leaf}"
    shared: list[str] = []
    taken = prefix.split(".")
    for index, part in enumerate(name.split(".")):
        shared.append(part)
        if index >= len(taken) or part != taken[index]:
            break
    return ".".join(shared)
