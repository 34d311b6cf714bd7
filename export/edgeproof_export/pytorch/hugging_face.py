"""Image classifiers in folders of Hugging Face's ``save_pretrained``: network, input contract and labels."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from importlib import util
from pathlib import Path
from typing import Any

from torch import nn

from edgeproof_export.labels import hugging_face_labels
from edgeproof_export.models import Source
from edgeproof_export.parsing.trial import require_harmless_weights
from edgeproof_export.pytorch.hugging_face_contract import WHOLE_CONTRACT, contract_of
from edgeproof_export.pytorch.tracing import described
from edgeproof_export.quietly import quiet
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.documents import read_document

__all__ = ["hugging_face"]


def hugging_face(spec: str, folder: Path, *, weights: str | None, num_classes: int | None) -> Source:
    """Load a folder of ``save_pretrained``; nothing is downloaded and none of its code is run.

    Args:
        spec: MODEL as given, ``hf:FOLDER``.
        folder: the folder.
        weights: must be None: the folder holds its weights.
        num_classes: must be None: the folder holds its classes.

    Raises:
        InputError: the folder is not an image classifier's, or is incomplete.
        UnavailableError: transformers is not installed.
    """
    if weights is not None or num_classes is not None:
        raise InputError(
            f"{spec}: the folder contains its weights", got="--weights or --num-classes", fix="leave them out"
        )
    config = _config(spec, folder)
    file = _weights_file(spec, folder)
    if util.find_spec("transformers") is None:
        raise UnavailableError(f"{spec}: requires transformers, not installed", fix='pip install "edgeproof[hf]"')
    with quiet(), redirect_stderr(io.StringIO()):  # progress bars
        import transformers

        network = _network(spec, folder, transformers)
        contract_error = None
        try:
            contract, notes = _contract(spec, folder, transformers)
        except InputError as error:
            contract, notes, contract_error = None, (), error
    labels = hugging_face_labels(network.config.id2label)  # type: ignore[union-attr]  # transformers is untyped
    multilabel = config.get("problem_type") == "multi_label_classification"
    if multilabel:
        notes = (
            *notes,
            f"{spec}: its config says multi_label_classification: each class has a probability of its own "
            "(--task multilabel).",
        )
    return Source(
        spec=spec,
        model=network,
        contract=contract,
        contract_error=contract_error,
        labels=labels,
        weights=f"in {file.name}, {type(network).__name__} of transformers {transformers.__version__}",
        weights_file=file,
        notes=notes,
    )


def _config(spec: str, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(
            f"{spec}: folder not found",
            got=folder,
            expected="a folder of save_pretrained; models are not downloaded",
            fix=f"hf download {folder} --local-dir DIR, then hf:DIR",
        )
    path = folder / "config.json"
    try:
        config = read_document(path)
    except InputError as error:
        raise InputError(
            f"{spec}: not a folder of save_pretrained",
            got=f"config.json: {error.got}",
            expected="config.json, model.safetensors and preprocessor_config.json",
        ) from error
    kinds = config.get("architectures") or [] if isinstance(config, dict) else []
    if not any(str(kind).endswith("ForImageClassification") for kind in kinds):
        raise InputError(
            f"{spec}: not an image classifier",
            got=", ".join(map(str, kinds)) or "no architectures in config.json",
            expected="an architecture named ...ForImageClassification",
        )
    if "auto_map" in config:
        raise InputError(
            f"{spec}: needs code from the folder, which is not run",
            got=f"auto_map of {', '.join(config['auto_map'])}",
            expected="an architecture of transformers itself",
            fix="import it in a function that returns the model, and export package.module:function",
        )
    if loads := sorted(_loads_code(config)):
        raise InputError(
            f"{spec}: its config loads code from elsewhere",
            got=", ".join(loads[:3]),
            expected="attention of PyTorch itself, weights that are not quantised",
            fix="remove the entries from config.json, if the model does not need them",
        )
    return dict(config)


def _loads_code(config: Any, depth: int = 0) -> set[str]:
    """Return entries by which transformers downloads kernels, or imports a quantiser."""
    found: set[str] = set()
    if not isinstance(config, dict) or depth > 8:
        return found
    for key, value in config.items():
        if key == "auto_map" or key == "quantization_config" or key.endswith("kernel_config"):
            found |= {key} if value else set()
        elif key.endswith("_implementation"):
            found |= set() if value in (None, "eager", "sdpa") else {f"{key} {value}"[:80]}
        else:
            found |= _loads_code(value, depth + 1)
    return found


def _weights_file(spec: str, folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).is_file():
            return folder / name
    others = sorted(path.name for path in folder.glob("*.bin")) or sorted(path.name for path in folder.glob("*.h5"))
    raise InputError(
        f"{spec}: has no model.safetensors",
        got=", ".join(others) or "no weights",
        expected="model.safetensors; pickled weights could run any code",
        fix="save it again: AutoModelForImageClassification.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    )


def _network(spec: str, folder: Path, transformers: Any) -> nn.Module:
    for file in sorted(folder.glob("*.safetensors")):
        require_harmless_weights("safetensors", file)
    try:
        network, info = transformers.AutoModelForImageClassification.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises many types for a damaged folder
        raise InputError(f"{spec}: cannot be loaded by transformers", got=described(error)) from error
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise InputError(
            f"{spec}: lacks weights, which transformers would draw at random",
            got=f"{len(missing)} missing tensors, such as {missing[0]}",
            expected="a model that was fine-tuned for classification",
        )
    found: nn.Module = network
    return found


def _contract(spec: str, folder: Path, transformers: Any) -> tuple[InputContract | None, tuple[str, ...]]:
    if not (folder / "preprocessor_config.json").is_file() and not (folder / "processor_config.json").is_file():
        return None, ()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many types for a damaged folder
        raise InputError(
            f"{spec}: preprocessor_config.json cannot be loaded", got=described(error), fix=WHOLE_CONTRACT
        ) from error
    return contract_of(processor, spec)
