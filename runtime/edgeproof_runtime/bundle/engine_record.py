"""Records of compiled engines: what each was built from, and whether it may be loaded on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.plan_header import read_header
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.errors import BundleError, ContractError, UnavailableError
from edgeproof_runtime.system.documents import parse_document
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.system.text import whole_number

__all__ = ["SCHEMA", "EngineRecord", "other_gpu", "read_record", "verify_gpu", "verify_plan", "verify_version"]

SCHEMA: str = SPEC["schemas"]["engine"]

_NEXT_MAJORS: dict[str, str] = dict(SPEC["next_plan_majors"])

# Fields that identify an engine; the others describe its build.
_VERSION_DIGITS = 8  # of each number, as in C++
_KEY_FIELDS = (
    "target",
    "version",
    "precision",
    "onnx_sha256",
    "profile",
    "gpu",
    "compute_capabilities",
    "options",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """``engine.json``: everything that a compiled engine depends on, and how it was built.

    Attributes:
        target: ``tensorrt``, ``tensorrt-rtx`` or ``openvino``.
        version: full version of the compiler, such as ``10.3.0.30``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        onnx_sha256: sha256 of the ONNX file that it was built from.
        profile: batch bounds of its optimisation profile.
        gpu: name of the GPU that it was built on; None if it was built without one.
        compute_capabilities: compute capabilities that it was built for, such as ``8.7``.
        options: builder options by name.
        plan: file name of the plan in the record's folder.
        plan_sha256: sha256 of the plan.
        plan_size_bytes: size of the plan.
        build_time_s: wall-clock time of the build.
        peak_rss_bytes: peak resident memory of the build process.
        built_at: UTC, ISO 8601.
    """

    target: str
    version: str
    precision: str
    onnx_sha256: str
    profile: BatchBounds
    gpu: str | None
    compute_capabilities: tuple[str, ...]
    options: dict[str, str | int | bool]
    plan: str = ""
    plan_sha256: str = ""
    plan_size_bytes: int = 0
    build_time_s: float = 0.0
    peak_rss_bytes: int = 0
    built_at: str = ""

    @property
    def key(self) -> str:
        """First 16 hexadecimal digits of the sha256 of everything that the engine depends on."""
        parts = asdict(self)
        canonical = json.dumps({name: parts[name] for name in _KEY_FIELDS}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def changes_from(self, other: EngineRecord) -> tuple[str, ...]:
        """List the key fields that differ from another record's, such as ``profile: batch 1..8 is now 1..32``."""
        mine, theirs = asdict(self), asdict(other)
        return tuple(
            f"{name}: {_text(theirs[name])} is now {_text(mine[name])}"
            for name in _KEY_FIELDS
            if mine[name] != theirs[name]
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` is the inverse."""
        return {"schema": SCHEMA, "key": self.key, **asdict(self)}

    @classmethod
    def from_json(cls, raw: Any) -> EngineRecord:
        """Validate and build a record.

        Raises:
            BundleError: unsupported schema, missing, unknown or invalid fields, or a key that does not match them.
        """
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            raise BundleError(
                "engine.json: not the record of an engine", expected=f'an object with "schema": "{SCHEMA}"'
            )
        names = {field.name for field in fields(cls)}
        if set(raw) != names | {"schema", "key"}:
            raise BundleError(
                "engine.json: unknown or missing fields",
                got=f"unknown {sorted(set(raw) - names - {'schema', 'key'})}, missing {sorted(names - set(raw))}",
                fix="compile the bundle again with this version",
            )
        values = {name: raw[name] for name in names}
        try:
            values["profile"] = BatchBounds(**raw["profile"])
            values["compute_capabilities"] = tuple(str(item) for item in raw["compute_capabilities"])
            values["options"] = dict(raw["options"])
            record = cls(**values)
        except (TypeError, ValueError, ContractError) as error:
            raise BundleError("engine.json: damaged", got=error, fix="compile the bundle again") from error
        if Path(record.plan).name != record.plan or not record.plan:
            raise BundleError("engine.json: plan outside its folder", got=repr(record.plan))
        if record.key != raw["key"]:
            raise BundleError(
                "engine.json: changed after the build",
                got=f"key {raw['key']}",
                expected=f"key {record.key}, computed from its other fields",
                fix="compile the bundle again",
            )
        return record


def read_record(content: bytes, name: str | Path) -> EngineRecord:
    """Read the content of an ``engine.json``.

    Args:
        content: its bytes.
        name: its name or path, for messages.

    Raises:
        BundleError: it is invalid.
    """
    return EngineRecord.from_json(parse_document(content, name, error=BundleError, fix="compile the bundle again"))


def verify_plan(plan: bytes, path: Path, record: EngineRecord) -> None:
    """Check that a plan is complete and is the one that its record describes.

    Args:
        plan: content of the plan.
        path: its file, for messages.
        record: its record.

    Raises:
        BundleError: the plan is truncated, another file, or of another flavour or version than recorded.
    """
    header = read_header(plan, path)
    size = len(plan)
    if size != record.plan_size_bytes:
        raise BundleError(
            f"{path}: truncated, or not the plan that was built",
            got=f"{size} bytes",
            expected=f"{record.plan_size_bytes} bytes",
            fix="compile the bundle again",
        )
    digest = hashlib.sha256(plan).hexdigest()
    if digest != record.plan_sha256:
        raise BundleError(
            f"{path}: not the plan that was built, and a plan contains code",
            got=f"sha256 {digest}",
            expected=f"sha256 {record.plan_sha256}",
            fix="compile the bundle again",
        )
    if header.target != record.target or not same_version(header.version, version_numbers(record.version)):
        raise BundleError(
            f"{path}: does not match its engine.json",
            got=f"a plan of {header.target} {header.version_text}",
            expected=f"{record.target} {record.version}",
            fix="compile the bundle again",
        )


def verify_version(record: EngineRecord, installed: str) -> None:
    """Check that the installed TensorRT loads plans of the record's version.

    Plans load in the exact version that built them; version-compatible plans also in later versions, of the same
    major version or, of TensorRT, the next one: 8 to 10, 10 to 11 (NVIDIA, *Version Compatibility*).

    Raises:
        UnavailableError: the installed version does not load it.
    """
    built, here = version_numbers(record.version), version_numbers(installed)
    compatible = record.options.get("version_compatible") is True
    major = built[0] if built else 0
    last = int(_NEXT_MAJORS.get(str(major), major)) if record.target == "tensorrt" else major
    if same_version(built, here) or (compatible and here >= built and here[0] in (major, last)):
        return
    raise UnavailableError(
        f"compiled engine: built by another version of {record.target}",
        got=f"built by {record.version}, installed is {installed}",
        expected=f"{record.version}" + (f" or later, below {last + 1}" if compatible else ""),
        fix=f"edgeproof compile BUNDLE --target {record.target} on this machine",
    )


def verify_gpu(record: EngineRecord, compute_capability: str, name: str) -> None:
    """Check that an engine was built for this GPU.

    TensorRT plans run on the compute capability that they were built on; those built with hardware
    compatibility ``ampere_plus`` run on 8.0 and later. TensorRT-RTX plans run on those that they were built for.

    Raises:
        UnavailableError: the engine was built for another GPU.
    """
    if compute_capability in record.compute_capabilities:
        return
    if record.options.get("hardware_compatibility") == "ampere_plus" and _capability(compute_capability) >= (8, 0):
        return
    built_for = ", ".join(record.compute_capabilities)
    raise UnavailableError(
        "compiled engine: built for another GPU",
        got=f"{name}, compute capability {compute_capability}",
        expected=f"compute capability {built_for}" + (f" ({record.gpu})" if record.gpu else ""),
        fix=f"edgeproof compile BUNDLE --target {record.target} on this machine",
    )


def other_gpu(record: EngineRecord, identity: str) -> str | None:
    """Return a warning if a plan was built on another GPU of the same compute capability; None if it was not.

    AGX Orin, Orin NX and Orin Nano all have 8.7, RTX 4060 and 4090 both 8.9. Plans run there, and may be slow or fail.

    Args:
        record: its record; the name alone, as older versions recorded it, is not compared.
        identity: name, multiprocessors, memory and board of this GPU.
    """
    if record.gpu is None or "," not in record.gpu or record.gpu == identity:
        return None
    return (
        f"compiled engine: built on {record.gpu}, this is {identity}: it may be slow or fail here. "
        f"Run `edgeproof compile BUNDLE --target {record.target}` on this machine."
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """Parse ``10.3.0`` to (10, 3, 0), ``1.7.1.116`` to (1, 7, 1, 116); Debian and older wheels omit the build."""
    numbers: list[int] = []
    for part in version.split(".")[:4]:
        number = whole_number(part)
        if number is None or len(part) > _VERSION_DIGITS:
            break
        numbers.append(number)
    return tuple(numbers)


def same_version(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two versions agree in every number that both have."""
    common = min(len(one), len(other))
    return common > 0 and one[:common] == other[:common]


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor))


def _text(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:12]}…"
    if isinstance(value, dict) and set(value) == {"min", "opt", "max"}:
        return f"batch {value['min']}..{value['max']}, optimal {value['opt']}"
    return str(value)
