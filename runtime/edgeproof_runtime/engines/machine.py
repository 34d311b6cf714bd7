"""Identity of this machine for caches and reports: hardware, and the versions that its engines depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.system.host import hardware_identity, installed, system_facts
from edgeproof_runtime.system.opencv import cv2, opencv_fault

__all__ = ["EngineIdentity", "engine_identity", "host_facts", "machine_key"]


class EngineIdentity(NamedTuple):
    """An engine as installed on this machine.

    Attributes:
        version: of its first installed distribution; None without one.
        key: hash of the hardware and the versions of its distributions, 16 hex digits.
    """

    version: str | None
    key: str


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
    return _hashed(facts)


def engine_identity(entry: catalog.CatalogEntry) -> EngineIdentity:
    """Identify an engine on this machine: what decides how it takes a model."""
    versions = installed(entry.distributions)
    if entry.name == "opencv":
        versions = versions or _opencv()
    return EngineIdentity(
        next(iter(versions.values()), None), _hashed({**hardware_identity(), "engine": entry.name, **versions})
    )


def _hashed(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = installed(names)
    return found if found.keys() & set(catalog.find("opencv").distributions) else {**found, **_opencv()}


def _opencv() -> dict[str, str]:
    if opencv_fault() is not None:
        return {}
    return {"opencv": cv2.__version__}  # a system build, as on a Jetson, has no metadata
