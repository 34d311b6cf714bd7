"""Decode an image that a client sent: within bounds, and in the form that the contract requires."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.band_files import decode_bands
from edgeproof_runtime.data.bands import bands_of
from edgeproof_runtime.data.images import decode_image, picture_size
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.arrays import NPY_MAGIC

__all__ = ["MAX_PIXELS", "TooLargeError", "decode_encoded"]

MAX_PIXELS = 50_000_000
"""Most pixels of a client's image: 150 MB decoded. The header of a small file can declare far more."""


class TooLargeError(InputError):
    """An image of too many pixels."""


def decode_encoded(data: bytes, contract: InputContract) -> NDArray[Any]:
    """Decode an image that a client sent; its EXIF orientation is applied.

    Args:
        data: a JPEG or PNG; for a contract of color ``channels`` also NumPy's ``.npy``.
        contract: contract of the model.

    Returns:
        A frame, as `edgeproof_runtime.contract.preprocess.Preprocessor` takes it.

    Raises:
        InputError: the bytes are not such an image, or damaged.
        TooLargeError: more than `MAX_PIXELS`.
    """
    bands = bands_of(contract)
    size = picture_size(data)
    if bands is not None and data.startswith(NPY_MAGIC):
        size = (0, 0)  # its values are the data, whose size is bounded
    if size is None:
        raise InputError(
            "body: not a supported image",
            got=f"{len(data)} bytes starting with {data[:8]!r}" if data else "0 bytes",
            expected="a JPEG or a PNG" if bands is None else "NumPy's .npy, or a PNG",
        )
    if size[0] * size[1] > MAX_PIXELS:
        got, expected = f"{size[0]}x{size[1]} pixels", f"at most {MAX_PIXELS / 1e6:.0f} megapixels"
        raise TooLargeError("image: too large", got=got, expected=expected)
    if bands is None:
        return decode_image(data, "image", apply_orientation=True)
    return decode_bands(data, "image", bands)
