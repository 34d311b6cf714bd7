"""Images preprocessed by a bundle's contract, with their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.images import evenly
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.dataset import ImageList, Picture
from edgeproof_runtime.errors import InputError

__all__ = ["Advance", "Inputs"]

Advance = Callable[[int, int], None]

_KEPT_BYTES = 2 * 2**30


class Inputs:
    """Selected images of a list, read once, and kept as tensors if they fit into memory.

    Args:
        images: the images.
        positions: positions of the images to use; unreadable ones are left out.
        contract: input contract.
        targets: ground truth of every image of ``images``, of the task's own type; None without labels.
        advance: called with (done, total).

    Attributes:
        image_bytes: size of one image's tensor, bytes.
        positions: positions of the readable images.
        sha256: sha256 of each image's decoded pixels, independent of the container.
        targets: one per readable image; empty without labels.

    Raises:
        InputError: no readable image.
    """

    def __init__(
        self,
        images: ImageList,
        positions: Sequence[int],
        contract: InputContract,
        targets: Sequence[Any] | None,
        advance: Advance,
    ) -> None:
        self._images = images
        self._preprocess = Preprocessor(contract)
        self.image_bytes: int = int(np.prod(contract.tensor_shape())) * np.dtype(contract.dtype).itemsize
        kept = self.image_bytes * len(positions) <= _KEPT_BYTES
        self._kept: list[NDArray[np.generic]] | None = [] if kept else None
        found: list[int] = []
        hashes: list[str] = []
        for done, (position, picture) in enumerate(images.indexed(positions), 1):
            found.append(position)
            hashes.append(_sha256(picture.frame))
            if self._kept is not None:
                self._kept.append(self._preprocess(picture.frame))
            advance(done, len(positions))
        if not found:
            reasons = "; ".join(f"{s.name}: {s.reason}" for s in images.skipped[:3])
            raise InputError("--data: no image could be read", got=reasons or "no images")
        self.positions: tuple[int, ...] = tuple(found)
        self.sha256: tuple[str, ...] = tuple(hashes)
        self.targets: tuple[Any, ...] = () if targets is None else tuple(targets[p] for p in found)

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, size: int) -> Iterator[NDArray[np.generic]]:
        """Yield tensors ``n x ...`` with n at most ``size``, in order."""
        group: list[NDArray[np.generic]] = []
        for tensor in self._tensors():
            group.append(tensor)
            if len(group) == size:
                yield np.stack(group)
                group = []
        if group:
            yield np.stack(group)

    def pictures(self, places: Sequence[int]) -> Iterator[tuple[int, Picture]]:
        """Yield the images at these places among the readable ones, with their places."""
        place_of = {self.positions[place]: place for place in places}
        for position, picture in self._images.indexed(list(place_of)):
            yield place_of[position], picture

    def without(self, places: Collection[int]) -> Inputs:
        """Return the images without those at these places.

        Raises:
            InputError: no image would remain.
        """
        keep = [i for i in range(len(self)) if i not in places]
        if not keep:
            raise InputError("validation: no images left", got=f"all {len(self)} are calibration images")
        return self.only(keep)

    def first(self, count: int) -> Inputs:
        """Return at most ``count`` of the images, evenly spread."""
        return self.only(evenly(len(self), count))

    def only(self, places: Sequence[int]) -> Inputs:
        """Return the images at these places, in this order."""
        some = object.__new__(Inputs)
        some.image_bytes = self.image_bytes
        some._images, some._preprocess = self._images, self._preprocess
        some._kept = None if self._kept is None else [self._kept[i] for i in places]
        some.positions = tuple(self.positions[i] for i in places)
        some.sha256 = tuple(self.sha256[i] for i in places)
        some.targets = tuple(self.targets[i] for i in places) if self.targets else ()
        return some

    def fingerprint(self) -> str:
        """Return the sha256 (hex) over the hashes of the images, independent of their order."""
        return hashlib.sha256("\n".join(sorted(self.sha256)).encode()).hexdigest()

    def _tensors(self) -> Iterator[NDArray[np.generic]]:
        if self._kept is not None:
            yield from self._kept
            return
        for _, picture in self._images.indexed(self.positions):
            yield self._preprocess(picture.frame)


def _sha256(frame: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes()).hexdigest()
