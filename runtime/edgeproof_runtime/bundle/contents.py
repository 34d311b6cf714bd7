"""What a bundle holds: what its ``bundle.json`` lists, and the attachments that are whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeproof_runtime.bundle.attachments import FOLDER, Attachment, LeftOut, scan
from edgeproof_runtime.bundle.content import check_listed
from edgeproof_runtime.bundle.manifest import MODEL_FILES, EngineEntry, FileEntry, Manifest, Part
from edgeproof_runtime.bundle.signatures import Signed
from edgeproof_runtime.bundle.trust import is_built_here
from edgeproof_runtime.errors import BundleError, one_line

__all__ = ["Contents"]

_TRIES = 20  # a folder that writers change is listed again


@dataclass(frozen=True, slots=True)
class Contents:
    """Models, engines and evidence of a bundle, from its manifest and its attachments.

    Attributes:
        models: ONNX file of each key of `MODEL_FILES` that the bundle has, in that order.
        engines: compiled engines, newest first.
        evidence: names of the reports.
        files: hash and size of every file.
        places: where the files of attachments lie in the bundle's folder; other files lie under their own names.
        left_out: parts that are listed and not usable.
    """

    models: Mapping[str, str]
    engines: tuple[EngineEntry, ...]
    evidence: tuple[str, ...]
    files: Mapping[str, FileEntry]
    places: Mapping[str, str]
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Contents:
        """Return what the manifest lists, without attachments and unchecked."""
        return cls(manifest.models, manifest.engines, manifest.evidence, manifest.files, {})

    @classmethod
    def read(cls, root: Path, manifest: Manifest, manifest_sha256: str, signed: Signed | None = None) -> Contents:
        """Read the attachments, check their files and those of the manifest's optional parts.

        With a signature, parts that it does not cover are left out, except engines that this machine compiled from a
        signed model.

        What is damaged or missing is left out. No lock is needed: if something is left out while writers change the
        folder, it is read again.
        """
        before = _listing(root)
        for _ in range(_TRIES):
            reading = _Reading(root, manifest, manifest_sha256, signed)
            found = reading.contents()
            after = _listing(root)
            if after == before or not (found.left_out or reading.vanished):
                break
            before = after
        return found

    def place(self, name: str) -> str:
        """Return the path of a file in the bundle's folder."""
        return self.places.get(name, name)

    def missing(self, kind: str, name: str | None = None) -> str | None:
        """Return why a part was left out; None if it was not listed at all.

        Args:
            kind: kind of the part.
            name: its name; None for any of the kind.
        """
        found = (one.reason for one in self.left_out if one.kind == kind and name in (None, one.name))
        return next(found, None)


def _listing(root: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in (root / FOLDER).iterdir() if path.name[0] != ".")
    except OSError:
        return frozenset()


class _Reading:
    """One pass over a bundle's folder."""

    def __init__(self, root: Path, manifest: Manifest, manifest_sha256: str, signed: Signed | None) -> None:
        self.root = root
        self.signed = signed
        self.manifest = manifest
        self.base_names = set(manifest.base_files)
        scanned = scan(root, manifest_sha256)
        self.vanished = scanned.vanished
        self.left_out = list(scanned.left_out)
        self.newest: dict[tuple[str, str], Attachment] = {}
        for path, record in scanned.records.items():
            if record.identity not in self.newest and self._is_whole(path, record):
                self.newest[record.identity] = record

    def _is_whole(self, path: str, record: Attachment) -> bool:
        if record.identity == ("precision", self.manifest.base_precision) or set(record.files) & self.base_names:
            reason: str | None = "bundle.json holds this file, and an export alone may change it"
        elif not self._is_covered({path: PurePosixPath(path).stem}, record) and not _is_ours(record):
            reason = "not signed, and not compiled on this machine"
        else:
            reason = self._fault({place: record.files[name] for name, place in record.places().items()})
        if reason is not None:
            self.left_out.append(LeftOut(path, record.kind, record.name, reason))
        return reason is None

    def _is_covered(self, files: Mapping[str, str], record: Attachment | None = None) -> bool:
        places = {} if record is None else {place: record.files[name].sha256 for name, place in record.places().items()}
        return self.signed is None or all(
            self.signed.covers(name, sha256) for name, sha256 in {**files, **places}.items()
        )

    def _fault(self, files: Mapping[str, FileEntry]) -> str | None:
        try:
            for place, entry in files.items():
                check_listed(self.root, place, entry)
        except BundleError as error:
            return one_line(error)
        return None

    def contents(self) -> Contents:
        parts = [part for part in self.manifest.parts if (part.kind, part.name) not in self.newest]
        kept = [part for part in parts if self._is_kept(part)]
        added = [record for record in self.newest.values() if not record.withdrawn]
        base: str = self.manifest.base_precision
        models = {base: self.manifest.models[base]}
        models |= {part.name: part.files[0] for part in kept if part.kind == "precision"}
        models |= {record.name: MODEL_FILES[record.name] for record in added if record.kind == "precision"}
        files = dict(self.manifest.base_files)
        for part in kept:
            files |= {name: self.manifest.files[name] for name in part.files}
        for record in added:
            files |= record.files
        built_from = {files[name].sha256 for name in models.values()}
        engines = [record for record in added if record.kind == "engine" and self._is_current(record, built_from)]
        old = {part.name for part in kept if part.kind == "engine"}
        evidence = [part.files[0] for part in kept if part.kind == "evidence"]
        evidence += [next(iter(record.files)) for record in added if record.kind == "evidence"]
        return Contents(
            models={key: models[key] for key in MODEL_FILES if key in models},
            engines=(
                *(record.entry for record in engines),
                *(entry for entry in self.manifest.engines if entry.key in old),
            ),
            evidence=tuple(sorted(evidence)),
            files=files,
            places={name: place for record in added for name, place in record.places().items()},
            left_out=tuple(self.left_out),
        )

    def _is_kept(self, part: Part) -> bool:
        files = {name: self.manifest.files[name] for name in part.files}
        covered = self._is_covered({name: entry.sha256 for name, entry in files.items()})
        reason = self._fault(files) if covered else "not signed"
        if reason is not None:
            self.left_out.append(LeftOut("bundle.json", part.kind, part.name, reason))
        return reason is None

    def _is_current(self, record: Attachment, built_from: set[str]) -> bool:
        current = record.engine is not None and record.engine.onnx_sha256 in built_from
        if not current:
            reason = "built from another model than the bundle's; edgeproof compile builds it again"
            self.left_out.append(LeftOut(FOLDER, record.kind, record.name, reason))
        return current


def _is_ours(record: Attachment) -> bool:
    """Return whether this machine compiled an engine."""
    if record.engine is None:
        return False
    return is_built_here(record.files[record.entry.path].sha256, record.engine.onnx_sha256)
