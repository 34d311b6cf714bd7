"""Golden cases on an engine that was just built, before a bundle lists it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.bundle.engine_record import EngineRecord, verify_gpu
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import _cuda, catalog
from edgeproof_runtime.errors import GateError, UnavailableError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.verify.golden import output_gate

__all__ = ["replay"]


def replay(bundle: Bundle, record: EngineRecord, plan: bytes) -> Gate | str:
    """Replay the golden cases on a compiled engine that is in no bundle yet.

    Args:
        bundle: the bundle that it was built from.
        record: its record.
        plan: content of its file.

    Returns:
        The gate that it passed, or why it cannot run on this machine.

    Raises:
        GateError: its outputs differ from PyTorch's by more than the bound of its precision.
    """
    entry = catalog.compiling()[record.target]
    reason = entry.load_class().unavailable_reason()
    if reason is not None:
        return reason.what
    if record.compute_capabilities:
        device = _cuda.device()
        try:
            verify_gpu(record, device.compute_capability, device.name)
        except UnavailableError as error:
            return f"{error.what}: {error.got}"
    model = bundle.artifact(record.precision, int8_shape=entry.int8_shape)
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        path, info = Path(folder) / record.plan, Path(folder) / "engine.json"
        path.write_bytes(plan)
        info.write_text(json.dumps(record.to_json()), encoding="utf-8")
        gate = _gate(bundle, entry, _artifact(model, entry, record, path, info), record.profile.min)
    if not gate.passed:
        raise GateError(
            f"{record.target} {record.version}, {record.precision}: the new engine fails the golden cases",
            got=gate.misses(),
            fix="the bundle is unchanged; try another precision"
            + (", --no-tf32, or --optimization-level 2" if record.target.startswith("tensorrt") else ""),
        )
    return gate


def _artifact(
    model: ModelArtifact, entry: catalog.CatalogEntry, record: EngineRecord, path: Path, info: Path
) -> ModelArtifact:
    max_batch = min(model.max_batch, record.profile.max)
    if entry.loads == "compiled":
        return replace(model, path=path, info=info, max_batch=max_batch)
    return replace(model, blob=path, max_batch=max_batch)


def _gate(bundle: Bundle, entry: catalog.CatalogEntry, artifact: ModelArtifact, batch: int) -> Gate:
    with engines.load(entry.name, artifact) as engine:
        return output_gate(bundle, engine, load_golden(bundle), batch=batch)
