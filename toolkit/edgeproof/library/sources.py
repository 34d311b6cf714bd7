"""Convert source arguments into named streams."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources import HealthOptions, SourceOptions, StreamSpec, read_streams, read_streams_file
from edgeproof_runtime.sources.gstreamer import is_camera_number
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.sources.paths import is_standard_input, path_of
from edgeproof_runtime.system.bounds import require_at_most
from edgeproof_runtime.system.redact import expand_environment, redact_address
from edgeproof_runtime.system.regular import real_path

__all__ = ["specs_of"]

_LONGEST = 48


def specs_of(
    sources: Sequence[str],
    labels_from: str | None = None,
    options: SourceOptions | None = None,
    health: HealthOptions | None = None,
    *,
    settings: str | Path | None = None,
) -> tuple[StreamSpec, ...]:
    """Return a stream for each source, and the streams of each ``.toml`` file.

    Args:
        sources: camera, address, file, folder, pipeline or ``streams.toml``; ``${NAME}`` is read from the environment.
        labels_from: file of labels for each source.
        options: options for opening each source.
        health: limits of healthy frames of each source.
        settings: file of streams whose options of `run` and `serve` are in force already; another one with such
            options is refused.

    Raises:
        InputError: a file of streams cannot be read, labels or options are given beside it, or there are too
            many.
    """
    options, health = options or SourceOptions(), health or HealthOptions()
    specs: list[StreamSpec] = []
    for typed in sources:
        source = path_of(expand_environment(typed))
        if source.lower().endswith(".toml") and is_path(source):
            if labels_from is not None or options != SourceOptions() or health != HealthOptions():
                raise InputError(f"{source}: holds the options of its streams", fix="move the options into its tables")
            specs.extend(_streams(source, settings))
            continue
        name = _name(source)
        taken = {spec.name for spec in specs}
        unique = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        specs.append(StreamSpec(name=unique, source=source, options=options, labels_from=labels_from, health=health))
    require_at_most(len(specs), "streams", "--source")
    return tuple(specs)


def _streams(file: str, settings: str | Path | None) -> tuple[StreamSpec, ...]:
    if settings is None or str(settings) != file:
        return read_streams(file)
    found = read_streams_file(file).streams
    if not found:
        raise InputError(f"{file}: has no stream", fix='add [NAME] with source = "..."')
    return found


def _name(source: str) -> str:
    """Return a name for a source, valid in topics, metrics and file names."""
    if " ! " in source:
        return "pipeline"
    if is_camera_number(source):
        return f"camera{source}"
    if is_standard_input(source):
        return "stdin"
    scheme = source.partition("://")[0].lower()
    if scheme in ("csi", "synthetic"):
        shown = source.partition("?")[0]  # the text before an @ is not a password here
    elif redact_address(source) != source:
        shown = "stream"  # no part of an address with credentials or other secrets is fit to be a name
    elif is_path(source):
        try:
            shown = real_path(Path(source)).name
        except (OSError, RuntimeError, ValueError):  # links in a circle, or a NUL: an error when it is opened
            shown = Path(source).name
    else:
        shown = source.partition("://")[2] or source
    return re.sub(r"[^\w.-]+", "-", shown).strip("-.")[-_LONGEST:] or "stream"
