"""Evidence as a JSON document, ``"schema": "edgeproof.report/1"``."""

from __future__ import annotations

import base64
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

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.anomaly import AnomalyResult
from edgeproof_runtime.bundle import Bundle, sha256_of
from edgeproof_runtime.files import write_atomically
from edgeproof_runtime.latency import STAGES, LatencyRecorder, LatencySummary, distribution
from edgeproof_runtime.masking import mask_passwords

__all__ = ["SCHEMA", "BundleFacts", "EngineRow", "Gate", "Kind", "Report", "Sample", "command_line"]

SCHEMA = "edgeproof.report/1"

Kind = Literal["demo", "train", "export", "optimize", "verify", "evaluate", "run", "soak", "bench", "serve", "sample"]

_THUMBNAIL_SIDE = 320
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Gate:
    """A measurement against its bound. Build it with `judge`.

    Attributes:
        name: such as ``parity openvino fp32``.
        passed: whether every bound was met.
        what: what was compared with what, in one clause.
        measured: quantity -> value, such as max_abs_diff, mean_abs_diff, cosine, top1_agreement.
        bound: quantity -> ``{"max": v}``, ``{"min": v}`` or both; quantities without a bound only inform.
    """

    name: str
    passed: bool
    what: str
    measured: Mapping[str, float]
    bound: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        missed = self.missed()
        if self.passed and missed:
            raise ValueError(f"gate {self.name} cannot have passed: {', '.join(missed)} missed the bound")

    def missed(self) -> list[str]:
        """Quantities that missed their bound; one that is absent or NaN has missed it."""
        return [
            name
            for name, limits in self.bound.items()
            if not limits.get("min", -math.inf) <= self.measured.get(name, math.nan) <= limits.get("max", math.inf)
        ]

    @classmethod
    def judge(
        cls,
        name: str,
        what: str,
        measured: Mapping[str, float],
        *,
        at_most: Mapping[str, float] | None = None,
        at_least: Mapping[str, float] | None = None,
    ) -> Self:
        """Build a gate and decide it.

        Args:
            name: such as ``parity openvino fp32``.
            what: what was compared with what.
            measured: quantity -> value.
            at_most: upper bounds.
            at_least: lower bounds.
        """
        bound: dict[str, dict[str, float]] = {}
        for side, limits in (("max", at_most), ("min", at_least)):
            for quantity, limit in (limits or {}).items():
                bound.setdefault(quantity, {})[side] = limit
        missed = cls(name, False, what, measured, bound).missed()
        return cls(name, not missed, what, measured, bound)


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine that was considered.

    Attributes:
        name: such as ``openvino``.
        version: None where it is not installed.
        median_ms: of its inference; None where it did not run.
        passed: whether it passed the golden cases; None where it did not run.
        reason: why it did not run, failed or was not chosen.
        chosen: whether this report's other figures are from this engine.
        precision: of the model that it ran; None where only one was in question.
        threads: CPU threads; None where the engine decides or has none.
    """

    name: str
    version: str | None
    median_ms: float | None
    passed: bool | None
    reason: str | None = None
    chosen: bool = False
    precision: str | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame to look at, and what the model said. Build it with `of`.

    Attributes:
        name: file name or frame number.
        jpeg: a thumbnail.
        width: of the thumbnail, pixels.
        height: of the thumbnail, pixels.
        label: the model's first answer.
        probability: of that answer, 0..1; None where the model gives none.
        truth: the right label, None where nobody gave it.
    """

    name: str
    jpeg: bytes
    width: int
    height: int
    label: str
    probability: float | None = None
    truth: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        frame: NDArray[np.uint8],
        label: str,
        probability: float | None = None,
        truth: str | None = None,
    ) -> Self:
        """Sample of a frame.

        Args:
            name: file name or frame number.
            frame: uint8 ``HxWx3`` BGR or ``HxW`` gray; shrunk to at most 320 pixels a side.
            label: the model's first answer.
            probability: of that answer.
            truth: the right label, if known.
        """
        height, width = frame.shape[:2]
        shrink = min(1.0, _THUMBNAIL_SIDE / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = frame if shrink == 1.0 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        encoded, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not encoded:
            raise ValueError(f"frame {name} of shape {frame.shape} cannot be encoded")
        return cls(name, jpeg.tobytes(), *size, label, probability, truth)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the thumbnail is base64."""
        return {**asdict(self), "jpeg": base64.b64encode(self.jpeg).decode("ascii")}


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
        host: from `edgeproof_runtime.host.host_facts`.
        created: when, UTC, ISO 8601.
        bundle: what was measured.
        settings: engine, precision, threads, source, policy: everything that was chosen.
        counts: frames_in, frames_classified, frames_dropped, frames_failed, and whatever else was
            counted.
        latency_ms: stage -> summary, and
        distribution_ms: stage -> thinned distribution; `latency` gives both.
        throughput_fps: frames classified per second of wall time.
        accuracy: from `edgeproof_runtime.accuracy.AccuracyResult.to_json`.
        anomaly: how well a `reconstruct` bundle's scores tell defects from good pictures.
        gates: every gate that ran.
        engines: every engine that was considered.
        samples: frames to look at.
        timeline: from `edgeproof_runtime.timeline.Timeline.to_json`.
        generation: what a classifier sees in generated pictures, and their nearest training pictures.
        training: history by epoch, calibration, times and checkpoint of a training.
        streams: what each stream did, from `edgeproof_runtime.streams.StreamSnapshot.to_json`.
        sinks: what became of what was written, from `edgeproof_runtime.sinks.SinkCounts.to_json`.
        soak: how the process and its frames fared over time, from `edgeproof_runtime.soak.SoakRecord.to_json`.
        hops: loss by hop, or two engines or precisions side by side; from `edgeproof_runtime.hops.Walk.to_json`.
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
    anomaly: AnomalyResult | None = None
    gates: Sequence[Gate] = ()
    engines: Sequence[EngineRow] = ()
    samples: Sequence[Sample] = ()
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
    return mask_passwords(shlex.join([Path(program).name, *rest]))


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
    return mask_passwords(str(value).encode("utf-8", "backslashreplace").decode())
