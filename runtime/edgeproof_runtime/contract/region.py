"""The region of a frame that the input tensor covers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import InputContract

__all__ = ["Region", "tensor_region"]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in a frame, in pixels; it extends beyond the frame where the tensor was padded."""

    top: float
    left: float
    height: float
    width: float


@lru_cache(maxsize=64)  # a stream asks for every frame, and its frames are of one size
def tensor_region(contract: InputContract, height: int, width: int) -> Region:
    """Return the part of a ``height`` x ``width`` frame that becomes the tensor.

    Raises:
        FrameError: the frame is empty, or its resized form too large.
    """
    return Region(*_native.tensor_region(json.dumps(contract.to_json()), height, width))
