"""Frames as callers have them: arrays, tensors, image files, their bytes and PIL images."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import Color, InputContract
from edgeproof_runtime.errors import FrameError, SourceError
from edgeproof_runtime.system.boundary import bounded

__all__ = ["FrameLike", "as_frame", "shown_again"]

_NAME_OF_BYTES = "bytes of an image file"


@runtime_checkable
class _Tensor(Protocol):
    """An array of another library, such as a torch.Tensor on the CPU."""

    def __array__(self) -> Any: ...


@runtime_checkable
class _PilImage(Protocol):
    """A PIL.Image.Image; the device does not need Pillow."""

    @property
    def mode(self) -> str: ...

    def convert(self, mode: str, /) -> Any: ...


FrameLike: TypeAlias = "NDArray[Any] | str | os.PathLike[str] | bytes | bytearray | memoryview | _Tensor | _PilImage"
"""One frame: an array, the path of an image file, the bytes of one, a PIL image, or a tensor on the CPU."""


def as_frame(given: FrameLike, contract: InputContract, color: Color) -> tuple[NDArray[Any], Color]:
    """Return a frame as an array, and the channel order of three channels.

    Files and their bytes are decoded as `run` decodes them: oriented by EXIF, alpha dropped. A PIL image is taken as it
    is, not turned; modes other than ``L`` and ``RGB`` are converted to ``RGB``.

    Args:
        given: one frame.
        contract: contract that the frame is for; one of color ``channels`` reads files of many channels.
        color: channel order of an array or a tensor.

    Returns:
        An array, whose shape and dtype are not checked yet, and its channel order.

    Raises:
        FrameError: not a frame, or a tensor that is not on the CPU.
        SourceError: the file is missing, damaged or not an image.
    """
    if isinstance(given, np.ndarray):
        return given, color
    if isinstance(given, str | os.PathLike):
        return _of_file(given, contract), "bgr"
    if isinstance(given, bytes | bytearray | memoryview):
        return _decoded(bytes(given), _NAME_OF_BYTES, contract), "bgr"
    if isinstance(given, _PilImage):
        return _from_pil(given, contract), "rgb"
    if not isinstance(given, _Tensor):
        raise FrameError(
            "frame: not a frame",
            got=type(given).__name__,
            expected="an array, the path or the bytes of an image file, a PIL image or a tensor",
        )
    try:
        return np.asarray(given), color
    except (TypeError, RuntimeError) as error:  # as torch raises for tensors on a GPU, or with gradients
        raise FrameError(
            "frame: the tensor cannot be read", got=" ".join(str(error).split()), fix="tensor.detach().cpu()"
        ) from error


def shown_again(given: FrameLike, contract: InputContract, color: Color) -> Callable[[], NDArray[Any] | None]:
    """Return a function that gives the frame again as BGR or gray, or None when the caller no longer holds it.

    It keeps paths and encoded bytes, but only a weak reference to pixels, so that predictions do not fill the memory.
    """
    # Arrays first, here and in Classifier: a look at an abstract class takes as long as the rest.
    kept = not isinstance(given, np.ndarray) and isinstance(given, str | os.PathLike | bytes | bytearray | memoryview)
    return _Again((lambda: given) if kept else weakref.ref(given), contract, color)


class _Again:
    def __init__(self, given: Callable[[], FrameLike | None], contract: InputContract, color: Color) -> None:
        self._given, self._contract, self._color = given, contract, color

    def __call__(self) -> NDArray[Any] | None:
        given = self._given()
        if given is None:
            return None
        try:
            frame, color = as_frame(given, self._contract, self._color)
        except SourceError:  # the file has gone
            return None
        return frame[:, :, ::-1] if color == "rgb" and frame.ndim == 3 and frame.shape[2] == 3 else frame

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _gone, ()  # in another process there is no frame


def _gone() -> None:
    return None


@bounded
def _of_file(given: str | os.PathLike[str], contract: InputContract) -> NDArray[Any]:
    from edgeproof_runtime.data.images import read_image_file  # not loaded for frames that are arrays

    path = Path(given)
    try:
        data = read_image_file(path)
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read",
            got=error.strerror or error,
            expected="an image file",
            fix="for folders, videos and cameras use classifier.stream(source)",
        ) from error
    return _decoded(data, str(path), contract)


def _decoded(data: bytes, name: str, contract: InputContract) -> NDArray[Any]:
    from edgeproof_runtime.data.band_files import decode_bands
    from edgeproof_runtime.data.bands import bands_of
    from edgeproof_runtime.data.images import decode_image

    bands = bands_of(contract)
    return decode_image(data, name, apply_orientation=True) if bands is None else decode_bands(data, name, bands)


def _from_pil(image: _PilImage, contract: InputContract) -> NDArray[Any]:
    mode = image.mode
    if contract.color == "channels":
        return np.asarray(image)
    if mode.startswith(("I", "F")):
        raise FrameError(
            "frame: a PIL image of more than 8 bits", got=f"mode {mode}", expected="mode RGB or L", fix="scale it first"
        )
    return np.asarray(image if mode in ("L", "RGB") else image.convert("RGB"))
