"""Camera frames to input tensors in native code, bit for bit as Pillow and torchvision.

The resize equals Pillow's; the float stage equals torchvision's ``ToTensor`` + ``Normalize``.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import Color, InputContract
from edgeproof_runtime.errors import FrameError

__all__ = ["USEFUL_THREADS", "Preprocessor", "check_frame"]

USEFUL_THREADS = 8
"""Most threads that speed up a camera frame; with more, each has too few rows."""


class Preprocessor:
    """Preprocessing of frames by an `InputContract`.

    One pass of the native core with the GIL released. Filter tables are kept for the last eight frame sizes.
    Calls on one object run one after the other: use one object per thread to run them in parallel.
    """

    def __init__(self, contract: InputContract, *, threads: int = 1) -> None:
        """Prepare for a contract.

        Args:
            contract: the model's input contract.
            threads: threads for a frame of which the crop keeps half a megabyte or more, the caller's included.
                A thread without a free core does not delay a frame: the others take its rows. Threads do not
                survive ``fork()``: with more than one, build the object in the process that uses it.

        Raises:
            ContractError: a value is out of the range of float32, or ``threads`` is not in 1..64.
        """
        self.contract = contract
        self._native = _native.Preprocessor(json.dumps(contract.to_json()), threads)
        self._shape = contract.tensor_shape()[1:]
        self._dtype = np.dtype(contract.dtype)

    def __call__(
        self, frame: NDArray[np.uint8], out: NDArray[np.generic] | None = None, *, color: Color = "bgr"
    ) -> NDArray[np.generic]:
        """Preprocess one frame.

        Args:
            frame: uint8 ``HxWx3`` in the order ``color``, or ``HxW`` / ``HxWx1`` gray. Any strides.
            out: buffer for the result: one batch slot, ``CxHxW`` or ``HxWxC`` of the contract's dtype. A
                C-contiguous slot is written in place, any other through a copy.
            color: channel order of a three-channel frame; OpenCV's is ``bgr``.

        Returns:
            The tensor of one frame, without batch dimension; ``out`` if given.

        Raises:
            FrameError: the frame or ``out`` has a wrong dtype or shape, or the frame is too large.
        """
        if out is None:
            out = np.empty(self._shape, self._dtype)
        try:
            self._native.run(frame, out, color)
        except (TypeError, ValueError, FrameError):
            # Checked only after a failure: the check costs as much as the pass over a small image.
            check_frame(frame)
            if out.shape != self._shape or out.dtype != self._dtype:
                raise FrameError(
                    "out: does not match the contract",
                    got=f"{out.dtype} {out.shape}",
                    expected=f"{self._dtype} {self._shape}",
                ) from None
            if out.flags.carray:  # contiguous, aligned and writable
                raise
            out[...] = self(frame, color=color)
        return out

    def uint8_stage(self, frame: NDArray[np.uint8], *, color: Color = "bgr") -> NDArray[np.uint8]:
        """Apply the uint8 stage only: colour, crop, resize and pad.

        Returns:
            uint8 ``HxWxC`` in the contract's channel order.

        Raises:
            FrameError: the frame has a wrong dtype or shape, or is too large.
        """
        check_frame(frame)
        out = np.empty((*self.contract.tensor_size, self.contract.channels), np.uint8)
        self._native.uint8_stage(frame, out, color)
        return out


def check_frame(frame: object) -> None:
    """Raise `FrameError` unless ``frame`` is a uint8 array of ``HxW``, ``HxWx1`` or ``HxWx3``."""
    expected = "a uint8 array of HxW, HxWx1 or HxWx3"
    if not isinstance(frame, np.ndarray):
        raise FrameError("frame: not a NumPy array", got=type(frame).__name__, expected=expected)
    if frame.dtype != np.uint8:
        fix = "scale 16-bit frames to 8 bits: (frame >> 8).astype(np.uint8)" if frame.dtype == np.uint16 else None
        raise FrameError("frame: wrong dtype", got=frame.dtype, expected=expected, fix=fix)
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3)):
        fix = "drop the alpha channel: frame[:, :, :3]" if frame.ndim == 3 and frame.shape[2] == 4 else None
        raise FrameError("frame: wrong shape", got=frame.shape, expected=expected, fix=fix)
    if frame.size == 0:
        raise FrameError("frame: empty", got=frame.shape, expected="at least 1x1 pixels")
