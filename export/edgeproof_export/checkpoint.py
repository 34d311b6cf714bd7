"""Checkpoints of `edgeproof train`: the description of network and input contract for the export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeproof_export.networks import build_network
from edgeproof_export.weights.bare import bare_weights
from edgeproof_export.weights.file import load_tensors
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self

__all__ = ["KEY", "PREFIX", "SUFFIX", "Blueprint", "add_facts", "is_own", "network_of", "read_checkpoint"]

SCHEMA = "edgeproof.checkpoint/1"
KEY = "edgeproof"  # key of the blueprint in the checkpoint
PREFIX = "network."  # prefix of the deployed network's tensors; others (a discriminator's) are not exported
SUFFIX = ".ckpt"
_MOST_MISSING = 10_000_000  # values of a network beyond those of its tensors: 40 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Description of a checkpoint's network.

    Attributes:
        task: task of the bundle.
        recipe: recipe of the training.
        architecture, arguments: arguments of `build_network`.
        contract: input contract; None if the input is not an image.
        labels: labels of the classes; may be empty.
        class_ids: folder name of each class, if the data had class folders.
        facts: further plain values for the task.
    """

    task: str
    recipe: str
    architecture: str
    arguments: Mapping[str, Any]
    contract: InputContract | None = None
    labels: tuple[str, ...] = ()
    class_ids: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the plain values of the checkpoint."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "contract": None if self.contract is None else self.contract.to_json(),
            "labels": list(self.labels),
            "class_ids": None if self.class_ids is None else list(self.class_ids),
        }

    @classmethod
    def from_json(cls, raw: Any, source: str) -> Self:
        """Parse the values of `to_json`.

        Raises:
            InputError: another schema, or missing or invalid fields.
        """
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            got = raw.get("schema") if isinstance(raw, Mapping) else "no description of the network"
            raise InputError(
                f"{source}: not a checkpoint of edgeproof train",
                got=got,
                expected=SCHEMA,
                fix="export other checkpoints with --weights FILE and their architecture as MODEL",
            )
        try:
            return cls(
                task=str(raw["task"]),
                recipe=str(raw["recipe"]),
                architecture=str(raw["architecture"]),
                arguments=dict(raw["arguments"]),
                contract=None if raw["contract"] is None else InputContract.from_json(raw["contract"]),
                labels=tuple(map(str, raw["labels"])),
                class_ids=None if raw["class_ids"] is None else tuple(map(str, raw["class_ids"])),
                facts=dict(raw["facts"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: damaged", got=f"{type(error).__name__}: {error}") from error


def read_checkpoint(path: Path) -> tuple[Blueprint, nn.Module]:
    """Load a checkpoint's network with its weights, in eval mode; loads only tensors and plain values.

    Raises:
        InputError: the file is missing, damaged, or not a checkpoint of `edgeproof train`.
    """
    content = load_tensors(path)
    if not is_own(content):
        raise bare_weights(path, content)
    return network_of(content, path)


def is_own(content: Any) -> bool:
    """Return whether the content of a file is that of a checkpoint of `edgeproof train`."""
    return isinstance(content, Mapping) and KEY in content


def network_of(content: Mapping[str, Any], path: Path) -> tuple[Blueprint, nn.Module]:
    """Return the network of a loaded checkpoint of `edgeproof train`, as `read_checkpoint` does.

    Raises:
        InputError: the checkpoint is damaged.
    """
    blueprint = Blueprint.from_json(content[KEY], str(path))
    state: Mapping[str, Tensor] = content.get("state_dict", {})
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise InputError(f"{path}: damaged", got="a state_dict without tensor names")
    own = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    if not all(isinstance(tensor, Tensor) for tensor in own.values()):
        raise InputError(f"{path}: damaged", got="a state_dict with values that are not tensors")
    _require_size(blueprint, own, path)
    network = build_network(blueprint.architecture, blueprint.arguments)
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"{path}: damaged, its weights do not fit its network", got=error) from error
    broken = [name for name, tensor in own.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(f"{path}: weights are not finite", got=broken[0], fix="train again with a lower --lr")
    return blueprint, network.eval()


def _require_size(blueprint: Blueprint, own: Mapping[str, Tensor], path: Path) -> None:
    """Require that the described network is as large as its tensors, before its memory is allocated."""
    try:
        with torch.device("meta"):
            described = build_network(blueprint.architecture, blueprint.arguments)
    except InputError:
        raise
    except Exception:  # a network that computes while it is built has no meta tensors
        return
    wanted, given = (sum(tensor.numel() for tensor in state.values()) for state in (described.state_dict(), own))
    if wanted > given + _MOST_MISSING:
        raise InputError(
            f"{path}: damaged, its weights do not fit its network",
            got=f"{given} values for {blueprint.architecture} of {wanted}",
        )


def add_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Add plain values to a checkpoint's `Blueprint.facts`, atomically.

    Raises:
        InputError: not a checkpoint of `edgeproof train`.
    """
    content = dict(load_tensors(path))
    blueprint = Blueprint.from_json(content.get(KEY), str(path))
    content[KEY] = replace(blueprint, facts={**blueprint.facts, **facts}).to_json()
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
