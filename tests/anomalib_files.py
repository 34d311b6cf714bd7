"""A small package of anomalib's shape, and checkpoints in its form."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch

V2 = "torchvision.transforms.v2"

MODELS = """
from typing import NamedTuple
import timm
import torch
import torchvision
from torch import nn

__all__ = ["Cfa", "Dfkde", "Padim", "Stfpm"]


class InferenceBatch(NamedTuple):
    pred_score: torch.Tensor
    anomaly_map: torch.Tensor


class Network(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.layer = nn.Conv2d(3, features, 3, padding=1)
        self.register_buffer("mean", torch.zeros(features, 1, 1))

    def forward(self, x):
        heat = (self.layer(x) - self.mean).square().sum(1, keepdim=True)
        return InferenceBatch(heat.amax(dim=(1, 2, 3)), heat)


class Padim(nn.Module):
    def __init__(self, n_features, layers, pre_trained=True, pre_processor=True, post_processor=True, evaluator=True,
                 visualizer=True):
        super().__init__()
        assert not pre_trained and pre_processor.transform is not None
        assert (post_processor, evaluator, visualizer) == (False, False, False)
        self.model = Network(n_features)


class Stfpm(nn.Module):
    def __init__(self, backbone, layers, pre_processor=True, post_processor=True, evaluator=True, visualizer=True):
        super().__init__()
        self.model = timm.create_model(backbone, pretrained=True)


class Cfa(nn.Module):
    def __init__(self, backbone, gamma_c, pre_processor=True, post_processor=True, evaluator=True, visualizer=True):
        super().__init__()
        weights = torchvision.models.get_model_weights(backbone).DEFAULT
        self.model = getattr(torchvision.models, backbone)(weights=weights)


class Scores(Network):
    def forward(self, x):
        return InferenceBatch(super().forward(x).pred_score, None)


class Dfkde(nn.Module):
    def __init__(self, n_pca_components, pre_processor=True, post_processor=True, evaluator=True, visualizer=True):
        super().__init__()
        self.model = Scores(n_pca_components)
"""


def write_package(root: Path) -> None:
    """Write the package below a folder for ``sys.path``."""
    (root / "anomalib").mkdir(parents=True)
    (root / "anomalib/__init__.py").touch()
    (root / "anomalib/models.py").write_text(MODELS)
    (root / "anomalib/pre_processing.py").write_text(
        "class PreProcessor:\n    def __init__(self, transform):\n        self.transform = transform\n"
    )
    (root / "anomalib-2.7.0.dist-info").mkdir()
    (root / "anomalib-2.7.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: anomalib\nVersion: 2.7.0\n")


def forget() -> None:
    """Let the next import of anomalib look at the path."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "anomalib"]:
        del sys.modules[name]


def spec(*steps: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a transform, as anomalib writes it."""
    parts = [{"class_path": f"{V2}.{name}", "init_args": arguments} for name, arguments in steps]
    return {"class_path": f"{V2}.Compose", "init_args": {"transforms": parts}}


RESIZE = ("Resize", {"size": [16, 16], "interpolation": "bilinear", "max_size": None, "antialias": True})
NORMALIZE = ("Normalize", {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "inplace": False})


def checkpoint(path: Path, *, drop: str | None = None, **changes: Any) -> Path:
    """Write a checkpoint: a network of 4 features whose normalisation maps scores 1..9 with threshold 4."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 3, padding=1)
    numbers = {"_image_threshold": 4.0, "_pixel_threshold": math.nan, "image_min": 1.0, "image_max": 9.0}
    numbers |= {"pixel_min": 0.5, "pixel_max": 8.0}
    numbers |= {name: value for name, value in changes.items() if name in numbers}
    content: dict[str, Any] = {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {
            "_is_fitted": torch.tensor([changes.get("fitted", True)]),
            **{f"post_processor.{name}": torch.tensor(value) for name, value in numbers.items()},
            "model.layer.weight": layer.weight.detach(),
            "model.layer.bias": layer.bias.detach(),
            "model.mean": torch.full((4, 1, 1), 0.1),
        },
        "hyper_parameters": changes.get("hyper", {"n_features": 4, "layers": ["a", "b"], "pre_trained": True}),
        "anomalib_components_enabled": {"pre_processor": True, "post_processor": changes.get("post", True)},
        "anomalib_pre_processor_config": {"transform": changes.get("transform", spec(RESIZE, NORMALIZE))},
        "anomalib_post_processor_config": {
            "enable_normalization": True,
            "enable_threshold_matching": True,
            "image_sensitivity": 0.5,
            **changes.get("config", {}),
        },
    }
    content.pop(drop or "", None)
    torch.save(content, path)
    return path
