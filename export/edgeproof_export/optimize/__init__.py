"""Lower precisions within an accuracy budget: fp16 and int8, validated on images separate from calibration."""

from edgeproof_export.optimize.outcome import Outcome
from edgeproof_export.optimize.points import Point
from edgeproof_export.optimize.run import OptimizeOptions, optimize_bundle

__all__ = ["OptimizeOptions", "Outcome", "Point", "optimize_bundle"]
