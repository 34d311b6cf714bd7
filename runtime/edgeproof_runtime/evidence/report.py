"""Reports as a JSON document, ``"schema": "edgeproof.report/1"``."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.evidence.display import html_of
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import STAGES, LatencyRecorder, LatencySummary, distribution
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.files import write_json
from edgeproof_runtime.system.redact import redact, redact_address, redacted_host
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.system.text import encodable

__all__ = ["SCHEMA", "BundleFacts", "Kind", "Report", "command_line"]

SCHEMA: str = SPEC["schemas"]["report"]
_PROGRAM = "edgeproof"
_COUNTS = 6  # that the text of a report shows

Kind = Literal[
    "demo",
    "train",
    "export",
    "optimize",
    "verify",
    "evaluate",
    "run",
    "soak",
    "tune",
    "bench",
    "serve",
    "sample",
    "label",
    "agent",
]


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """The measured bundle: hash of its manifest, hash and size of every model and engine, and what was left out."""

    name: str
    manifest_sha256: str
    contract: str
    artifacts: tuple[dict[str, str | int], ...]
    provenance: dict[str, Any]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Collect the facts of an opened bundle."""
        manifest = bundle.manifest
        names = [*bundle.models.values(), *(engine.path for engine in bundle.engines())]
        return cls(
            name=bundle.name,
            manifest_sha256=bundle.manifest_sha256,
            contract=bundle.input_summary,
            artifacts=tuple({"path": name, **asdict(bundle.files[name])} for name in names),
            provenance=manifest.provenance,
            left_out=tuple(part.note for part in bundle.left_out),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what was left out of the bundle is among the report's warnings."""
        return {name: value for name, value in asdict(self).items() if name != "left_out"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """Everything that one command or library function measured. ``kind``, ``command`` and ``host`` are required.

    A subclass may hold further fields for its caller; the document has the fields below and no others.

    Attributes:
        kind: the command.
        command: the command line of the process that measured, from `command_line`; that of the calling program for
            a library function, whose ``settings`` say more.
        host: from `edgeproof_runtime.engines.machine.host_facts`.
        created: creation time, UTC, ISO 8601.
        bundle: the measured bundle.
        settings: every setting: engine, precision, threads, source, policy and so on.
        counts: frames_in, frames_classified, frames_dropped, frames_failed and other counts.
        latency_ms: stage -> summary, ms; `latency` fills it.
        distribution_ms: stage -> thinned distribution, ms; `latency` fills it.
        throughput_fps: frames classified per second of wall time.
        sections: what labelled data says about the model, by key, such as ``accuracy``; from
            `edgeproof_runtime.tasks.record.Judge.sections`. The document holds each at its top level.
        gates: every gate that ran.
        engines: every engine that was considered.
        samples: thumbnails of frames.
        timeline: from `edgeproof_runtime.live.timeline.Timeline.to_json`.
        generation: predictions of a classifier on generated images, and distances to the training images.
        training: history by epoch, calibration, times and checkpoint of a training run.
        streams: state and counts of each camera stream, from `edgeproof_runtime.live.stream.StreamSnapshot.to_json`.
        health: unhealthy frames of each stream by cause; from `edgeproof_runtime.live.stream_health.health_section`.
        sinks: written, dropped and failed items of each sink, from `edgeproof_runtime.sinks.SinkCounts.to_json`.
        soak: process and frame figures over time, from `edgeproof_runtime.live.soak.SoakRecord.to_json`.
        hops: drop by hop, or two engines or precisions side by side; from `edgeproof_runtime.verify.hops.Walk.to_json`.
        optimization: accuracy against speed-up of each precision; from `edgeproof_export.optimize.Outcome.to_json`.
        bench: configurations side by side; from `edgeproof_runtime.bench.BenchRecord.to_json`.
        layers: ``drift``, from `edgeproof_runtime.verify.layers.LayerTrace.to_json`, or ``times``, from
            `edgeproof_runtime.bench.layers.LayerTimes.to_json`; a list of engines each.
        warnings: sentences for the reader: files skipped, host load, no GPU.
    """

    kind: Kind
    command: str
    host: Mapping[str, Any]
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    bundle: BundleFacts | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, LatencySummary] = field(default_factory=dict)
    distribution_ms: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    throughput_fps: float | None = None
    sections: Mapping[str, Any] = field(default_factory=dict)
    gates: Sequence[Gate] = ()
    engines: Sequence[EngineRow] = ()
    samples: Sequence[Thumbnail] = ()
    timeline: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] | None = None
    streams: Sequence[Mapping[str, Any]] = ()
    health: Mapping[str, Any] | None = None
    sinks: Sequence[Mapping[str, Any]] = ()
    soak: Mapping[str, Any] | None = None
    hops: Mapping[str, Any] | None = None
    optimization: Mapping[str, Any] | None = None
    bench: Mapping[str, Any] | None = None
    layers: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: unknown {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        unknown = (set(self.latency_ms) | set(self.distribution_ms)) - set(STAGES)
        if unknown:
            raise ValueError(
                f"latency_ms, distribution_ms: unknown stages {sorted(unknown)}, expected some of {', '.join(STAGES)}"
            )

    @staticmethod
    def latency(recorder: LatencyRecorder) -> dict[str, Any]:
        """Return the fields ``latency_ms`` and ``distribution_ms`` from a recorder: ``Report(**Report.latency(r))``."""
        summaries = recorder.summaries()
        return {
            "latency_ms": summaries,
            "distribution_ms": {stage: distribution(recorder.values_ms(stage)) for stage in summaries},
        }

    def __repr__(self) -> str:
        lines = [f"Report({self.kind}{'' if self.bundle is None else f' of {self.bundle.name}'}, {self.created}"]
        if self.gates:
            missed = [gate.name for gate in self.gates if not gate.passed]
            failed = f", missed: {', '.join(missed)}" if missed else ""
            lines.append(f"  {len(self.gates) - len(missed)} of {len(self.gates)} gates passed{failed}")
        for stage in ("end_to_end", "inference"):
            found = self.latency_ms.get(stage)
            if found is not None and found.mean_ms is not None:
                times = (("p50", found.p50_ms), ("p99", found.p99_ms), ("mean", found.mean_ms))
                shown = ", ".join(f"{name} {value:.3g} ms" for name, value in times if value is not None)
                lines.append(f"  {stage.replace('_', ' ')}: {shown}, n {found.count}")
        counts = [f"{key} {value}" for key, value in self.counts.items()]
        lines += [f"  {', '.join(counts[:_COUNTS])}"] if counts else []
        return "\n".join(lines) + ")"

    def _repr_html_(self) -> str:
        return html_of(self)

    @property
    def all_warnings(self) -> list[str]:
        """The warnings, and what was left out of the bundle."""
        return [*self.warnings, *(() if self.bundle is None else self.bundle.left_out)]

    @property
    def passed(self) -> bool | None:
        """Whether every gate passed; None if no gate ran."""
        return all(gate.passed for gate in self.gates) if self.gates else None

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain JSON values.

        Secrets in addresses (``rtsp://user:password@camera``) are redacted. A figure that is not finite
        becomes null, and a warning names it.
        """
        not_finite: list[str] = []
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(Report) if f.name != "sections"}
        values["warnings"] = self.all_warnings
        values |= {"schema": SCHEMA, "edgeproof": metadata.version("edgeproof"), "passed": self.passed, **self.sections}
        keys = dict.fromkeys([*SPEC["report_keys"], *self.sections])
        document = {key: _plain(values.get(key), key, not_finite) for key in keys}
        if not_finite:
            document["warnings"].append(f"Not finite, stored as null: {', '.join(not_finite)}.")
        return document

    def write(self, path: str | Path) -> None:
        """Write the document, whole or not at all.

        Raises:
            InputError: the file cannot be written.
        """
        write_json(path, self.to_json())


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command line of edgeproof as typed in a shell, with secrets redacted.

    Of another program that calls the library only the name is returned: what its arguments mean is not known.

    Args:
        arguments: program and arguments; None uses those of this process.
    """
    program, *rest = (sys.argv if arguments is None else arguments) or [""]
    path = Path(program)
    if path.name == "__main__.py" and path.parent.name == _PROGRAM:  # python -m edgeproof
        path = Path(_PROGRAM)
    if not path.name.startswith(_PROGRAM):
        return shlex.quote(path.name) + (" ***" if rest else "")
    return shlex.join([path.name, *_redacted(rest)])


def _redacted(arguments: Sequence[str]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
        if "--sink" in (before, option):
            yield f"{option}{equals}{redacted_host(value)}"
        elif _names_secret(before):
            yield "***"
        elif equals and _names_secret(option):
            yield f"{option}=***"
        else:
            yield f"{option}{equals}{redact_address(value)}"
        before = "" if equals else option


def _names_secret(option: str) -> bool:
    return redact(f"{option}=x") != f"{option}=x"


def _plain(value: Any, path: str, not_finite: list[str]) -> Any:
    """Convert a value of a report to JSON types."""
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
    # A file name that is not UTF-8 contains lone surrogates, which UTF-8 cannot encode.
    return redact(encodable(str(value)))
