"""A module in memory as MODEL: the last line of a training script exports it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from edgeproof_export.contracts import ContractFlags
from edgeproof_export.labels import hugging_face_labels
from edgeproof_export.models import Source
from edgeproof_export.numbers import require_numbers
from edgeproof_export.pytorch.module_checks import nan_tensors, require_inference_mode
from edgeproof_export.pytorch.modules import plain_module, to_eval, unwrapped
from edgeproof_export.transforms import contract_of_transform
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["IN_MEMORY", "module_source"]

IN_MEMORY = " in memory"  # end of such a model's name in provenance


def module_source(found: Any, transform: Any, flags: ContractFlags) -> Source:
    """Return a module in memory as a source. The module is copied: its mode, device and gradients stay.

    Args:
        found: a module, or what a factory may return (`plain_module`).
        transform: its evaluation transform; see `edgeproof_export.transforms.contract_of_transform`. None for the
            module's ``edgeproof_contract``, or for none.
        flags: flags of the export; they say size and channels where the transform does not.

    Raises:
        InputError: it is not a module, cannot be copied, or the transform has no contract.
    """
    name = f"{type(found).__name__}{IN_MEMORY}"
    outer, notes = found, list[str]()
    if isinstance(found, nn.Module):
        outer = unwrapped(found, notes)
        name = f"{type(outer).__name__}{IN_MEMORY}"
    module, told = plain_module(_copied(outer, name), name)
    notes += [*told, *to_eval(module, name)]
    require_inference_mode(module, name)
    require_numbers(nan_tensors(module), name)
    named = getattr(getattr(module, "config", None), "id2label", None)  # models of transformers
    labels = hugging_face_labels(named) if isinstance(named, Mapping) else None
    source = Source(spec=name, model=module, labels=labels, weights=f"as they were{IN_MEMORY}")
    own = getattr(outer, "edgeproof_contract", None)
    if transform is None and isinstance(own, InputContract):
        transform = own
    if transform is not None:
        mapped = contract_of_transform(transform, size=flags.input_size, channels=_channels(module, flags))
        source = replace(source, contract=mapped.contract, transform=mapped.transform)
        notes += mapped.notes
    return replace(source, notes=tuple(notes))


def _copied(module: Any, name: str) -> Any:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # modules of others may hold anything, such as locks
        raise InputError(
            f"{name}: cannot be copied",
            got=f"{type(error).__name__}: {error}",
            expected="a module that copy.deepcopy takes; the export must not change the one in training",
            fix="build the model anew, load its state_dict(), and export that",
        ) from error


def _channels(module: nn.Module, flags: ContractFlags) -> int | None:
    """Return the channels that the flags ask for, or those of the first convolution; None without one."""
    if flags.wanted_channels is not None:
        return flags.wanted_channels
    first = next((part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return first if first in (1, 3) else None
