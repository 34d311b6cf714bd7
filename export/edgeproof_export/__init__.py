"""The workstation's layer: convert a PyTorch model into a gated bundle. torch and onnx are imported on first use."""

from __future__ import annotations

from importlib import util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeproof_export.contracts import ContractFlags
    from edgeproof_export.pipeline import Exported, export_bundle

__all__ = ["ContractFlags", "Exported", "export_bundle", "require_export_packages"]

_PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "PIL", "safetensors")


def require_export_packages() -> None:
    """Check that the packages for exporting are installed.

    Raises:
        UnavailableError: a package is not installed.
    """
    from edgeproof_runtime.errors import UnavailableError

    missing = [name for name in _PACKAGES if util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            "export: required packages are not installed",
            got=f"no {', '.join(missing)}",
            fix='pip install "edgeproof[export]"',
        )


def __getattr__(name: str) -> Any:
    # `edgeproof verify` imports this package for its bundle writer on devices without torch.
    if name not in ("ContractFlags", "Exported", "export_bundle"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_export_packages()
    from edgeproof_export import contracts, pipeline

    return getattr(contracts if name == "ContractFlags" else pipeline, name)
