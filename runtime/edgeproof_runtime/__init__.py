"""What goes onto the device: bundles, the exact preprocessing, engines, sources and the pipeline."""

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import EdgeproofError, GateError, InputError, UnavailableError
from edgeproof_runtime.system.telemetry import switch_off_telemetry
from edgeproof_runtime.tasks.classify import Prediction

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
]

switch_off_telemetry()  # no import above loads an engine
