"""Read an ONNX file once, with its weights in files beside it, after its parser was tried in a child process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgeproof_export.foreign_errors import first_line
from edgeproof_export.foreign_files import recognise
from edgeproof_export.onnx_files.nodes import nodes_of
from edgeproof_export.parsing.trial import require_harmless
from edgeproof_runtime import _native
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.system.regular import read_regular, real_path

__all__ = ["LARGEST_BYTES", "OnnxFile", "parse_onnx", "read_onnx"]

LARGEST_BYTES = 2**31 - 1  # protobuf's limit for one message
# Operators that ONNX or ONNX Runtime defines; engines that lack some of them are left out by the gates.
_DOMAINS = ("ai.onnx", "com.microsoft")


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX file, read once.

    Attributes:
        path: the file.
        model: its model, with all weights inside.
        sha256: hash of the file; with weights in files beside it, of the hashes of all of them.
    """

    path: Path
    model: onnx.ModelProto
    sha256: str


def read_onnx(path: Path) -> OnnxFile:
    """Read a model as `parse_onnx` does, and require operators that engines have.

    Raises:
        InputError: as `parse_onnx`, or the model needs operators that no engine has.
    """
    found = parse_onnx(path)
    if not found.model.graph.node:
        raise _not_onnx(path, "a graph without nodes")
    _refuse_custom_operators(found.model, path)
    return found


def parse_onnx(path: Path) -> OnnxFile:
    """Read a model with its external weights, if any, so that it can be saved as one file.

    Raises:
        InputError: the file is damaged, not an ONNX model, harms its parser or holds code; its external weights are
            missing or not in its folder.
    """
    content, digest = _whole(path)
    require_harmless("onnx", content, digest, path)
    try:
        return OnnxFile(path, onnx.load_from_string(content), digest)
    except Exception as error:  # protobuf's errors have no common base with onnx's
        raise _not_onnx(path, first_line(error)) from error


def _whole(path: Path) -> tuple[bytes, str]:
    """Return a model as one file, and the hash of `OnnxFile.sha256`."""
    content = _read(path, path)
    try:
        locations, compiled = _native.onnx_references(content)
    except EdgeproofError as error:
        raise _not_onnx(path, error.got or error.what) from error
    if compiled:
        raise InputError(
            f"{path}: holds a compiled engine (EPContext), which is code",
            expected="operators of ONNX (ai.onnx)",
            fix="export the model that the engine was compiled from",
        )
    digests = [hashlib.sha256(content).hexdigest()]
    if not locations:
        return content, digests[0]
    files = _beside(path, [os.fsdecode(location) for location in locations])
    beside = {location: _read(file, path) for location, file in zip(locations, files, strict=True)}
    digests += [hashlib.sha256(part).hexdigest() for part in beside.values()]
    try:
        content = _native.with_external_data(content, beside)
    except EdgeproofError as error:
        raise InputError(
            f"{path}: its external weights cannot be read",
            got=error.got or error.what,
            fix="copy the model and its weights again, both from one export",
        ) from error
    return content, hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read(file: Path, path: Path) -> bytes:
    try:
        return read_regular(file, LARGEST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read", got=error, expected="regular files, below 2 GiB") from error


def _beside(path: Path, names: Sequence[str]) -> list[Path]:
    """Return the files that hold a model's weights, all of them in its folder."""
    folder = path.parent
    for name in names:
        if _is_inside(folder, name):
            continue
        raise InputError(
            f"{path}: its weights are in a file outside its folder",
            got=name or "no name",
            expected=f"files in {folder}; links must not lead out of it",
            fix=f"copy the file to {folder}, under a name without folders",
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: its weights are in a file that is missing",
            got=f"no {folder / missing[0]}",
            expected=f"{', '.join(names)} beside {path.name}",
            fix=f"copy {missing[0]} to {real_path(path).parent}",
        )
    return [folder / name for name in names]


def _is_inside(folder: Path, name: str) -> bool:
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return False
    return real_path(folder / name).is_relative_to(real_path(folder))


def _not_onnx(path: Path, reason: str) -> InputError:
    kind = recognise(path)
    if kind is None or kind.name == "onnx":
        return InputError(f"{path}: not a valid ONNX model", got=reason, fix="download or export it again")
    return InputError(f"{path}: not an ONNX model", got=kind.what, expected="an ONNX model", fix=kind.fix)


def _refuse_custom_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse operators of domains that neither ONNX nor ONNX Runtime defines, by name."""
    own = {function.domain for function in model.functions}
    foreign: dict[str, list[str]] = {}
    for node in nodes_of(model.graph):
        if node.domain not in own and not node.domain.startswith(_DOMAINS) and node.domain:
            foreign.setdefault(node.domain, []).append(node.op_type)
    if foreign:
        found = "; ".join(f"{', '.join(dict.fromkeys(names))} of {domain}" for domain, names in foreign.items())
        raise InputError(
            f"{path}: has custom operators, which no engine has",
            got=found,
            expected="operators of ONNX (ai.onnx)",
            fix="replace them in the model by standard operations, and export it again",
        )
