"""Load weights from a file into a module: by name, or by order if only the names differ; never by pickle."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeproof_runtime.errors import InputError

__all__ = ["fit_backbone", "fit_weights", "load_tensors", "read_weights", "weights_digest"]

# Keys that training scripts wrap state dicts in, and prefixes of DataParallel, torch.compile and Lightning.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
_SHOWN = 4


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of a PyTorch checkpoint with ``weights_only=True``.

    A state dict under ``state_dict``, ``model_state_dict``, ``model_state`` or ``model`` is unwrapped.

    Raises:
        InputError: the file is missing, damaged, or holds pickled objects or no tensors.
    """
    return _unwrap(load_tensors(path), path)


def load_tensors(path: Path) -> Any:
    """Load a ``.safetensors`` file, or a PyTorch checkpoint with ``weights_only=True``.

    Raises:
        InputError: the file is missing, damaged or holds pickled objects.
    """
    if not path.is_file():
        raise InputError(f"{path}: weights not found", expected="a .safetensors, .pth, .pt or .th file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors, or is not a PyTorch checkpoint",
            got=_first_line(error),
            expected="tensors that load with weights_only=True; pickled objects could run any code",
            fix="save only the state dict: safetensors.torch.save_file(model.state_dict(), FILE)",
        ) from error
    except Exception as error:  # torch and safetensors raise many types for a damaged file
        raise InputError(f"{path}: cannot be read as weights", got=_first_line(error)) from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(len(_WRAPPERS)):
        if not isinstance(content, Mapping):
            break
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    found = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content).__name__
    raise InputError(
        f"{path}: holds no state dict",
        got=found or "nothing",
        expected=f"tensors by name, at the top level or under {', '.join(_WRAPPERS)}",
    )


def fit_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> list[str]:
    """Load weights into a module.

    Removes prefixes of wrappers. If the names differ but number, order and shapes agree, the tensors are assigned in
    order.

    Args:
        module: module, changed in place.
        weights: tensors by name.
        source: name of the weights in error messages.

    Returns:
        Notes on removed prefixes and differing names.

    Raises:
        InputError: the weights do not fit; the module must not be used.
    """
    own = module.state_dict()
    given, notes = _without_prefixes(weights, own)
    # Counters of training steps: missing before PyTorch 0.4.1 and not used by inference.
    absent = {name for name in own if name.endswith("num_batches_tracked") and name not in given}
    wanted = {name: tensor for name, tensor in own.items() if name not in absent}
    if set(given) == set(wanted):
        _require_shapes(given, wanted, source)
    elif _same_in_order(given, own):
        notes.append(
            f"{source}: the names of the {len(own)} tensors differ from the model's; number, order and shapes agree, "
            "so they were assigned in order"
        )
        given, absent = dict(zip(own, given.values(), strict=True)), set()
    else:
        raise _misfit(given, wanted, source)
    module.load_state_dict({**given, **{name: own[name] for name in absent}})
    return notes


def fit_backbone(module: nn.Module, weights: Mapping[str, Tensor], classes: int, source: str) -> tuple[list[str], bool]:
    """Load weights for fine-tuning: a last layer for other classes keeps its initial values.

    Args:
        module: module for ``classes``, changed in place.
        weights: tensors by name.
        classes: number of classes of the module.
        source: name of the weights in error messages.

    Returns:
        Notes as from `fit_weights`, and whether a layer keeps its initial values.

    Raises:
        InputError: more than the last layer does not fit.
    """
    own = module.state_dict()
    given, notes = _without_prefixes(weights, own)
    # A layer by class: one row per class, otherwise the same shape.
    fresh = [
        name
        for name, tensor in own.items()
        if name in given
        and tensor.ndim
        and len(tensor) == classes
        and len(given[name]) != classes
        and given[name].shape[1:] == tensor.shape[1:]
    ]
    if fresh:
        notes.append(f"{source}: has other classes, {_some(fresh)} start from initial values")
    return notes + fit_weights(module, {**given, **{name: own[name] for name in fresh}}, source), bool(fresh)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 (hex) over names, dtypes, shapes and values of a state dict, in its order."""
    total = hashlib.sha256()
    for name, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _without_prefixes(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    given = dict(weights)
    removed = ""
    while set(given) != set(own):
        prefix = next((p for p in _PREFIXES if given and all(name.startswith(p) for name in given)), None)
        if prefix is None or all(name.startswith(prefix) for name in own):
            break
        given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
        removed += prefix
    return given, [f"weights: the prefix {removed!r} was removed from the names"] if removed else []


def _require_shapes(given: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    if any(given[name].shape != own[name].shape for name in own):
        raise _misfit(given, own, source)


def _same_in_order(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    pairs = list(zip(given.items(), own.items(), strict=False))
    # A name on both sides must be at the same place, else the orders differ.
    return len(given) == len(own) and all(
        a.shape == b.shape and (left == right or (left not in own and right not in given))
        for (left, a), (right, b) in pairs
    )


def _misfit(given: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> InputError:
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    other = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return InputError(
        f"{source}: does not fit the model",
        got="; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in parts if names),
        expected=f"{len(own)} tensors with the model's names and shapes",
        fix=(
            "add --num-classes N if the model was trained for other classes"
            if other and not missing and not unexpected
            else "check that the weights belong to this architecture"
        ),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
