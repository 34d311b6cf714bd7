"""Try a parser on a file in a child process, once per content and version of the parser."""

from __future__ import annotations

import atexit
import hashlib
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.child import LIMITS, Child, Fault, Limits, NotStartedError, limit_of
from edgeproof_runtime.system.files import cache_folder, read_cached, write_cached

__all__ = ["Parser", "WeightsParser", "require_harmless", "require_harmless_weights"]

Parser = Literal["onnx", "pt2", "torchscript"]
"""What is read: an ONNX model, an exported program of PyTorch, a TorchScript archive."""
WeightsParser = Literal["checkpoint", "safetensors"]
"""What is read: a checkpoint of `torch.save`, a safetensors file."""

_SCHEMA = "edgeproof.parsed/1"
_CHILD = "edgeproof_export.parsing.child"
_MIB = 1 << 20
_IMPORT_SECONDS = 120.0  # on a busy machine
_SECONDS, _SECONDS_PER_MIB = 20.0, 0.1
# Above what the parser's libraries take: they are 0.7 GB for PyTorch.
_MIB_OF = {"onnx": 1024.0, "pt2": 1792.0, "torchscript": 1792.0, "checkpoint": 1024.0, "safetensors": 1024.0}
_MIB_PER_MIB = 6.0
_MOST_MORE = 4.0  # suggested where a limit was too low
_TORCH = ("PyTorch", "torch")
_LIBRARIES = {
    "onnx": ("onnx", "onnx"),
    "pt2": _TORCH,
    "torchscript": _TORCH,
    "checkpoint": _TORCH,
    "safetensors": ("safetensors", "safetensors"),
}

_harmless: set[str] = set()
_kept: dict[str, Child] = {}
_one_at_a_time = threading.Lock()


def require_harmless(parser: Parser, content: Path | bytes, content_sha256: str, name: object) -> None:
    """Require that a parser leaves the process alive, within bounds of time and memory.

    What the parser raises is no matter here: it raises the same where its user can read it. Where no child process can
    be started, nothing is tried.

    Args:
        parser: what reads the file.
        content: the content, or a file of it that nobody else changes meanwhile.
        content_sha256: hash that identifies the content.
        name: the file as the user knows it.

    Raises:
        InputError: the parser crashes, hangs or exhausts the memory.
    """
    if parser not in get_args(Parser):
        raise ValueError(parser)
    library, distribution = _LIBRARIES[parser]
    version = metadata.version(distribution)
    key = hashlib.sha256(json.dumps([parser, version, content_sha256]).encode()).hexdigest()[:32]
    if key in _harmless:
        return
    kept = cache_folder() / "parsed" / f"{key}.json"
    if (known := read_cached(kept, _SCHEMA)) is not None and isinstance(known.get("fault"), str | None):
        fault = None if known["fault"] is None else Fault(known["fault"])
    else:
        try:
            with _file_of(content) as file:
                fault = _tried(parser, file, _limits_for(parser, file))
        except NotStartedError:
            return
        if fault is None or (fault.lasting and fault.exceeded is None):
            facts = {"schema": _SCHEMA, "parser": parser, "version": version}
            write_cached(kept, {**facts, "fault": None if fault is None else fault.text})
    if fault is not None:
        raise _error(f"{library} {version}", fault, name)
    _harmless.add(key)


def require_harmless_weights(parser: WeightsParser, path: Path) -> None:
    """Require that a parser of weights leaves the process alive, within bounds of time and memory.

    It is tried in a fork, because this process has imported PyTorch already: that costs milliseconds, so no outcome is
    kept. Everything else is as in `require_harmless`.

    Raises:
        InputError: the parser crashes, hangs or exhausts the memory.
    """
    limits = _limits_for(parser, path)
    try:
        fault = _read(Child(_CHILD, forked=True), parser, path, limits)
        if fault is not None and fault.exceeded == "seconds" and threading.active_count() > 1:
            # A lock that another thread held is never released in the fork.
            fault = _read(Child(_CHILD), parser, path, limits)
    except NotStartedError:
        return
    if fault is not None:
        library, distribution = _LIBRARIES[parser]
        raise _error(f"{library} {metadata.version(distribution)}", fault, path)


@contextmanager
def _file_of(content: Path | bytes) -> Iterator[Path]:
    if isinstance(content, Path):
        yield content
        return
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(content)
        yield file


def _limits_for(parser: Parser | WeightsParser, file: Path) -> Limits:
    size = file.stat().st_size / _MIB
    return Limits(
        seconds=limit_of("seconds", _SECONDS + _SECONDS_PER_MIB * size),
        mib=limit_of("mib", _MIB_OF[parser] + _MIB_PER_MIB * size),
    )


def _tried(parser: Parser, file: Path, limits: Limits) -> Fault | None:
    with _one_at_a_time:
        used = _kept.pop(parser, None)
        if used is not None and not used.ended:
            found = _read(used, parser, file, limits)
            if found is None:
                return None  # a fault may be that of an earlier file, or of the thread that started the child
        return _read(Child(_CHILD), parser, file, limits)


def _read(child: Child, parser: Parser | WeightsParser, file: Path, limits: Limits) -> Fault | None:
    """Let a child read a file; a child that lives is kept for the next one if it is small."""
    keep = False
    try:
        child.send({"parser": parser, "file": str(file.absolute())})
        found = child.next(Limits(max(_IMPORT_SECONDS, limits.seconds), limits.mib))
        if not isinstance(found, Fault):
            found = child.next(limits)
        keep = parser == "onnx" and not isinstance(found, Fault)
        return found if isinstance(found, Fault) else None
    finally:
        if keep:
            _kept["onnx"] = child
        else:
            child.close()


def _close_kept() -> None:
    for child in _kept.values():
        child.close()
    _kept.clear()


def _error(library: str, fault: Fault, name: object) -> InputError:
    fix = "download or export it again"
    if fault.exceeded is not None:
        fix += f", or raise the limit: {LIMITS[fault.exceeded]}={_MOST_MORE * fault.limit:.0f}"
    return InputError(
        f"{name}: {library} {fault.text}",
        expected="a model that can be read; it was tried in a child process",
        fix=fix,
    )


atexit.register(_close_kept)
