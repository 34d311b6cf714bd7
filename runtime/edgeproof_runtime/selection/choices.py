"""Choices of `auto`, kept in the user's cache folder because bundles are read-only on many devices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import machine_key
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.system.files import cache_folder, read_cached, write_cached

__all__ = ["ANYTHING", "Choice", "Scope", "keep_choice", "kept_choice", "kept_choices", "narrowed", "winners"]

_SCHEMA = "edgeproof.choice/1"


@dataclass(frozen=True, slots=True)
class Scope:
    """The engines, precisions and thread counts to choose from.

    Attributes:
        engine: a name, or ``auto`` for all of this machine.
        precision: one of the bundle's, or ``auto`` for all of them.
        threads: CPU threads; None tries several.
    """

    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None


ANYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Choice:
    """A table of candidates that were measured in interleaved rounds.

    Attributes:
        scope: what they were chosen from.
        rows: one per candidate, the chosen one first.
        measured_at: UTC, ISO 8601.
        machine: `machine_key` of the machine that measured.
    """

    scope: Scope
    rows: tuple[EngineRow, ...]
    measured_at: str
    machine: str

    def __post_init__(self) -> None:
        if [row.chosen for row in self.rows] != [True] + [False] * (len(self.rows) - 1):
            raise ValueError("a choice has one chosen row, the first")

    @property
    def best(self) -> EngineRow:
        """The chosen row."""
        return self.rows[0]

    @classmethod
    def made(cls, scope: Scope, rows: Sequence[EngineRow]) -> Choice:
        """Build a choice that was measured now, on this machine."""
        return cls(scope, tuple(rows), datetime.now(timezone.utc).isoformat(timespec="seconds"), machine_key())


def keep_choice(bundle: Bundle, choice: Choice) -> None:
    """Keep a choice for later processes. If the cache cannot be written, they measure again."""
    write_cached(_file(bundle, choice.scope), {"schema": _SCHEMA, "bundle": bundle.name, **asdict(choice)})


def kept_choice(bundle: Bundle, scope: Scope) -> Choice | None:
    """Return the choice kept for this model, machine and engines; None if it is missing or unreadable."""
    return _read(_file(bundle, scope))


def narrowed(bundle: Bundle, scope: Scope) -> Choice | None:
    """Return the part within a scope of a choice kept for a wider one; None if none was timed there.

    Candidates that the wider choice ruled out early have no time with this number of threads: they were three times
    slower than the fastest.
    """
    for wider in dict.fromkeys(
        Scope(engine, precision, threads)
        for threads in (scope.threads, None)
        for engine in (scope.engine, "auto")
        for precision in (scope.precision, "auto")
    ):
        choice = None if wider == scope else kept_choice(bundle, wider)
        rows = [] if choice is None else [row for row in choice.rows if _within(row, scope)]
        timed = sorted((row for row in rows if row.median_ms is not None), key=lambda row: row.median_ms or 0.0)
        if choice is not None and timed:
            others = [row for row in rows if row.median_ms is None]
            ranked = [replace(row, chosen=row is timed[0]) for row in (*timed, *others)]
            return replace(choice, scope=scope, rows=tuple(ranked))
    return None


def _within(row: EngineRow, scope: Scope) -> bool:
    return (
        scope.engine in ("auto", row.name)
        and scope.precision in ("auto", row.precision)
        and (scope.threads is None or row.threads in (None, scope.threads))
    )


def kept_choices(bundle: Bundle) -> list[Choice]:
    """List every choice kept for this model, machine and engines."""
    folder = _folder(bundle)
    found = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return [choice for choice in found if choice is not None]


def winners() -> list[str]:
    """List the engines that were chosen on this machine among several, whatever the model, the latest first."""
    paths = (cache_folder() / "engines").glob(f"{machine_key()}-*/auto_*.json")
    found = [choice for path in paths if (choice := _read(path)) is not None]
    return list(dict.fromkeys(one.best.name for one in sorted(found, key=lambda one: one.measured_at, reverse=True)))


def _read(path: Path) -> Choice | None:
    raw = read_cached(path, _SCHEMA)
    if raw is None:
        return None
    try:
        rows = tuple(EngineRow(**row) for row in raw["rows"])
        return Choice(Scope(**raw["scope"]), rows, raw["measured_at"], raw["machine"])
    except (ValueError, TypeError, KeyError):
        return None


def _file(bundle: Bundle, scope: Scope) -> Path:
    threads = "any" if scope.threads is None else str(scope.threads)
    return _folder(bundle) / f"{scope.engine.replace(':', '-')}_{scope.precision}_{threads}.json"


def _folder(bundle: Bundle) -> Path:
    """Return a folder whose name covers everything that decides which candidates exist and which is fastest."""
    files = sorted({*bundle.models.values(), *(entry.path for entry in bundle.engines())})
    key = [bundle.sha256(name) for name in files]
    key += [json.dumps(bundle.manifest.to_json()["input"], sort_keys=True)]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return cache_folder() / "engines" / f"{machine_key()}-{digest}"
