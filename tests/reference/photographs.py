"""Real photographs for the tests that want them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def photographs(limit: int | None = None) -> Iterator[tuple[str, Image.Image]]:
    """(name, RGB picture): the ImageNet samples of the real data where they are, else scikit-image's photographs."""
    root = Path(os.environ.get("EDGEPROOF_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    files = sorted((root / "imagenet-samples").glob("*/*.JPEG"))
    if files:
        for file in files[:: 1 if limit is None else len(files) // limit][:limit]:
            with Image.open(file) as picture:
                yield file.name, picture.convert("RGB")
        return
    import skimage.data

    names = ["astronaut", "camera", "chelsea", "coffee", "coins", "page", "rocket", "text"]
    for name in names[:limit]:
        yield name, Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")
