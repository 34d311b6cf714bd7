"""How people ask for a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.data.splits import EVALUATION

__all__ = ["DataOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Options of a dataset; see `edgeproof_runtime.data.dataset.LabelledData.open`.

    Attributes:
        split: part of the dataset; None means the first of ``prefer``, or all if the dataset has no splits.
        prefer: splits tried in this order.
        class_ids: file of the dataset's class names in class order; None means the bundle's.
        class_order: ``text`` or ``natural`` order of the dataset's class names; None means by name.
        exif: turn images by their EXIF orientation.
    """

    split: str | None = None
    prefer: tuple[str, ...] = EVALUATION
    class_ids: Path | None = None
    class_order: str | None = None
    exif: bool = False
