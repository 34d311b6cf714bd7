"""Multi-label datasets for tests: two MNIST digits side by side, and drawn shapes where no MNIST is at hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SHAPES = ("circle", "cross", "square")


def two_digits(mnist: Path, *, counts: tuple[int, int, int] = (20_000, 2_000, 10_000)) -> dict[str, NDArray[np.uint8]]:
    """Compose pairs of digits, 28x56, and which of the ten digits each pair shows.

    Every pair consists of two images of the same part of MNIST, drawn at random; so a pair may show one digit twice.

    Args:
        mnist: ``mnist.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``.
        counts: pairs to train with, to validate with and to test with. 6,000 of MNIST's training images, drawn at
            random, make the validation pairs and no training pairs.

    Returns:
        ``x_train`` uint8 ``N x 28 x 56``, ``y_train`` uint8 ``N x 10``, and so on for ``val`` and ``test``.
    """
    rng = np.random.default_rng(0)
    found: dict[str, NDArray[np.uint8]] = {}
    with np.load(mnist) as file:
        digits, labels = file["x_train"], file["y_train"]
        order = rng.permutation(len(digits))  # the file may be sorted by class
        learnt, aside = order[:-6000], order[-6000:]
        parts = {
            "train": (digits[learnt], labels[learnt]),
            "val": (digits[aside], labels[aside]),
            "test": (file["x_test"], file["y_test"]),
        }
    for (split, (digits, labels)), count in zip(parts.items(), counts, strict=True):
        chosen = rng.integers(0, len(digits), (count, 2))
        found[f"x_{split}"] = np.concatenate([digits[chosen[:, 0]], digits[chosen[:, 1]]], axis=2)
        shown = np.zeros((count, 10), np.uint8)
        shown[np.arange(count)[:, None], labels[chosen]] = 1
        found[f"y_{split}"] = shown
    return found


def shapes(counts: tuple[int, int, int] = (600, 120, 200), seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Draw none to all of `SHAPES` on 24x40 grey images, each in its own third of noisy background."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.uint8]] = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        shown = (rng.random((count, len(SHAPES))) < 0.45).astype(np.uint8)
        pictures = rng.integers(0, 60, (count, 24, 40)).astype(np.uint8)
        for picture, row in zip(pictures, shown, strict=True):
            places = rng.permutation(len(SHAPES))
            for shape, (present, place) in enumerate(zip(row, places, strict=True)):
                if present:
                    _draw(picture, shape, (7 + 13 * int(place), int(rng.integers(7, 17))), int(rng.integers(150, 256)))
        found |= {f"x_{split}": pictures, f"y_{split}": shown}
    return found


def _draw(picture: NDArray[np.uint8], shape: int, centre: tuple[int, int], level: int) -> None:
    x, y = centre
    if shape == 0:
        cv2.circle(picture, centre, 5, level, 1)
    elif shape == 1:
        cv2.line(picture, (x - 4, y - 4), (x + 4, y + 4), level, 1)
        cv2.line(picture, (x - 4, y + 4), (x + 4, y - 4), level, 1)
    else:
        cv2.rectangle(picture, (x - 4, y - 4), (x + 4, y + 4), level, 1)
