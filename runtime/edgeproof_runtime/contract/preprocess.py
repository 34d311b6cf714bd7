"""From camera frames to input tensors: bit for bit Pillow's resize and torchvision's ToTensor + Normalize, natively."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import Color, InputContract
from edgeproof_runtime.errors import FrameError

__all__ = ["USEFUL_THREADS", "Preprocessor", "check_frame"]

USEFUL_THREADS = 8
"""More threads than this would have too little of a camera's frame each."""


class Preprocessor:
    """Turns frames into input tensors as an `InputContract` says.

    One pass of the native core with the GIL released; filter tables are kept for the last eight frame sizes.
    Calls on one object run one after the other: give each thread its own to run them side by side.
    """

    def __init__(self, contract: InputContract, *, threads: int = 1) -> None:
        """Prepare for a contract.

        Args:
            contract: what the model was trained to see.
            threads: threads for a frame of which the crop keeps half a megabyte or more, the caller's included.
                Those that find no free core cost nothing: the others do their part. They do not survive ``fork()``:
                with more than one, build the object in the process that uses it.

        Raises:
            ContractError: the contract does not fit float32, or ``threads`` is not in 1..64.
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
            out: where to write: one batch slot, ``CxHxW`` or ``HxWxC`` of the contract's dtype. A
                C-contiguous slot is written in place, any other through a copy.
            color: channel order of a three-channel frame; OpenCV's is ``bgr``.

        Returns:
            The tensor of one frame (without batch dimension): ``out`` where it was given.

        Raises:
            FrameError: the frame or ``out`` is of a wrong dtype or shape, or the frame is too large.
        """
        if out is None:
            out = np.empty(self._shape, self._dtype)
        try:
            self._native.run(frame, out, color)
        except (TypeError, ValueError, FrameError):
            # Looked into only now: looking costs as much as the pass over a small picture.
            check_frame(frame)
            if out.shape != self._shape or out.dtype != self._dtype:
                raise FrameError(
                    "the output buffer does not fit the contract",
                    got=f"{out.dtype} {out.shape}",
                    expected=f"{self._dtype} {self._shape}",
                ) from None
            if out.flags.carray:  # contiguous, aligned and writable
                raise
            out[...] = self(frame, color=color)
        return out

    def uint8_stage(self, frame: NDArray[np.uint8], *, color: Color = "bgr") -> NDArray[np.uint8]:
        """The resized, cropped, padded picture: uint8 ``HxWxC`` in the contract's channel order.

        Raises:
            FrameError: the frame is of a wrong dtype or shape, or too large.
        """
        check_frame(frame)
        out = np.empty((*self.contract.tensor_size, self.contract.channels), np.uint8)
        self._native.uint8_stage(frame, out, color)
        return out


def check_frame(frame: object) -> None:
    """Raise `FrameError` unless ``frame`` is a uint8 array of ``HxW``, ``HxWx1`` or ``HxWx3``."""
    expected = "a uint8 array of HxW, HxWx1 or HxWx3"
    if not isinstance(frame, np.ndarray):
        raise FrameError("a frame is a NumPy array", got=type(frame).__name__, expected=expected)
    if frame.dtype != np.uint8:
        fix = "scale 16-bit frames to 8 bits: (frame >> 8).astype(np.uint8)" if frame.dtype == np.uint16 else None
        raise FrameError("the frame has the wrong dtype", got=frame.dtype, expected=expected, fix=fix)
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3)):
        fix = "drop the alpha channel: frame[:, :, :3]" if frame.ndim == 3 and frame.shape[2] == 4 else None
        raise FrameError("the frame has the wrong shape", got=frame.shape, expected=expected, fix=fix)
    if frame.size == 0:
        raise FrameError("the frame is empty", got=frame.shape, expected="at least 1x1 pixels")
