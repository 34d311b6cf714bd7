"""Say what else is needed when a weights file is given as MODEL, and propose the command where the file tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproof_export.foreign_files import recognise
from edgeproof_export.weights.file import Weights, load_tensors, weights_of
from edgeproof_export.weights.stand_ins import StandIn
from edgeproof_export.weights.sub_trees import role_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document

__all__ = ["bare_weights", "not_a_model"]

_WEIGHTS = ("torch", "safetensors", "safetensors-index")
# Keys under which training scripts record the architecture, and where they keep such keys.
_NAMES = ("arch", "architecture", "model_name", "model", "model_arch", "backbone", "encoder_name", "encoder", "net")
_CLASSES = ("num_classes", "n_classes", "classes", "nb_classes", "num_labels")
_RECORDS = ("args", "hyper_parameters", "hparams", "config", "cfg", "opt", "meta", "model_args", "pretrained_cfg")


def not_a_model(path: Path) -> InputError:
    """Return the error for a file or folder that is no MODEL by itself.

    Raises:
        InputError: a weights file that cannot be read, or holds no tensors by name.
    """
    kind = recognise(path)
    if kind is not None and kind.name in _WEIGHTS:
        return bare_weights(path, load_tensors(path))
    return InputError(
        f"{path}: not a model",
        got="unknown content" if kind is None else kind.what,
        expected="torchvision:NAME, timm:NAME, package.module:factory, a .ckpt of train, a .pt2 or .onnx file",
        fix=None if kind is None else kind.fix,
    )


def bare_weights(path: Path, content: Any) -> InputError:
    """Return the error for weights without their architecture.

    Args:
        path: the file.
        content: result of `load_tensors`.

    Raises:
        InputError: the file holds no tensors by name.
    """
    if isinstance(content, Mapping) and "anomalib_pre_processor_config" in content:
        return InputError(
            f"{path}: a checkpoint of anomalib", fix=f"edgeproof export anomalib:{path} --data DATA --out NAME.edge"
        )
    weights = weights_of(content, path)
    architecture, classes = _recorded(path, content)
    keys = [str(key) for key in content] if isinstance(content, Mapping) else []
    inside = f", with the keys {', '.join(keys[:6])}" if 0 < len(keys) <= 16 else ""
    command = f"edgeproof export {architecture or 'ARCHITECTURE'} --weights {path}"
    rows = _rows(weights) if classes is None else classes
    if architecture is not None and rows not in (None, 1000):
        command += f" --num-classes {rows}"
    return InputError(
        f"{path}: weights without their architecture",
        got=f"{_kind(content)} of {len(weights.tensors)} tensors{inside}",
        expected="the architecture as MODEL and this file as --weights: torchvision:NAME, timm:NAME or "
        "package.module:factory",
        fix=f"{command} --out NAME.edge",
    )


def _kind(content: Any) -> str:
    if isinstance(content, Mapping) and "pytorch-lightning_version" in content:
        return f"a Lightning checkpoint (version {content['pytorch-lightning_version']})"
    return "a file"


def _recorded(path: Path, content: Any) -> tuple[str | None, int | None]:
    """Return MODEL and the number of classes as recorded in the file, or in the config.json beside it."""
    from edgeproof_export.models import library_model

    architecture: str | None = None
    classes: int | None = None
    for record in _records(path, content):
        for key in _NAMES:
            name = record.get(key)
            if architecture is None and isinstance(name, str) and name:
                architecture = library_model(name)
        for key in _CLASSES:
            number = record.get(key)
            if classes is None and isinstance(number, int) and not isinstance(number, bool) and number > 1:
                classes = number
    return architecture, classes


def _records(path: Path, content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings in which a training may have recorded its architecture."""
    if isinstance(content, Mapping):
        yield content
        for key in _RECORDS:
            record = content.get(key)
            if isinstance(record, StandIn):
                record = record.state
            if isinstance(record, Mapping):
                yield record
    for beside in (path.with_suffix(".json"), path.parent / "config.json", path.parent / "args.json"):
        try:
            record = read_document(beside)
        except InputError:
            continue
        if isinstance(record, Mapping):
            yield record


def _rows(weights: Weights) -> int | None:
    """Return the number of rows of the last weight matrix: usually that of the classes."""
    rows = [
        len(tensor)
        for name, tensor in weights.tensors.items()
        if tensor.ndim == 2 and name.endswith("weight") and all(role_of(part) == "model" for part in name.split("."))
    ]
    return rows[-1] if rows else None
