"""What each command reads and writes: marks on its parameters, and one check of all of them before any work.

A parameter that may name a file or folder carries `Reads` or a `Writes` in its annotation. `checked` wraps a command.
"""

from __future__ import annotations

import fnmatch
import functools
import glob
import inspect
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

from typer.models import ParameterInfo

from edgeproof.cli._console import results_on_stderr
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.sources import read_streams_file
from edgeproof_runtime.system.files import is_standard_output, is_stream
from edgeproof_runtime.system.redact import expand_environment

__all__ = ["Marked", "Reads", "Writes", "check_paths", "checked", "marks_of"]


@dataclass(frozen=True, slots=True)
class Reads:
    """Mark of a parameter that names what a command reads: a file, folder or glob. Other text is ignored."""


@dataclass(frozen=True, slots=True)
class Writes:
    """Mark of a parameter that names what a command writes.

    Attributes:
        kind: ``file``, ``image``, ``table`` and ``settings`` are replaced, ``page`` too, and its name must end in
            .html; ``lines`` grow; ``video`` is a new file and cannot be a stream; ``cache`` is read and replaced;
            ``folder`` gets files; ``bundle`` is a folder that is replaced as a whole.
        owns: patterns of the files that the command writes into a ``folder``.
    """

    kind: Literal["file", "image", "table", "page", "settings", "lines", "video", "cache", "folder", "bundle"]
    owns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Marked:
    """A parameter of a command with its mark.

    Attributes:
        parameter: name of the function's parameter.
        option: name on the command line.
        mark: what the command does with it.
    """

    parameter: str
    option: str
    mark: Reads | Writes


# Suffixes of what people give to commands, which no report, page or table of predictions has.
_INPUT_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".mp4", ".avi", ".mov", ".mkv", ".mjpg",
    ".mjpeg", ".npy", ".npz", ".onnx", ".data", ".bin", ".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".pkl", ".tar",
    ".parquet", ".arrow", ".toml", ".py",
})  # fmt: skip
_MOST_ENTRIES = 100_000  # of a folder in which a hard link is looked for


def marks_of(command: Callable[..., Any]) -> tuple[Marked, ...]:
    """Return the marked parameters of a command."""
    found = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        extras = get_args(parameter.annotation)[1:]
        options = [extra for extra in extras if isinstance(extra, ParameterInfo)]
        # In an annotation, Typer keeps the first name of an option as its default.
        texts = [text for option in options for text in (option.default, *(option.param_decls or ()))]
        declared = [text for text in texts if isinstance(text, str)]
        metavar = next((str(option.metavar) for option in options if option.metavar), name.upper())
        is_option = any(type(option).__name__ == "OptionInfo" for option in options)
        unnamed = f"--{name.replace('_', '-')}" if is_option else metavar
        shown = declared[0] if declared else unnamed
        found += [Marked(name, shown, mark) for mark in extras if isinstance(mark, Reads | Writes)]
    return tuple(found)


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: check its paths first, and keep its tables off a standard output that takes a file."""
    marks = marks_of(command)

    @functools.wraps(command)
    def call(**given: Any) -> None:
        if check_paths(marks, given):
            with results_on_stderr():
                command(**given)
        else:
            command(**given)

    return call


def check_paths(marks: Sequence[Marked], given: Mapping[str, Any]) -> bool:
    """Check everything that a command is to write against everything that it reads, and the outputs against each other.

    Args:
        marks: the command's marked parameters.
        given: their values.

    Returns:
        Whether an output goes to standard output.

    Raises:
        InputError: an output cannot be written, would overwrite or change an input, lies in a bundle or in a folder
            that is read, or is given twice.
        UnavailableError: a page is wanted and the report extra is not installed.
    """
    inputs = [path for m in marks if isinstance(m.mark, Reads) for text in _values(given, m) for path in _named(text)]
    inputs += [path for m in marks if isinstance(m.mark, Writes) for text in _values(given, m) for path in _keys(text)]
    outputs = [
        (m.option, m.mark, Path(text))
        for m in marks
        if isinstance(m.mark, Writes)
        for text in _values(given, m)
        if "://" not in str(text)
    ]
    read = [_Input.of(path) for path in inputs]
    bundles = [_real(path) for _, writes, path in outputs if writes.kind == "bundle"]
    taken: dict[Any, str] = {}
    for option, writes, path in outputs:
        _check_kind(option, writes, path)
        if is_stream(path):
            _check_stream(option, writes, path)
            keys: list[Any] = [1] if is_standard_output(path) else []
        else:
            target = _real(path)
            (_check_folder if writes.kind in ("folder", "bundle") else _check_file)(path, target, writes)
            _check_apart(path, target, writes, read, bundles)
            facts = _stat(target)
            keys = [target, *([] if facts is None else [(facts.st_dev, facts.st_ino)])]
        for key in keys:
            if key in taken:
                raise InputError(f"{path}: would be overwritten", got=f"{taken[key]} and {option} name it")
        taken |= dict.fromkeys(keys, option)
    return 1 in taken


def _values(given: Mapping[str, Any], marked: Marked) -> list[Any]:
    value = given.get(marked.parameter)
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True, slots=True)
class _Input:
    path: Path
    real: Path
    facts: os.stat_result

    @classmethod
    def of(cls, path: Path) -> _Input:
        return cls(path, _real(path), path.stat())

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.facts.st_mode)

    def is_same(self, facts: os.stat_result) -> bool:
        return stat.S_ISREG(facts.st_mode) and os.path.samestat(facts, self.facts)


def _keys(text: str | Path) -> Iterator[Path]:
    """Return the existing certificates and keys that an address of an output names."""
    scheme, _, rest = str(text).partition("://")
    if scheme.lower() == "mqtts":
        options = dict(parse_qsl(rest.partition("?")[2]))
        for name in ("ca", "cert", "key"):
            yield from _named(options.get(name, ""))


def _named(text: str | Path) -> Iterator[Path]:
    """Return the existing files and folders that an argument names."""
    try:
        name = expand_environment(str(text)).removeprefix("hf:").removeprefix("anomalib:")
    except InputError:  # raised again where it is used
        return
    if not name or "://" in name or " ! " in name:
        return
    for path in (Path(name), Path(name.rpartition(":")[0])):  # FILE:PREFIX names weights in a file
        if _stat(path) is not None and path != Path():
            yield path
            if path.suffix.lower() == ".toml":
                yield from _of_streams(path)
            return
    if glob.has_magic(name):
        yield from (path for path in map(Path, glob.glob(name, recursive=True)) if _stat(path) is not None)  # noqa: PTH207 - as `open_source` does
    elif Path(name) == Path():
        yield Path()


def _of_streams(file: Path) -> Iterator[Path]:
    try:
        streams = read_streams_file(file).streams
    except InputError:
        return
    for stream in streams:
        of_region = None if stream.region is None else stream.region.labels_from
        for named in (stream.source, stream.labels_from, of_region):
            if named is not None and not named.lower().endswith(".toml"):
                yield from _named(named)


def _check_kind(option: str, writes: Writes, path: Path) -> None:
    if writes.kind != "page":
        return
    if path.suffix.lower() not in (".html", ".htm") and not is_stream(path):
        raise InputError(
            f"{option}: not an HTML file name",
            got=path,
            expected="a name that ends in .html",
            fix=f"{option} {path.parent / (path.stem or 'report')}.html, which a browser prints as PDF",
        )
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        raise UnavailableError(
            "HTML report: requires matplotlib and Jinja2", fix='pip install "edgeproof[report]", or use --json instead'
        )


def _check_stream(option: str, writes: Writes, path: Path) -> None:
    if writes.kind in ("folder", "bundle"):
        raise InputError(f"{option} {path}: is not a folder", expected="a folder that exists or can be created")
    if writes.kind in ("video", "cache"):
        raise InputError(
            f"{option} {path}: is not a regular file", expected=f"a file name: a {writes.kind} is read back"
        )
    facts = _stat(path)
    if facts is not None and stat.S_ISBLK(facts.st_mode):
        raise InputError(f"{option} {path}: is a block device", got="its content would be overwritten")
    if facts is not None and not os.access(path, os.W_OK):
        raise InputError(f"{path}: cannot be written", got=f"no write permission for {path}")


def _check_folder(path: Path, target: Path, writes: Writes) -> None:
    existing = _existing(path, target)
    if not existing.is_dir():
        what = "is not a folder" if existing == target else "cannot be written"
        raise InputError(f"{path}: {what}", got=f"{existing} is a file", expected="a folder")
    place = existing.parent if writes.kind == "bundle" and existing == target else existing
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written", got=f"no write permission for {place}")


def _check_file(path: Path, target: Path, writes: Writes) -> None:
    existing = _existing(path, target)
    if existing == target and existing.is_dir():
        raise InputError(f"{path}: is a folder", expected="a file name")
    if existing != target and not existing.is_dir():
        raise InputError(f"{path}: cannot be written", got=f"{existing} is a file", expected="a folder")
    if not os.access(existing, os.W_OK):
        raise InputError(f"{path}: cannot be written", got=f"no write permission for {existing}")
    if existing != target:
        return
    if writes.kind in ("file", "page", "lines") and target.suffix.lower() in _INPUT_SUFFIXES:
        raise InputError(
            f"{path}: would be overwritten", got=f"an existing {target.suffix} file", expected="a new name, or a report"
        )
    for number, name in ((1, "output"), (2, "error")):
        try:
            if os.path.samestat(target.stat(), os.fstat(number)):
                raise InputError(f"{path}: would be overwritten", got=f"it is standard {name} too", fix="use -")
        except OSError:
            continue


def _check_apart(path: Path, target: Path, writes: Writes, read: Iterable[_Input], bundles: Sequence[Path]) -> None:
    for place in (target, *target.parents):
        if place in bundles and not (writes.kind == "bundle" and place == target):
            raise InputError(f"{path}: lies in a bundle", got=place, expected="a file or folder outside of it")
        if (place / "bundle.json").is_file() and not (writes.kind == "bundle" and place == target):
            raise InputError(f"{path}: lies in a bundle", got=place, expected="a file or folder outside of it")
    facts = _stat(target)
    for given in read:
        if facts is not None and given.is_same(facts):
            if writes.kind != "cache":
                raise InputError(f"{path}: would be overwritten", got="an input of this command")
        elif given.is_folder and target.is_relative_to(given.real):
            raise InputError(
                f"{path}: lies in a folder that is read", got=given.path, expected="a file or folder outside of it"
            )
        elif given.is_folder and facts is not None and facts.st_nlink > 1 and _holds(given.real, facts):
            raise InputError(f"{path}: would be overwritten", got=f"a hard link to a file in {given.path}")
        elif writes.kind == "bundle" and given.real.is_relative_to(target):
            raise InputError(f"{path}: would be replaced", got=f"it contains {given.path}, which is read")
        elif (
            writes.kind == "folder"
            and given.real.parent == target
            and any(fnmatch.fnmatch(given.real.name, pattern) for pattern in writes.owns)
        ):
            raise InputError(f"{given.path}: would be overwritten", got=f"an input of this command in {path}")


def _holds(folder: Path, facts: os.stat_result) -> bool:
    """Return whether a folder holds a hard link to a regular file."""
    left = _MOST_ENTRIES
    if not stat.S_ISREG(facts.st_mode):
        return False
    for place, _, names in os.walk(folder):
        for name in names:
            found = _stat(Path(place, name))
            if found is not None and os.path.samestat(found, facts):
                return True
            left -= 1
            if not left:
                return False
    return False


def _existing(path: Path, target: Path) -> Path:
    """Return the file or folder itself, or the first parent that exists."""
    for place in (target, *target.parents):
        try:
            place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be written", got=error) from error
        return place
    raise InputError(f"{path}: cannot be written", got="no folder of this path exists")


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written", got=error) from error


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None
