"""Checks of PyTorch modules before their export: layers that are not in inference mode, and BatchNorm statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeproof_export.contract_checks import Statistics
from edgeproof_export.numbers import first_names
from edgeproof_runtime.errors import InputError

__all__ = ["module_statistics", "nan_tensors", "require_inference_mode"]

_DROPOUTS = (nn.modules.dropout._DropoutNd, nn.RReLU)


def require_inference_mode(module: nn.Module, spec: str) -> None:
    """Refuse a module whose layers depend on the batch or on chance although it is in eval mode.

    Args:
        module: the module, after ``eval()``.
        spec: name in error messages.

    Raises:
        InputError: names the layers and the mend.
    """
    training, unknown = [], []
    for name, layer in module.named_modules():
        kind = f"{name or 'the model'} ({type(layer).__name__})"
        if isinstance(layer, _BatchNorm) and layer.running_mean is None:
            unknown.append(kind)
        elif isinstance(layer, (_BatchNorm, *_DROPOUTS)) and layer.training:
            training.append(kind)
    if unknown:
        raise InputError(
            f"{spec}: BatchNorm without running statistics",
            got=first_names(unknown) + ", track_running_stats=False",
            expected="statistics of the training: with those of the batch, one image's scores depend on the others",
            fix="build the layers with track_running_stats=True and train on, or run training batches through them",
        )
    if training:
        raise InputError(
            f"{spec}: layers stay in training mode after eval()",
            got=first_names(training),
            expected="BatchNorm and Dropout in inference mode",
            fix="do not override train() or eval() so that layers stay in training mode; return model.eval()",
        )


def nan_tensors(module: nn.Module) -> list[str]:
    """Return the names of parameters and buffers that hold a NaN."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, one in tensors if one.is_floating_point() and not one.is_meta and bool(one.isnan().any())]


def module_statistics(module: nn.Module, tensors: NDArray[np.generic]) -> Statistics | None:
    """Return the statistics of the first BatchNorm that a module runs; None without one.

    Args:
        module: the module in eval mode.
        tensors: inputs for the gate's images, ``N x ...``.
    """
    layers = {layer: name for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    seen: list[tuple[_BatchNorm, Tensor]] = []

    def keep(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        if not seen:
            seen.append((layer, inputs[0].detach()))

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers if layer.running_mean is not None]
    try:
        if hooks:
            with torch.inference_mode():
                module(torch.from_numpy(np.ascontiguousarray(tensors)))
    except Exception:  # user code may raise anything; the reference's own run says what
        return None
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        return None
    layer, values = seen[0]
    mean, var = (np.asarray(one, np.float64) for one in (layer.running_mean, layer.running_var))
    return Statistics(layers[layer], mean, var, values.double().numpy())
