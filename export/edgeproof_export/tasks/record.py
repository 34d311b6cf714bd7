"""The export steps of a task: the record, what a person asked for, and what the pipeline gets back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.onnx_file import METADATA_SCHEMA
from edgeproof_export.tasks.budget import Budget
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import Activation, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.evidence.thumbnail import Thumbnail

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
    "model_metadata",
]

# Of models that output images: these are compared in float64, and golden ones travel to every device.
MOST_IMAGES_COMPARED, MOST_IMAGES_GOLDEN = 48, 4

Reference = Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], ...]]
"""The model that every engine is compared with: from a batch to one array ``N x ...`` per output."""

Inputs = Iterator[tuple[list[str], NDArray[np.generic]]]
Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked an export for; see `edgeproof_export.pipeline.export_bundle`.

    Attributes:
        folder: of the bundle that is being written.
        data, split: images for the gates.
        gate_images, golden_images: most images for the parity gate, most golden cases.
        labels, class_ids, contract, activation: of models that do not bring them; see `ExportSteps.options`.
    """

    folder: Path
    data: str | None
    split: str
    gate_images: int
    golden_images: int
    labels: Path | None
    class_ids: Path | None
    contract: ContractFlags
    activation: Activation | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What the reference achieves on labelled data.

    Attributes:
        sections: the report's sections, by key.
        counts: further counts of the report.
    """

    sections: Mapping[str, Any]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskModel:
    """A model with everything that the pipeline needs to convert, gate and write it.

    Attributes:
        model: a module, an exported program, or the ONNX model itself.
        reference: whose answers engines must give.
        reference_name: for people.
        reference_engine: the engine behind the reference; None for PyTorch.
        weights_sha256: of the weights.
        input: the model's input.
        max_batch: largest batch.
        outputs: the model's outputs.
        metadata: what the ONNX file says about itself; see `model_metadata`.
        contract: of the images; None where the model takes none.
        manifest: further fields of the manifest that differ by task.
        cases: golden cases.
        golden_labels: labels of the classes where golden cases name their first answer; else None.
        inputs: names and tensors for the parity gate, some at a time.
        total: most inputs that there are.
        data: name of the inputs for people.
        settings: further settings of the report.
        images: the list whose unreadable images the report names; None where it names none.
        measure: measures the reference on labelled data; None without such data.
        samples: what the report shows of the golden cases.
        notes: sentences for people.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSteps:
    """What differs by task when a bundle is made.

    Attributes:
        task: its name, as in `edgeproof_runtime.tasks.registry`.
        options: fields of `Request` that apply, of ``labels``, ``class_ids``, ``activation`` and ``contract``.
        prepare: from a resolved model to one that the pipeline can convert, gate and write.
        budget: what `optimize` counts an accuracy budget in; None where the task has no accuracy.
    """

    task: str
    options: Collection[str]
    prepare: Callable[[Source, Request], TaskModel]
    budget: Callable[[Bundle], Budget] | None = None

    @property
    def can_optimize(self) -> bool:
        """Whether `optimize` can add precisions to bundles of this task."""
        return self.budget is not None


def model_metadata(task: str, weights_sha256: str, facts: Mapping[str, str] | None = None) -> dict[str, str]:
    """What an ONNX file of a bundle says about itself.

    Args:
        task: name of the task.
        weights_sha256: of the weights.
        facts: further entries that only this task has.
    """
    import torch

    return {
        "edgeproof.schema": METADATA_SCHEMA,
        "edgeproof.task": task,
        **(facts or {}),
        "edgeproof.weights_sha256": weights_sha256,
        "edgeproof.torch": torch.__version__,
    }
