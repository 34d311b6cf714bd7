"""Where frames come from: pictures, videos, cameras and streams."""

from __future__ import annotations

from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.labels import ClipLabels, alternatives
from edgeproof_runtime.sources.opening import open_source

__all__ = ["ClipLabels", "Frame", "Source", "alternatives", "open_source"]
