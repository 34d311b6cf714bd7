"""Write an exported program anew from what of it is known to be harmless, so that PyTorch reads nothing else.

Two layouts: the archive that PyTorch writes since 2.7 (``archive_format``), and the flat one of 2.1 to 2.6
(``serialized_exported_program.json``), whose tensors are pickles.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from edgeproof_export.archives import Archive, ArchiveError, opened
from edgeproof_export.pt2.checks import Check
from edgeproof_export.pt2.findings import CodeFound, Damaged, Finding
from edgeproof_export.pt2.program import PAYLOADS, PROGRAM

__all__ = ["Unpickler", "rewritten"]

Unpickler = Callable[[bytes, str], Any]
"""Function from a pickle and its name to its tensors; raises for anything else."""

_ROOT = "program"
_MODEL = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_FLAT = "serialized_exported_program.json"
_TENSOR_FOLDERS = ("data/weights/", "data/constants/")
_MOST_PICKLE = 2**31
_FREE_BYTES = 16 << 20  # an expanded tensor may be this much larger than what it is stored as
_NAMES = 4  # unknown entries shown
# Bytes per value, by the number of PyTorch's ScalarType.
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 9: 4, 10: 8, 11: 16, 12: 1, 13: 2, 28: 2, 34: 4, 35: 8}
_WIDTHS |= dict.fromkeys(range(29, 34), 1)  # float8
# Entries that are neither read nor code.
_IGNORED = ("extra/", "extra_files/", ".data/", "byteorder", "archive_version", "archive_format", "version", ".format")


def rewritten(file: BinaryIO, out: Path, unpickle: Unpickler) -> None:
    """Check an exported program and write it anew.

    Args:
        file: the file, open for reading.
        out: file to write.
        unpickle: reads the pickled tensors of older files.

    Raises:
        CodeFound: the file holds code, or what would become code.
        Damaged: it is not an exported program.
    """
    try:
        with opened(file) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as written:
            if _FLAT in archive.sizes:
                _flat(archive, written, unpickle)
            else:
                _folders(archive, written, unpickle)
    except Finding:
        raise
    except (ArchiveError, RecursionError, OverflowError) as error:
        raise Damaged(str(error)) from error


def _flat(archive: Archive, written: zipfile.ZipFile, unpickle: Unpickler) -> None:
    _refuse_unknown(archive, "", (_FLAT, "serialized_"))
    if archive.read("version", 64).split(b".")[0] not in (b"5", b"6", b"7", b"8"):
        raise Damaged("an unknown version of the format")
    _write(written, "version", archive.read("version", 64))
    _write(written, _FLAT, _checked(archive, _FLAT, PROGRAM))
    for part in ("state_dict", "constants"):
        name = f"serialized_{part}.pt"
        _write(written, name, _repickled(archive, name, unpickle))
    _write(written, "serialized_example_inputs.pt", b"")


def _folders(archive: Archive, written: zipfile.ZipFile, unpickle: Unpickler) -> None:
    roots = {name.partition("/")[0] for name in archive.sizes}
    if len(roots) != 1:
        raise Damaged(f"{len(roots)} folders instead of one")
    root = f"{roots.pop()}/"
    _refuse_unknown(archive, root, (_MODEL, _SAMPLES, *_TENSOR_FOLDERS))
    if archive.read(f"{root}archive_format", 64) != b"pt2":
        raise Damaged("not a pt2 archive")
    byteorder = f"{root}byteorder"
    if byteorder in archive.sizes and archive.read(byteorder, 64) != b"little":
        raise Damaged("tensors that are not little-endian")

    def write(name: str, content: bytes) -> None:
        _write(written, f"{_ROOT}/{name}", content)

    write("archive_format", b"pt2")
    write("archive_version", archive.read(f"{root}archive_version", 16))
    write(".data/version", archive.read(f"{root}.data/version", 16))
    write("byteorder", b"little")
    write(_MODEL, _checked(archive, root + _MODEL, PROGRAM))
    write(_SAMPLES, b"")
    for folder, what in zip(_TENSOR_FOLDERS, ("weights", "constants"), strict=True):
        pickled = f"{folder}model.pt"
        if root + pickled in archive.sizes:
            write(pickled, _repickled(archive, root + pickled, unpickle))
        else:
            _tensors(archive, root, folder, f"{folder}model_{what}_config.json", written)


def _write(written: zipfile.ZipFile, name: str, content: bytes) -> None:
    written.writestr(zipfile.ZipInfo(name), content)  # without the time: the same program is the same bytes


def _tensors(archive: Archive, root: str, folder: str, config: str, written: zipfile.ZipFile) -> None:
    """Copy the tensors of a folder, each of which must be as large as its description says."""
    content = _checked(archive, root + config, PAYLOADS)
    _write(written, f"{_ROOT}/{config}", content)
    copied = set()
    for name, payload in json.loads(content)["config"].items():
        file = folder + payload["path_name"]
        if root + file not in archive.sizes:
            raise Damaged(f"{name}: {file} missing")
        _require_fit(name, payload["tensor_meta"], archive.sizes[root + file])
        if file not in copied:
            copied.add(file)
            with (
                archive.stream(root + file) as stream,
                written.open(zipfile.ZipInfo(f"{_ROOT}/{file}"), "w", force_zip64=True) as out,
            ):
                shutil.copyfileobj(stream, out, 1 << 20)


def _require_fit(name: str, meta: Mapping[str, Any], stored: int) -> None:
    """Require that a tensor lies within its bytes: PyTorch would allocate what the description says."""
    if meta["dtype"] not in _WIDTHS:
        raise Damaged(f"{name}: unknown dtype {meta['dtype']}")
    sizes, strides = ([one.get("as_int", -1) for one in meta[key]] for key in ("sizes", "strides"))
    offset = meta["storage_offset"].get("as_int", -1)
    if len(sizes) != len(strides) or len(sizes) > 64 or min([*sizes, *strides, offset]) < 0:
        raise Damaged(f"{name}: no valid shape")
    count = 1
    for size in sizes:
        count *= size
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1 if count else 0
    width = _WIDTHS[meta["dtype"]]
    if last * width > stored or count * width > stored + _FREE_BYTES:
        raise Damaged(f"{name}: {stored} bytes are too few for its shape {sizes}")


def _checked(archive: Archive, name: str, check: Check) -> bytes:
    kept = check(archive.document(name))
    return json.dumps(kept, separators=(",", ":"), allow_nan=False).encode()


def _repickled(archive: Archive, name: str, unpickle: Unpickler) -> bytes:
    import torch
    from torch import Tensor

    content = archive.read(name, _MOST_PICKLE)
    found = unpickle(content, name) if content else {}
    if not isinstance(found, Mapping) or not all(
        isinstance(key, str) and type(value) in (Tensor, torch.nn.Parameter) for key, value in found.items()
    ):
        raise CodeFound(f"{name}: more than tensors by name")
    buffer = io.BytesIO()
    torch.save(dict(found), buffer)
    return buffer.getvalue()


def _refuse_unknown(archive: Archive, root: str, known: tuple[str, ...]) -> None:
    inner = [name[len(root) :] for name in archive.sizes]
    if compiled := [name for name in inner if name.startswith(("data/aotinductor/", "data/executorch/", "mtia"))]:
        raise CodeFound(f"a compiled model ({compiled[0]})")
    unknown = [name for name in inner if name and not name.startswith((*known, *_IGNORED))]
    if unknown:
        raise CodeFound(f"unknown entries ({', '.join(unknown[:_NAMES])})")
