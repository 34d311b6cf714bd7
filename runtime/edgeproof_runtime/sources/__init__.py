"""Sources of frames: images, videos, cameras, streams and test cards."""

from __future__ import annotations

from edgeproof_runtime.data.clip_labels import ClipLabels, alternatives
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import HealthOptions
from edgeproof_runtime.sources.opening import open_source
from edgeproof_runtime.sources.options import SourceOptions, parse_crop, parse_resolution
from edgeproof_runtime.sources.pictures import PictureSource
from edgeproof_runtime.sources.streams_file import StreamSpec, read_streams, read_streams_file
from edgeproof_runtime.sources.synthetic import Card, SyntheticSource, read_card

__all__ = [
    "Card",
    "ClipLabels",
    "Frame",
    "HealthOptions",
    "PictureSource",
    "Source",
    "SourceOptions",
    "StreamSpec",
    "SyntheticSource",
    "alternatives",
    "open_source",
    "parse_crop",
    "parse_resolution",
    "read_card",
    "read_streams",
    "read_streams_file",
]
