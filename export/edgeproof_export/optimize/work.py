"""Store of finished steps for resuming an optimisation, by a key of everything that they depend on."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.optimize.inputs import Inputs
from edgeproof_runtime.system.files import write_atomically

__all__ = ["Work", "key_of", "version_of"]


_FORGOTTEN_S = 30 * 86400.0  # older interrupted runs are not resumed


class Work:
    """Folder of finished results; an unreadable result is computed again.

    Args:
        folder: folder, created for the first result.
        keep: whether to keep the results after the run.
    """

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        self.folder = folder
        self._keep = keep
        self._needed: set[Path] = set()

    def done(self) -> None:
        """Remove this run's results, and those of runs interrupted a month ago; call it when the bundle is written."""
        if self._keep or not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            with suppress(OSError):  # in use or not permitted: it only takes space
                if path in self._needed or time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                    path.unlink()

    def model(self, key: str, make: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
        """Return the model of a key, computed if missing."""
        path = self._piece(f"{key}.onnx")
        try:
            return onnx.load(path)
        except Exception:  # missing or damaged; protobuf raises many types
            made = make()
            write_atomically(path, made.SerializeToString(deterministic=True))
            return made

    def array(self, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array of a key, computed if missing."""
        path = self._piece(f"{key}.npy")
        try:
            found: NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            made = make()
            buffer = io.BytesIO()
            np.save(buffer, made)
            write_atomically(path, buffer.getvalue())
            return made
        return found

    def _piece(self, name: str) -> Path:
        path = self.folder / name
        self._needed.add(path)
        return path


def key_of(*parts: object) -> str:
    """Return 24 hexadecimal digits of the sha256 of the parts; models by their bytes, images by their pixels."""
    return hashlib.sha256(json.dumps([_identity(part) for part in parts]).encode()).hexdigest()[:24]


def version_of(distribution: str) -> str:
    """Return a library's version, on which its results depend."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def _identity(part: object) -> object:
    if isinstance(part, onnx.ModelProto):
        return hashlib.sha256(part.SerializeToString(deterministic=True)).hexdigest()
    if isinstance(part, Inputs):
        return hashlib.sha256("\n".join(part.sha256).encode()).hexdigest()
    return part
