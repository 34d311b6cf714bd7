"""What an interrupted optimisation need not do again: results under a key of everything that they depend on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.optimize.inputs import Inputs
from edgeproof_runtime.files import write_atomically

__all__ = ["Work", "key_of", "version_of"]


class Work:
    """A folder of finished pieces. A piece that cannot be read is made again.

    Args:
        folder: created when the first piece is done.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def model(self, key: str, make: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
        """The model of this key, made if it is not there."""
        path = self.folder / f"{key}.onnx"
        try:
            return onnx.load(path)
        except Exception:  # absent, or damaged in one of protobuf's ways
            made = make()
            write_atomically(path, made.SerializeToString(deterministic=True))
            return made

    def array(self, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of this key, made if it is not there."""
        path = self.folder / f"{key}.npy"
        try:
            found: NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            made = make()
            buffer = io.BytesIO()
            np.save(buffer, made)
            write_atomically(path, buffer.getvalue())
            return made
        return found


def key_of(*parts: object) -> str:
    """24 hexadecimal digits of the sha256 of these parts; a model counts by its bytes, pictures by their pixels."""
    return hashlib.sha256(json.dumps([_identity(part) for part in parts]).encode()).hexdigest()[:24]


def version_of(distribution: str) -> str:
    """A library's version, which is part of what its result depends on."""
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
