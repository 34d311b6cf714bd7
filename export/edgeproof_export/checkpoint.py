"""Checkpoints of `edgeproof train`: what stands beside the weights so that export needs no further word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from edgeproof_export.networks import build_network
from edgeproof_export.weights import load_tensors
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["KEY", "PREFIX", "SUFFIX", "Blueprint", "add_facts", "read_checkpoint"]

SCHEMA = "edgeproof.checkpoint/1"
KEY = "edgeproof"  # of the blueprint in the checkpoint
PREFIX = "network."  # of the deployed network's tensors; others (a discriminator's) stay behind
SUFFIX = ".ckpt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """What a checkpoint says about its network.

    Attributes:
        task: of the bundle.
        recipe: as it was trained.
        architecture, arguments: of `build_network`.
        contract: how pictures become input tensors; None where the input is no picture.
        labels: of the classes; empty where there are none.
        class_ids: name of each class's folder, where the data had folders.
        facts: further plain values that a task needs.
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
        """Plain values, as the checkpoint holds them."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "contract": None if self.contract is None else self.contract.to_json(),
            "labels": list(self.labels),
            "class_ids": None if self.class_ids is None else list(self.class_ids),
        }

    @classmethod
    def from_json(cls, raw: Any, source: str) -> Self:
        """The inverse of `to_json`.

        Raises:
            InputError: another schema, or fields that are missing or of another kind.
        """
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            got = raw.get("schema") if isinstance(raw, Mapping) else "no word about the network"
            raise InputError(
                f"{source} is no checkpoint of edgeproof train",
                got=got,
                expected=SCHEMA,
                fix="export other checkpoints with --weights, naming their architecture as MODEL",
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
            raise InputError(f"{source} is damaged", got=f"{type(error).__name__}: {error}") from error


def read_checkpoint(path: Path) -> tuple[Blueprint, nn.Module]:
    """The network of a checkpoint with its weights, in eval mode. Only tensors and plain values are loaded.

    Raises:
        InputError: the file is missing, damaged, or no checkpoint of `edgeproof train`.
    """
    content = load_tensors(path)
    blueprint = Blueprint.from_json(content.get(KEY) if isinstance(content, Mapping) else None, str(path))
    state: Mapping[str, Tensor] = content.get("state_dict", {})
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise InputError(f"{path} is damaged", got="a state_dict that does not name its tensors")
    network = build_network(blueprint.architecture, blueprint.arguments)
    own = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"{path} is damaged: its weights do not fit its network", got=error) from error
    broken = [name for name, tensor in own.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f"{path} holds weights that are no numbers", got=broken[0], fix="train again with a lower --lr"
        )
    return blueprint, network.eval()


def add_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Add plain values to a checkpoint's `Blueprint.facts`, whole or not at all.

    Raises:
        InputError: it is no checkpoint of `edgeproof train`.
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
