"""Sinks of decisions and events: window, video, files, MQTT broker, webhook."""

from __future__ import annotations

from edgeproof_runtime.sinks.base import Sink
from edgeproof_runtime.sinks.growing import Rotation
from edgeproof_runtime.sinks.mqtt import MqttSink
from edgeproof_runtime.sinks.mqtt_streams import MqttStreams
from edgeproof_runtime.sinks.opening import open_sink
from edgeproof_runtime.sinks.predictions import PredictionsFile
from edgeproof_runtime.sinks.queued import QueuedSink, SinkCounts, incomplete
from edgeproof_runtime.sinks.recording import EventMedia, Recording
from edgeproof_runtime.sinks.video import AnnotatedVideo
from edgeproof_runtime.sinks.window import Window

__all__ = [
    "AnnotatedVideo",
    "EventMedia",
    "MqttSink",
    "MqttStreams",
    "PredictionsFile",
    "QueuedSink",
    "Recording",
    "Rotation",
    "Sink",
    "SinkCounts",
    "Window",
    "incomplete",
    "open_sink",
]
