"""Where decisions go: a window, a video, a file of predictions."""

from __future__ import annotations

from edgeproof_runtime.sinks.base import Sink
from edgeproof_runtime.sinks.predictions import PredictionsFile
from edgeproof_runtime.sinks.video import AnnotatedVideo
from edgeproof_runtime.sinks.window import Window

__all__ = ["AnnotatedVideo", "PredictionsFile", "Sink", "Window"]
