"""The head of the task ``reconstruct``: from an autoencoder's outputs to good or defect, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD, AnomalySettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.region import tensor_region
from edgeproof_runtime.tasks.decision import Row

__all__ = ["Anomaly", "ReconstructHead"]

_FAINTEST, _FULL = 0.6, 1.4  # heat, in units of the threshold, that begins to show, and that shows fully
_OPACITY = 0.65


@dataclass(frozen=True, slots=True, eq=False)
class Anomaly:
    """What the model says of one frame.

    Attributes:
        score: how unlike a good picture it is; 0 and more.
        threshold: above it is a defect.
        heat_map: float32 ``hxw``, in units of the score, over what the tensor shows.
        reconstruction: the good picture that the model sees in it, in the input tensor's layout and units.
        contract: how the frame became the tensor.
    """

    score: float
    threshold: float
    heat_map: NDArray[np.float32]
    reconstruction: Tensor
    contract: InputContract

    @property
    def defect(self) -> bool:
        """Whether the score is above the threshold; one that is no number is never good."""
        return not self.score <= self.threshold

    @property
    def label(self) -> str:
        """``good`` or ``defect``."""
        return DEFECT if self.defect else GOOD

    @property
    def probability(self) -> None:
        """A score is no probability."""
        return None

    @property
    def headline(self) -> str:
        """Label and score for a status line."""
        return f"{self.label} {self.score:.3g} (limit {self.threshold:.3g})"

    def rows(self, k: int) -> list[Row]:
        """One line: the score on a scale whose middle is the threshold."""
        share = self.score / (2 * self.threshold) if math.isfinite(self.score) else 1.0
        return [Row(self.label, min(share, 1.0), f"{self.score:.3g} / {self.threshold:.3g}")][:k]

    def is_right(self, truth: str) -> bool:
        """Whether it was found good exactly where ``truth`` is ``good``; every other name is a kind of defect."""
        return self.defect == (truth != GOOD)

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame with the heat map over it, uint8 ``HxWx3`` BGR; heat below the threshold hardly shows."""
        height, width = image.shape[:2]
        region = tensor_region(self.contract, height, width)
        rows, columns = self.heat_map.shape
        scale_y, scale_x = rows / region.height, columns / region.width
        to_heat = np.array(
            [
                [scale_x, 0.0, (0.5 - region.left) * scale_x - 0.5],
                [0.0, scale_y, (0.5 - region.top) * scale_y - 0.5],
            ]
        )
        heat = cv2.warpAffine(
            np.nan_to_num(self.heat_map / self.threshold, nan=_FULL, posinf=_FULL),
            to_heat,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE if region.top <= 0 and region.left <= 0 else cv2.BORDER_CONSTANT,
        )
        shown = np.clip((heat - _FAINTEST) / (_FULL - _FAINTEST), 0.0, 1.0)
        colors = cv2.applyColorMap((shown * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
        opacity = (_OPACITY * np.sqrt(shown))[:, :, None]
        frame = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        mixed: NDArray[np.uint8] = np.rint(frame * (1 - opacity) + colors * opacity).astype(np.uint8)
        return mixed

    def to_json(self, k: int) -> dict[str, Any]:  # noqa: ARG002 - nothing is ranked here
        """``anomaly``: score (null where it is no number), threshold and decision."""
        score = self.score if math.isfinite(self.score) else None
        return {"anomaly": {"score": score, "threshold": self.threshold, "defect": self.defect}}


class ReconstructHead:
    """Turns the outputs for a batch of one into an `Anomaly`."""

    def __init__(self, settings: AnomalySettings, contract: InputContract) -> None:
        self._threshold = settings.threshold
        self._contract = contract

    def __call__(self, outputs: tuple[Tensor, ...]) -> Anomaly:
        reconstruction, heat_map, score = (output[0] for output in outputs)
        return Anomaly(float(score[0]), self._threshold, heat_map.astype(np.float32), reconstruction, self._contract)
