"""Images of a generator, by seed and number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.tasks.generate import to_pictures

__all__ = ["sample_pictures"]


def sample_pictures(
    bundle: Bundle, engine: Engine, *, seed: int, count: int, first: int = 0, batch: int = 1
) -> Iterator[NDArray[np.uint8]]:
    """Generate images number ``first`` to ``first + count - 1`` of a seed, one by one.

    Args:
        bundle: a bundle of task ``generate``.
        engine: loaded with its model and a ``max_batch`` of at least ``batch``.
        seed: see `edgeproof_runtime.bundle.latent.latents`.
        count: number of images.
        first: number of the first image, from 0.
        batch: images per inference; it changes images by no more than the engine's rounding.

    Yields:
        uint8 ``HxW`` grey, or ``HxWx3`` BGR.

    Raises:
        InputError: the bundle is of another task, the seed is out of range, or a value is not finite.
    """
    latent = bundle.latent
    for start in range(first, first + count, batch):
        size = min(batch, first + count - start)
        buffer = engine.allocate_input(size)
        buffer[...] = latents(seed, start, size, latent.size)
        yield from to_pictures(engine.run(buffer)[0], latent)
