"""Bundles in a registry, and the agent that keeps a device on the bundle that was proven on it."""

from __future__ import annotations

from edgeproof.fleet.reference import Reference
from edgeproof.fleet.transfer import Pulled, Pushed, pull, push

__all__ = ["Pulled", "Pushed", "Reference", "pull", "push"]
