"""Modules as people hand them over: wrapped, half precision, on another device, inside a tuple."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from edgeproof_export.pytorch.quantised import refuse_quantised
from edgeproof_runtime.errors import InputError

__all__ = ["as_float32", "plain_module", "to_eval", "unwrapped"]

# Attribute that holds the wrapped module, by the wrapper's class name.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "AveragedModel": "module",
    "ModelEma": "module",
    "ModelEmaV2": "module",
    "ModelEmaV3": "module",
    "DeepSpeedEngine": "module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}


def plain_module(found: Any, spec: str) -> tuple[nn.Module, list[str]]:
    """Return the module in what a factory returned, and notes on what was taken off.

    Args:
        found: what the factory returned.
        spec: name in error messages.

    Raises:
        InputError: it holds no module or several, is quantised, or has no weights yet.
    """
    module, notes = _module_in(found, spec)
    module = unwrapped(module, notes)
    for name, part in list(module.named_modules()):
        for child_name, child in list(part.named_children()):
            inner = unwrapped(child, notes, f"{name}.{child_name}".lstrip("."))
            if inner is not child:
                setattr(part, child_name, inner)
    if getattr(module, "_compiled_call_impl", None) is not None:
        module._compiled_call_impl = None
        notes.append("torch.compile is taken off: the exporter traces the module itself.")
    module = _lightning_network(module, notes)
    refuse_quantised(module, spec)
    _require_weights(module, spec)
    return module, notes


def to_eval(module: nn.Module, spec: str) -> list[str]:
    """Put a module and all its parts into eval mode without gradients, on the CPU; return notes.

    Raises:
        InputError: the weights cannot be moved to the CPU.
    """
    notes = []
    try:
        module.eval()
    except Exception as error:  # user code may raise anything
        for part in module.modules():
            part.training = False
        notes.append(f"{spec}: eval() raises {type(error).__name__}; every part was put into eval mode by itself.")
    devices = {str(tensor.device) for tensor in (*module.parameters(), *module.buffers())} - {"cpu"}
    if devices:
        try:
            module.to("cpu")
        except Exception as error:  # CUDA raises errors of its own
            raise InputError(f"{spec}: cannot be moved to the CPU", got=error) from error
        notes.append(f"{spec}: moved from {', '.join(sorted(devices))} to the CPU.")
    try:
        module.requires_grad_(False)
    except RuntimeError:
        for parameter in module.parameters():
            if parameter.is_leaf:
                parameter.requires_grad_(False)
    return notes


def as_float32(module: nn.Module) -> tuple[nn.Module, str | None]:
    """Return the module in float32, and the name of its other precision; None if it is float32 already."""
    others = {
        str(tensor.dtype).removeprefix("torch.")
        for tensor in (*module.parameters(), *module.buffers())
        if tensor.is_floating_point() and tensor.dtype != torch.float32
    }
    if not others:
        return module, None
    return copy.deepcopy(module).float(), " and ".join(sorted(others))


def _module_in(found: Any, spec: str) -> tuple[nn.Module, list[str]]:
    if isinstance(found, nn.Module):
        return found, []
    if isinstance(found, ExportedProgram):
        return found.module(), [f"{spec}: returns an exported program, whose module was taken."]
    if isinstance(found, type) and issubclass(found, nn.Module):
        try:
            return found(), [f"{spec}: returns the class {found.__name__}, which was called without arguments."]
        except Exception as error:  # user code may raise anything
            raise InputError(
                f"{spec}: returns a class that cannot be called without arguments",
                got=f"{found.__name__}: {type(error).__name__}: {error}",
                expected="a torch.nn.Module",
                fix="call the class in the factory",
            ) from error
    if isinstance(found, Mapping) and found and all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(
            f"{spec}: returns a state dict, not a module",
            got=f"{len(found)} tensors, such as {next(iter(found))}",
            expected="a torch.nn.Module",
            fix="build the network in the factory and return it after network.load_state_dict(...)",
        )
    items = (
        list(found.values()) if isinstance(found, Mapping) else list(found) if isinstance(found, (list, tuple)) else []
    )
    modules = [item for item in items if isinstance(item, nn.Module)]
    if len(modules) == 1:
        kind = type(found).__name__
        return modules[0], [f"{spec}: returns a {kind} of {len(items)}; {type(modules[0]).__name__} in it was taken."]
    described = f"{type(found).__name__} of " + ", ".join(type(item).__name__ for item in items[:6]) if items else None
    raise InputError(
        f"{spec}: does not return a module",
        got=described or type(found).__name__,
        expected="a torch.nn.Module",
        fix="return only the classifier" if len(modules) > 1 else None,
    )


def unwrapped(module: nn.Module, notes: list[str], where: str = "") -> nn.Module:
    """Return the module inside known wrappers, and append a note for each of them.

    Args:
        module: the module; it is not changed.
        notes: receives the notes.
        where: name of the part of a model; empty for the model.
    """
    while True:
        kind = type(module).__name__
        inner = getattr(module, _WRAPPERS[kind], None) if kind in _WRAPPERS else None
        if not isinstance(inner, nn.Module):
            return module
        averaged = " (averaged weights)" if kind in ("AveragedModel", "ModelEma", "ModelEmaV2", "ModelEmaV3") else ""
        notes.append(f"The wrapper {kind}{averaged} was taken off {where or 'the model'}.")
        module = inner


def _lightning_network(module: nn.Module, notes: list[str]) -> nn.Module:
    """Return the network of a Lightning module without a forward pass of its own; else the module."""
    lightning = [base for base in type(module).__mro__ if base.__name__ == "LightningModule"]
    if not lightning:
        return module
    children = dict(module.named_children())
    if type(module).forward is not lightning[0].forward:  # type: ignore[attr-defined]
        notes.append(f"{type(module).__name__} is a LightningModule: its forward() is exported.")
        return module
    named = [name for name in ("model", "net", "network", "backbone", "classifier") if name in children]
    if len(named) == 1:
        notes.append(f"{type(module).__name__} is a LightningModule without forward(): its {named[0]} is exported.")
        return children[named[0]]
    raise InputError(
        f"{type(module).__name__}: a LightningModule without forward()",
        got=f"the modules {', '.join(children)}",
        expected="a forward() that returns class scores",
        fix="return the network from the factory, as in `return Lit.load_from_checkpoint(FILE).model`",
    )


def _require_weights(module: nn.Module, spec: str) -> None:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    lazy = [name for name, tensor in tensors if is_lazy(tensor)]
    if lazy:
        raise InputError(
            f"{spec}: has lazy modules that were never called",
            got=f"{len(lazy)} uninitialised tensors, such as {lazy[0]}",
            expected="weights",
            fix="in the factory, call the model once on an example input, then load its weights",
        )
    meta = [name for name, tensor in tensors if tensor.is_meta]
    if meta:
        raise InputError(
            f"{spec}: its weights are on the meta device, which holds no values",
            got=f"{len(meta)} of {len(tensors)} tensors, such as {meta[0]}",
            expected="weights on the CPU",
            fix="build it without torch.device('meta'), or load its weights with load_state_dict(..., assign=True)",
        )
