"""Files and backends of the network: ONNX Runtime, TensorRT, OpenVINO, or edgeproof's own engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgeproof.model_repository.config import Device, ModelIo, network
from edgeproof.model_repository.pbtxt import pbtxt
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.engine_record import EngineRecord, read_record
from edgeproof_runtime.bundle.onnx_graph import read_values
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import require_trusted
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import InputError, NotInBundleError

__all__ = ["ENGINES", "Variant", "io_of", "write_network"]

_VERSION = "1"
_OWN = ("onnxruntime", "openvino")  # engines of edgeproof that Triton's Python backend runs


@dataclass(frozen=True, slots=True)
class Variant:
    """One configuration of the network.

    Attributes:
        name: name of its file below ``configs``, without ``.pbtxt``: ``--model-config-name`` chooses it.
        backend: fields that name the backend and its files.
        device: kind of its instances.
        max_batch: largest batch; None for the bundle's.
        parameters: parameters of the backend.
        notes: what the user should know, in sentences.
    """

    name: str
    backend: Mapping[str, Any]
    device: Device
    max_batch: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def io_of(bundle: Bundle, precision: str, facts: Mapping[str, str]) -> ModelIo:
    """Return inputs, outputs and batch of a bundle's network, as its ONNX file declares them.

    Raises:
        NotInBundleError: the bundle has no model of the precision.
        InputError: the file is not an ONNX model, an output has a type that Triton lacks, or the network requires at
            least two samples and takes any number above.
    """
    artifact = bundle.artifact(precision)
    with artifact.onnx() as content:
        values = read_values(bytes(content.content))
    fixed = artifact.input.name in values and values[artifact.input.name].fixed_batch
    bounds = bundle.batch
    fixed |= bounds.min == bounds.max > 1
    if not fixed and bounds.min > 1:
        raise InputError(
            f"{bundle.path}: Triton has no smallest batch",
            got=f"batch {bounds.min}..{bounds.max}",
            expected="a model that takes single images, or batches of one size",
        )
    outputs = tuple(
        TensorSpec(spec.name, spec.shape, values[spec.name].dtype if spec.name in values else spec.dtype)
        for spec in artifact.outputs
    )
    return ModelIo(
        input=artifact.input,
        outputs=outputs,
        max_batch=bounds.max,
        fixed=fixed,
        labels=(outputs[0].name, "labels.txt") if bundle.labels else None,
        facts=facts,
    )


def write_network(
    folder: Path, name: str, bundle: Bundle, precision: str, io: ModelIo, engines: Sequence[str]
) -> tuple[str, ...]:
    """Write the network's model: its files, ``config.pbtxt`` for the first engine, and variants below ``configs``.

    Args:
        folder: folder of the model.
        name: name of the model.
        bundle: the bundle.
        precision: precision of the network.
        io: from `io_of`.
        engines: keys of `ENGINES`.

    Returns:
        Notes for the user, in sentences.

    Raises:
        InputError: an engine is unknown.
        NotInBundleError: the bundle has no TensorRT plan of the precision.
        UnavailableError: OpenVINO is not installed, or a plan of another machine is not trusted.
    """
    version = folder / _VERSION
    version.mkdir(parents=True)
    variants: list[Variant] = []
    for engine in engines:
        if engine not in ENGINES:
            raise InputError("--engine: unknown", got=engine, expected=", ".join(ENGINES))
        variants += ENGINES[engine](version, bundle, precision)
    golden = next(bundle.golden(), None)
    if golden is not None:
        (folder / "warmup").mkdir()
        (folder / "warmup/golden").write_bytes(golden.tensor.tobytes() * (io.max_batch if io.fixed else 1))
    if io.labels is not None:
        (folder / io.labels[1]).write_text("".join(f"{label}\n" for label in bundle.labels), encoding="utf-8")
    (folder / "configs").mkdir()
    for number, variant in enumerate(variants):
        text = pbtxt(_config(name, io, variant, warmup=golden is not None))
        file = folder / "configs" / f"{variant.name}.pbtxt" if number else folder / "config.pbtxt"
        file.write_text(text, encoding="utf-8")
    return tuple(note for variant in variants for note in variant.notes)


def _config(name: str, io: ModelIo, variant: Variant, *, warmup: bool) -> dict[str, Any]:
    if variant.max_batch is not None and not io.fixed:
        io = ModelIo(
            input=io.input,
            outputs=io.outputs,
            max_batch=min(io.max_batch, variant.max_batch),
            fixed=False,
            labels=io.labels,
            facts=io.facts,
        )
    return network(
        name, io, backend=variant.backend, device=variant.device, warmup=warmup, parameters=variant.parameters
    )


def _onnxruntime(folder: Path, bundle: Bundle, precision: str) -> list[Variant]:
    with bundle.artifact(precision).onnx() as content:
        (folder / "model.onnx").write_bytes(content.content)
    backend = {"backend": "onnxruntime", "default_model_filename": "model.onnx"}
    return [
        Variant("onnxruntime", backend, "KIND_AUTO"),
        Variant("onnxruntime-cpu", backend, "KIND_CPU"),
        Variant("onnxruntime-gpu", backend, "KIND_GPU"),
    ]


def _openvino(folder: Path, bundle: Bundle, precision: str) -> list[Variant]:
    from edgeproof_runtime.engines.openvino import save_ir

    save_ir(bundle.artifact(precision), folder / "model.xml")
    return [Variant("openvino", {"backend": "openvino", "default_model_filename": "model.xml"}, "KIND_CPU")]


def _tensorrt(folder: Path, bundle: Bundle, precision: str) -> list[Variant]:
    """Copy the plan of each compute capability.

    There is no ``default_model_filename`` and no ``model.plan``: Triton would load it on every other GPU.
    """
    target = "tensorrt"
    model = bundle.model_for(precision, catalog.int8_shape(target))
    records: dict[str, tuple[EngineRecord, str]] = {}
    notes = []
    for entry in bundle.engines(target):
        record = read_record(bundle.read(entry.info), entry.info)
        if entry.precision != precision or model is None or record.onnx_sha256 != bundle.sha256(model):
            continue
        require_trusted(bundle.locate(entry.path), bundle.sha256(entry.path), target)
        for capability in record.compute_capabilities:
            other = records.get(capability)
            if other is not None:
                notes.append(f"Several TensorRT plans for compute capability {capability}: the newest was taken.")
            if other is None or _version(record) > _version(other[0]):
                records[capability] = (record, entry.path)
    if not records:
        raise NotInBundleError(
            f"{bundle.path}: no TensorRT plan of {precision}",
            fix=f"edgeproof compile {bundle.path} --target tensorrt --precision {precision}",
        )
    names = {}
    for capability, (record, path) in sorted(records.items()):
        names[capability] = f"model.sm{capability.replace('.', '')}.plan"
        (folder / names[capability]).write_bytes(bundle.read(path))
        notes.append(f"{names[capability]}: requires a Triton with TensorRT {record.version}.")
    backend = {
        "platform": "tensorrt_plan",
        "cc_model_filenames": [{"key": key, "value": value} for key, value in names.items()],
    }
    max_batch = min(record.profile.max for record, _ in records.values())
    return [Variant("tensorrt", backend, "KIND_GPU", max_batch=max_batch, notes=tuple(dict.fromkeys(notes)))]


def _python(folder: Path, bundle: Bundle, precision: str) -> list[Variant]:
    """Copy the bundle, which one of edgeproof's engines runs in Triton's Python backend."""
    del precision  # a parameter of the configuration, which every variant has
    source = files("edgeproof.model_repository").joinpath("network_model.py").read_text(encoding="utf-8")
    (folder / "model.py").write_text(source, encoding="utf-8")
    shutil.copytree(bundle.path, folder / "model.edge")
    backend = {"backend": "python", "default_model_filename": "model.py"}
    return [Variant(f"python-{name}", backend, "KIND_CPU", parameters={"engine": name}) for name in _OWN]


def _version(record: EngineRecord) -> tuple[int, ...]:
    return tuple(int(part) for part in record.version.split(".") if part.isdecimal())


ENGINES: dict[str, Callable[[Path, Bundle, str], list[Variant]]] = {
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "openvino": _openvino,
    "python": _python,
}
"""How each engine's files are written, by its name on the command line."""
