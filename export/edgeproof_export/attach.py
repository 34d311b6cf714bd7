"""Add attachments to a bundle: the one function that writes into a bundle that exists.

Every step leaves a working bundle. Files are complete on the disk before the record that lists them appears, and the
record is there before what it supersedes goes. Nothing is ever overwritten, and what a signature covers stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from edgeproof_export.bundle import encode, sweep_beside, sync, writing
from edgeproof_runtime.bundle.attachments import FOLDER, Attachment, EngineFacts, Scan, scan
from edgeproof_runtime.bundle.content import sha256_of
from edgeproof_runtime.bundle.manifest import FileEntry, PartKind
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import covered_files
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["Addition", "Identity", "add_evidence", "attach"]

Identity = tuple[PartKind, str]
_CREATED = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Addition:
    """A part to attach.

    Attributes:
        kind: ``precision``, ``engine`` or ``evidence``.
        name: the precision, the engine's key or the kind of report.
        files: content of its files, by the names that the bundle knows them by.
        engine: facts of an engine.
    """

    kind: PartKind
    name: str
    files: Mapping[str, bytes]
    engine: EngineFacts | None = None


def attach(
    bundle: Bundle,
    additions: Sequence[Addition],
    drop: Callable[[Bundle], Iterable[Identity]] = lambda _bundle: (),
) -> Bundle:
    """Add parts to a bundle, and remove others.

    Writers take turns: each locks the bundle, reads what is attached, and adds to that. Readers need no lock.

    Args:
        bundle: an opened bundle, whose attachments are read again.
        additions: the parts; one of the same kind and name is superseded.
        drop: returns the parts to remove, from the bundle as it is when it is locked.

    Returns:
        The same bundle, with its attachments read again.

    Raises:
        InputError: the folder cannot be written, is locked for a minute, or holds another ``bundle.json`` by now.
    """
    try:
        with writing(bundle.path) as is_locked:
            _require_same(bundle)
            bundle.reread()
            _Writer(bundle, may_sweep=is_locked).write(additions, drop(bundle))
    except OSError as error:
        raise InputError(f"{bundle.path}: cannot be written", got=error) from error
    bundle.reread()
    return bundle


def add_evidence(bundle: Bundle, kind: str, report: Mapping[str, Any]) -> Bundle:
    """Attach a report, which supersedes an earlier one of the same kind."""
    return attach(bundle, [Addition("evidence", kind, {f"evidence/{kind}.json": encode(report)})])


def _require_same(bundle: Bundle) -> None:
    digest = sha256_of(bundle.path / "bundle.json")
    if digest != bundle.manifest_sha256:
        raise InputError(
            f"{bundle.path}: was exported again since it was opened",
            got=f"bundle.json of sha256 {digest[:16]}",
            expected=f"sha256 {bundle.manifest_sha256[:16]}",
            fix="run this again on the new bundle",
        )


class _Writer:
    """Changes the attachments of a locked bundle."""

    def __init__(self, bundle: Bundle, *, may_sweep: bool) -> None:
        self.bundle = bundle
        self.root = bundle.path
        self.may_sweep = may_sweep
        self.found: Scan = scan(self.root, bundle.manifest_sha256)
        self.kept = covered_files(self.root)

    def write(self, additions: Sequence[Addition], drop: Iterable[Identity]) -> None:
        if self.may_sweep:
            self._sweep(self.found)
        dropped = set(drop) - {(one.kind, one.name) for one in additions}
        records = [self._record(one) for one in additions] + self._withdrawals(dropped)
        if records:
            self._make_folder()
        for addition, record in zip(additions, records, strict=False):
            self._write_payloads(record, addition.files)
        for record in records:
            content = encode(record.to_json())
            write_atomically(self.root / FOLDER / f"{hashlib.sha256(content).hexdigest()}.json", content)
        gone = dropped | {record.identity for record in records}
        for path, old in self.found.records.items():
            if old.identity in gone:
                self._remove(path)
        if self.may_sweep:
            self._sweep(scan(self.root, self.bundle.manifest_sha256))

    def _make_folder(self) -> None:
        folder = self.root / FOLDER
        if not folder.is_dir():
            folder.mkdir()
            sync(self.root)

    def _record(self, addition: Addition) -> Attachment:
        return Attachment(
            bundle=self.bundle.manifest_sha256,
            kind=addition.kind,
            name=addition.name,
            created_at=self._created_at(),
            files={
                name: FileEntry(hashlib.sha256(content).hexdigest(), len(content))
                for name, content in addition.files.items()
            },
            engine=addition.engine,
        )

    def _withdrawals(self, dropped: set[Identity]) -> list[Attachment]:
        """Hide what the manifest lists, which is never changed."""
        listed = {(part.kind, part.name) for part in self.bundle.manifest.parts}
        created_at = self._created_at()
        return [
            Attachment(bundle=self.bundle.manifest_sha256, kind=kind, name=name, created_at=created_at, withdrawn=True)
            for kind, name in sorted(dropped & listed)
        ]

    def _created_at(self) -> str:
        """Return the time, or a later one: a clock that was set back must not make a new record the older one."""
        now = datetime.now(timezone.utc).strftime(_CREATED)
        newest = max((record.created_at for record in self.found.records.values()), default="")
        if now > newest:
            return now
        later = datetime.strptime(newest, _CREATED) + timedelta(microseconds=1)
        return later.strftime(_CREATED)

    def _write_payloads(self, record: Attachment, files: Mapping[str, bytes]) -> None:
        for name, place in record.places().items():
            target = self.root / place
            # Its name is its hash, so a file that is there and whole is the same one.
            if not target.is_file() or sha256_of(target) != record.files[name].sha256:
                write_atomically(target, files[name])

    def _sweep(self, found: Scan) -> None:
        """Remove what killed writers left, and what is superseded by a record whose files are whole."""
        damaged = {one.record for one in self.bundle.left_out}
        superseded: set[tuple[str, str]] = set()
        used: set[str] = set()
        for path, record in found.records.items():  # newest first
            if record.identity in superseded:
                self._remove(path)
                continue
            used |= set(record.places().values())
            if path not in damaged:
                superseded.add(record.identity)
        for partial in (self.root / FOLDER).glob(".*.partial"):
            partial.unlink(missing_ok=True)
        if not found.left_out:  # the files of a record that cannot be read are not known
            for path in found.payloads - used:
                self._remove(path)
        sweep_beside(self.root)

    def _remove(self, path: str) -> None:
        if path not in self.kept:
            (self.root / path).unlink(missing_ok=True)
