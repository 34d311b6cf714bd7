"""Read several sources from one file, ``streams.toml``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeproof_runtime.data.bands import Bands
from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources.base import Source
from edgeproof_runtime.sources.health import HealthOptions
from edgeproof_runtime.sources.opening import is_path, open_source
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.paths import path_of
from edgeproof_runtime.sources.regions import Region, region_health, region_options
from edgeproof_runtime.system.bounds import require_at_most
from edgeproof_runtime.system.compat import Self, tomllib
from edgeproof_runtime.system.documents import read_text
from edgeproof_runtime.system.redact import expand_environment, redact
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["StreamSpec", "StreamsFile", "read_streams", "read_streams_file"]

_EXPECTED = '[name] with source = "..." and options, a table per stream'
_MAX_NAME = 64
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """Named source.

    Attributes:
        name: letters, digits, ``-``, ``_`` and ``.``; used in topics, metrics and file names.
        source: source as for `open_source`.
        options: options for opening it.
        labels_from: file of labels, see `ClipLabels.open`.
        health: limits of healthy frames.
        threshold: lowest averaged probability at which a class counts; None means the run's.
        thresholds: the same of single classes, as (label, probability); None means the run's.
        unknown: when a frame shows none of the classes; None means the run's.
        region: part of the frames that this stream shows, under the name ``STREAM/REGION``; None for all of them.

    Raises:
        InputError: the name or the source is empty, or the name has invalid characters.
    """

    name: str
    source: str
    options: SourceOptions = field(default_factory=SourceOptions)
    labels_from: str | None = None
    health: HealthOptions = field(default_factory=HealthOptions)
    threshold: float | None = None
    thresholds: tuple[tuple[str, float], ...] | None = None
    unknown: UnknownRule | None = None
    region: Region | None = None

    def __post_init__(self) -> None:
        plain = self.name if self.region is None else self.name.removeprefix(f"{self.region.stream}/")
        if not plain or len(self.name) > _MAX_NAME or not all(c.isalnum() or c in "-_." for c in plain):
            raise InputError("stream name: invalid", got=repr(self.name), expected="letters, digits, '-', '_' and '.'")
        if not self.source.strip():
            raise InputError(f"stream {self.name}: source is missing", expected=_EXPECTED)

    @property
    def capture(self) -> str:
        """Return what tells its source from others: regions of one stream share it."""
        return self.name if self.region is None else f"{self.region.stream}/"

    @property
    def pace(self) -> SourceOptions:
        """Return the options that say which of its frames are classified."""
        return self.options if self.region is None else self.region.options

    def open(self, known: Collection[str] | None = None, bands: Bands | None = None) -> Source:
        """Open the source under this stream's name, or that of the stream whose region this is.

        Args:
            known: labels of the model, for checking ``labels_from``.
            bands: as for `open_source`.

        Raises:
            SourceError, InputError, UnavailableError: as for `open_source`.
        """
        labels = ClipLabels.open(self.labels_from, known=known) if self.labels_from is not None else None
        name = self.name if self.region is None else self.region.stream
        return open_source(self.source, name=name, options=self.options, labels=labels, bands=bands)

    @classmethod
    def parse(cls, name: str, table: Any, folder: Path) -> Self:
        """Parse a table of the file.

        Args:
            name: name of the table.
            table: content of the table.
            folder: folder that relative paths refer to.

        Raises:
            InputError: not a table, without a source, or with an unknown option; the message names it.
        """
        where = f"stream {name}"
        if not isinstance(table, dict):
            raise InputError(f"stream {name}: not a table", got=redact(repr(table)), expected=_EXPECTED)
        rest = dict(table)
        source = rest.pop("source", "")
        if not isinstance(source, str):
            raise InputError(f"{where}: source must be a string", got=repr(source), expected=_EXPECTED)
        source = path_of(expand_environment(source))
        if source and is_path(source):
            source = str(folder / source)
        labels_from = _labels_file(rest, folder, where)
        health = HealthOptions.parse(rest.pop("health", {}), where)
        limits = _limits(rest, where)
        options = SourceOptions.parse(rest, where)
        return cls(name=name, source=source, options=options, labels_from=labels_from, health=health, **limits)

    def part(self, name: str, table: Any, folder: Path) -> Self:
        """Parse the table of a region, which takes over what it does not name from this stream.

        Args:
            name: name of the region.
            table: content of the table.
            folder: folder that relative paths refer to.

        Raises:
            InputError: not a table, or with an option that is unknown or only a stream's; the message names it.
        """
        where = f"stream {self.name}/{name}"
        if not isinstance(table, dict):
            raise InputError(f"{where}: not a table", got=redact(repr(table)), expected="[STREAM.regions.NAME]")
        rest = dict(table)
        labels_from = _labels_file(rest, folder, where)
        if labels_from is not None and self.options.loop:
            raise InputError(f"{where}: labels_from requires a source without loop", fix="leave out one of them")
        health = region_health(rest.pop("health", {}), self.health, where)
        limits = _limits(rest, where)
        region = Region(
            stream=self.name,
            options=region_options(rest, self.options, where),
            labels_from=labels_from,
            whole=self.health.of_whole_frame(),
        )
        return replace(self, name=f"{self.name}/{name}", region=region, health=health, **limits)


def _probability(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{what} is invalid", got=repr(value), expected="a number, 0 to 1")
    return float(value)


def _probabilities(value: Any, what: str) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is invalid", got=repr(value), expected="{ LABEL = number, 0 to 1 }")
    return tuple((label, _probability(limit, f"{what} of {label}")) for label, limit in value.items())


def _limits(rest: dict[str, Any], where: str) -> dict[str, Any]:
    """Take the thresholds out of a table."""
    return {name: _LIMITS[name](rest.pop(name), f"{where}: {name}") for name in _LIMITS if name in rest}


def _labels_file(rest: dict[str, Any], folder: Path, where: str) -> str | None:
    labels_from = rest.pop("labels_from", None)
    if not isinstance(labels_from, str | None):
        raise InputError(f"{where}: labels_from must be a string", got=repr(labels_from), expected="a file of labels")
    return None if labels_from is None else str(folder / labels_from)


def _rule(value: Any, what: str) -> UnknownRule:
    try:
        return UnknownRule.parse(value if isinstance(value, str) else repr(value))
    except InputError as error:
        raise InputError(f"{what} is invalid", got=error.got, expected=error.expected) from error


_LIMITS: Mapping[str, Callable[[Any, str], Any]] = {
    "threshold": _probability,
    "thresholds": _probabilities,
    "unknown": _rule,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsFile:
    """Content of a file of streams.

    Attributes:
        values: what stands above the tables, by name: the bundle and options of `edgeproof run` and `serve`.
        streams: the streams, in the file's order.
    """

    values: Mapping[str, Any]
    streams: tuple[StreamSpec, ...]


def read_streams(path: str | Path) -> tuple[StreamSpec, ...]:
    """Read a file with one table per stream, in its order; a stream with ``regions`` becomes one stream for each.

    Relative paths are relative to the file's folder; ``${NAME}`` in a source is read from the environment.

    Args:
        path: TOML file.

    Raises:
        InputError: the file cannot be read, is not TOML, has no table or too many, or has values above the tables.
    """
    found = read_streams_file(path)
    for name, value in found.values.items():
        raise InputError(
            f"stream {name}: not a table",
            got=redact(repr(value)),
            expected=_EXPECTED,
            fix=f"if it is an option of run or serve, give the file instead of a bundle: edgeproof run {path}",
        )
    if not found.streams:
        raise InputError(f"{path}: has no stream", expected=_EXPECTED)
    return found.streams


def read_streams_file(path: str | Path) -> StreamsFile:
    """Read a file of streams as `read_streams` does, with the values above the tables.

    Raises:
        InputError: the file cannot be read, is not TOML, or has too many tables.
    """
    path = Path(path)
    try:
        content = tomllib.loads(read_text(path, expected=_EXPECTED, max_bytes=_MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML", got=error, expected=_EXPECTED) from error
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    specs = [spec for name, table in tables.items() for spec in _streams_of(name, table, path.parent)]
    require_at_most(len(specs), "streams", f"{path}: streams")
    values = {name: value for name, value in content.items() if name not in tables}
    return StreamsFile(values=values, streams=tuple(specs))


def _streams_of(name: str, table: Any, folder: Path) -> list[StreamSpec]:
    if not isinstance(table, dict) or "regions" not in table:
        return [StreamSpec.parse(name, table, folder)]
    regions = table["regions"]
    if not isinstance(regions, dict) or not regions:
        raise InputError(
            f"stream {name}: regions is invalid", got=redact(repr(regions)), expected=f"[{name}.regions.NAME]"
        )
    stream = StreamSpec.parse(name, {key: value for key, value in table.items() if key != "regions"}, folder)
    return [stream.part(region, part, folder) for region, part in regions.items()]
