"""Read a weights file: every tensor by its full name, whatever the file is called and its tensors lie under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeproof_export.foreign_errors import first_line
from edgeproof_export.foreign_files import recognise
from edgeproof_export.parsing.trial import require_harmless_weights
from edgeproof_export.weights.stand_ins import StandIn, class_of_module, load_restricted, shown_class, whole_module
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.documents import read_document

__all__ = ["Weights", "load_tensors", "read_weights", "split_prefix", "weights_of"]

_EXPECTED = "a .safetensors file or a PyTorch checkpoint"
_DEPTH = 12  # nesting of containers
_MOST_VISITED = 1_000_000  # values; a few containers that hold each other are endlessly many
_VISITED = object()  # passed for each value that is visited


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Tensors of a file.

    Attributes:
        source: name of the file in messages.
        tensors: tensors by full name: the keys of all containers, joined by dots.
        containers: container of each tensor: the full name's part before the key of the innermost dictionary.
        unnamed: containers that list tensors without names.
    """

    source: str
    tensors: Mapping[str, Tensor]
    containers: Mapping[str, str]
    unnamed: Sequence[str] = ()

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], source: str) -> Self:
        """Return the tensors of one dictionary."""
        return cls(source=source, tensors=tensors, containers=dict.fromkeys(tensors, ""))


def split_prefix(spec: str | Path) -> tuple[Path, str]:
    """Split ``FILE:PREFIX`` into the file and the prefix of the tensors to take; no prefix for a plain file."""
    path = Path(spec)
    if not path.exists():
        file, separator, prefix = str(spec).rpartition(":")
        if separator and Path(file).is_file():
            return Path(file), prefix
    return path, ""


def read_weights(spec: str | Path) -> Weights:
    """Read the tensors of ``FILE`` or ``FILE:PREFIX``.

    A ``.safetensors`` file, the index of a sharded one, or a PyTorch checkpoint, loaded with ``weights_only=True``.

    Raises:
        InputError: the file is missing, damaged, another kind of file, or holds no tensors by name.
    """
    path, prefix = split_prefix(spec)
    return weights_of(load_tensors(path), path, prefix)


def weights_of(content: Any, path: Path, prefix: str = "") -> Weights:
    """Return the tensors of a loaded file, below a prefix.

    Raises:
        InputError: the file holds no tensors by name.
    """
    start = f"{prefix.rstrip('.')}." if prefix else ""
    tensors: dict[str, Tensor] = {}
    containers: dict[str, str] = {}
    unnamed: list[str] = []
    modules: dict[str, str] = {}
    for container, key, found in _within(_walk(content, ""), path):
        name = container + key
        if isinstance(found, Tensor):
            if name.startswith(start):
                tensors[name[len(start) :]] = found
                containers[name[len(start) :]] = container.removeprefix(start)
        elif isinstance(found, StandIn):
            modules[name] = found.path
        else:
            unnamed.append(name)
    if not tensors:
        raise _no_tensors(path, prefix, content, modules)
    return Weights(source=path.name, tensors=tensors, containers=containers, unnamed=unnamed)


def load_tensors(path: Path) -> Any:
    """Load the content of a weights file: containers of tensors and plain values.

    Raises:
        InputError: the file is missing, damaged, or another kind of file.
    """
    if not path.exists():
        raise InputError(f"{path}: weights not found", expected=_EXPECTED)
    kind = recognise(path)
    if kind is None:
        raise InputError(f"{path}: not a weights file", got="unknown content", expected=_EXPECTED)
    if kind.name == "safetensors":
        return _safetensors(path)
    if kind.name == "safetensors-index":
        return _shards(path)
    if kind.name == "torch":
        return load_restricted(path)
    raise InputError(f"{path}: not a weights file", got=kind.what, expected=_EXPECTED, fix=kind.fix)


def _within(found: Iterator[tuple[str, str, Any]], path: Path) -> Iterator[tuple[str, str, Any]]:
    """Pass on what is found, and refuse content that holds the same containers again and again."""
    for count, item in enumerate(found):
        if count > _MOST_VISITED:
            raise InputError(f"{path}: holds more than {_MOST_VISITED} values", expected="tensors by name")
        if item[2] is not _VISITED:
            yield item


def _walk(content: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """Yield tensors with container and key, stand-ins of whole modules, the paths of lists of tensors, and visits."""
    yield "", "", _VISITED
    if class_of_module(content) is not None:
        yield "", path.rstrip("."), content
    elif isinstance(content, Mapping) and depth < _DEPTH:
        for key, value in content.items():
            if isinstance(value, Tensor):
                yield path, str(key), value
            else:
                yield from _walk(value, f"{path}{key}.", depth + 1)
    elif isinstance(content, list | tuple) and depth < _DEPTH:
        if content and all(isinstance(item, Tensor) for item in content):
            yield "", path.rstrip("."), None
        else:
            for index, item in enumerate(content):
                yield from _walk(item, f"{path}{index}.", depth + 1)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    require_harmless_weights("safetensors", path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except Exception as error:  # safetensors raises its own type, and others for a damaged file
        raise InputError(f"{path}: damaged safetensors file", got=first_line(error)) from error
    return tensors


def _shards(path: Path) -> dict[str, Tensor]:
    try:
        files = sorted({str(name) for name in read_document(path)["weight_map"].values()})
    except (InputError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"{path}: damaged index of a sharded checkpoint", got=error) from error
    outside = [name for name in files if Path(name).name != name]
    if outside:
        raise InputError(f"{path}: names a shard outside its folder", got=outside[0], expected="plain file names")
    missing = [name for name in files if not (path.parent / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(files)} shards not found",
            got=", ".join(missing[:3]),
            fix=f"download them into {path.parent}",
        )
    tensors: dict[str, Tensor] = {}
    for name in files:
        content = load_tensors(path.parent / name)
        if not isinstance(content, Mapping):
            raise InputError(f"{path.parent / name}: not a shard of a checkpoint", got=type(content).__name__)
        tensors |= {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return tensors


def _no_tensors(path: Path, prefix: str, content: Any, modules: Mapping[str, str]) -> InputError:
    if modules:
        return whole_module(path, next(iter(modules.values())), list(modules))
    keys = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else ""
    if isinstance(content, StandIn):
        keys = f"an object of class {shown_class(content.path)}"
    arrays = isinstance(content, Mapping) and any(
        isinstance(value, StandIn) and value.path.startswith("numpy") for value in content.values()
    )
    return InputError(
        f"{path}: holds no state dict" + (f" under {prefix!r}" if prefix else ""),
        got=keys or ("an empty dictionary" if isinstance(content, Mapping) else type(content).__name__),
        expected="tensors by name, as of model.state_dict()",
        fix="save tensors instead of NumPy arrays: {name: torch.from_numpy(array), ...}" if arrays else None,
    )
