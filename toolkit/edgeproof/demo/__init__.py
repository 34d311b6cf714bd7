"""The built-in model of `edgeproof demo`: real weights and photographs from installed packages."""

from edgeproof.demo.assets import DEMO_MODEL, Photograph, photographs, weights_file
from edgeproof.demo.clip import render_clip

__all__ = ["DEMO_MODEL", "Photograph", "photographs", "render_clip", "weights_file"]
