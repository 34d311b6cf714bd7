"""Read files of many channels: NumPy's ``.npy``, TIFF with any number of bands, and images that OpenCV decodes."""

from __future__ import annotations

import io
import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.bands import Bands
from edgeproof_runtime.data.images import check_complete, check_size, quiet_opencv
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.system.arrays import NPY_MAGIC, parse_array, read_array_header
from edgeproof_runtime.system.opencv import cv2

__all__ = ["decode_bands"]

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_MAX_TIFF_BYTES = 1 << 31  # decoded; a small file may claim any size


def decode_bands(data: bytes, name: str, bands: Bands) -> NDArray[Any]:
    """Decode the bytes of a file into a frame of the given channels, in the file's order.

    A colour image gives red, green, blue and, if it has one, alpha. EXIF orientation is ignored.

    Args:
        data: the whole file.
        name: file name, for messages.
        bands: channels and dtype of the frame.

    Returns:
        ``HxWxC``.

    Raises:
        SourceError: the bytes are damaged, of an unknown format, or a frame of other channels or dtype.
    """
    if not data:
        raise SourceError(f"{name}: empty", got="0 bytes", expected="an image")
    if data.startswith(NPY_MAGIC):
        return bands.fit(_npy(data, name), name)
    if data.startswith(_TIFF):
        return bands.fit(_tiff(data, name), name)
    return bands.fit(_image(data, name), name)


def _npy(data: bytes, name: str) -> NDArray[Any]:
    header = read_array_header(io.BytesIO(data), name, SourceError)
    if header.dtype.str not in ("|u1", "<u2", "<f4"):
        raise SourceError(
            f"{name}: unsupported dtype",
            got=header.dtype.str,
            expected="uint8, or little-endian uint16 or float32",
            fix="save the array as one of them, such as array.astype(np.float32)",
        )
    return parse_array(data, name, SourceError)


def _tiff(data: bytes, name: str) -> NDArray[Any]:
    """Read the first image of a TIFF file, bands last. OpenCV gives one band of most, without a word."""
    try:
        import tifffile
    except ImportError as error:
        raise SourceError(
            f"{name}: TIFF with many bands requires tifffile, not installed",
            fix='pip install "edgeproof[multispectral]", or convert to .npy',
        ) from error
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True  # what is wrong is raised with the file's name
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            axes, shape = series.axes, series.shape
            if math.prod(shape) * series.dtype.itemsize > _MAX_TIFF_BYTES:
                raise SourceError(f"{name}: too large", got="x".join(map(str, shape)), expected="at most 2 GiB")
            values: NDArray[Any] = series.asarray()
    except SourceError:
        raise
    except Exception as error:  # tifffile and its codecs raise errors of any type
        text = " ".join(str(error).split())[:200]
        fix = 'pip install "edgeproof[multispectral]"' if "imagecodecs" in text else "copy the file again"
        raise SourceError(f"{name}: cannot be decoded", got=f"{type(error).__name__}: {text}", fix=fix) from error
    finally:
        log.disabled = before
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if axes.startswith("YX") and values.ndim in (2, 3):
        return values
    if axes.endswith("YX") and values.ndim == 3:  # planes, or a page per band
        return np.moveaxis(values, 0, 2)
    raise SourceError(f"{name}: unsupported TIFF", got=f"axes {axes}, {shape}", expected="one image with its bands")


def _image(data: bytes, name: str) -> NDArray[Any]:
    check_complete(data, name)
    check_size(data, name)
    with quiet_opencv():
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
    if pixels is None:
        raise SourceError(
            f"{name}: damaged, or not a supported image",
            got=f"{len(data)} bytes starting with {data[:8]!r}",
            expected=".npy, TIFF, PNG or another format of the installed OpenCV",
        )
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels
