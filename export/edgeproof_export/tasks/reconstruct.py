"""Export of the task ``reconstruct``: heat map, and anomaly score with its threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.gate import tensors_of
from edgeproof_export.images import evenly, open_images, unlabelled
from edgeproof_export.labels import Labels
from edgeproof_export.onnx_files.reading import OnnxFile
from edgeproof_export.tasks.anomaly_budget import anomaly_budget, open_judged
from edgeproof_export.tasks.record import (
    MOST_IMAGES_COMPARED,
    MOST_IMAGES_GOLDEN,
    ExportSteps,
    Reference,
    Request,
    TaskModel,
    Transform,
    model_metadata,
)
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import MODEL_FILES, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import AnomalySettings
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.tasks.reconstruct import TASK
from edgeproof_runtime.tasks.registry import head_of

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source

__all__ = ["STEPS"]

_OUTPUTS = ("reconstruction", "heat_map", "score")  # a model without a reconstruction has the others


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """An anomaly model, ready to run batches and to convert to ONNX; fields as in `TaskModel` and `Source`."""

    model: Any
    reference: Reference
    reference_name: str
    reference_engine: str | None
    weights_sha256: str
    input_name: str
    contract: InputContract
    settings: AnomalySettings
    notes: tuple[str, ...] = ()
    transform: Transform | None = None


def _prepare(source: Source, request: Request) -> TaskModel:
    # Imports PyTorch, which takes seconds and is not needed by `optimize`.
    from edgeproof_export.golden import make_golden
    from edgeproof_export.tasks.training_pipeline import training_scores

    model = source.model
    if isinstance(model, OnnxFile):
        subject = _from_file(model, source, request)
    elif source.anomaly is not None:
        subject = _from_library(source, request, source.anomaly)
    else:
        subject = _from_checkpoint(source, request)
    contract = subject.contract
    images, name, notes = _open(request)
    positions = evenly(len(images), min(request.gate_images, MOST_IMAGES_COMPARED))
    shown = [positions[i] for i in evenly(len(positions), min(request.golden_images, MOST_IMAGES_GOLDEN))]
    cases = make_golden(images, shown, contract, subject.reference)
    return TaskModel(
        model=subject.model,
        reference=subject.reference,
        reference_name=subject.reference_name,
        reference_engine=subject.reference_engine,
        weights_sha256=subject.weights_sha256,
        input=TensorSpec(subject.input_name, contract.tensor_shape()[1:], contract.dtype),
        max_batch=contract.batch.max,
        outputs=tuple(
            OutputEntry(n, o.shape) for n, o in zip(_OUTPUTS[-len(cases[0].outputs) :], cases[0].outputs, strict=True)
        ),
        metadata={
            **model_metadata(TASK.name, subject.weights_sha256),
            "edgeproof.contract": json.dumps(contract.to_json()),
        },
        contract=contract,
        manifest={"anomaly": subject.settings},
        cases=cases,
        inputs=tensors_of(images, positions, contract),
        total=len(positions),
        measure=None
        if subject.transform is None
        else partial(
            training_scores, images, positions, contract, subject.reference, subject.transform, subject.settings
        ),
        data=name,
        settings={"input": contract.summary()},
        samples=lambda bundle: _samples(bundle, cases),
        notes=(*notes, *subject.notes),
    )


def _from_checkpoint(source: Source, request: Request) -> _Subject:
    from edgeproof_export.contracts import ContractFlags
    from edgeproof_export.pytorch.reference import checkpoint_reference
    from edgeproof_export.pytorch.to_onnx import INPUT_NAME
    from edgeproof_export.weights.fit import weights_digest

    if request.contract != ContractFlags():
        raise InputError(
            f"{source.spec}: has an input contract",
            got="options of an input contract",
            expected="only the checkpoint, which records it",
            fix="leave them out",
        )
    blueprint, network, reference = checkpoint_reference(source)
    contract = blueprint.contract
    if contract is None or "anomaly" not in blueprint.facts:
        raise InputError(
            f"{source.spec}: has no anomaly threshold",
            expected="best.ckpt of a completed training",
            fix=f"edgeproof train {blueprint.recipe} --data DATA --out DIR",
        )
    return _Subject(
        model=network,
        reference=reference,
        reference_name="PyTorch",
        reference_engine=None,
        weights_sha256=weights_digest(dict(network.state_dict())),
        input_name=INPUT_NAME,
        contract=contract,
        settings=AnomalySettings.from_json(blueprint.facts["anomaly"]),
    )


def _from_library(source: Source, request: Request, settings: AnomalySettings) -> _Subject:
    """Prepare a network of another library; its threshold was chosen by that library."""
    from edgeproof_export.pytorch.reference import network_reference
    from edgeproof_export.pytorch.to_onnx import INPUT_NAME
    from edgeproof_export.weights.fit import weights_digest

    network: Any = source.model
    return _Subject(
        model=network,
        reference=network_reference(network, source.spec),
        reference_name="PyTorch",
        reference_engine=None,
        weights_sha256=weights_digest(dict(network.state_dict())),
        input_name=INPUT_NAME,
        contract=request.contract.apply(source.contract),
        settings=settings,
        transform=source.transform,
    )


def _from_file(file: OnnxFile, source: Source, request: Request) -> _Subject:
    """Prepare an ONNX file of anomalib. The reference is the file as it came, on ONNX Runtime."""
    from edgeproof_export.contracts import installed_resampler
    from edgeproof_export.onnx_files.anomaly import MAP, SCORE, input_size_of, reduced
    from edgeproof_export.onnx_files.file import finish_model
    from edgeproof_runtime import engines
    from edgeproof_runtime.bundle.artifact import ModelArtifact

    path, model = file.path, file.model
    name, size = input_size_of(model)
    size = size or request.contract.input_size
    if size is None:
        raise InputError(
            f"{path}: height and width of its input are open",
            fix="--input-size N, the size that the model was trained with",
        )
    # anomalib's graph begins with its pre-processor: it takes RGB values of 0..1 and normalises them itself.
    base = InputContract(
        color="rgb",
        resize="squash",
        resize_size=size,
        crop_size=None,
        resampler=installed_resampler(),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    contract = request.contract.apply(source.contract or base)
    graph = reduced(model, contract.tensor_size)
    notes: tuple[str, ...] = ()
    if graph.fixed_batch is not None:
        if graph.fixed_batch != 1:
            raise InputError(
                f"{path}: the batch is fixed",
                got=f"{graph.fixed_batch} frames",
                expected="a dynamic batch, or 1",
                fix="export it with a dynamic batch",
            )
        contract = replace(contract, batch=BatchBounds(1, 1, 1))
        notes = (f"{path}: the batch is fixed at 1; batching is not possible with this bundle.",)
    copy = request.folder / MODEL_FILES["fp32"]
    finish_model(model, copy, {})
    engine = engines.load(
        "onnxruntime",
        ModelArtifact(
            path=copy,
            precision="fp32",
            input=TensorSpec(name, contract.tensor_shape()[1:], contract.dtype),
            outputs=(TensorSpec(MAP, ()), TensorSpec(SCORE, ())),
            max_batch=max(64, contract.batch.max),
        ),
    )

    def reference(batch: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
        heat, score = engine.run(np.ascontiguousarray(batch))
        return heat.reshape(len(batch), *heat.shape[-2:]), score.reshape(len(batch), 1)

    return _Subject(
        model=graph.model,
        reference=reference,
        reference_name="ONNX Runtime",
        reference_engine=None,
        weights_sha256=file.sha256,
        input_name=name,
        contract=contract,
        settings=AnomalySettings(
            threshold=graph.threshold,
            quantile=None,
            good_images=None,
            score=f"{SCORE} of the ONNX file, normalised by it",
        ),
        notes=notes,
    )


def _open(request: Request) -> tuple[ImageList, str, tuple[str, ...]]:
    """Return images, their name, and notes; kinds of defects are folders, not labels of the model."""
    if request.data is None:
        found = open_images(None, Labels(()), request.options)
        return found.images, found.name, found.notes
    return unlabelled(request.data, request.options), request.data, ()


def _samples(bundle: Bundle, cases: Sequence[Golden]) -> list[Thumbnail]:
    head = head_of(bundle)
    samples = []
    for case in cases:
        decision = head(tuple(output[None] for output in case.outputs))
        samples.append(Thumbnail.of(case.name, decision.over(case.frame), decision.headline))
    return samples


STEPS = ExportSteps(
    task=TASK.name, options=("contract",), prepare=_prepare, budget=anomaly_budget, open_judged=open_judged
)
