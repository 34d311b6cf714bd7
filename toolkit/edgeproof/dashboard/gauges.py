"""Metrics read from the pipeline and the queue when Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeproof.dashboard.live import LiveStreams
from edgeproof.dashboard.serving import Serving
from edgeproof_runtime.live.stream import StreamState
from edgeproof_runtime.sources.health import FrameHealth

__all__ = ["Gauges"]


class Gauges(Collector):
    """Collector of frames by outcome, stream states, outputs and the queue, read at each scrape."""

    def __init__(self, serving: Serving, live: LiveStreams | None) -> None:
        self._serving = serving
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        batcher = self._serving.now.batcher
        yield GaugeMetricFamily(
            "edgeproof_inference_requests_under_way", "Requests queued or being inferred.", batcher.under_way
        )
        yield GaugeMetricFamily("edgeproof_inference_queue_capacity", "Most requests in progress.", batcher.capacity)
        frames = CounterMetricFamily(
            "edgeproof_frames", "Frames by outcome and cause.", labels=["stream", "outcome", "cause"]
        )
        state = GaugeMetricFamily(
            "edgeproof_stream_state", "1 for the stream's current state.", labels=["stream", "state"]
        )
        health = GaugeMetricFamily(
            "edgeproof_stream_health",
            "1 while the stream's newest frame has this fault; all 0 while it is healthy.",
            labels=["stream", "fault"],
        )
        classified = CounterMetricFamily(
            "edgeproof_unhealthy_frames_classified",
            "Unhealthy frames that were classified all the same.",
            labels=["stream", "fault"],
        )
        again = CounterMetricFamily("edgeproof_stream_reconnections", "Connections after the first.", labels=["stream"])
        for shot in self._live.pipeline.snapshots() if self._live is not None else ():
            counts = shot.counts
            frames.add_metric([shot.name, "decided", ""], counts.decided)
            frames.add_metric([shot.name, "dropped", "overtaken"], counts.overtaken)
            frames.add_metric([shot.name, "dropped", "stopped"], counts.stopped)
            frames.add_metric([shot.name, "failed", ""], counts.failed)
            for name in get_args(FrameHealth):
                frames.add_metric([shot.name, "unhealthy", name], shot.unhealthy.get(name, 0))
                health.add_metric([shot.name, name], float(name == shot.health))
                classified.add_metric([shot.name, name], shot.unhealthy_classified.get(name, 0))
            for cause, number in shot.left_out.items():
                frames.add_metric([shot.name, "left_out", cause], number)
            for name in get_args(StreamState):
                state.add_metric([shot.name, name], float(name == shot.state))
            again.add_metric([shot.name], shot.reconnections)
        items = CounterMetricFamily(
            "edgeproof_output_items", "Items of an output by outcome.", labels=["output", "outcome"]
        )
        waiting = GaugeMetricFamily(
            "edgeproof_output_waiting", "Items that wait in an output's queue.", labels=["output"]
        )
        up = GaugeMetricFamily("edgeproof_output_connected", "0 while an output is not connected.", labels=["output"])
        for output in self._live.outputs() if self._live is not None else ():
            for outcome in ("written", "dropped", "failed"):
                items.add_metric([output["name"], outcome], output[outcome])
            waiting.add_metric([output["name"]], output["waiting"])
            up.add_metric([output["name"]], float(output["problem"] is None))
        yield from (frames, state, health, classified, again, items, waiting, up)
