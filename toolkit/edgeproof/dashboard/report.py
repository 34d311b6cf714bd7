"""Build the report of `edgeproof serve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeproof.dashboard.service import Service
from edgeproof.library.evidence import settings_of, unknown_frames
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.live.collector import Collector
from edgeproof_runtime.live.outcomes import Counts
from edgeproof_runtime.live.stream_health import health_section
from edgeproof_runtime.sinks import incomplete
from edgeproof_runtime.system.host import host_warnings

__all__ = ["report_of"]


def report_of(
    service: Service,
    collector: Collector,
    *,
    host: Mapping[str, Any],
    sources: Sequence[str],
    unknown: str | None = None,
) -> Report:
    """Build the report of a stopped service.

    Args:
        service: the stopped service.
        collector: results collected from the streams' frames.
        host: host facts from before the service started.
        sources: names of the streams.
        unknown: the rules in force by which frames are unknown; None without one.
    """
    info, live, bundle = service.engine, service.live, service.bundle
    counts = Counts() if live is None else live.pipeline.counts
    elapsed_s = 0.0 if live is None else live.pipeline.elapsed_s
    by_code = service.metrics.inference_requests_by_code()
    fields = collector.report_fields()
    if live is None:
        fields["timeline"] = None
    snapshots = () if live is None else (*live.pipeline.snapshots(), *live.pipeline.removed)
    sinks = () if live is None else live.sink_counts
    settings = settings_of(
        bundle,
        engine=info.name,
        precision=info.precision,
        threads=info.threads,
        sources=list(sources),
        unknown=unknown,
    )
    return Report(
        kind="serve",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings,
        counts={
            "frames_in": counts.frames_in,
            "frames_classified": counts.decided,
            "frames_dropped": counts.dropped,
            "frames_unhealthy": counts.unhealthy,
            "frames_failed": counts.failed,
            **unknown_frames(settings, collector),
            **{f"requests_{code}": number for code, number in by_code.items()},
        },
        throughput_fps=counts.decided / elapsed_s if elapsed_s else None,
        engines=[EngineRow(info.name, info.version, collector.recorder.summary("inference").p50_ms, None, chosen=True)],
        streams=[shot.to_json() for shot in snapshots],
        health=health_section(snapshots),
        sinks=[sink.to_json() for sink in sinks],
        warnings=[
            *incomplete(sinks),
            *host_warnings(host),
        ],
        sections={} if service.follow is None else {"switches": service.follow.section()},
        **fields,
    )
