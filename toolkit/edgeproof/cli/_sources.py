"""What is given as ``--source`` becomes named streams."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgeproof_runtime.masking import without_credentials
from edgeproof_runtime.sources import StreamSpec, read_streams
from edgeproof_runtime.sources.opening import is_path

__all__ = ["specs_of"]

_LONGEST = 48


def specs_of(sources: Sequence[str], labels_from: str | None = None) -> tuple[StreamSpec, ...]:
    """A stream for each source, those of a ``.toml`` file among them.

    Args:
        sources: as a person typed them.
        labels_from: a file of labels for each.

    Raises:
        InputError: a file of streams cannot be read.
    """
    specs: list[StreamSpec] = []
    for source in sources:
        if source.lower().endswith(".toml") and is_path(source):
            specs.extend(read_streams(source))
            continue
        name = _name(source)
        taken = {spec.name for spec in specs}
        unique = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        specs.append(StreamSpec(name=unique, source=source, labels_from=labels_from))
    return tuple(specs)


def _name(source: str) -> str:
    """What is fit for topics, metrics and file names, and still says which source it is."""
    if " ! " in source:
        return "pipeline"
    if source.isdecimal():
        return f"camera{source}"
    shown = Path(source).resolve().name if is_path(source) else without_credentials(source).split("://", 1)[-1]
    return re.sub(r"[^\w.-]+", "-", shown).strip("-.")[-_LONGEST:] or "stream"
