"""Evidence as a JSON document, ``"schema": "edgeproof.report/1"``."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import STAGES, LatencyRecorder, LatencySummary, distribution
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.system.spec import SPEC

__all__ = ["SCHEMA", "BundleFacts", "Kind", "Report", "command_line"]

SCHEMA: str = SPEC["schemas"]["report"]

Kind = Literal["demo", "train", "export", "optimize", "verify", "evaluate", "run", "soak", "bench", "serve", "sample"]


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """Which bundle was measured: hash of its manifest, hash and size of every model and engine in it."""

    name: str
    manifest_sha256: str
    contract: str
    artifacts: tuple[dict[str, str | int], ...]
    provenance: dict[str, Any]

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Facts of an opened bundle."""
        manifest = bundle.manifest
        names = [*manifest.models.values(), *(engine.path for engine in manifest.engines)]
        return cls(
            name=bundle.name,
            manifest_sha256=sha256_of(bundle.path / "bundle.json"),
            contract=bundle.input_summary,
            artifacts=tuple({"path": name, **asdict(manifest.files[name])} for name in names),
            provenance=manifest.provenance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one command measured. Only ``kind``, ``command`` and ``host`` are always there.

    Attributes:
        kind: the command.
        command: the command line that reproduces the report, from `command_line`.
        host: from `edgeproof_runtime.engines.machine.host_facts`.
        created: when, UTC, ISO 8601.
        bundle: what was measured.
        settings: engine, precision, threads, source, policy: everything that was chosen.
        counts: frames_in, frames_classified, frames_dropped, frames_failed, and whatever else was
            counted.
        latency_ms: stage -> summary, and
        distribution_ms: stage -> thinned distribution; `latency` gives both.
        throughput_fps: frames classified per second of wall time.
        accuracy: from `edgeproof_runtime.metrics.accuracy.AccuracyResult.to_json`.
        anomaly: how well a `reconstruct` bundle's scores tell defects from good pictures.
        gates: every gate that ran.
        engines: every engine that was considered.
        samples: frames to look at.
        timeline: from `edgeproof_runtime.live.timeline.Timeline.to_json`.
        generation: what a classifier sees in generated pictures, and their nearest training pictures.
        training: history by epoch, calibration, times and checkpoint of a training.
        streams: what each stream did, from `edgeproof_runtime.live.stream.StreamSnapshot.to_json`.
        sinks: what became of what was written, from `edgeproof_runtime.sinks.SinkCounts.to_json`.
        soak: how the process and its frames fared over time, from `edgeproof_runtime.live.soak.SoakRecord.to_json`.
        hops: loss by hop, or two engines or precisions side by side; from `edgeproof_runtime.verify.hops.Walk.to_json`.
        optimization: the trade-off of precisions; from `edgeproof_export.optimize.Outcome.to_json`.
        bench: configurations side by side; from `edgeproof_runtime.bench.BenchRecord.to_json`.
        warnings: sentences for people: files skipped, machine busy, no GPU.
    """

    kind: Kind
    command: str
    host: Mapping[str, Any]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    bundle: BundleFacts | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, LatencySummary] = field(default_factory=dict)
    distribution_ms: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    throughput_fps: float | None = None
    accuracy: Mapping[str, Any] | None = None
    anomaly: Mapping[str, Any] | None = None
    gates: Sequence[Gate] = ()
    engines: Sequence[EngineRow] = ()
    samples: Sequence[Thumbnail] = ()
    timeline: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] | None = None
    streams: Sequence[Mapping[str, Any]] = ()
    sinks: Sequence[Mapping[str, Any]] = ()
    soak: Mapping[str, Any] | None = None
    hops: Mapping[str, Any] | None = None
    optimization: Mapping[str, Any] | None = None
    bench: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of report {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        unknown = (set(self.latency_ms) | set(self.distribution_ms)) - set(STAGES)
        if unknown:
            raise ValueError(f"unknown stages {sorted(unknown)}, expected some of {', '.join(STAGES)}")

    @staticmethod
    def latency(recorder: LatencyRecorder) -> dict[str, Any]:
        """A recorder as the fields ``latency_ms`` and ``distribution_ms``: ``Report(**Report.latency(r), ...)``."""
        summaries = recorder.summaries()
        return {
            "latency_ms": summaries,
            "distribution_ms": {stage: distribution(recorder.values_ms(stage)) for stage in summaries},
        }

    @property
    def passed(self) -> bool | None:
        """Whether every gate passed; None where none ran."""
        return all(gate.passed for gate in self.gates) if self.gates else None

    def to_json(self) -> dict[str, Any]:
        """The document as plain JSON values.

        Passwords in addresses (``rtsp://user:password@camera``) are masked. A figure that is not finite
        becomes null, and a warning names it.
        """
        not_finite: list[str] = []
        document = {name: _plain(getattr(self, name), name, not_finite) for name in (f.name for f in fields(self))}
        if not_finite:
            document["warnings"].append(f"Not finite, so null here: {', '.join(not_finite)}.")
        return {"schema": SCHEMA, "edgeproof": metadata.version("edgeproof"), "passed": self.passed, **document}

    def write(self, path: str | Path) -> None:
        """Write the document, whole or not at all.

        Raises:
            InputError: the place cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(path, f"{text}\n".encode())


def command_line(arguments: Sequence[str] | None = None) -> str:
    """A command line as one would type it, passwords in addresses masked.

    Args:
        arguments: program and arguments; None means this process's own.
    """
    program, *rest = sys.argv if arguments is None else arguments
    return redact(shlex.join([Path(program).name, *rest]))


def _plain(value: Any, path: str, not_finite: list[str]) -> Any:
    """JSON's own types for the values that reports are made of."""
    if hasattr(value, "to_json"):
        value = value.to_json()
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{path}.{k}", not_finite) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v, f"{path}[{i}]", not_finite) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        not_finite.append(path)
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    # A file name that is not UTF-8 arrives as lone surrogates, which JSON in UTF-8 cannot hold.
    return redact(str(value).encode("utf-8", "backslashreplace").decode())
