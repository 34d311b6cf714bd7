"""TorchScript archives: code for PyTorch's interpreter, which must only compute.

The interpreter has no Python, but operators that write files (``aten::save``), and C++ classes that do more.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import nn

from edgeproof_export.archives import Archive, ArchiveError, opened
from edgeproof_export.foreign_errors import described
from edgeproof_export.parsing.trial import require_harmless
from edgeproof_export.pt2.operators import SIDE_EFFECTS
from edgeproof_export.quietly import quiet
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.regular import open_regular

__all__ = ["load_torchscript"]

_MOST_CODE = 32 << 20
_MOST_LARGER = 256 << 20  # that compressed entries may be than the file
# Operators and functions that do more than compute, wherever such a word stands.
_WORDS = re.compile(rf"\b({'|'.join(sorted(SIDE_EFFECTS - {'warn'}))}|print|load_library|rpc_\w+|remote)\b", re.ASCII)
_NAMESPACE = re.compile(r"\bops\s*\.\s*(\w+)", re.ASCII)
_NAMESPACES = ("aten", "prim", "prims", "quantized", "torchvision")
_CLASS = re.compile(rb"torch\W+classes\W+(\w+)")
_CLASSES = (b"quantized", b"xnnpack", b"mkldnn")
_ESCAPED = re.compile(r"getattr\([^)]*\\", re.DOTALL)


def load_torchscript(path: Path, *, trust: bool = False) -> nn.Module:
    """Load a TorchScript archive.

    Args:
        path: file of ``torch.jit.save``.
        trust: load it although its code does more than compute.

    Raises:
        InputError: the file is damaged, harms its parser, or its code does more than compute and is not trusted.
    """
    if trust:
        return _loaded(path, path)
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        copy = Path(folder) / "module.pt"
        try:
            with io.BufferedReader(open_regular(path, sys.maxsize)) as file, opened(file, compressed=True) as archive:
                if sum(archive.sizes.values()) > path.stat().st_size + _MOST_LARGER:
                    raise ArchiveError("entries far larger than the file")
                found = _beyond_computing(archive)
                _copy(archive, copy)
        except (ArchiveError, OSError) as error:
            raise _unreadable(path, error) from error
        if found is not None:
            raise InputError(
                f"{path}: TorchScript that does more than compute",
                got=found,
                expected="operators that compute",
                fix=f"if you trust its origin: edgeproof export {path} --trust, which may run code of the file",
            )
        require_harmless("torchscript", copy, sha256_of(copy), path)
        return _loaded(copy, path)


def _loaded(file: Path, path: Path) -> nn.Module:
    try:
        with quiet():
            module: nn.Module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises many types for a damaged archive
        raise _unreadable(path, error) from error
    return module


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not a TorchScript archive readable by torch {torch.__version__}",
        got=described(error),
        expected="a file of torch.jit.save()",
    )


def _beyond_computing(archive: Archive) -> str | None:
    """Return what of an archive's code does more than compute; None if nothing."""
    for name in archive.sizes:
        if name.endswith(".pkl"):
            content = archive.read(name, _MOST_CODE)
        elif name.endswith(".py"):
            content = archive.read(name, _MOST_CODE)
            text = content.decode("latin-1")
            if word := _WORDS.search(text):
                return f"{word[0]} in {name}"
            if other := next((ns for ns in _NAMESPACE.findall(text) if ns not in _NAMESPACES), None):
                return f"operators of {other} in {name}"
            if _ESCAPED.search(text):
                return f"an attribute that is named with escapes in {name}"
        else:
            continue
        if other := next((ns for ns in _CLASS.findall(content) if ns not in _CLASSES), None):
            return f"a class of {other.decode()} in {name}"
    return None


def _copy(archive: Archive, out: Path) -> None:
    """Write the same entries anew: PyTorch's reader of zip files must find what was looked at here."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as written:
        for name in archive.sizes:
            with archive.stream(name) as stream, written.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target:
                shutil.copyfileobj(stream, target, 1 << 20)
