"""Convert checkpoints of a timm model's origin or earlier versions by timm's own function for it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from edgeproof_export.weights.file import Weights

__all__ = ["renamed"]


def renamed(module: nn.Module, weights: Weights) -> Weights | None:
    """Return the weights under the model's names; None if its library has no such function, or resizes tensors.

    timm's model files have ``checkpoint_filter_fn`` for the names of papers' repositories and of earlier versions.
    Some of them also interpolate tensors for another image size: that changes the model and is not accepted.
    """
    convert: Any = getattr(sys.modules.get(type(module).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return None
    tensors: dict[str, Tensor] = {}
    containers: dict[str, str] = {}
    for container in dict.fromkeys(weights.containers.values()):
        inside = [full for full, of in weights.containers.items() if of == container]
        given = {full[len(container) :]: weights.tensors[full] for full in inside}
        result: Any = None
        with suppress(Exception):  # raises any type for checkpoints of another model
            result = convert(dict(given), module)
        if isinstance(result, Mapping) and not _sizes(result) - _sizes(given):
            for name, tensor in result.items():
                tensors[f"{container}{name}"] = tensor
                containers[f"{container}{name}"] = container
    return Weights(source=weights.source, tensors=tensors, containers=containers) if tensors else None


def _sizes(tensors: Mapping[str, Tensor]) -> Counter[int]:
    return Counter(tensor.numel() for tensor in tensors.values())
