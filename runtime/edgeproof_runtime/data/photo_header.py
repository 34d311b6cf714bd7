"""What an image file's header says of its orientation, bit depth and colour space, without decoding it."""

from __future__ import annotations

import re
import struct

__all__ = ["clipped_by_pillow", "exif_orientation", "is_cielab"]

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_ORIENTATION, _BITS, _SAMPLES, _PHOTOMETRIC = 0x0112, 0x0102, 0x0115, 0x0106
_CIELAB = 8
_ENTRIES = 512  # of an image file directory; more is damage


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation (1..8) of a JPEG, PNG or WebP file; 1 (upright) if it has none.

    TIFF is left out: Pillow and OpenCV both turn it on loading, whatever is asked of them.
    """
    block = b""
    if data.startswith(_JPEG):
        block = _jpeg_exif(data)
    elif data.startswith(_PNG):
        block = _chunk(data, len(_PNG), b"eXIf", big=True)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        block = _chunk(data, 12, b"EXIF", big=False)
    value = _tag(block.removeprefix(_EXIF), _ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1


def clipped_by_pillow(data: bytes) -> bool:
    """Return whether a file is a grey image of 16 bits, which Pillow's ``convert("RGB")`` clips at 255.

    OpenCV takes the high byte instead. Colour of 16 bits is reduced to the high byte by both.
    """
    if data.startswith(_PNG):
        return data[24:26] == b"\x10\0"  # bit depth 16, colour type grey
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tag(data, _BITS) == 16 and (_tag(data, _SAMPLES) or 1) == 1
    found = re.match(rb"P[25]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s+(\d+)", data[:200])
    return found is not None and int(found.group(1)) > 255


def is_cielab(data: bytes) -> bool:
    """Return whether a file is a TIFF in CIELab, whose colours OpenCV and Pillow compute differently."""
    return data[:4] in (b"II*\0", b"MM\0*") and _tag(data, _PHOTOMETRIC) == _CIELAB


def _jpeg_exif(data: bytes) -> bytes:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA or length < 2:
            return b""
        body = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and body.startswith(_EXIF):
            return body
        position += 2 + length
    return b""


def _chunk(data: bytes, position: int, wanted: bytes, *, big: bool) -> bytes:
    """Return a chunk of a PNG (length, name, content, checksum) or RIFF file (name, length, content, padding)."""
    while position + 8 <= len(data):
        first, second = data[position : position + 4], data[position + 4 : position + 8]
        name, length = (second, int.from_bytes(first, "big")) if big else (first, int.from_bytes(second, "little"))
        if name == wanted:
            return data[position + 8 : position + 8 + length]
        position += 8 + length + (4 if big else length % 2)
    return b""


def _tag(tiff: bytes, wanted: int) -> int | None:
    """Return a short of the first directory of a TIFF structure; None if absent or damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for number in range(min(count, _ENTRIES)):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", tiff, start + 2 + 12 * number)
            if tag == wanted:
                (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", tiff, start + 10 + 12 * number)
                return int(value)
    except struct.error:
        pass
    return None
