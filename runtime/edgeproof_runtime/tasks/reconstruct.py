"""The task ``reconstruct``: good or defect from an anomaly model's outputs, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD, AnomalySettings
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.region import tensor_region
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.tasks.decision import Decision, EventValues, Row
from edgeproof_runtime.tasks.display import html_of, text_of
from edgeproof_runtime.tasks.golden_inputs import FrameInputs
from edgeproof_runtime.tasks.record import Metric, Task

if TYPE_CHECKING:  # see record.py
    from edgeproof_runtime.data.dataset import LabelledData, LabelledImages
    from edgeproof_runtime.data.options import DataOptions
    from edgeproof_runtime.metrics.auroc import AnomalyResult

__all__ = ["TASK", "Anomaly", "AnomalyJudge", "ReconstructHead", "open_kinds", "reconstruct_head"]

_FAINTEST, _FULL = 0.6, 1.4  # heat, in units of the threshold, that is just visible, and that is fully visible
_OPACITY = 0.65
_NONE_GOOD = "AUROC is not available: no good image was read. Raise --limit, which takes images folder by folder."


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Anomaly:
    """The anomaly score of one frame, and where it comes from.

    Attributes:
        score: how unlike a good image the frame is; 0 or more.
        threshold: a score above it is a defect.
        heat_map: float32 ``hxw``, in units of the score, over the part of the frame that the tensor shows.
        reconstruction: the model's reconstruction, in the input tensor's layout and units; None if it has none.
        contract: how the frame became the tensor.
    """

    score: float
    threshold: float
    heat_map: NDArray[np.float32]
    reconstruction: Tensor | None
    contract: InputContract

    def __repr__(self) -> str:
        return text_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    @property
    def defect(self) -> bool:
        """Whether the score is above the threshold; a NaN score is never good."""
        return not self.score <= self.threshold

    @property
    def label(self) -> str:
        """``good`` or ``defect``."""
        return DEFECT if self.defect else GOOD

    @property
    def probability(self) -> None:
        """None: an anomaly score is not a probability."""
        return None

    @property
    def detail(self) -> str:
        """The score."""
        return f"{self.score:.3g}"

    @property
    def headline(self) -> str:
        """Label and score for a status line."""
        return f"{self.label} {self.score:.3g} (limit {self.threshold:.3g})"

    @property
    def unknown(self) -> bool:
        """False: no rule applies to this task."""
        return False

    def rows(self, k: int) -> list[Row]:
        """List one line: the score on a scale whose middle is the threshold."""
        share = self.score / (2 * self.threshold) if math.isfinite(self.score) else 1.0
        return [Row(self.label, min(share, 1.0), f"{self.score:.3g} / {self.threshold:.3g}")][:k]

    def is_right(self, truth: str) -> bool:
        """Return whether good or defect is right; every ``truth`` but ``good`` is a kind of defect."""
        return self.defect == (truth != GOOD)

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw the heat map over the frame, uint8 ``HxWx3`` BGR; heat below the threshold is hardly visible."""
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
        """Return ``anomaly``: score (null if it is not finite), threshold and decision."""
        score = self.score if math.isfinite(self.score) else None
        return {"anomaly": {"score": score, "threshold": self.threshold, "defect": self.defect}}

    def event_values(self, threshold: float, top_k: int) -> EventValues:  # noqa: ARG002 - the bundle has its own limit
        """Return one value, the anomaly score; a score that is not finite counts as a defect."""
        score = self.score if math.isfinite(self.score) else 2 * self.threshold
        above = math.nextafter(self.threshold, math.inf)
        return EventValues(np.array([score]), np.array([above]), 1, lambda _: DEFECT, "score")


class ReconstructHead:
    """Turns the outputs for a batch of one into an `Anomaly`."""

    def __init__(self, settings: AnomalySettings, contract: InputContract) -> None:
        self.threshold: float = settings.threshold
        self._contract = contract

    def __call__(self, outputs: tuple[Tensor, ...]) -> Anomaly:
        *reconstruction, heat_map, score = (output[0] for output in outputs)
        return Anomaly(
            float(score[0]),
            self.threshold,
            heat_map.astype(np.float32),
            reconstruction[0] if reconstruction else None,
            self._contract,
        )


class AnomalyJudge:
    """AUROC; a frame's label is ``good``, or anything else for a kind of defect."""

    def __init__(self, bundle: Bundle) -> None:
        from edgeproof_runtime.metrics.auroc import AnomalyMeter

        self._head = reconstruct_head(bundle)
        self._meter = AnomalyMeter(self._head.threshold)

    @property
    def n(self) -> int:
        return self._meter.n

    def add(self, decision: Decision, truth: str, name: str) -> str:  # noqa: ARG002 - every name is a kind
        if not isinstance(decision, Anomaly):
            raise TypeError(f"a {type(decision).__name__} has no anomaly score")
        self._meter.update(truth, decision.score)
        return GOOD if truth == GOOD else DEFECT

    def add_batch(
        self, outputs: tuple[Tensor, ...], data: LabelledImages[Any], targets: Sequence[int]
    ) -> list[Anomaly]:
        decisions = [self._head(tuple(output[i : i + 1] for output in outputs)) for i in range(len(targets))]
        for decision, target in zip(decisions, targets, strict=True):
            self._meter.update(data.names[target], decision.score)
        return decisions

    def truth_of(self, data: LabelledImages[Any], target: int) -> str:
        return GOOD if data.names[target] == GOOD else DEFECT

    def row(self, data: LabelledImages[Any], target: int, decision: Anomaly) -> dict[str, str | float | bool | None]:
        kind = data.names[target]
        return {
            "ground_truth": kind,
            "label": decision.label,
            "correct": decision.is_right(kind),
            "score": decision.score,
            "threshold": decision.threshold,
        }

    @property
    def anomaly(self) -> AnomalyResult | None:
        """AUROC so far; None before the first labelled frame."""
        return self._meter.result() if self._meter.n else None

    def notes(self, data: LabelledImages[Any]) -> list[str]:  # noqa: ARG002
        found = self.anomaly
        return [_NONE_GOOD] if found is not None and not found.good_n else []

    def label_gates(self) -> list[Gate]:
        return []

    def counts(self) -> dict[str, int]:
        return {}

    def reference_gate(self, reference: Mapping[str, Any], max_drop: float) -> Gate | None:  # noqa: ARG002
        return None

    def figures(self) -> dict[str, float | None]:
        found = self.anomaly
        return {} if found is None else {"mean_auroc": found.mean_auroc, "auroc": found.auroc}

    def sections(self) -> dict[str, Any]:
        found = self.anomaly
        return {} if found is None else {"anomaly": found.to_json()}


def reconstruct_head(bundle: Bundle) -> ReconstructHead:
    """Build the head of a bundle that finds defects.

    Raises:
        InputError: the bundle's task is not ``reconstruct``.
    """
    settings = bundle.manifest.anomaly
    if settings is None:
        raise InputError(
            f"{bundle.path}: no anomaly threshold", got=f"task {bundle.manifest.task}", expected="task reconstruct"
        )
    return ReconstructHead(settings, bundle.contract)


def open_kinds(path: str | Path, options: DataOptions | None = None) -> LabelledData:
    """Open class folders: ``good`` holds good images, every other folder a kind of defect.

    Args:
        path: a folder with class folders, or with split folders that hold them.
        options: split, and whether to apply EXIF orientation.

    Returns:
        Samples whose `LabelledData.names` are ``good`` and the kinds of defects.

    Raises:
        InputError: class folders were not found, or ``good`` is not among them.
    """
    from edgeproof_runtime.data.dataset import LabelledData
    from edgeproof_runtime.data.options import DataOptions
    from edgeproof_runtime.data.splits import locate

    wanted = options or DataOptions()
    root = Path(path)
    located = None
    if root.is_dir():
        located = locate(root, wanted.split, prefer=wanted.prefer, labelled=True)
        root = located.root
    kinds = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".")) if root.is_dir() else ()
    if GOOD not in kinds or len(kinds) < 2:
        raise InputError(
            f"{root}: good images and defects not found",
            got=f"folders {', '.join(kinds[:5])}" if kinds else "no class folders",
            expected=f"a folder {GOOD} and one for each kind of defect",
        )
    found = LabelledData.open(root, kinds, exif=wanted.exif)
    if located is None:
        return found
    return LabelledData(found.images.of_split(located.split, located.notes), found.targets, len(kinds), kinds)


def _open_dataset(bundle: Bundle, path: str | Path, options: DataOptions) -> LabelledData:  # noqa: ARG001
    for option, value in (("--class-ids", options.class_ids), ("--class-order", options.class_order)):
        if value is not None:
            raise InputError(f"{option}: does not apply to this bundle", got="task reconstruct", fix="leave it out")
    return open_kinds(path, options)


TASK = Task(
    name="reconstruct",
    summary="finds defects",
    shape=SHAPES["reconstruct"],
    ranked=False,
    golden_inputs=FrameInputs,
    metric=Metric(key="mean_auroc", name="AUROC", what="mean over the kinds", section="anomaly", option="--min-auroc"),
    head=reconstruct_head,
    judge=AnomalyJudge,
    open_dataset=_open_dataset,
    cpp="reconstruct",
)
