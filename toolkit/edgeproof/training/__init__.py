"""Training: recipes, datasets in memory, Lightning and evaluation. torch and Lightning are imported on first use."""

from __future__ import annotations

from edgeproof.training.options import Augmentation, TrainOptions
from edgeproof.training.recipes import RECIPES, Trained, require_train_packages, train

__all__ = ["RECIPES", "Augmentation", "TrainOptions", "Trained", "require_train_packages", "train"]
