"""Collect a report's data from the frames of a live run."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.evidence.thumbnail import SampleKeeper, Thumbnail
from edgeproof_runtime.live.outcomes import Cause, Decided, Lost
from edgeproof_runtime.live.timeline import FrameState, Timeline
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.record import Judge

__all__ = ["Collector"]

_STATES: dict[Cause, FrameState] = {
    "overtaken": "dropped",
    "stopped": "dropped",
    "failed": "failed",
    "unhealthy": "unhealthy",
}


class Collector:
    """Collect latencies, a timeline, samples and labels of decided frames. Not thread-safe.

    Call `decided` and `lost` from the thread that iterates over the pipeline.

    Args:
        judge: compares labelled frames with their ground truth; None ignores the labels.
        recorder: recorder of latencies; None creates one.

    Attributes:
        recorder: latencies per stage; pass it to the `Pipeline`, which fills it.
        judge: the judge passed in.
        labels: number of frames by predicted label.
        unknown: number of frames that a rule calls unknown.
    """

    def __init__(self, judge: Judge | None = None, recorder: LatencyRecorder | None = None) -> None:
        self.recorder: LatencyRecorder = LatencyRecorder() if recorder is None else recorder
        self.judge = judge
        self.labels: Counter[str] = Counter()
        self.unknown: int = 0
        self._timeline = Timeline()
        self._keeper = SampleKeeper()
        self._first_ns: int | None = None

    def decided(self, decided: Decided[Decision]) -> None:
        """Record a decided frame.

        Raises:
            InputError: the frame's label is unknown to the model.
        """
        frame, decision = decided.frame, decided.decision
        self._timeline.add(self._time_s(frame.captured_ns), decided.end_to_end_ms, "classified")
        self.labels[decision.label] += 1
        self.unknown += decision.unknown
        truth = None
        if self.judge is not None and frame.label is not None:
            truth = self.judge.add(decision, frame.label, frame.name)
        if self._keeper.wants():
            shown = decision.over(frame.image)
            self._keeper.keep(Thumbnail.of(frame.name, shown, decision.label, decision.probability, truth))

    def lost(self, lost: Lost) -> None:
        """Record a frame without a decision."""
        self._timeline.add(self._time_s(lost.captured_ns), None, _STATES[lost.cause])

    def report_fields(self) -> dict[str, Any]:
        """Return the collected fields of a `Report`: latencies, samples and timeline."""
        return {
            "samples": self._keeper.samples,
            "timeline": self._timeline.to_json(),
            **Report.latency(self.recorder),
        }

    def _time_s(self, captured_ns: int) -> float:
        if self._first_ns is None:
            self._first_ns = captured_ns
        return max(0.0, (captured_ns - self._first_ns) / 1e9)
