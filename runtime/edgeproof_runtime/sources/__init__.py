"""Where frames come from: pictures, videos, cameras and streams."""

from __future__ import annotations

from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.labels import ClipLabels, alternatives
from edgeproof_runtime.sources.opening import open_source
from edgeproof_runtime.sources.pictures import PictureSource

__all__ = ["ClipLabels", "Frame", "PictureSource", "Source", "alternatives", "open_source"]
