"""Bundles of the tasks ``reconstruct`` and ``generate`` from checkpoints of `edgeproof train`, gated like others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeproof_export.bundle import seal
from edgeproof_export.checkpoint import Blueprint
from edgeproof_export.gate import require, run_parity, tensors_of
from edgeproof_export.golden import Golden, make_golden, preprocessing_gate, write_golden
from edgeproof_export.labels import Labels
from edgeproof_export.models import Source, quiet
from edgeproof_export.onnx_file import METADATA_SCHEMA, finish_model
from edgeproof_export.pictures import evenly, open_pictures
from edgeproof_export.provenance import provenance_of
from edgeproof_export.to_onnx import INPUT_NAME, to_onnx
from edgeproof_export.weights import weights_digest
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.manifest import MODEL_FILES, Manifest, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import AnomalySettings, LatentInput
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.generate import to_pictures
from edgeproof_runtime.tasks.registry import head_of

__all__ = ["export_picture_task"]

Outputs = tuple[NDArray[np.generic], ...]
Inputs = Iterator[tuple[list[str], NDArray[np.generic]]]

_OUTPUTS = {"reconstruct": ("reconstruction", "heat_map", "score"), "generate": ("picture",)}
# Whole pictures are compared in float64, and golden ones travel to every device.
_MOST_COMPARED, _MOST_GOLDEN = 48, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What differs between the two tasks.

    Attributes:
        contract, anomaly, latent: of the manifest.
        spec: the model's input.
        max_batch: largest batch.
        cases: golden cases.
        inputs: for the parity gate, and
        total: how many there are at most.
        data: their name for people.
        notes: sentences for people.
    """

    contract: InputContract | None
    anomaly: AnomalySettings | None
    latent: LatentInput | None
    spec: TensorSpec
    max_batch: int
    cases: list[Golden]
    inputs: Inputs
    total: int
    data: str
    notes: tuple[str, ...]


def export_picture_task(
    source: Source,
    folder: Path,
    name: str,
    *,
    data: str | None,
    split: str,
    gate_images: int,
    golden_images: int,
    opset: int,
    engines: Sequence[str],
    tell: Callable[[str, int, int], None],
) -> Report:
    """Write such a bundle into ``folder``; see `edgeproof_export.pipeline.export_bundle`.

    Raises:
        InputError: the checkpoint lacks what its task needs, or the data cannot be read.
        GateError: a gate was missed.
    """
    blueprint, network = source.blueprint, source.model
    if blueprint is None or not isinstance(network, nn.Module):
        raise TypeError("a picture task comes from a checkpoint")
    reference = _reference(network, source.spec)
    compared, golden = min(gate_images, _MOST_COMPARED), min(golden_images, _MOST_GOLDEN)
    task = (
        _reconstruct(blueprint, reference, data, split, compared, golden)
        if blueprint.task == "reconstruct"
        else _generate(blueprint, reference, compared, golden)
    )
    names = _OUTPUTS[blueprint.task]
    outputs = tuple(OutputEntry(n, o.shape) for n, o in zip(names, task.cases[0].outputs, strict=True))

    tell("exporting to ONNX", 0, 1)
    digest = weights_digest(dict(network.state_dict()))
    path = folder / MODEL_FILES["fp32"]
    finish_model(
        to_onnx(network, task.spec, names, opset=opset),
        path,
        {
            "edgeproof.schema": METADATA_SCHEMA,
            "edgeproof.task": blueprint.task,
            "edgeproof.weights_sha256": digest,
            "edgeproof.torch": torch.__version__,
            **({} if task.contract is None else {"edgeproof.contract": json.dumps(task.contract.to_json())}),
        },
    )
    tell("exporting to ONNX", 1, 1)
    artifact = ModelArtifact(
        path=path,
        precision="fp32",
        input=task.spec,
        outputs=tuple(TensorSpec(output.name, output.shape) for output in outputs),
        max_batch=task.max_batch,
    )
    parity = run_parity(
        artifact,
        reference,
        "PyTorch",
        engines,
        task.inputs,
        task.total,
        lambda done, total: tell("comparing the engines", done, total),
        ranked=False,
    )
    tensors = None if task.contract is None else preprocessing_gate(task.cases, task.contract)
    gates = [*([tensors] if tensors is not None else []), *parity.gates]
    require(gates, parity.worst, "PyTorch")

    entries = write_golden(folder, task.cases, None)
    seal(
        folder,
        lambda files: Manifest(
            name=name,
            task=blueprint.task,
            contract=task.contract,
            input_name=task.spec.name,
            outputs=outputs,
            labels=None,
            class_ids=None,
            provenance=provenance_of(source, digest, "PyTorch", opset),
            models={"fp32": MODEL_FILES["fp32"]},
            golden=entries,
            files=files,
            latent=task.latent,
            anomaly=task.anomaly,
        ),
    )
    bundle = Bundle.open(folder)
    host = host_facts()
    return Report(
        kind="export",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings={
            "model": source.spec,
            "weights": source.weights,
            "data": task.data,
            "reference": "PyTorch",
            "input": bundle.input_summary,
            "opset": opset,
        },
        counts={"golden_cases": len(task.cases), "gate_pictures": parity.pictures},
        gates=gates,
        engines=parity.engines,
        samples=_samples(bundle, task.cases),
        warnings=[*source.notes, *task.notes, *parity.notes, *host_warnings(host)],
    )


def _reconstruct(
    blueprint: Blueprint, reference: Callable[[Any], Outputs], data: str | None, split: str, compared: int, golden: int
) -> _Task:
    contract = blueprint.contract
    if contract is None or "anomaly" not in blueprint.facts:
        raise InputError(
            "the checkpoint says nothing about defects yet",
            got="no anomaly threshold",
            expected="best.ckpt of a training that ended",
            fix="edgeproof train autoencoder --data DATA --out DIR",
        )
    pictures = open_pictures(None, Labels(()), class_ids=None, split=split) if data is None else None
    images = _images(str(data), split) if pictures is None else pictures.images
    positions = evenly(len(images), compared)
    return _Task(
        contract=contract,
        anomaly=AnomalySettings.from_json(blueprint.facts["anomaly"]),
        latent=None,
        spec=TensorSpec(INPUT_NAME, contract.tensor_shape()[1:], contract.dtype),
        max_batch=contract.batch.max,
        cases=make_golden(images, [positions[i] for i in evenly(len(positions), golden)], contract, reference),
        inputs=tensors_of(images, positions, contract),
        total=len(positions),
        data=str(data) if pictures is None else pictures.name,
        notes=() if pictures is None else pictures.notes,
    )


def _images(data: str, split: str) -> ImageList:
    path = Path(data)
    return ImageList.open(path / split if (path / split).is_dir() else path, split=split)


def _generate(blueprint: Blueprint, reference: Callable[[Any], Outputs], compared: int, golden: int) -> _Task:
    if "latent" not in blueprint.facts:
        raise InputError("the checkpoint does not say what its generator is fed", fix="train it again")
    latent = LatentInput.from_json(blueprint.facts["latent"])
    cases = []
    for seed in range(golden):
        vector = latents(seed, 0, 1, latent.size)
        outputs = tuple(output[0] for output in reference(vector))
        picture = to_pictures(outputs[0][None], latent)[0]
        cases.append(Golden(f"seed {seed}", seed, picture, vector[0], outputs, seed=seed))
    return _Task(
        contract=None,
        anomaly=None,
        latent=latent,
        spec=TensorSpec("latent", (latent.size,)),
        max_batch=latent.batch.max,
        cases=cases,
        inputs=iter([([f"seed 0, number {i}" for i in range(compared)], latents(0, 0, compared, latent.size))]),
        total=compared,
        data=f"{compared} latent vectors of seed 0",
        notes=(),
    )


def _reference(network: nn.Module, spec: str) -> Callable[[NDArray[np.generic]], Outputs]:
    def answer(batch: NDArray[np.generic]) -> Outputs:
        with torch.inference_mode(), quiet():
            found = network(torch.from_numpy(np.ascontiguousarray(batch)))
        outputs = found if isinstance(found, tuple) else (found,)
        if not all(isinstance(output, torch.Tensor) and len(output) == len(batch) for output in outputs):
            raise InputError(f"{spec} does not answer with tensors of its batch", got=type(found).__name__)
        return tuple(output.numpy() for output in outputs)

    return answer


def _samples(bundle: Bundle, cases: Sequence[Golden]) -> list[Thumbnail]:
    if bundle.manifest.latent is not None:
        return [Thumbnail.of(case.name, case.frame, f"seed {case.seed}") for case in cases]
    head = head_of(bundle)
    samples = []
    for case in cases:
        decision = head(tuple(output[None] for output in case.outputs))
        samples.append(Thumbnail.of(case.name, decision.over(case.frame), decision.headline))
    return samples
