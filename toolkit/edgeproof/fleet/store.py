"""The bundles of a device on its disk, which of them is current, and what the agent remembers.

DIR/current.edge                      symbolic link to the bundle in use, replaced by a rename
DIR/by-digest/sha256-<hex>.edge/      bundles, by the digest of their manifest
DIR/state.json                        what the agent remembers
DIR/decisions/<number>-<outcome>.json a report of each decision
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeproof.fleet.transfer import sync_folder
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document
from edgeproof_runtime.system.files import write_json

__all__ = ["CURRENT", "Phase", "State", "Store", "Trying"]

CURRENT = "current.edge"
Phase = Literal["prove", "watch"]

_SCHEMA = "edgeproof.agent/1"
_NAME = re.compile(r"sha256-([0-9a-f]{64})\.edge")
_DECISION = re.compile(r"\d{8}-[a-z-]+\.json")
_KEPT_DECISIONS = 500
_KEPT_REJECTIONS = 1000


@dataclass(slots=True)
class Trying:
    """A candidate between its first proof and the end of its watch.

    Attributes:
        digest: its digest.
        phase: how far it came.
        starts: how often this phase began; more than one after the agent or the machine ended in it.
    """

    digest: str
    phase: Phase
    starts: int


@dataclass(slots=True)
class State:
    """What the agent remembers.

    Attributes:
        sequence: number of decisions so far; orders them whatever the clock says.
        previous: digest of the bundle before the current one; None without one.
        trying: the candidate; None outside of a try.
        rejected: digest -> reason.
        counts: outcome -> number of decisions.
        last: outcome and reason of the last decision.
    """

    sequence: int = 0
    previous: str | None = None
    trying: Trying | None = None
    rejected: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    last: tuple[str, str] = ("", "")

    @classmethod
    def from_json(cls, raw: Any) -> State:
        """Inverse of `to_json`.

        Raises:
            InputError: not a state of this version.
        """
        try:
            if raw["schema"] != _SCHEMA:
                raise InputError("state.json: of another version", got=raw["schema"], expected=_SCHEMA)
            trying = raw["trying"]
            return cls(
                sequence=int(raw["sequence"]),
                previous=raw["previous"],
                trying=None if trying is None else Trying(trying["digest"], trying["phase"], int(trying["starts"])),
                rejected={str(digest): str(reason) for digest, reason in raw["rejected"].items()},
                counts={str(outcome): int(number) for outcome, number in raw["counts"].items()},
                last=(str(raw["last"][0]), str(raw["last"][1])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError("state.json: damaged", got=f"{type(error).__name__}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"schema": _SCHEMA, **asdict(self)}


class Store:
    """A device's folder of bundles, for one agent at a time.

    Attributes:
        folder: the folder.
        state: what was remembered; `save` writes it.
        problem: why an earlier state could not be read; None if it could.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder, or make it.

        Raises:
            InputError: another agent uses it, or it cannot be written.
        """
        self.folder = folder.absolute()
        self._bundles = self.folder / "by-digest"
        self._bundles.mkdir(parents=True, exist_ok=True)
        (self.folder / "decisions").mkdir(exist_ok=True)
        self._lock = os.open(self.folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InputError(f"{folder}: in use", got="another agent", fix="stop the other one") from error
        self.state = State()
        self.problem: str | None = None
        path = self.folder / "state.json"
        if path.exists():
            try:
                self.state = State.from_json(read_document(path))
            except InputError as error:
                self.problem = f"{error.what}: {error.got}"
        for left in self.folder.glob(f".{CURRENT}.*"):  # of a switch that was interrupted
            left.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another agent use the folder."""
        os.close(self._lock)

    @property
    def link(self) -> Path:
        """The symbolic link to the current bundle."""
        return self.folder / CURRENT

    @property
    def current(self) -> str | None:
        """Digest of the current bundle; None without one."""
        try:
            found = _NAME.fullmatch(self.link.readlink().name)
        except OSError:
            return None
        return None if found is None else f"sha256:{found[1]}"

    def path(self, digest: str) -> Path:
        """Return the folder of a bundle."""
        return self._bundles / f"{digest.replace(':', '-')}.edge"

    def save(self) -> None:
        """Write the state, whole and to the disk."""
        rejected = self.state.rejected
        while len(rejected) > _KEPT_REJECTIONS:
            rejected.pop(next(iter(rejected)))
        write_json(self.folder / "state.json", self.state.to_json())

    def switch(self, digest: str | None) -> None:
        """Make a bundle the current one, at once for every reader of the link; None removes the link."""
        if digest is None:
            self.link.unlink(missing_ok=True)
        else:
            temporary = self.folder / f".{CURRENT}.{os.getpid()}"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.path(digest).relative_to(self.folder))
            temporary.replace(self.link)
        sync_folder(self.folder)

    def reject(self, digest: str, reason: str) -> None:
        """Remember not to try a digest again."""
        self.state.rejected[digest] = reason
        if self.state.trying is not None and self.state.trying.digest == digest:
            self.state.trying = None
        self.save()

    def write_decision(self, outcome: str, document: Any) -> Path:
        """Write a decision's report under the next number, and remove the oldest reports."""
        self.state.sequence += 1
        self.state.counts[outcome] = self.state.counts.get(outcome, 0) + 1
        self.save()  # first: a number is never used twice
        folder = self.folder / "decisions"
        path = folder / f"{self.state.sequence:08}-{outcome.replace(' ', '-')}.json"
        write_json(path, document)
        kept = sorted(one for one in folder.iterdir() if _DECISION.fullmatch(one.name))
        for old in kept[:-_KEPT_DECISIONS]:
            old.unlink(missing_ok=True)
        return path

    def prune(self, keep: Collection[str | None]) -> None:
        """Remove bundles, and what broken pulls left, except of some digests."""
        names = {self.path(digest).name for digest in keep if digest is not None}
        for path in self._bundles.iterdir():
            partial = path.name.startswith(".") and any(path.name.startswith(f".{name}.") for name in names)
            if path.name in names or partial:
                continue
            self.discard(path)

    @staticmethod
    def discard(path: Path) -> None:
        """Remove a folder. It is renamed first: no half of a bundle keeps its name."""
        doomed = path
        if not path.name.startswith("."):
            doomed = path.with_name(f".{path.name}.removed")
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
