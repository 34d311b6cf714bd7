"""Images and videos whose headers lie: decompression bombs of every format, rates, times and turns that no camera has."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from hostile.base import base, copy
from hostile.probe import ANY, Probe

__all__ = ["probes"]

_B = "in/good.edge"
_RUN = ("run", _B, "--engine", "onnxruntime", "--workers", "1", "--max-frames", "20", "--duration", "10")
_MOST = 0xFFFF


def probes() -> Iterator[Probe]:
    """Yield the probes."""
    for name, (suffix, content) in _images().items():
        yield from _probes("bomb of an image", name, f"hostile.{suffix}", content)
    for name, content in _videos().items():
        yield from _probes("lying video", name, "hostile.mp4", content)


def _probes(kind: str, name: str, file: str, content: bytes) -> Iterator[Probe]:
    def plant(folder: Path) -> None:
        copy(folder, "good.edge")
        (folder / file).write_bytes(content)

    if kind == "bomb of an image":
        yield Probe(kind=kind, surface="api", name=name, plant=plant, argv=("hostile.calls:decode", f"in/{file}"))
    yield Probe(kind=kind, surface="command", name=name, plant=plant, argv=(*_RUN, "--source", f"in/{file}"))
    run = (_B, "--source", f"in/{file}", "--max-frames", "20")
    yield Probe(kind=kind, surface="edgeproof-run", name=name, plant=plant, argv=run, codes=ANY)


def _images() -> dict[str, tuple[str, bytes]]:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def animated_png(width: int, height: int, frames: int, *, first: tuple[int, int] = (1, 1)) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        rows = zlib.compress(b"\0\1\2\3")
        parts = [chunk(b"IHDR", head), chunk(b"acTL", struct.pack(">II", frames, 0))]
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, *first, 0, 0, 0, 0, 0, 0)))
        parts.append(chunk(b"IDAT", rows))
        for number in range(min(frames, 50)):
            place = struct.pack(">IIIIIHHBB", 2 * number + 1, *first, 2**31 - 1, 2**31 - 1, 0, 0, 9, 9)
            parts += [chunk(b"fcTL", place), chunk(b"fdAT", struct.pack(">I", 2 * number + 2) + rows)]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")

    def gif(width: int, height: int, frames: int, body: bytes = b"\2\2\x44\1\0") -> bytes:
        one = b"\x21\xf9\4\0\0\0\0\0" + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0" + body
        return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0" * 6 + one * frames + b";"

    def bmp(width: int, height: int, bits: int = 24, compression: int = 0, colors: int = 0) -> bytes:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colors, 0)
        return b"BM" + struct.pack("<IHHI", 54 + 400, 0, 0, 54) + head + b"\0" * 400

    def tiff(*tags: tuple[int, int, int, int], after: int = 0) -> bytes:
        body = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
        return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + struct.pack("<I", after)

    def box(kind: bytes, *content: bytes) -> bytes:
        inner = b"".join(content)
        return struct.pack(">I", len(inner) + 8) + kind + inner

    def heif(brand: bytes, width: int, height: int) -> bytes:
        size = box(b"ispe", b"\0" * 4, struct.pack(">II", width, height))
        place = box(b"iprp", box(b"ipco", size), box(b"ipma", b"\0\0\0\0\0\0\0\1\0\1\1\1"))
        item = box(
            b"iinf",
            b"\0" * 4,
            b"\0\1",
            box(b"infe", b"\2\0\0\0\0\1\0\0", b"av01" if brand == b"avif" else b"hvc1", b"\0"),
        )
        where = box(b"iloc", b"\0\0\0\0\x44\0\0\1", b"\0\1\0\0", b"\0\1", struct.pack(">II", 0, 0xFFFFFFFF))
        meta = box(b"meta", b"\0" * 4, box(b"pitm", b"\0" * 4, b"\0\1"), where, item, place)
        return box(b"ftyp", brand, b"\0" * 4, brand, b"mif1") + meta + box(b"mdat", b"\0" * 200)

    def webp(kind: bytes, content: bytes) -> bytes:
        inner = b"WEBP" + kind + struct.pack("<I", len(content)) + content
        return b"RIFF" + struct.pack("<I", len(inner)) + inner

    lossless = b"\x2f" + struct.pack("<I", 0x3FFF | 0x3FFF << 14) + b"\0" * 80
    lossy = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF) + b"\0" * 80
    animation = (
        webp(b"VP8X", b"\2\0\0\0" + b"\xff\xff\xff" * 2)
        + b"ANIM\6\0\0\0"
        + b"\0" * 6
        + b"ANMF\x10\0\0\0"
        + b"\xff" * 16
    )
    jpeg = (base() / "picture.jpg").read_bytes()
    scan = jpeg.index(b"\xff\xda")
    comments = b"\xff\xfe\xff\xff" + b"c" * 65_533
    return {
        "APNG of 30,000x30,000": ("png", animated_png(30_000, 30_000, 1)),
        "APNG frames outside": ("png", animated_png(1, 1, 50)),
        "APNG of 2**31 frames": ("png", animated_png(1, 1, 2**31 - 1)),
        "APNG frame larger than itself": ("png", animated_png(1, 1, 3, first=(2**31 - 1, 2**31 - 1))),
        "GIF of 65,535x65,535": ("gif", gif(_MOST, _MOST, 1)),
        "GIF of 65,535x65,535, 2,000 frames": ("gif", gif(_MOST, _MOST, 2_000)),
        "GIF of 200,000 frames": ("gif", gif(1, 1, 200_000)),
        "GIF of 0x0": ("gif", gif(0, 0, 3)),
        "GIF without end": ("gif", gif(8, 8, 1)[:-1] + b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0" * 10_000),
        "BMP of negative height": ("bmp", bmp(100, -(2**31))),
        "BMP of negative width": ("bmp", bmp(-(2**31), 100)),
        "BMP of 40,000x-40,000": ("bmp", bmp(40_000, -40_000)),
        "BMP by RLE of 60,000x60,000": ("bmp", bmp(60_000, 60_000, 8, 1, 256)),
        "BMP of 2**32 colors": ("bmp", bmp(8, 8, 8, 0, 2**32 - 1)),
        "BMP of 0 bits": ("bmp", bmp(8, 8, 0)),
        "TIFF without end": ("tiff", tiff((256, 3, 1, 8), (257, 3, 1, 8), after=8)),
        "TIFF in tiles of 2**31": ("tiff", tiff((256, 4, 1, 2**31 - 1), (257, 4, 1, 2**31 - 1), (322, 4, 1, 2**31 - 1), (323, 4, 1, 2**31 - 1), (258, 3, 1, 8), (259, 3, 1, 8), (324, 4, 1, 8), (325, 4, 1, 99))),
        "TIFF of 65,535 samples": ("tiff", tiff((256, 4, 1, 9_000), (257, 4, 1, 9_000), (258, 3, 1, 8), (277, 3, 1, 65_535), (273, 4, 1, 8), (279, 4, 1, 9))),
        "TIFF of 2**32 strips": ("tiff", tiff((256, 4, 1, 8), (257, 4, 1, 8), (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8), (278, 4, 1, 1))),
        "BigTIFF of 2**63 tags": ("tiff", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63 - 1) + b"\0" * 100),
        "WebP without loss of 16,384x16,384": ("webp", webp(b"VP8L", lossless)),
        "WebP of 16,383x16,383": ("webp", webp(b"VP8 ", lossy)),
        "WebP animation of 2**24": ("webp", animation),
        "AVIF of 65,535x65,535": ("avif", heif(b"avif", _MOST, _MOST)),
        "AVIF of 2**32-1": ("avif", heif(b"avif", 2**32 - 1, 2**32 - 1)),
        "HEIC of 65,535x65,535": ("heic", heif(b"heic", _MOST, _MOST)),
        "JPEG of 65,500x65,500 in 500 scans": ("jpg", _resized(jpeg, 65_500, 65_500)[:scan] + jpeg[scan:] * 500),
        "JPEG with 30 MB of comments": ("jpg", jpeg[:2] + comments * 460 + jpeg[2:]),
        "JPEG XL": ("jxl", b"\xff\x0a" + b"\xff" * 200),
        "ICO of nothing": ("ico", b"\0\0\1\0\xff\xff" + b"\0" * 2_000),
        "PFM of 60,000x60,000": ("pfm", b"PF\n60000 60000\n-1.0\n" + b"\0" * 100),
        "PNM of 10**9 digits": ("ppm", b"P6\n" + b"9" * 1_000_000 + b" 1\n255\n"),
        "PNM of comments": ("ppm", b"P6\n" + b"# c\n" * 2_000_000),
        "SVG of entities": ("svg", b"<!DOCTYPE s [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)) + b"]><svg>&j;</svg>"),
        "EXR of 2**31": ("exr", b"\x76\x2f\x31\x01\2\0\0\0dataWindow\0box2i\0\x10\0\0\0" + struct.pack("<iiii", 0, 0, 2**31 - 2, 2**31 - 2) + b"\0"),
        "PNG of 100,000 chunks": ("png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + chunk(b"tEXt", b"a\0b") * 100_000),
        "PNG profile of 100 MB": ("png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100 << 20))) + chunk(b"IDAT", zlib.compress(bytes(25 * 8))) + chunk(b"IEND", b"")),
    }  # fmt: skip


def _resized(jpeg: bytes, width: int, height: int) -> bytes:
    place = next(p for p in (jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) if p >= 0)
    return jpeg[: place + 5] + struct.pack(">HH", height, width) + jpeg[place + 9 :]


def _videos() -> dict[str, bytes]:
    clip = (base() / "clip.mp4").read_bytes()

    def patched(kind: bytes, offset: int, content: bytes) -> bytes:
        """Return the clip with bytes replaced in each box of a kind, counted from behind its name."""
        made, place = bytearray(clip), clip.find(kind)
        while place >= 0:
            begin = place + 4 + offset
            made[begin : begin + len(content)] = content
            place = clip.find(kind, place + 4)
        return bytes(made[: len(clip)])

    def number(value: int) -> bytes:
        return struct.pack(">I", value & 0xFFFFFFFF)

    turn = int(0.7071 * 65536)
    matrices = {
        "by 45 degrees": (turn, turn, 0, -turn, turn, 0, 0, 0, 1 << 30),
        "by nothing": (0,) * 9,
        "to 2**31": (2**31 - 1,) * 9,
        "mirrored and sheared": (-65536, 65536, 0, 65536, 65536, 0, 0, 0, 1 << 30),
    }
    return {
        **{f"turned {name}": patched(b"tkhd", 40, b"".join(map(number, m))) for name, m in matrices.items()},
        "clock of 0": patched(b"mdhd", 12, number(0)),
        "clock of 2**32": patched(b"mdhd", 12, number(2**32 - 1)),
        "clock of 1": patched(b"mdhd", 12, number(1)),
        "film clock of 0": patched(b"mvhd", 12, number(0)),
        "length of 2**32": patched(b"mdhd", 16, number(2**32 - 1)),
        "frames of 0 s": patched(b"stts", 12, number(0)),
        "frames of 2**31": patched(b"stts", 12, number(2**31)),
        "frames of -1": patched(b"stts", 12, number(-1)),
        "2**32 entries of times": patched(b"stts", 4, number(2**32 - 1)),
        "2**32 frames of a time": patched(b"stts", 8, number(2**32 - 1)),
        "65,535x65,535": patched(b"mp4v", 28, b"\xff" * 4) if b"mp4v" in clip else patched(b"avc1", 28, b"\xff" * 4),
        "track of 65,535x65,535": patched(b"tkhd", 76, b"\xff" * 8),
        "0x0": patched(b"mp4v", 28, b"\0" * 4) if b"mp4v" in clip else patched(b"avc1", 28, b"\0" * 4),
        "samples of 2**32": patched(b"stsz", 4, number(2**32 - 1)),
        "2**32 sizes": patched(b"stsz", 8, number(2**32 - 1)),
        "2**32 chunks": patched(b"stco", 4, number(2**32 - 1)),
        "chunks at 2**32": patched(b"stco", 8, number(2**32 - 1)),
        "2**32 samples in a chunk": patched(b"stsc", 12, number(2**32 - 1)),
        "no track": patched(b"trak", -4, b"free"),
        "another codec": patched(b"mp4v", -4, b"hvc1") if b"mp4v" in clip else patched(b"avc1", -4, b"hvc1"),
        "of 2 GB by its index": clip + bytes(1 << 20),
    }
