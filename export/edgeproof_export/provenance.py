"""Provenance of a bundle's model, for the manifest."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from edgeproof_export.models import Source
from edgeproof_runtime.bundle.reader import sha256_of

__all__ = ["provenance_of"]


def provenance_of(source: Source, weights_sha256: str, reference_name: str, opset: int) -> dict[str, Any]:
    """Return model, weights and versions of the packages that made the bundle.

    Args:
        source: the resolved model.
        weights_sha256: sha256 of its weights.
        reference_name: name of the reference of the golden cases.
        opset: ONNX opset version.
    """
    file = source.weights_file
    return {
        "model": source.spec,
        "weights": source.weights,
        "weights_sha256": weights_sha256,
        **({} if file is None else {"weights_file": file.name, "weights_file_sha256": sha256_of(file)}),
        **({} if source.weights_ema is None else {"weights_ema": source.weights_ema}),
        "reference": reference_name,
        "opset": opset,
        "versions": {name: metadata.version(name) for name in ("edgeproof", "torch", "torchvision", "timm", "onnx")},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
