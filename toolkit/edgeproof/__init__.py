"""From a trained PyTorch model to frames per second that you can prove."""

from __future__ import annotations

from importlib import metadata

from edgeproof_runtime import (
    Bundle,
    Classifier,
    EdgeproofError,
    GateError,
    InputContract,
    InputError,
    Prediction,
    Preprocessor,
    UnavailableError,
)

__all__ = [
    "Bundle",
    "Classifier",
    "EdgeproofError",
    "GateError",
    "InputContract",
    "InputError",
    "Prediction",
    "Preprocessor",
    "UnavailableError",
    "__version__",
]

__version__ = metadata.version("edgeproof")
