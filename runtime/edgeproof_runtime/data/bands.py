"""Frames of many channels: the form that a contract of color ``channels`` requires, and pictures of them for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import FrameDtype, InputContract
from edgeproof_runtime.errors import SourceError

__all__ = ["BAND_SUFFIXES", "Bands", "bands_in_force", "bands_of", "reading", "visible", "visible_notes"]

BAND_SUFFIXES = frozenset({".npy"})
"""Extensions of files that hold a frame only where frames of many channels are read."""

_SHOWN_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True, slots=True)
class Bands:
    """Channels and dtype of the frames that are read.

    Attributes:
        channels: number of channels.
        dtype: dtype of the values.
    """

    channels: int
    dtype: FrameDtype

    def fit(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """Return an array as a frame ``HxWxC``.

        Args:
            array: ``HxWxC``; ``CxHxW`` if only its first side is C; ``HxW`` if C is 1.
            name: name of the image, for messages.

        Raises:
            SourceError: the array has another number of channels or dtype, or is empty.
        """
        expected = f"{self.dtype} HxWx{self.channels}"
        if array.dtype != self.dtype:
            raise SourceError(
                f"{name}: wrong dtype",
                got=f"{array.dtype} {_sides(array)}",
                expected=expected,
                fix="convert the file, or export the model again with --frame-dtype",
            )
        frame = array[:, :, None] if array.ndim == 2 else array
        if frame.ndim == 3 and frame.shape[2] != self.channels and frame.shape[0] == self.channels:
            frame = np.moveaxis(frame, 0, 2)
        if frame.ndim != 3 or frame.shape[2] != self.channels or frame.size == 0:
            raise SourceError(f"{name}: wrong shape", got=f"{array.dtype} {_sides(array)}", expected=expected)
        return frame


def bands_of(contract: InputContract | None) -> Bands | None:
    """Return what a contract of color ``channels`` reads; None for the other colours, which read colour images."""
    if contract is None or contract.color != "channels":
        return None
    return Bands(contract.channels, contract.frame_dtype)


_IN_FORCE: ContextVar[Bands | None] = ContextVar("edgeproof_bands", default=None)


@contextmanager
def reading(bands: Bands | None) -> Iterator[None]:
    """Let the datasets and sources that are opened inside read frames of these channels; None reads colour images.

    They keep it: what is read later, or in another thread, is read the same way.
    """
    token = _IN_FORCE.set(bands)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def bands_in_force() -> Bands | None:
    """Return what the innermost `reading` asks for."""
    return _IN_FORCE.get()


def visible(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture of a frame for people; a colour or ``HxW`` uint8 frame as it is.

    Args:
        frame: ``HxWxC`` of any frame dtype, or ``HxW``.

    Returns:
        BGR uint8 ``HxWx3``: the first three channels as red, green and blue, or the mean of fewer in grey. Values that
        are not uint8 are stretched between their 2nd and 98th percentile.
    """
    if frame.dtype == np.uint8 and (frame.ndim == 2 or frame.shape[2] == 3):
        return frame
    bands = frame[:, :, None] if frame.ndim == 2 else frame
    shown = bands[:, :, 2::-1] if bands.shape[2] >= 3 else np.repeat(bands.mean(axis=2, keepdims=True), 3, axis=2)
    if frame.dtype != np.uint8:
        values = np.nan_to_num(shown.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = np.percentile(values, _SHOWN_PERCENTILES)
        shown = np.clip((values - low) * (255.0 / max(high - low, 1e-12)), 0, 255)
    return np.ascontiguousarray(shown.astype(np.uint8))


def visible_notes(contract: InputContract | None) -> list[str]:
    """Return a note for reports that show frames of many channels: what `visible` makes of them."""
    bands = bands_of(contract)
    if bands is None:
        return []
    shown = "the first three as red, green and blue" if bands.channels >= 3 else "their mean in gray"
    stretched = "" if bands.dtype == "uint8" else ", stretched between the 2nd and 98th percentile"
    return [f"Images of {bands.channels} channels of {bands.dtype} are shown by {shown}{stretched}."]


def _sides(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape)) or "a single number"
