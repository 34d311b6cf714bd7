"""What an engine loads: the model's content, opened once and checked, and its input and output tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.bundle.manifest import is_plain
from edgeproof_runtime.bundle.onnx_graph import OnnxGraph, read_graph, with_outputs
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.private_copy import PrivateCopy, private_copy, private_copy_of
from edgeproof_runtime.system.regular import read_regular, real_path
from edgeproof_runtime.system.spec import SPEC

__all__ = ["ModelArtifact", "Tensor", "TensorSpec"]

Tensor = NDArray[np.generic]

_MAX_ONNX_BYTES: int = SPEC["bounds"]["onnx_bytes"]
_MAX_COMPILED_BYTES: int = SPEC["bounds"]["compiled_bytes"]
_FIX = "copy the whole folder again, or export the bundle again"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: name of the ONNX value.
        shape: without the leading batch dimension; empty for an output whose shape is known only after a run.
        dtype: NumPy's name of the dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """What an engine loads.

    Attributes:
        path: the ONNX file, or the compiled file for engines that require one.
        precision: ``fp32``, ``fp16`` or ``int8``.
        input: the model's only input.
        outputs: in the manifest's order.
        max_batch: largest batch that the engine must accept.
        info: ``engine.json`` of a compiled file; None for an ONNX file.
        blob: compiled file of an engine that also loads the ONNX file; None if missing.
        arithmetic: precision whose parity bounds apply; None for ``precision``.
        digests: known sha256 of these files, by path.
        taps: further values of the graph that `onnx` makes outputs; they are the last of ``outputs``. Their shape and
            dtype may be empty, if not known.
    """

    path: Path
    precision: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_batch: int = 1
    info: Path | None = None
    blob: Path | None = None
    arithmetic: str | None = None
    digests: Mapping[Path, str] = field(default_factory=dict, compare=False)
    taps: tuple[TensorSpec, ...] = ()

    def tapped(self, taps: Sequence[TensorSpec]) -> Self:
        """Return an artifact with further outputs, which loads the ONNX file alone.

        Args:
            taps: values that nodes of the graph compute, none of them an output; shapes without the first dimension.
        """
        shapeless = tuple(replace(tap, shape=()) for tap in taps)
        return replace(self, taps=tuple(taps), outputs=(*self.outputs, *shapeless), blob=None)

    @property
    def bounds(self) -> str:
        """Precision whose parity bounds apply."""
        return self.arithmetic or self.precision

    def graph(self) -> OnnxGraph:
        """Read the main graph of the ONNX model.

        Raises:
            InputError: as `onnx`.
        """
        with self.onnx() as model:
            return read_graph(bytes(model.content))

    @contextmanager
    def onnx(self) -> Iterator[PrivateCopy]:
        """Provide the ONNX model as one self-contained file that was checked and cannot change.

        Values outside the file are moved into it; in a bundle they must be listed files.

        Raises:
            InputError: the file cannot be read, is not an ONNX model, or refers to what it must not. In a bundle also
                a modified file; the class is then `BundleError`.
        """
        with ExitStack() as held:
            try:
                copy = held.enter_context(private_copy(self.path, _MAX_ONNX_BYTES))
            except OSError as error:
                raise self._unreadable(self.path, error) from error
            self._check(self.path, copy.sha256)
            locations = self._references(copy)
            if not locations and not self.taps:
                yield copy
                return
            whole = self._with_external_data(copy, locations) if locations else bytes(copy.content)
            whole += with_outputs([(tap.name, tap.dtype, tap.shape) for tap in self.taps]) if self.taps else b""
        with private_copy_of(whole) as copy:
            del whole
            yield copy

    def compiled(self, path: Path) -> bytes:
        """Return the content of a compiled file, opened once and checked.

        Raises:
            InputError: the file cannot be read; in a bundle also if it was modified, as `BundleError`.
        """
        return self._read(path, _MAX_COMPILED_BYTES)

    def _read(self, path: Path, max_bytes: int) -> bytes:
        try:
            content = read_regular(path, max_bytes)
        except OSError as error:
            raise self._unreadable(path, error) from error
        self._check(path, hashlib.sha256(content).hexdigest() if path in self.digests else "")
        return content

    def _check(self, path: Path, sha256: str) -> None:
        expected = self.digests.get(path, sha256)
        if sha256 != expected:
            raise BundleError(f"{path}: modified", got=f"sha256 {sha256}", expected=f"sha256 {expected}", fix=_FIX)

    def _references(self, copy: PrivateCopy) -> list[bytes]:
        try:
            locations, compiled = _native.onnx_references(copy.content)
        except InputError as error:
            raise self._refused("not an ONNX model", got=f"{error.what}: {error.got}") from error
        if compiled:
            raise self._refused("holds a compiled engine (EPContext), which is code", fix="export the model itself")
        return locations

    def _with_external_data(self, copy: PrivateCopy, locations: list[bytes]) -> bytes:
        content = {location: self._external(location) for location in locations}
        try:
            return _native.with_external_data(copy.content, content)
        except InputError as error:
            raise self._refused(error.what, got=error.got, expected=error.expected) from error

    def _external(self, location: bytes) -> bytes:
        """Return the content of a file that the model refers to."""
        name = location.decode(errors="replace")
        if not is_plain(name):
            raise self._refused("refers to external data outside its folder", got=repr(name))
        path = self.path.parent / name
        if self.digests and path not in self.digests:
            raise self._refused(
                "refers to external data that bundle.json does not list",
                got=repr(name),
                fix="export the bundle again: its models hold their own weights",
            )
        if not real_path(path).is_relative_to(real_path(self.path.parent)):
            raise self._refused("refers to external data outside its folder", got=repr(name))
        return self._read(path, _MAX_ONNX_BYTES)

    def _refused(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> InputError:
        error = BundleError if self.digests else InputError
        return error(f"{self.path}: {what}", got=got, expected=expected, fix=fix)

    def _unreadable(self, path: Path, error: OSError) -> InputError:
        kind = BundleError if self.digests else InputError
        return kind(f"{path}: cannot be read", got=error.strerror or error, fix=_FIX if self.digests else None)
