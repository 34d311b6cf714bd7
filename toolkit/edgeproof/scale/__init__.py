"""Label millions of images: a predictor for workers of Ray Data and Spark, and the pools that run it."""

from edgeproof.scale.predictor import Predictor

__all__ = ["Predictor"]
