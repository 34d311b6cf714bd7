"""Ways to spoil bytes, JSON documents and containers, each with a name."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "HUGE_NAME", "TEXTS", "VALUES", "bits", "document_mutants", "field_mutants", "jpeg_header", "npy_header", "png_header", "reseal",
    "truncations", "zip_of",
]  # fmt: skip

HUGE_NAME = "n" * 10_000
HUGE_NUMBER = "9" * 5000  # int() refuses it

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "one zero byte": b"\0",
    "BOM": b"\xef\xbb\xbf",
    "UTF-16": "label".encode("utf-16"),
    "invalid UTF-8": b"\xff\xfe\xfa",
    "overlong UTF-8": b"\xc0\xaf",
    "lone surrogate": b"\xed\xa0\x80",
    "zeros": b"\0" * 4096,
    "one long line": b"x" * 300_000,
    "newlines": b"\n" * 20_000,
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
    "escape sequence": b"\x1b]0;owned\x07\x1b[2J",
    "U+2028": "a\u2028b".encode(),
    "null document": b"null",
    "number": b"1e999",
    "brackets": b"[" * 100_000,
}
"""Contents that are no file of any kind expected here."""

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "negative": -1,
    "huge": 10**30,
    "2**31": 2**31,
    "2**63": 2**63,
    "fraction": 0.5,
    "empty text": "",
    "text": "x",
    "long text": HUGE_NAME,
    "control text": "a\x1b[31m\u202eb\n\r",
    "traversal": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "surrogate": "\ud800",
    "zero byte": "a\0b",
    "empty list": [],
    "list": [1, "a", None],
    "empty object": {},
    "object": {"a": {"b": []}},
    "nested": json.loads("[" * 200 + "]" * 200),
    "long list": [1] * 20_000,
}
"""Wrong values for any field of a document."""


def truncations(data: bytes, count: int = 6) -> Iterator[tuple[str, bytes]]:
    """Yield the data cut near its begin, its end and between."""
    size = len(data)
    places = sorted({0, 1, 4, 8, size // 2, size - 1, *(size * k // count for k in range(1, count))})
    for place in places:
        if place < size:
            yield f"cut at {place}", data[:place]


def bits(data: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the data with one random byte changed."""
    rng = random.Random(seed)
    for number in range(count):
        place = rng.randrange(len(data))
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        yield f"bit {number}", bytes(changed)


def field_mutants(document: Any, rng: random.Random, count: int) -> Iterator[tuple[str, Any]]:
    """Yield the document with a wrong value, a missing or a second field in random places; every place in turn."""
    places = list(_places(document))
    rng.shuffle(places)
    values = list(VALUES.items())
    for number in range(count):
        path = places[number % len(places)]
        name, value = values[rng.randrange(len(values))]
        mutant = copy.deepcopy(document)
        parent = mutant
        for step in path[:-1]:
            parent = parent[step]
        if number % 7 == 6:
            del parent[path[-1]]
            name = "missing"
        else:
            parent[path[-1]] = value
        yield f"{number} {'.'.join(map(str, path))}: {name}", mutant


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for step, value in items:
        yield (*path, step)
        if not (path and path[0] in ("files", "golden") and len(path) > 2):
            yield from _places(value, (*path, step))


def document_mutants(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a JSON document in dialects that no reader may accept in one language and refuse in the other."""
    first = text.index(b'"')
    second = text.index(b":", first)
    key = text[first:second]
    yield "key given twice", text[: text.index(b"{") + 1] + key + b': "other", ' + text[text.index(b"{") + 1 :]
    yield "BOM", b"\xef\xbb\xbf" + text
    yield "UTF-16", text.decode().encode("utf-16")
    yield "invalid UTF-8", text.replace(b'"', b'"\xff', 1)
    yield "lone surrogate escaped", text.replace(b"{", b'{"\\ud800": 1, ', 1)
    yield "lone surrogate in UTF-8", text.replace(b"{", b'{"\xed\xa0\x80": 1, ', 1)
    yield "NaN", text.replace(b"{", b'{"x": NaN, ', 1)
    yield "Infinity", text.replace(b"{", b'{"x": -Infinity, ', 1)
    yield "number beyond float", text.replace(b"{", b'{"x": 1e999, ', 1)
    yield "number of 100,000 digits", text.replace(b"{", b'{"x": ' + b"9" * 100_000 + b", ", 1)
    yield "depth 100,000", text.replace(b"{", b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b", ", 1)
    yield "objects 50,000 deep", text.replace(b"{", b'{"x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b", ", 1)
    yield "unknown field", text.replace(b"{", b'{"unknown_field": 1, ', 1)
    yield "trailing comma", text.rstrip()[:-1] + b",}"
    yield "comment", b"// comment\n" + text
    yield "two documents", text + text
    yield "trailing zero byte", text + b"\0"
    yield "a list", b"[" + text + b"]"
    yield "16 MB of spaces", text + b" " * (16 << 20)
    yield "a string of 9 MB", text.replace(b"{", b'{"x": "' + b"a" * (9 << 20) + b'", ', 1)
    yield "200,000 keys", b"{" + b",".join(b'"k%d":1' % n for n in range(200_000)) + b"}"
    yield "control character in a string", text.replace(b"{", b'{"x": "a\x01b", ', 1)
    yield "single quotes", text.replace(b'"', b"'")
    for name, data in TEXTS.items():
        yield f"only {name}", data
    yield from truncations(text)


def reseal(bundle: Path, change: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Write the true hashes and sizes of a bundle's files into its manifest, as whoever makes a hostile bundle does."""
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    if change is not None:
        change(manifest)
    for name, entry in manifest["files"].items():
        file = bundle / name
        if file.is_file():
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if isinstance(entry, dict):
                entry.update(sha256=digest, size_bytes=len(content))
            else:
                manifest["files"][name] = digest
    path.write_text(json.dumps(manifest))


def png_header(width: int, height: int, depth: int = 8, color: int = 2, body: bytes = b"") -> bytes:
    """Return a PNG that declares a size; its pixels are ``body``, compressed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def jpeg_header(picture: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose frame header declares another size."""
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        place = picture.find(marker)
        if place >= 0:
            return picture[: place + 5] + struct.pack(">HH", height, width) + picture[place + 9 :]
    raise ValueError("no frame header")


def npy_header(header: str, version: int = 1, body: bytes = b"") -> bytes:
    """Return an .npy file with this text as its header."""
    text = header.encode("latin1", "replace") + b"\n"
    length = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + length + text + body


def zip_of(members: dict[str, bytes], *, compressed: bool = True) -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()
