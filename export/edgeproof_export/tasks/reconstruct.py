"""Export of the task ``reconstruct``: reconstruction, heat map, and anomaly score with its threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof_export.gate import tensors_of
from edgeproof_export.images import evenly, open_images
from edgeproof_export.labels import Labels
from edgeproof_export.tasks.record import (
    MOST_IMAGES_COMPARED,
    MOST_IMAGES_GOLDEN,
    ExportSteps,
    Request,
    TaskModel,
    model_metadata,
)
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import AnomalySettings
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.tasks.reconstruct import TASK
from edgeproof_runtime.tasks.registry import head_of

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source

__all__ = ["STEPS"]

_OUTPUTS = ("reconstruction", "heat_map", "score")


def _prepare(source: Source, request: Request) -> TaskModel:
    # All three import PyTorch, which takes seconds and is not needed by `optimize`.
    from edgeproof_export.golden import make_golden
    from edgeproof_export.to_onnx import INPUT_NAME
    from edgeproof_export.torch_reference import checkpoint_reference
    from edgeproof_export.weights import weights_digest

    blueprint, network, reference = checkpoint_reference(source)
    contract = blueprint.contract
    if contract is None or "anomaly" not in blueprint.facts:
        raise InputError(
            f"{source.spec}: has no anomaly threshold",
            expected="best.ckpt of a completed training",
            fix="edgeproof train autoencoder --data DATA --out DIR",
        )
    images, name, notes = _open(request)
    positions = evenly(len(images), min(request.gate_images, MOST_IMAGES_COMPARED))
    shown = [positions[i] for i in evenly(len(positions), min(request.golden_images, MOST_IMAGES_GOLDEN))]
    cases = make_golden(images, shown, contract, reference)
    digest = weights_digest(dict(network.state_dict()))
    return TaskModel(
        model=network,
        reference=reference,
        weights_sha256=digest,
        input=TensorSpec(INPUT_NAME, contract.tensor_shape()[1:], contract.dtype),
        max_batch=contract.batch.max,
        outputs=tuple(OutputEntry(n, o.shape) for n, o in zip(_OUTPUTS, cases[0].outputs, strict=True)),
        metadata={**model_metadata(TASK.name, digest), "edgeproof.contract": json.dumps(contract.to_json())},
        contract=contract,
        manifest={"anomaly": AnomalySettings.from_json(blueprint.facts["anomaly"])},
        cases=cases,
        inputs=tensors_of(images, positions, contract),
        total=len(positions),
        data=name,
        settings={"input": contract.summary()},
        samples=lambda bundle: _samples(bundle, cases),
        notes=notes,
    )


def _open(request: Request) -> tuple[ImageList, str, tuple[str, ...]]:
    """Return images, their name, and notes; kinds of defects are folders, not labels of the model."""
    if request.data is None:
        found = open_images(None, Labels(()), class_ids=None, split=request.split)
        return found.images, found.name, found.notes
    path = Path(request.data)
    part = path / request.split
    return ImageList.open(part if part.is_dir() else path, split=request.split), request.data, ()


def _samples(bundle: Bundle, cases: Sequence[Golden]) -> list[Thumbnail]:
    head = head_of(bundle)
    samples = []
    for case in cases:
        decision = head(tuple(output[None] for output in case.outputs))
        samples.append(Thumbnail.of(case.name, decision.over(case.frame), decision.headline))
    return samples


STEPS = ExportSteps(task=TASK.name, options=(), prepare=_prepare)
