"""Contracts of many channels for frames of any dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import Filter, InputContract, ResizeMode

__all__ = ["band_contract"]


def band_contract(frame: NDArray[Any], mode: ResizeMode, filter_: Filter, **more: Any) -> InputContract:
    """A contract of as many channels as the frame has, each with a mean and a divisor of its own."""
    channels = frame.shape[2] if frame.ndim == 3 else 1
    values: dict[str, Any] = {
        "frame_dtype": frame.dtype.name,
        "resize_size": (13, 13) if mode == "shortest" else (13, 11),
        "crop_size": (10, 9) if mode in ("shortest", "cover") else None,
        "crop_fraction": 0.875 if mode == "crop_fraction" else None,
        "fill": tuple(3 * c for c in range(channels)),
        "scale": 255.0 if frame.dtype == np.uint8 else 10_000.0,
        "mean": tuple(0.1 * c for c in range(channels)),
        "std": tuple(0.2 + 0.1 * c for c in range(channels)),
    }
    return InputContract(color="channels", resize=mode, filter=filter_, **(values | more))
