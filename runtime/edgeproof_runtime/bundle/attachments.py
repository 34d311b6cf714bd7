"""Attachments: what was added to a bundle after its export, one record each in ``attachments/``.

A record's file name is the sha256 of its bytes. It names the ``bundle.json`` that it belongs to. Its files lie beside
it under names that begin with their own sha256, so no file is ever changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from edgeproof_runtime.bundle.manifest import MODEL_FILES, EngineEntry, FileEntry, PartKind, Precision
from edgeproof_runtime.errors import BundleError, one_line
from edgeproof_runtime.system.documents import MAX_BYTES, parse_document
from edgeproof_runtime.system.regular import read_regular
from edgeproof_runtime.system.spec import SPEC

__all__ = ["FOLDER", "SCHEMA", "Attachment", "EngineFacts", "LeftOut", "Scan", "payload_name", "scan"]

SCHEMA: str = SPEC["schemas"]["attachment"]
FOLDER = "attachments"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(r"[0-9a-f]{64}\.json")
_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")  # fixed width: text sorts as time does
_NAMES = {
    "precision": re.compile("|".join(map(re.escape, MODEL_FILES))),
    "engine": re.compile(r"[A-Za-z0-9_-]{1,64}"),
    "evidence": re.compile(r"[a-z][a-z0-9-]{0,63}"),
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a bundle that its readers leave out.

    Attributes:
        record: file that lists the part.
        kind: kind of the part, and ``name``: its name; None if the record does not say.
        reason: why, in one line.
    """

    record: str
    kind: str | None
    name: str | None
    reason: str

    @property
    def note(self) -> str:
        """One line for people."""
        what = "attachment" if self.kind is None else f"{self.kind} {self.name}"
        return f"{what} left out ({self.record}): {self.reason}"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine's record says beside its key.

    Attributes:
        target: compile target.
        precision: precision of the model.
        onnx_sha256: sha256 of the ONNX file that it was built from.
    """

    target: str
    precision: Precision
    onnx_sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.target, str) or not self.target:
            raise BundleError("attachment: engine.target must be a string", got=repr(self.target))
        if self.precision not in get_args(Precision):
            raise BundleError("attachment: engine.precision is unknown", got=repr(self.precision))
        if not isinstance(self.onnx_sha256, str) or not _SHA256.fullmatch(self.onnx_sha256):
            raise BundleError("attachment: engine.onnx_sha256 is invalid", got=repr(self.onnx_sha256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One record: a precision, an engine or a report, of which the newest of a kind and name counts.

    Attributes:
        bundle: sha256 of the ``bundle.json`` that it belongs to.
        kind: ``precision``, ``engine`` or ``evidence``.
        name: the precision (a key of `MODEL_FILES`), the engine's key or the kind of report.
        created_at: UTC with microseconds; fixed width, so that text sorts as time does.
        files: hash and size of its files, by the name that the bundle knows them by.
        engine: facts of an engine; None for other kinds.
        withdrawn: it has no files, and hides the part of this name that a schema 1 ``bundle.json`` lists.
    """

    bundle: str
    kind: PartKind
    name: str
    created_at: str
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    engine: EngineFacts | None = None
    withdrawn: bool = False

    def __post_init__(self) -> None:
        for what, value, pattern in (
            ("bundle", self.bundle, _SHA256),
            ("name", self.name, _NAMES[self.kind]),
            ("created_at", self.created_at, _CREATED),
        ):
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise BundleError(f"attachment: invalid {what}", got=repr(value))
        if not isinstance(self.withdrawn, bool):
            raise BundleError("attachment: withdrawn must be true or false", got=repr(self.withdrawn))
        if (self.kind == "engine" and not self.withdrawn) != (self.engine is not None):
            raise BundleError(f"attachment: {self.kind} with or without the facts of an engine", got=self.engine)
        if sorted(self.files) != sorted(self._expected_files()):
            raise BundleError(
                f"attachment: wrong files for {self.kind} {self.name}",
                got=", ".join(self.files) or "none",
                expected=", ".join(self._expected_files()) or "none",
            )

    def _expected_files(self) -> tuple[str, ...]:
        if self.withdrawn:
            return ()
        if self.kind == "precision":
            return (MODEL_FILES[self.name],)
        if self.kind == "evidence":
            return (f"evidence/{self.name}.json",)
        info = f"engines/{self.name}/engine.json"
        compiled = [name for name in self.files if name != info]
        plain = [name for name in compiled if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", _base(name))]
        plain = [name for name in plain if name == f"engines/{self.name}/{_base(name)}"]
        return (info, plain[0] if plain else f"engines/{self.name}/PLAN")

    @property
    def identity(self) -> tuple[str, str]:
        """Kind and name: a newer attachment of the same identity supersedes this one."""
        return self.kind, self.name

    @property
    def entry(self) -> EngineEntry:
        """The engine's entry.

        Raises:
            BundleError: the attachment is not an engine.
        """
        if self.engine is None:
            raise BundleError("attachment: not an engine", got=f"{self.kind} {self.name}")
        info = f"engines/{self.name}/engine.json"
        (compiled,) = (name for name in self.files if name != info)
        return EngineEntry(self.name, self.engine.target, self.engine.precision, compiled, info)

    def places(self) -> dict[str, str]:
        """Return the path in the bundle's folder of each of its files."""
        return {name: payload_name(name, entry.sha256) for name, entry in self.files.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` is the inverse."""
        return {
            "schema": SCHEMA,
            "bundle": self.bundle,
            "kind": self.kind,
            "name": self.name,
            "created_at": self.created_at,
            **({} if self.engine is None else {"engine": asdict(self.engine)}),
            **({"withdrawn": True} if self.withdrawn else {}),
            "files": {name: asdict(entry) for name, entry in sorted(self.files.items())},
        }

    @classmethod
    def from_json(cls, raw: Any) -> Attachment:
        """Validate parsed JSON and build a record.

        Raises:
            BundleError: another schema, an unknown kind, or a missing or invalid field.
        """
        if not isinstance(raw, Mapping) or not isinstance(raw.get("schema"), str):
            raise BundleError("attachment: not a record", expected=f'an object with "schema": "{SCHEMA}"')
        if raw["schema"] != SCHEMA:
            raise BundleError("attachment: unsupported schema", got=raw["schema"], expected=SCHEMA)
        if raw.get("kind") not in _NAMES:
            raise BundleError("attachment: unknown kind", got=repr(raw.get("kind")), expected=", ".join(_NAMES))
        try:
            facts = raw.get("engine")
            return cls(
                bundle=raw["bundle"],
                kind=raw["kind"],
                name=raw["name"],
                created_at=raw["created_at"],
                files={
                    name: FileEntry(entry["sha256"], entry["size_bytes"]) for name, entry in dict(raw["files"]).items()
                },
                engine=None
                if facts is None
                else EngineFacts(facts["target"], facts["precision"], facts["onnx_sha256"]),
                withdrawn=raw.get("withdrawn", False),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError("attachment: damaged", got=f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Scan:
    """The records in a bundle's folder.

    Attributes:
        records: valid records of this bundle by path in its folder, newest first.
        left_out: records that are not.
        payloads: paths of the other files beside the records.
        vanished: whether a writer removed a record meanwhile.
    """

    records: Mapping[str, Attachment] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    payloads: frozenset[str] = frozenset()
    vanished: bool = False


def payload_name(name: str, sha256: str) -> str:
    """Return where a file of an attachment lies: its sha256 and its own name, in ``attachments/``."""
    return f"{FOLDER}/{sha256}.{_base(name)}"


def scan(root: Path, manifest_sha256: str) -> Scan:
    """Read every record in a bundle's folder.

    Args:
        root: the bundle's folder.
        manifest_sha256: sha256 of its ``bundle.json``.
    """
    try:
        names = sorted(path.name for path in (root / FOLDER).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return Scan()
    except OSError as error:
        return Scan(left_out=(LeftOut(FOLDER, None, None, f"cannot be read: {error}"),))
    records: dict[str, Attachment] = {}
    left_out = []
    vanished = False
    for name in filter(_RECORD.fullmatch, names):
        path = f"{FOLDER}/{name}"
        try:
            record = _read(root / path)
        except FileNotFoundError:
            vanished = True
        except OSError as error:
            left_out.append(LeftOut(path, None, None, f"cannot be read: {error}"))
        except BundleError as error:
            left_out.append(LeftOut(path, None, None, one_line(error)))
        else:
            if record.bundle == manifest_sha256:
                records[path] = record
            else:
                reason = f"belongs to another bundle.json, of sha256 {record.bundle[:16]}"
                left_out.append(LeftOut(path, record.kind, record.name, reason))
    newest_first = sorted(records, key=lambda path: (records[path].created_at, path), reverse=True)
    payloads = frozenset(f"{FOLDER}/{name}" for name in names if not _RECORD.fullmatch(name) and name[0] != ".")
    return Scan({path: records[path] for path in newest_first}, tuple(left_out), payloads, vanished)


def _read(path: Path) -> Attachment:
    content = read_regular(path, MAX_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if digest != path.stem:
        raise BundleError("attachment: modified", got=f"sha256 {digest[:16]}", expected=f"sha256 {path.stem[:16]}")
    return Attachment.from_json(parse_document(content, "attachment", error=BundleError))


def _base(name: str) -> str:
    return PurePosixPath(name).name
