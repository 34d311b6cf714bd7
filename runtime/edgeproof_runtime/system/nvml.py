"""NVIDIA's management library (NVML), if installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["first_gpu", "gpus", "import_nvml"]


def import_nvml() -> Any:
    """Import ``pynvml`` of the package nvidia-ml-py.

    Raises:
        ImportError: the package is not installed.
    """
    import pynvml

    return pynvml


def gpus(load: Callable[[], Any]) -> tuple[Any, list[Any]] | None:
    """Return the module and a handle per GPU; None without the module, a driver or a GPU."""
    try:
        nvml = load()
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return None
    return (nvml, handles) if handles else None


def first_gpu(load: Callable[[], Any]) -> tuple[Any, Any] | None:
    """Return the module and the first GPU's handle; None without the module, a driver or a GPU."""
    found = gpus(load)
    return None if found is None else (found[0], found[1][0])
