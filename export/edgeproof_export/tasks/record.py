"""The export steps of a task: its record, the request, and the model for the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.onnx_files.file import METADATA_SCHEMA
from edgeproof_export.tasks.budget import Budget
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import Activation, OutputEntry, Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.record import OpenDataset

if TYPE_CHECKING:
    from edgeproof_export.contracts import ContractFlags
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source

__all__ = [
    "MOST_IMAGES_COMPARED",
    "MOST_IMAGES_GOLDEN",
    "Advance",
    "ExportSteps",
    "Measured",
    "Reference",
    "Request",
    "TaskModel",
    "Transform",
    "model_metadata",
]

# For models that output images, which are compared in float64 and whose golden ones are part of the bundle.
MOST_IMAGES_COMPARED, MOST_IMAGES_GOLDEN = 48, 4

Reference = Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], ...]]
"""Model that every engine is compared with: function from a batch to one array ``N x ...`` per output."""

Transform = Callable[[Any], Any]
"""The training's evaluation transform: function from a PIL image to a ``CxHxW`` tensor of PyTorch."""

Inputs = Iterable[tuple[list[str], NDArray[np.generic]]]
Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request of an export; see `edgeproof_export.pipeline.export_bundle`.

    Attributes:
        folder: folder of the bundle being written.
        data, options: images for the gates.
        gate_images, golden_images: most images for the parity gate, and most golden cases.
        labels, contract, activation, output: options of models that do not record them; see `ExportSteps.options`.
    """

    folder: Path
    data: str | None
    options: DataOptions
    gate_images: int
    golden_images: int
    labels: str | Path | tuple[str, ...] | None
    contract: ContractFlags
    activation: Activation | None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics of the reference on labelled data.

    Attributes:
        sections: sections of the report by key.
        counts: further counts for the report.
        gates: gates on the labels of the data.
        notes: notes for the report.
    """

    sections: Mapping[str, Any]
    counts: Mapping[str, int]
    gates: Sequence[Gate] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskModel:
    """Model with all data for converting, gating and writing it.

    Attributes:
        model: module, exported program, or ONNX model.
        reference: reference of the outputs.
        reference_name: name for messages.
        reference_engine: engine of the reference; None for PyTorch.
        weights_sha256: sha256 of the weights.
        input: the model's input.
        max_batch: largest batch.
        outputs: the model's outputs.
        metadata: metadata of the ONNX file; see `model_metadata`.
        contract: input contract; None if the input is not an image.
        manifest: task-specific fields of the manifest.
        cases: golden cases.
        golden_labels: labels of golden cases with a top-1 prediction; else None.
        inputs: names and tensors for the parity gate, in batches; read once per exporter that is tried.
        total: largest possible number of inputs.
        data: name of the inputs for messages.
        settings: further settings for the report.
        images: image list whose unreadable images the report lists, or None.
        measure: function that measures the reference on labelled data; None without such data.
        samples: samples of the golden cases for the report.
        notes: notes for the report.
        precision: precision of the model's arithmetic, whose bounds the gates take.
        facts: further facts for the manifest's provenance.
        adapt: change of the ONNX model after the conversion; None without.
    """

    model: Any
    reference: Reference
    reference_name: str = "PyTorch"
    reference_engine: str | None = None
    weights_sha256: str
    input: TensorSpec
    max_batch: int
    outputs: tuple[OutputEntry, ...]
    metadata: Mapping[str, str]
    contract: InputContract | None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[Golden]
    golden_labels: Sequence[str] | None = None
    inputs: Inputs
    total: int
    data: str
    settings: Mapping[str, Any]
    images: ImageList | None = None
    measure: Callable[[Advance], Measured] | None = None
    samples: Callable[[Bundle], list[Thumbnail]]
    notes: tuple[str, ...]
    precision: Precision = "fp32"
    facts: Mapping[str, str] = field(default_factory=dict)
    adapt: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSteps:
    """Task-specific steps of an export.

    Attributes:
        task: name of the task, as in `edgeproof_runtime.tasks.registry`.
        options: applicable fields of `Request` among ``labels``, ``class_ids``, ``activation`` and ``contract``.
        foreign_options: the same for models that were not trained by `edgeproof train`; None means ``options``.
        prepare: function from a resolved model to a `TaskModel`.
        budget: metric of the accuracy budget for `optimize`, from a bundle and the names of the dataset's targets; None
            if unsupported.
        open_judged: opens the images of `optimize`; None means as for `evaluate`.
    """

    task: str
    options: Collection[str]
    prepare: Callable[[Source, Request], TaskModel]
    budget: Callable[[Bundle, Sequence[str]], Budget] | None = None
    open_judged: OpenDataset | None = None
    foreign_options: Collection[str] | None = None

    @property
    def can_optimize(self) -> bool:
        """Return whether `optimize` supports bundles of this task."""
        return self.budget is not None


def model_metadata(task: str, weights_sha256: str, facts: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build the metadata of a bundle's ONNX file.

    Args:
        task: name of the task.
        weights_sha256: sha256 of the weights.
        facts: further entries of the task.
    """
    import torch

    return {
        "edgeproof.schema": METADATA_SCHEMA,
        "edgeproof.task": task,
        **(facts or {}),
        "edgeproof.weights_sha256": weights_sha256,
        "edgeproof.torch": torch.__version__,
    }
