"""What goes onto the device: bundles, the exact preprocessing, engines, sources and the pipeline.

Sources, pipeline and reports are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import EdgeproofError, GateError, InputError, UnavailableError
from edgeproof_runtime.system.telemetry import switch_off_telemetry
from edgeproof_runtime.tasks.classify import Prediction

if TYPE_CHECKING:
    from edgeproof_runtime.contract.yuv import YuvFrame
    from edgeproof_runtime.evidence.read import read_report
    from edgeproof_runtime.evidence.report import Report
    from edgeproof_runtime.live.events import EventDetector, EventSettings
    from edgeproof_runtime.live.outcomes import Decided
    from edgeproof_runtime.live.pipeline import Pipeline, Worker
    from edgeproof_runtime.live.stream import Stream
    from edgeproof_runtime.sources import Frame, Source, SourceOptions, open_source, read_streams
    from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = [
    "Bundle",
    "Classifier",
    "Decided",
    "EdgeproofError",
    "EventDetector",
    "EventSettings",
    "Frame",
    "GateError",
    "InputContract",
    "InputError",
    "Pipeline",
    "Prediction",
    "Preprocessor",
    "Report",
    "Source",
    "SourceOptions",
    "Stream",
    "UnavailableError",
    "UnknownRule",
    "Worker",
    "YuvFrame",
    "open_source",
    "read_report",
    "read_streams",
]

_LAZY = {
    "Decided": "live.outcomes",
    "EventDetector": "live.events",
    "EventSettings": "live.events",
    "Frame": "sources",
    "Pipeline": "live.pipeline",
    "Report": "evidence.report",
    "Source": "sources",
    "SourceOptions": "sources",
    "Stream": "live.stream",
    "UnknownRule": "tasks.unknown",
    "Worker": "live.pipeline",
    "YuvFrame": "contract.yuv",
    "open_source": "sources",
    "read_report": "evidence.read",
    "read_streams": "sources",
}

switch_off_telemetry()  # no import above loads an engine


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    return found
