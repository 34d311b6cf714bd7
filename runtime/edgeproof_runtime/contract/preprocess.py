"""Camera frames to input tensors in native code, bit for bit as Pillow and torchvision.

The resize equals Pillow's; the float stage equals torchvision's ``ToTensor`` + ``Normalize``. Frames of a contract of
color ``channels`` are resized channel by channel: uint8 as mode L, uint16 and float32 as mode F.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import Color, InputContract
from edgeproof_runtime.contract.yuv import YuvFrame
from edgeproof_runtime.errors import FrameError

__all__ = ["USEFUL_THREADS", "Preprocessor", "check_frame", "check_out"]

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
        self, frame: NDArray[Any] | YuvFrame, out: NDArray[np.generic] | None = None, *, color: Color = "bgr"
    ) -> NDArray[np.generic]:
        """Preprocess one frame.

        Args:
            frame: uint8 ``HxWx3`` in the order ``color``, or ``HxW`` / ``HxWx1`` gray. For a contract of color
                ``channels``: ``HxWxC`` of its ``frame_dtype``, in the model's order. Any strides. Or a `YuvFrame`,
                of which only the pixels that the contract keeps are converted.
            out: buffer for the result: one batch slot, ``CxHxW`` or ``HxWxC`` of the contract's dtype. A
                C-contiguous slot is written in place, any other through a copy.
            color: channel order of a three-channel frame; OpenCV's is ``bgr``. Unused for color ``channels``.

        Returns:
            The tensor of one frame, without batch dimension; ``out`` if given.

        Raises:
            FrameError: the frame or ``out`` has a wrong dtype or shape, or the frame is too large.
        """
        if out is None:
            out = np.empty(self._shape, self._dtype)
        try:
            if isinstance(frame, YuvFrame):
                self._native.run_yuv(frame.pixels, frame.format, frame.matrix, frame.range, out)
            else:
                self._native.run(frame, out, color)
        except (TypeError, ValueError, FrameError):
            # Checked only after a failure: the check costs as much as the pass over a small image.
            if not isinstance(frame, YuvFrame):
                check_frame(frame, self.contract)
            check_out(out, self._shape, self._dtype)
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
        check_frame(frame, self.contract)
        if self.contract.frame_dtype != "uint8":
            raise FrameError("uint8 stage: requires uint8 frames", got=self.contract.frame_dtype, expected="uint8")
        out = np.empty((*self.contract.tensor_size, self.contract.channels), np.uint8)
        self._native.uint8_stage(frame, out, color)
        return out


def check_frame(frame: object, contract: InputContract | None = None) -> None:
    """Check dtype and shape of a frame.

    Args:
        frame: what the caller passed.
        contract: the contract that it must fit; None for a contract of color rgb, bgr or gray.

    Raises:
        FrameError: not an array of the contract's dtype, ``HxW``, ``HxWx1`` or ``HxWx3``; for a contract of color
            ``channels`` ``HxWxC``, or ``HxW`` if it has one channel.
    """
    many = contract is not None and contract.color == "channels"
    dtype = "uint8" if contract is None else contract.frame_dtype
    channels = (contract.channels,) if contract is not None and many else (1, 3)
    shapes = "HxW or HxWx1" if channels == (1,) else f"HxWx{channels[0]}" if many else "HxW, HxWx1 or HxWx3"
    expected = f"a {dtype} array of {shapes}"
    if not isinstance(frame, np.ndarray):
        raise FrameError("frame: not a NumPy array", got=type(frame).__name__, expected=expected)
    if frame.dtype != dtype:
        raise FrameError("frame: wrong dtype", got=frame.dtype, expected=expected, fix=_dtype_fix(frame, dtype))
    if not (frame.ndim == 2 and 1 in channels) and not (frame.ndim == 3 and frame.shape[2] in channels):
        raise FrameError("frame: wrong shape", got=frame.shape, expected=expected, fix=_shape_fix(frame, channels))
    if frame.size == 0:
        raise FrameError("frame: empty", got=frame.shape, expected="at least 1x1 pixels")


def _dtype_fix(frame: NDArray[Any], dtype: str) -> str | None:
    if dtype == "uint8" and frame.dtype == np.uint16:
        return (
            "scale 16-bit frames to 8 bits: (frame >> 8).astype(np.uint8), or export with --channels N "
            "--frame-dtype uint16"
        )
    if np.issubdtype(frame.dtype, np.floating):
        if dtype == "float32":
            return "frame.astype(np.float32)"
        return "give the image as it is before it is normalised, uint8 0..255: the contract normalises it"
    return None


def _shape_fix(frame: NDArray[Any], channels: tuple[int, ...]) -> str | None:
    if frame.ndim == 3 and channels == (1, 3) and frame.shape[2] == 4:
        return "drop the alpha channel: frame[:, :, :3], or export with --channels 4"
    if frame.ndim == 3 and frame.shape[0] in channels:
        return "put the channels last: frame.transpose(1, 2, 0)"
    return None


def check_out(out: NDArray[np.generic], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise FrameError unless a buffer has the shape and dtype of a contract's tensor."""
    if out.shape != shape or out.dtype != dtype:
        raise FrameError(
            "out: does not match the contract", got=f"{out.dtype} {out.shape}", expected=f"{dtype} {shape}"
        ) from None
