"""Identity of this machine for caches and reports: hardware, and the versions that its engines depend on."""

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
    """Collect facts about this machine now, for a report's ``host``.

    Returns:
        `system_facts`, the versions of installed packages, and the machine key.
    """
    names = ("edgeproof", "numpy", *catalog.distributions(), "onnx", "pillow", "timm", "torch", "torchvision")
    return {**system_facts(), "packages": _versions(names), "machine_key": machine_key()}


def machine_key() -> str:
    """Hash what decides which engine is fastest on this machine, to 16 hex digits.

    Covers `hardware_identity` and the versions of all distributions in the catalogue; load and clocks do not change it.
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
        found["opencv"] = cv2.__version__  # a system build, as on a Jetson, has no metadata
    return found
