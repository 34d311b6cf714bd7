"""Zip archives whose directories lie, in every place that takes one: datasets, exported programs, TorchScript, weights."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.base import base, copy
from hostile.probe import GATES, REFUSED, Probe

__all__ = ["probes"]

_END, _ENTRY, _LOCAL = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_OUT = ("--out", "out/new.edge", "--engines", "onnxruntime", "--input-size", "16")
_WEIGHTS = ("export", "timm:resnet10t", "--num-classes", "5", "--out", "out/new.edge", "--engines", "onnxruntime")


def probes() -> Iterator[Probe]:
    """Yield the probes."""
    for name, spoil in _WAYS.items():
        for file in ("data.npz", "model.pt2", "script.pt", "weights.pth"):

            def plant(folder: Path, file: str = file, spoil: Callable[[bytes], bytes] = spoil) -> None:
                copy(folder, "good.edge", "labels.txt")
                (folder / file).write_bytes(spoil((base() / file).read_bytes()))

            kind, argv, codes = "lying archive", ("export", f"in/{file}", *_OUT), GATES
            if file == "data.npz":
                argv = ("evaluate", "in/good.edge", "--engine", "onnxruntime", "--no-evidence", "--data", "in/data.npz")
            elif file == "weights.pth":
                argv = (*_WEIGHTS, "--weights", f"in/{file}")
                codes = REFUSED  # they fit no ResNet
            yield Probe(kind=kind, surface="command", name=f"{file} {name}", plant=plant, argv=argv, codes=codes)


def _entries(content: bytes) -> Iterator[int]:
    place = content.rfind(_END)
    (place,) = struct.unpack_from("<I", content, place + 16)
    while content[place : place + 4] == _ENTRY:
        yield place
        name, extra, comment = struct.unpack_from("<HHH", content, place + 28)
        place += 46 + name + extra + comment


def _in_entries(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        made = bytearray(content)
        for place in _entries(content):
            made[place + offset : place + offset + len(value)] = value
        return bytes(made)

    return spoil


def _in_end(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        place = content.rfind(_END) + offset
        return content[:place] + value + content[place + len(value) :]

    return spoil


def _overlapping(content: bytes) -> bytes:
    """Let every entry lie where the first one does."""
    made, places = bytearray(content), list(_entries(content))
    for place in places[1:]:
        made[place + 42 : place + 46] = made[places[0] + 42 : places[0] + 46]
    return bytes(made)


def _again(**changed: int) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", **changed) as new:  # type: ignore[call-overload]
            for entry in old.infolist():
                new.writestr(entry.filename, old.read(entry))
        return out.getvalue()

    return spoil


def _with_entry(
    name: str, content: bytes = b"x", method: int = zipfile.ZIP_STORED, attributes: int = 0
) -> Callable[[bytes], bytes]:
    def spoil(archive: bytes) -> bytes:
        out = io.BytesIO(archive)
        with zipfile.ZipFile(out, "a") as file:
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = method, attributes
            file.writestr(entry, content)
        return out.getvalue()

    return spoil


def _many(archive: bytes) -> bytes:
    out = io.BytesIO(archive)
    with zipfile.ZipFile(out, "a") as file:
        for number in range(70_000):
            file.writestr(f"x/{number}", b"")
    return out.getvalue()


_WAYS: dict[str, Callable[[bytes], bytes]] = {
    "encrypted": _in_entries(8, b"\1\0"),
    "strongly encrypted": _in_entries(8, b"\x41\0"),
    "unknown method": _in_entries(10, b"\x63\0"),
    "says LZMA": _in_entries(10, b"\x0e\0"),
    "wrong checksums": _in_entries(16, b"\xde\xad\xbe\xef"),
    "size of 4 GB": _in_entries(24, b"\xfe\xff\xff\xff"),
    "compressed to 4 GB": _in_entries(20, b"\xfe\xff\xff\xff"),
    "both sizes of 4 GB": _in_entries(20, b"\xfe\xff\xff\xff" * 2),
    "size 0": _in_entries(24, b"\0\0\0\0"),
    "Zip64 sizes that are missing": _in_entries(20, b"\xff\xff\xff\xff" * 2),
    "entries outside": _in_entries(42, b"\xff\xff\xff\x7f"),
    "overlapping": _overlapping,
    "names of 65,535 bytes": _in_entries(28, b"\xff\xff"),
    "extra fields of 65,535 bytes": _in_entries(30, b"\xff\xff"),
    "comments of 65,535 bytes": _in_entries(32, b"\xff\xff"),
    "of 65,535 entries": _in_end(8, b"\xff\xff" * 2),
    "of no entries": _in_end(8, b"\0\0" * 2),
    "directory of 4 GB": _in_end(12, b"\xfe\xff\xff\xff"),
    "directory at 4 GB": _in_end(16, b"\xfe\xff\xff\xff"),
    "directory before the file": _in_end(12, b"\xff\xff\xff\x7f"),
    "on the second disk": _in_end(4, b"\1\0\1\0"),
    "comment beyond the end": _in_end(20, b"\xff\xff"),
    "Zip64 record of 2**63": lambda c: c[: c.rfind(_END)] + b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 2**63, 2**63, 2**63, 2**63) + b"PK\6\7" + struct.pack("<IQI", 0, c.rfind(_END), 1) + _END + b"\0" * 4 + b"\xff" * 12 + b"\0\0",
    "Zip64 record in a circle": lambda c: c[: c.rfind(_END)] + b"PK\6\7" + struct.pack("<IQI", 0, c.rfind(_END), 1) + _END + b"\0" * 4 + b"\xff" * 12 + b"\0\0",
    "bytes before it": lambda c: b"x" * 1000 + c,
    "bytes behind it": lambda c: c + b"x" * 1000,
    "twice": lambda c: c + c,
    "two end records": lambda c: c + c[c.rfind(_END) :],
    "local names that differ": lambda c: c.replace(_LOCAL, b"PK\3\5"),
    "compressed": _again(compression=zipfile.ZIP_DEFLATED),
    "by BZip2": _again(compression=zipfile.ZIP_BZIP2),
    "by LZMA": _again(compression=zipfile.ZIP_LZMA),
    "absolute entry": _with_entry("/etc/pwned"),
    "entry outside": _with_entry("../../out/pwned"),
    "entry with a backslash": _with_entry("..\\..\\out\\pwned"),
    "entry with control characters": _with_entry("a\x1b[2J\u202e"),
    "link as an entry": _with_entry("link", b"/etc/passwd", attributes=0o120777 << 16),
    "device as an entry": _with_entry("device", b"", attributes=0o020666 << 16),
    "a bomb as an entry": _with_entry("bomb.npy", bytes(200 << 20), zipfile.ZIP_DEFLATED),
    "70,000 entries more": _many,
}  # fmt: skip
