"""Thumbnails for a report: a frame with the model's output and the ground truth."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from edgeproof_runtime.data.preview import preview
from edgeproof_runtime.system.compat import Self

__all__ = ["SampleKeeper", "Thumbnail"]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail of a frame with the model's output. Build it with `of`.

    Attributes:
        name: file name or frame number.
        jpeg: the thumbnail as JPEG.
        width: width of the thumbnail, pixels.
        height: height of the thumbnail, pixels.
        label: the top-1 label.
        probability: probability of ``label``, 0..1; None if the model has no probabilities.
        truth: the ground-truth label; None if unlabelled.
    """

    name: str
    jpeg: bytes
    width: int
    height: int
    label: str
    probability: float | None = None
    truth: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        frame: NDArray[Any],
        label: str,
        probability: float | None = None,
        truth: str | None = None,
    ) -> Self:
        """Make the thumbnail of a frame.

        Args:
            name: file name or frame number.
            frame: uint8 ``HxWx3`` BGR or ``HxW`` gray, or any frame that `visible` shows; shrunk to at most 320
                pixels a side.
            label: the top-1 label.
            probability: probability of ``label``, 0..1.
            truth: the ground-truth label, if known.

        Raises:
            ValueError: OpenCV cannot encode the frame.
        """
        return cls(name, *preview(frame), label, probability, truth)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the JPEG is base64."""
        return {**asdict(self), "jpeg": base64.b64encode(self.jpeg).decode("ascii")}


class SampleKeeper:
    """Keep at most ``size`` thumbnails of a stream of unknown length, evenly spread.

    Half of them are dropped whenever it is full.
    """

    def __init__(self, size: int = 12) -> None:
        self._size = size
        self._stride = 1
        self._seen = 0
        self._kept: list[Thumbnail] = []

    def wants(self) -> bool:
        """Return whether to make a `Thumbnail` of the next item; call it once per item."""
        wanted = self._seen % self._stride == 0
        self._seen += 1
        return wanted

    def keep(self, sample: Thumbnail) -> None:
        """Keep a sample that was wanted."""
        self._kept.append(sample)
        if len(self._kept) > self._size:
            self._kept = self._kept[::2]
            self._stride *= 2

    @property
    def samples(self) -> tuple[Thumbnail, ...]:
        """The kept samples, in order."""
        return tuple(self._kept)
