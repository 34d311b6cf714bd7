"""The embedded default of `edgeproof demo`: real weights and real photographs that packages ship."""

from edgeproof.demo.assets import DEMO_MODEL, Photograph, photographs, weights_file
from edgeproof.demo.clip import render_clip

__all__ = ["DEMO_MODEL", "Photograph", "photographs", "render_clip", "weights_file"]
