"""`export_bundle`: a trained model becomes a bundle that has passed every gate, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgeproof_export.bundle import add_evidence, new_bundle, seal
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.gate import TorchAccuracy, gated_engines, reference_accuracy, require, run_parity, tensors_of
from edgeproof_export.golden import Golden, make_golden, preprocessing_gate, write_golden
from edgeproof_export.labels import Labels, settle_labels
from edgeproof_export.models import Source, resolve
from edgeproof_export.onnx_file import METADATA_SCHEMA, finish_model
from edgeproof_export.picture_tasks import export_picture_task
from edgeproof_export.pictures import Pictures, evenly, open_pictures
from edgeproof_export.prepared import Prepared, prepare
from edgeproof_export.provenance import provenance_of
from edgeproof_export.to_onnx import OPSET, to_onnx
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.manifest import MODEL_FILES, Activation, FileEntry, GoldenEntry, Manifest, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.classify import probabilities

__all__ = ["Exported", "Progress", "export_bundle"]

# Told (phase, done, total) again and again; a phase is over when done is total.
Progress = Callable[[str, int, int], None]

_LARGEST_SUM_ERROR = 1e-3
_OTHER_PILLOW = (
    "The input tensors were not held against torchvision's: the contract resamples as another version of Pillow "
    "does than the one installed here."
)


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export.

    Attributes:
        bundle: the bundle, opened.
        report: its evidence, as in ``evidence/export.json``; ``warnings`` hold what a person should know.
    """

    bundle: Bundle
    report: Report


def export_bundle(
    model: str,
    out: str | Path,
    *,
    weights: str | None = None,
    labels: Path | None = None,
    class_ids: Path | None = None,
    data: str | None = None,
    split: str = "test",
    contract: ContractFlags | None = None,
    num_classes: int | None = None,
    activation: Activation | None = None,
    gate_images: int = 200,
    golden_images: int = 8,
    opset: int = OPSET,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export a classifier, or a checkpoint of another task, into a bundle, gated.

    PyTorch, ONNX Runtime and every other CPU engine of this machine answer the same pictures; the runtime's
    tensors are held against torchvision's. Where one misses its bound, nothing is left behind.

    Args:
        model: ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory``, a ``.pt2`` or an ``.onnx`` file.
        out: the bundle to write, ``NAME.edge``.
        weights: a file; ``pretrained`` (also where None) for the library's own; ``random``, seeded.
        labels: file with a label a line; else the library's own.
        class_ids: file with a folder name a line, as data sets name the classes.
        data: pictures for the gates: class folders, a folder, an ``.npz`` or ``cifar10``; with labels PyTorch's
            accuracy is recorded as well. None takes scikit-image's photographs.
        split: which part of the data.
        contract: what replaces fields of the model's own input contract.
        num_classes: outputs of a torchvision or timm model, if not its usual number.
        activation: what the model's last layer is; None looks whether its answers add up to 1.
        gate_images: most pictures for the parity gate, evenly spread over the data.
        golden_images: most golden cases.
        opset: version of ONNX's operators.
        force: replace a bundle that is there.
        progress: is told what goes on.

    Raises:
        InputError: the model, its weights, labels or data cannot be used, or ``out`` cannot be written.
        GateError: a gate was missed.
        UnavailableError: ONNX Runtime is not installed.
    """
    if activation is not None and activation not in get_args(Activation):
        raise InputError("unknown activation", got=activation, expected=", ".join(get_args(Activation)))
    if gate_images < 1 or golden_images < 1:
        raise InputError("a gate needs pictures", got=f"{gate_images} and {golden_images}", expected="at least 1 each")
    names = gated_engines()
    if "onnxruntime" not in names:
        raise UnavailableError(
            "an export is gated on ONNX Runtime, which is missing", fix='pip install "edgeproof[export]"'
        )
    tell = progress or (lambda _phase, _done, _total: None)
    out = Path(out)
    with new_bundle(out, force=force) as folder:
        tell("loading the model", 0, 1)
        source = resolve(model, weights=weights, num_classes=num_classes)
        tell("loading the model", 1, 1)
        if source.blueprint is not None and source.blueprint.task != "classify":
            _refuse_classifier_options(source, labels, class_ids, contract, activation)
            report = export_picture_task(
                source,
                folder,
                out.stem,
                data=data,
                split=split,
                gate_images=gate_images,
                golden_images=golden_images,
                opset=opset,
                engines=names,
                tell=tell,
            )
        else:
            report = _export_classifier(
                source,
                folder,
                out.stem,
                labels=labels,
                class_ids=class_ids,
                data=data,
                split=split,
                contract=contract or ContractFlags(),
                activation=activation,
                gate_images=gate_images,
                golden_images=golden_images,
                opset=opset,
                engines=names,
                tell=tell,
            )
        add_evidence(Bundle.open(folder), "export", report.to_json())
    return Exported(Bundle.open(out), report)


def _refuse_classifier_options(
    source: Source,
    labels: Path | None,
    class_ids: Path | None,
    contract: ContractFlags | None,
    activation: Activation | None,
) -> None:
    given = {"labels": labels, "class ids": class_ids, "an activation": activation}
    named = [name for name, value in given.items() if value is not None]
    if contract is not None and contract != ContractFlags():
        named.append("an input contract")
    if named and source.blueprint is not None:
        raise InputError(
            f"{source.spec} takes none of these: its checkpoint says all there is",
            got=", ".join(named),
            expected=f"a checkpoint of task {source.blueprint.task} alone",
            fix="leave them out",
        )


def _export_classifier(
    source: Source,
    folder: Path,
    name: str,
    *,
    labels: Path | None,
    class_ids: Path | None,
    data: str | None,
    split: str,
    contract: ContractFlags,
    activation: Activation | None,
    gate_images: int,
    golden_images: int,
    opset: int,
    engines: Sequence[str],
    tell: Progress,
) -> Report:
    """Write a classifier's bundle into ``folder``; see `export_bundle`."""
    prepared = prepare(source, contract, folder)

    settled, notes = settle_labels(source.labels, prepared.classes, labels=labels, class_ids=class_ids)
    _write_lines(folder / "labels.txt", settled.names)
    ids_file = None
    if settled.ids is not None:
        ids_file = folder / "class_ids.txt"
        _write_lines(ids_file, settled.ids)

    def reference(batch: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
        return (prepared.reference(batch),)

    pictures = open_pictures(data, settled, class_ids=ids_file, split=split)
    positions = evenly(len(pictures.images), gate_images)
    shown = [positions[i] for i in evenly(len(positions), golden_images)]
    cases = make_golden(pictures.images, shown, prepared.contract, reference)
    output = OutputEntry(
        prepared.output_name, (prepared.classes,), activation or _activation([case.output for case in cases])
    )

    tell("exporting to ONNX", 0, 1)
    _write_model(prepared, folder / MODEL_FILES["fp32"], output, opset)
    tell("exporting to ONNX", 1, 1)
    artifact = _artifact(folder / MODEL_FILES["fp32"], prepared, output)
    others = [name for name in engines if name != prepared.reference_engine]
    parity = run_parity(
        artifact,
        reference,
        prepared.reference_name,
        others,
        tensors_of(pictures.images, positions, prepared.contract),
        len(positions),
        lambda done, total: tell("comparing the engines", done, total),
    )
    tensors = preprocessing_gate(cases, prepared.contract)
    gates = [*([tensors] if tensors is not None else []), *parity.gates]
    require(gates, parity.worst, prepared.reference_name)
    accuracy = None
    if pictures.labelled is not None:
        accuracy = reference_accuracy(
            pictures.labelled,
            prepared.classes,
            prepared.contract,
            prepared.reference,
            lambda done, total: tell(f"accuracy of {prepared.reference_name}", done, total),
        )

    golden = write_golden(folder, cases, settled.names)
    seal(folder, _manifest(name, source, prepared, output, golden, settled, opset))
    bundle = Bundle.open(folder)
    host = host_facts()
    return Report(
        kind="export",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=_settings(source, pictures, prepared, gate_images, opset),
        counts={
            "golden_cases": len(cases),
            "gate_pictures": parity.pictures,
            "frames_failed": len(pictures.images.skipped),
            **({} if accuracy is None else {"torch_correct": accuracy.correct, "labelled": accuracy.result.n}),
        },
        accuracy=None if accuracy is None else _accuracy(accuracy, pictures, settled),
        gates=gates,
        engines=parity.engines,
        samples=_samples(cases, output, settled, pictures),
        warnings=[
            *source.notes,
            *prepared.notes,
            *notes,
            *pictures.notes,
            *([] if tensors is not None else [_OTHER_PILLOW]),
            *parity.notes,
            *(f"Skipped {item.name}: {item.reason}." for item in pictures.images.skipped),
            *host_warnings(host),
        ],
    )


def _activation(outputs: list[NDArray[np.generic]]) -> Activation:
    """``softmax`` where every answer is already a distribution; logits never are, on several pictures."""
    scores = np.stack(outputs).astype(np.float64)
    distributions = (scores >= 0).all() and bool((np.abs(scores.sum(axis=1) - 1) < _LARGEST_SUM_ERROR).all())
    return "softmax" if distributions else "none"


def _write_model(prepared: Prepared, path: Path, output: OutputEntry, opset: int) -> None:
    model = prepared.model
    if not isinstance(model, onnx.ModelProto):
        spec = TensorSpec(prepared.input_name, prepared.contract.tensor_shape()[1:], prepared.contract.dtype)
        model = to_onnx(model, spec, (output.name,), opset=opset)
    finish_model(
        model,
        path,
        {
            "edgeproof.schema": METADATA_SCHEMA,
            "edgeproof.task": "classify",
            "edgeproof.contract": json.dumps(prepared.contract.to_json(), sort_keys=True),
            "edgeproof.classes": str(prepared.classes),
            "edgeproof.activation": output.activation,
            "edgeproof.weights_sha256": prepared.weights_sha256,
            "edgeproof.torch": torch.__version__,
        },
    )


def _artifact(path: Path, prepared: Prepared, output: OutputEntry) -> ModelArtifact:
    return ModelArtifact(
        path=path,
        precision="fp32",
        input=TensorSpec(prepared.input_name, prepared.contract.tensor_shape()[1:], prepared.contract.dtype),
        outputs=(TensorSpec(output.name, output.shape),),
        max_batch=prepared.contract.batch.max,
    )


def _manifest(
    name: str,
    source: Source,
    prepared: Prepared,
    output: OutputEntry,
    golden: tuple[GoldenEntry, ...],
    labels: Labels,
    opset: int,
) -> Callable[[dict[str, FileEntry]], Manifest]:
    return lambda files: Manifest(
        name=name,
        task="classify",
        contract=prepared.contract,
        input_name=prepared.input_name,
        outputs=(output,),
        labels="labels.txt",
        class_ids="class_ids.txt" if labels.ids is not None else None,
        provenance=provenance_of(source, prepared.weights_sha256, prepared.reference_name, _opset(prepared, opset)),
        models={"fp32": MODEL_FILES["fp32"]},
        golden=golden,
        files=files,
    )


def _opset(prepared: Prepared, asked: int) -> int:
    """The one asked for, or that of an ONNX file, which stays as it is."""
    if not isinstance(prepared.model, onnx.ModelProto):
        return asked
    return int(max(item.version for item in prepared.model.opset_import if item.domain in ("", "ai.onnx")))


def _settings(source: Source, pictures: Pictures, prepared: Prepared, gate_images: int, opset: int) -> dict[str, Any]:
    return {
        "model": source.spec,
        "weights": source.weights,
        "data": pictures.name,
        "reference": prepared.reference_name,
        "contract": prepared.contract.summary(),
        "gate_images": gate_images,
        "opset": opset,
    }


def _accuracy(accuracy: TorchAccuracy, pictures: Pictures, labels: Labels) -> dict[str, Any]:
    if pictures.labelled is None:
        raise TypeError("accuracy of pictures without labels")
    return {
        **accuracy.result.to_json(labels.names),
        "torch_correct": accuracy.correct,
        "fingerprint": pictures.labelled.fingerprint(),
    }


def _samples(cases: list[Golden], output: OutputEntry, labels: Labels, pictures: Pictures) -> list[Thumbnail]:
    samples = []
    for case in cases:
        shares = probabilities(case.output[None], output.activation)[0]
        truth = None if pictures.labelled is None else labels.names[pictures.labelled.targets[case.position]]
        samples.append(Thumbnail.of(case.name, case.frame, labels.names[case.top1], float(shares[case.top1]), truth))
    return samples


def _write_lines(path: Path, lines: tuple[str, ...]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
