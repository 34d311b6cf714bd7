"""An environment for the packages that are measured beside edgeproof: `.venv-peers`, made when first needed."""

from __future__ import annotations

import os
import site
import subprocess
import venv
from importlib import metadata
from pathlib import Path

from common import HERE

from edgeproof_runtime.system.telemetry import switch_off_telemetry

__all__ = ["PACKAGES", "peers_packages", "peers_python", "versions"]

_FOLDER = HERE.parent / ".venv-peers"
PACKAGES = ("ultralytics", "ultralytics-platform", "ultralytics-thop", "ort-vision-sdk", "openvino-model-api")
_LIGHT = ("polars", "py-cpuinfo", "pyyaml", "requests", "scipy")


def peers_python() -> Path:
    """Python of an environment that has the peers, and PyTorch, OpenCV and the engines from this one."""
    switch_off_telemetry()
    os.environ.setdefault("YOLO_OFFLINE", "True")  # Ultralytics reports only when online
    python = _FOLDER / "bin" / "python"
    if not (_FOLDER / ".ready").exists():
        venv.create(_FOLDER, with_pip=True, clear=True)
        (peers_packages() / "this.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([*install, *_LIGHT], check=True)
        # Without their dependencies: a second OpenCV or PyTorch would make another race of it.
        subprocess.run([*install, "--no-deps", "--ignore-installed", *PACKAGES], check=True)
        (_FOLDER / ".ready").touch()
    return python


def peers_packages() -> Path:
    """The folder that this environment's own packages lie in."""
    (folder,) = _FOLDER.glob("lib/python*/site-packages")
    return folder


def versions() -> dict[str, str]:
    """Version of each peer."""
    found = metadata.distributions(path=[str(peers_packages())])
    installed = {one.name.lower().replace("_", "-"): one.version for one in found}
    return {name: installed[name] for name in PACKAGES if name in installed}
