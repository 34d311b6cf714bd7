"""Training: recipes, data in memory, Lightning, judging. torch and Lightning are loaded when first needed."""

from __future__ import annotations

from edgeproof.training.options import Augmentation, TrainOptions
from edgeproof.training.recipes import RECIPES, Trained, require_train_packages, train

__all__ = ["RECIPES", "Augmentation", "TrainOptions", "Trained", "require_train_packages", "train"]
