"""Keep engines in a bundle: reuse an unchanged one, rebuild a changed one and name the change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgeproof_export.attach import Addition, Identity, attach
from edgeproof_export.compile.dla import board, check_dla
from edgeproof_export.compile.options import BuildOptions
from edgeproof_export.compile.replay import replay
from edgeproof_export.compile.target import Built, find_compiling, find_target
from edgeproof_export.compile.watch import BuildWatch
from edgeproof_runtime.bundle.attachments import EngineFacts
from edgeproof_runtime.bundle.engine_record import EngineRecord, read_record, verify_plan, version_numbers
from edgeproof_runtime.bundle.manifest import EngineEntry, Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import is_trusted, trust
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.metrics.gate import Gate

if TYPE_CHECKING:
    from edgeproof_export.compile.lint import Finding

__all__ = ["Compiled", "compile_bundle"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Result of compiling one precision.

    Attributes:
        bundle: the bundle with the engine.
        record: record of the engine.
        cached: whether the engine was found instead of built.
        changes: differences from the replaced engine; empty without one.
        warnings: warnings about the model.
        golden: the gate of the golden cases on the new engine, or why they were not replayed; None if it was found.
        notes: notes of the build, such as how many layers a DLA takes.
    """

    bundle: Bundle
    record: EngineRecord
    cached: bool
    changes: tuple[str, ...]
    warnings: tuple[Finding, ...]
    golden: Gate | str | None = None
    notes: tuple[str, ...] = ()


def compile_bundle(
    bundle: Bundle,
    target: str,
    precision: str = "fp32",
    options: BuildOptions | None = None,
    *,
    watch: BuildWatch | None = None,
    force: bool = False,
) -> Compiled:
    """Add an engine to a bundle, or find the stored one.

    A bundle keeps one engine per target, precision and set of GPUs. A complete new engine replaces it, and removes
    engines of models that the bundle no longer has.

    Args:
        bundle: an opened bundle.
        target: one of the catalogue's compile targets.
        precision: precision of an ONNX model of the bundle.
        options: build options.
        watch: reports progress, and can stop the build.
        force: build even if the engine is stored.

    Raises:
        UnavailableError: the machine cannot build for this target, or the bundle has no model of the precision.
        InputError: the target is unknown, or the model cannot be built.
        GateError: the new engine fails the golden cases on this machine; the bundle is unchanged.
        KeyboardInterrupt: the user stopped the build; the bundle is unchanged.
    """
    options = options or BuildOptions()
    entry = find_compiling(target)
    wanted, build = BUILDERS[target](bundle, entry, precision, options)
    old = _same_slot(bundle, wanted)
    kept = old is not None and old[1].key == wanted.key and not force and _is_whole(bundle, old)
    if old is not None and kept and is_trusted(old[1].plan_sha256):
        return Compiled(bundle, old[1], cached=True, changes=(), warnings=())
    built, warnings = build(watch or BuildWatch())
    record = replace(
        wanted,
        plan=str(entry.compiled_file),
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_size_bytes=len(built.plan),
        build_time_s=round(built.build_time_s, 3),
        peak_rss_bytes=built.peak_rss_bytes,
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    trust(record.plan_sha256, "built here", onnx_sha256=record.onnx_sha256)
    changes = () if old is None else record.changes_from(old[1])
    golden = replay(bundle, record, built.plan)
    return Compiled(_store(bundle, record, built.plan), record, False, changes, warnings, golden, built.notes)


_Build = Callable[[BuildWatch], tuple[Built, "tuple[Finding, ...]"]]


def _openvino(
    bundle: Bundle, entry: CatalogEntry, precision: str, options: BuildOptions
) -> tuple[EngineRecord, _Build]:
    from edgeproof_export.compile.openvino import build_blob, cpu_name, find_openvino

    if options != BuildOptions():
        raise InputError(
            "options: supported by TensorRT targets only", got=f"--target {entry.target}", fix="leave them out"
        )
    artifact = bundle.artifact(precision, int8_shape=entry.int8_shape, max_batch=1)
    builder = find_openvino()
    record = EngineRecord(
        target=builder.name,
        version=builder.version,
        precision=artifact.precision,
        onnx_sha256=artifact.digests[artifact.path],
        profile=BatchBounds(1, 1, 1),
        gpu=None,
        compute_capabilities=(),
        options={"cpu": cpu_name()},
    )
    return record, lambda _watch: (build_blob(artifact), ())


def _tensorrt(
    bundle: Bundle, entry: CatalogEntry, precision: str, options: BuildOptions
) -> tuple[EngineRecord, _Build]:
    target = str(entry.target)
    profile = options.profile or bundle.batch
    artifact = bundle.artifact(precision, int8_shape=entry.int8_shape)
    if profile.min > artifact.max_batch:
        raise InputError(
            "--batch: the smallest batch is larger than the bundle's largest",
            got=profile.min,
            expected=f"at most {artifact.max_batch}",
        )
    builder = find_target(target, options.gpus)
    if options.dla_core is not None:
        check_dla(builder.version, artifact.precision, profile, board=board())
    record = EngineRecord(
        target=target,
        version=builder.version,
        precision=artifact.precision,
        onnx_sha256=artifact.digests[artifact.path],
        profile=profile,
        gpu=builder.gpu,
        compute_capabilities=builder.compute_capabilities,
        options=options.for_key(),
    )

    def build(watch: BuildWatch) -> tuple[Built, tuple[Finding, ...]]:
        # Only a build reads the model; importing onnx takes longer than finding an engine.
        from edgeproof_export.compile.lint import lint_model
        from edgeproof_export.compile.tensorrt import build_plan, check_with_parser

        with artifact.onnx() as model:
            source = Path(model.path)
            findings = lint_model(
                source,
                precision=artifact.precision,
                target=target,
                gpus=builder.compute_capabilities,
                major=next(iter(version_numbers(builder.version)), None),
            )
            if not any(finding.severity == "error" for finding in findings):
                findings += check_with_parser(source, builder)
            errors = [finding for finding in findings if finding.severity == "error"]
            if errors:
                raise InputError(
                    f"{artifact.path.name}: cannot be built for {target}",
                    got="; ".join(f"{finding.rule}: {finding.what}" for finding in errors),
                    fix="; ".join(dict.fromkeys(finding.fix for finding in errors)),
                )
            return build_plan(source, builder, artifact.precision, profile, options, watch), tuple(findings)

    return record, build


# Builder of each target's engine file; a test compares the keys with the catalogue.
BUILDERS: dict[str, Callable[[Bundle, CatalogEntry, str, BuildOptions], tuple[EngineRecord, _Build]]] = {
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "tensorrt-rtx": _tensorrt,
}


def _same_slot(bundle: Bundle, wanted: EngineRecord) -> tuple[EngineEntry, EngineRecord] | None:
    slot = (wanted.precision, wanted.compute_capabilities, wanted.gpu)
    for entry, record in _records(bundle, wanted.target):
        if record is not None and (record.precision, record.compute_capabilities, record.gpu) == slot:
            return entry, record
    return None


def _records(bundle: Bundle, target: str) -> list[tuple[EngineEntry, EngineRecord | None]]:
    """Return the bundle's engines of a target; None replaces a record that this version cannot read."""
    found: list[tuple[EngineEntry, EngineRecord | None]] = []
    for entry in bundle.engines(target):
        try:
            found.append((entry, read_record(bundle.read(entry.info), entry.info)))
        except BundleError:
            found.append((entry, None))
    return found


def _stale(bundle: Bundle, record: EngineRecord) -> list[Identity]:
    """Return obsolete engines: those that the record replaces, and those of models that the bundle no longer has."""
    slot = (record.precision, record.compute_capabilities, record.gpu)

    def is_current(known: EngineRecord) -> bool:
        name = bundle.model_for(known.precision, catalog.int8_shape(record.target))
        replaced = (known.precision, known.compute_capabilities, known.gpu) == slot
        return not replaced and name is not None and bundle.sha256(name) == known.onnx_sha256

    return [
        ("engine", entry.key)
        for entry, known in _records(bundle, record.target)
        if entry.key != record.key and (known is None or not is_current(known))
    ]


def _is_whole(bundle: Bundle, found: tuple[EngineEntry, EngineRecord]) -> bool:
    if catalog.compiling()[found[1].target].loads != "compiled":
        return True  # the engine checks an optional file when loading it, and the bundle's hashes match
    try:
        path = bundle.locate(found[0].path)
        verify_plan(bundle.read(found[0].path), path, found[1])
    except BundleError:
        return False
    return True


def _store(bundle: Bundle, record: EngineRecord, plan: bytes) -> Bundle:
    folder = f"engines/{record.key}"
    info = json.dumps(record.to_json(), indent=2) + "\n"
    facts = EngineFacts(record.target, cast("Precision", record.precision), record.onnx_sha256)
    files = {f"{folder}/{record.plan}": plan, f"{folder}/engine.json": info.encode()}
    return attach(bundle, [Addition("engine", record.key, files, facts)], drop=lambda now: _stale(now, record))
