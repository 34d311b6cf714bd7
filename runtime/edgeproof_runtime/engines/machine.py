"""What identifies this machine to caches and reports: its hardware and the versions that its engines depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import cv2

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.system.host import hardware_identity, system_facts

__all__ = ["host_facts", "machine_key"]


def host_facts() -> dict[str, Any]:
    """Facts about this machine at this moment, for a report's ``host``.

    Returns:
        `system_facts`, with the versions of installed packages and the machine's key.
    """
    names = ("edgeproof", "numpy", *catalog.distributions(), "onnx", "pillow", "timm", "torch", "torchvision")
    return {**system_facts(), "packages": _versions(names), "machine_key": machine_key()}


def machine_key() -> str:
    """Short hash of what decides which engine is fastest here, 16 hex digits.

    Made of `hardware_identity` and the versions of all distributions in the catalogue; the same until one of these
    changes, whatever the load or the clocks.
    """
    facts = {**hardware_identity(), "engines": _versions(catalog.distributions())}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if found.keys().isdisjoint(catalog.find("opencv").distributions):
        found["opencv"] = cv2.__version__  # a system's own build, as on a Jetson, has no metadata
    return found
