"""First loads in a child process: an engine's native code may crash, hang or exhaust the memory.

What an engine has never loaded on this machine is loaded and run in a child first. The outcome is kept in the user's
cache, so that it costs once per model, engine version and machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.engines.catalog import CatalogEntry, offered
from edgeproof_runtime.engines.machine import EngineIdentity, engine_identity
from edgeproof_runtime.engines.trial_process import TrialProcess
from edgeproof_runtime.errors import EngineFaultError
from edgeproof_runtime.system.child import LIMITS, Fault, Limits, NotStartedError, limit_of
from edgeproof_runtime.system.files import cache_folder, read_cached, write_cached
from edgeproof_runtime.system.steps import step

__all__ = ["LIMITS", "one_child", "require_harmless", "try_out"]

_LOG = logging.getLogger("edgeproof.engines")
_SCHEMA = "edgeproof.trial/1"
_MIB = 1 << 20
# ONNX Runtime's TensorRT builds its plan while loading, OpenVINO compiles for its device.
_SECONDS = {"cpu": 120.0, "gpu": 3600.0, "npu": 3600.0, "auto": 3600.0}
_SECONDS_PER_MIB = 1.0
_BASE_MIB, _MIB_PER_MIB = 4096.0, 16.0
_SHARE_OF_AVAILABLE = 0.9
_ALIKE = 0.8  # a fault found under a limit stands while today's limit is not much higher
_MOST_MORE = 4.0  # suggested where a limit was too low


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Outcome of a trial; ``fault`` is None if the engine leaves the process alive."""

    fault: Fault | None


_known: dict[str, _Verdict] = {}
_kept_child: list[TrialProcess | None] = []
_one_at_a_time = threading.RLock()


class _Trial:
    """An artifact on an engine, with what its outcome depends on."""

    def __init__(self, entry: CatalogEntry, artifact: ModelArtifact) -> None:
        self.entry = entry
        self.artifact = artifact
        self.identity: EngineIdentity = engine_identity(entry)
        self.many = artifact.max_batch > 1
        self._digests = [_digest_of(artifact, path) for path in (artifact.path, artifact.blob) if path is not None]

    @property
    def verdict(self) -> _Verdict | None:
        """The known outcome; None if it must be tried."""
        key = self.key(self.many)
        if key not in _known and self.identity.version is not None:
            kept = _read(_file(key))
            if kept is not None:
                _known[key] = kept
        found = _known.get(key)
        if found is None or found.fault is None or found.fault.exceeded is None:
            return found
        today = getattr(self.limits(), found.fault.exceeded)
        return found if found.fault.limit >= _ALIKE * today else None

    def limits(self) -> Limits:
        """Limits of one load, which grow with the model."""
        files = [path for path in (self.artifact.path, self.artifact.blob) if path is not None]
        # External weights lie beside the graph.
        files += [path for path in self.artifact.path.parent.glob(f"{self.artifact.path.name}?*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / _MIB
        available = _SHARE_OF_AVAILABLE * psutil.virtual_memory().available / _MIB
        return Limits(
            seconds=limit_of("seconds", _SECONDS[self.entry.device] + _SECONDS_PER_MIB * size),
            mib=limit_of("mib", min(_BASE_MIB + _MIB_PER_MIB * size, available)),
        )

    def keep(self, many: bool, verdict: _Verdict) -> None:
        """Remember an outcome, in the cache as well unless it is the moment's."""
        key, fault, version = self.key(many), verdict.fault, self.identity.version
        _known[key] = verdict
        if version is None or (fault is not None and not fault.lasting):  # code without a version changes unseen
            return
        document = {
            "schema": _SCHEMA,
            "engine": self.entry.name,
            "version": version,
            "model": self.artifact.path.name,
            "batch": "many" if many else "one",
            "fault": None if fault is None else [fault.text, fault.exceeded, fault.limit],
        }
        write_cached(_file(key), document)

    def error(self, fault: Fault) -> EngineFaultError:
        """Return the error that names the engine, its version and the fault."""
        name, version = self.entry.name, self.identity.version
        others = [other.name for other in offered() if other.device == "cpu" and other.name != name]
        fix = f"use {' or '.join(others)}"
        if fault.exceeded is not None:
            fix += f", or raise the limit: {LIMITS[fault.exceeded]}={_MOST_MORE * fault.limit:.0f}"
        what = f"{name} {fault.text}" if version is None else f"{name} {version} {fault.text}"
        return EngineFaultError(what, got=self.artifact.path, fix=fix)

    def key(self, many: bool) -> str:
        """Hash of what an outcome depends on: files, engine, machine, precision and one or many inputs at a time."""
        entry = self.entry
        facts: tuple[object, ...] = (
            self._digests,
            entry.name,
            entry.implementation,
            self.identity,
            self.artifact.precision,
            many,
        )
        if self.artifact.taps:
            facts += (tuple(tap.name for tap in self.artifact.taps),)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def require_harmless(entry: CatalogEntry, artifact: ModelArtifact) -> None:
    """Try an artifact on an engine in a child process, unless the outcome is known.

    Raises:
        EngineFaultError: the engine crashes, hangs or exhausts the memory.
    """
    for trial, verdict in try_out([(entry, artifact)]):
        if verdict is not None and verdict.fault is not None:
            raise trial.error(verdict.fault)


def try_out(requests: Iterable[tuple[CatalogEntry, ModelArtifact]]) -> list[tuple[_Trial, _Verdict | None]]:
    """Try every artifact whose outcome on its engine is unknown, all in one child process while none ends it.

    Returns:
        The outcomes. Engines that compute nothing and models that cannot be read have
        no outcome: loading them here does no harm.
    """
    trials = []
    for entry, artifact in requests:
        if entry.device != "none" and all(path.is_file() for path in (artifact.path, artifact.blob) if path):
            trials.append(_Trial(entry, artifact))
    waiting = [trial for trial in trials if trial.verdict is None]
    if waiting:
        with _one_at_a_time, one_child():
            for trial in waiting:
                with step(f"try {trial.entry.name}, {trial.artifact.precision} in a child process"):
                    _try_in_child(trial)
    return [(trial, trial.verdict) for trial in trials]


@contextmanager
def one_child() -> Iterator[None]:
    """Keep one child process for all trials within the block; it starts with the first."""
    if _kept_child:
        yield
        return
    _kept_child.append(None)
    try:
        yield
    finally:
        with _one_at_a_time:
            child = _kept_child.pop()
            if child is not None:
                child.close()


def _try_in_child(trial: _Trial) -> None:
    limits, artifact = trial.limits(), trial.artifact
    loads = [1, artifact.max_batch] if trial.many and trial.entry.own_graph_for_one else [artifact.max_batch]
    try:
        used = _kept_child[0] is not None and not _kept_child[0].ended
        found = _child().try_out(trial.entry, artifact, loads, limits)
        if used and found.fault is not None and found.fault.exceeded is None:  # an earlier engine may have left it
            found = _child().try_out(trial.entry, artifact, loads, limits)
    except NotStartedError as error:
        _say_once(f"engines are loaded without a trial in a child process: {error}")
        _known[trial.key(trial.many)] = _Verdict(None)  # for this process: a child would not start next time either
        return
    trial.keep(trial.many, _Verdict(found.fault))
    if trial.many:
        trial.keep(False, _Verdict(None if found.one_ran else found.fault))


def _child() -> TrialProcess:
    child = _kept_child[0]
    if child is None or child.ended:
        child = _kept_child[0] = TrialProcess()
    return child


def _read(path: Path) -> _Verdict | None:
    raw = read_cached(path, _SCHEMA)
    if raw is None or "fault" not in raw:
        return None
    if raw["fault"] is None:
        return _Verdict(None)
    match raw["fault"]:
        case [str(text), None | "seconds" | "mib" as exceeded, int(limit) | float(limit)]:
            return _Verdict(Fault(text, exceeded, limit))
    return None


def _file(key: str) -> Path:
    return cache_folder() / "trials" / f"{key}.json"


def _digest_of(artifact: ModelArtifact, path: Path) -> str:
    found = path.stat()
    return artifact.digests.get(path) or _digest(path, (found.st_ino, found.st_size, found.st_mtime_ns))


@cache
def _digest(path: Path, _stamp: Sequence[int]) -> str:
    return sha256_of(path)


@cache
def _say_once(text: str) -> None:
    _LOG.warning("%s", text)
