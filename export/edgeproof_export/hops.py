"""The hops before the ONNX model: PyTorch with the training transforms, then on the contract's tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor as TorchTensor
from torch import nn

from edgeproof_export.contracts import installed_resampler
from edgeproof_export.golden import torchvision_tensor
from edgeproof_export.models import Source, resolve
from edgeproof_export.onnx_files.reading import OnnxFile
from edgeproof_export.pytorch.in_memory import IN_MEMORY
from edgeproof_export.pytorch.outputs import classifier_of
from edgeproof_export.pytorch.reference import TorchReference
from edgeproof_export.weights.fit import weights_digest
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.verify.hops import Frames, Hop

__all__ = ["TorchHops", "torch_hops"]


@dataclass(frozen=True, slots=True)
class TorchHops:
    """First hops of the chain.

    Attributes:
        hops: ``training`` and ``contract``; only ``contract`` if the training transforms are unknown.
        notes: notes for the report.
    """

    hops: tuple[Hop, ...]
    notes: tuple[str, ...]


def torch_hops(
    bundle: Bundle, prepare: Callable[[Frames], Tensor], *, model: str | None = None, weights: str | None = None
) -> TorchHops:
    """Rebuild the model and run it with two preprocessings: the training's, and the contract's.

    Both use the frames as decoded by the runtime, so that the first hop measures only the contract.

    Args:
        bundle: bundle of the model.
        prepare: preprocessing by the bundle's contract; the same object as in the following hops.
        model: MODEL as for `edgeproof export`; None means the one recorded in the bundle.
        weights: weights as for `edgeproof export`.

    Raises:
        InputError: the PyTorch model is missing, cannot be built, or has other weights than the bundle.
    """
    provenance = bundle.manifest.provenance
    spec = model or provenance.get("model")
    if not isinstance(spec, str):
        raise InputError("bundle: does not record its PyTorch model", fix="--model MODEL --weights FILE")
    if spec.endswith(IN_MEMORY) and model is None:
        raise InputError("bundle: was exported from a module in memory", got=spec, fix="--model MODEL --weights FILE")
    if weights is None and model is None:
        weights = _recorded_weights(provenance)
    # Of a file with averaged and other weights, those that the bundle was exported with.
    from_file = weights not in (None, "random", "pretrained")
    ema = provenance.get("weights_ema") if from_file else None
    source = resolve(spec, weights=weights, ema=ema, channels=bundle.contract.channels)
    if isinstance(source.model, OnnxFile):
        raise InputError(f"{spec}: has no PyTorch model", got="an ONNX file", fix="--model MODEL --weights FILE")
    _require_same_weights(source, provenance, spec)
    classifier, _, _ = classifier_of(source.model, bundle.contract, spec, provenance.get("output"))
    infer = TorchReference(classifier, bundle.contract, spec)
    transform, description = _transform(source, bundle.contract)
    contract = Hop("contract", "PyTorch on the tensors of the bundle's contract", prepare, infer)
    if transform is None:
        note = f"{spec}: has no training transform, so the chain starts with the contract's tensors."
        return TorchHops((contract,), (note,))
    notes: tuple[str, ...] = ()
    if bundle.contract.resampler == installed_resampler():
        contract = Hop(contract.name, contract.what, prepare, infer, compared="tensors")
    else:
        notes = (
            "The contract resamples like another version of Pillow than the installed one: the hop from training to "
            "contract compares accuracy, not tensors bit for bit.",
        )
    return TorchHops(
        (Hop("training", f"PyTorch with {description}", _prepared(transform, bundle.contract), infer), contract), notes
    )


def _recorded_weights(provenance: dict[str, Any]) -> str | None:
    if file := provenance.get("weights_file"):
        if Path(str(provenance.get("model"))).name == file:
            return None  # a .pt2 file or a checkpoint contains its weights
        raise InputError(
            "--weights: required, the bundle was exported with a weights file", got=file, fix=f"--weights {file}"
        )
    return "random" if str(provenance.get("weights", "")).startswith("random") else None


def _require_same_weights(source: Source, provenance: dict[str, Any], spec: str) -> None:
    # A property in exported programs, a method in modules.
    module = source.model
    state = dict(module.state_dict() if isinstance(module, nn.Module) else module.state_dict)  # type: ignore[union-attr]
    found, expected = weights_digest(state), provenance.get("weights_sha256")
    if expected is not None and found != expected:
        raise InputError(
            f"{spec}: weights differ from the bundle's",
            got=f"sha256 {found}",
            expected=f"sha256 {expected}",
            fix=f"--weights {provenance.get('weights_file', 'FILE')}",
        )


def _transform(
    source: Source, contract: InputContract
) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.generic]] | None, str]:
    """Return the training's transform from a frame to a tensor, and its description."""
    own, recorded = source.transform, source.contract
    if own is not None:
        mode = "L" if contract.color == "gray" else "RGB"

        def transformed(frame: NDArray[np.uint8]) -> NDArray[np.generic]:
            if contract.color == "channels":
                tensor = own(frame)
            else:
                rgb = frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1])
                tensor = own(Image.fromarray(rgb).convert(mode))
            if not isinstance(tensor, TorchTensor):
                raise InputError(f"{source.spec}: the transform returns no tensor", got=type(tensor).__name__)
            if contract.layout == "NHWC":
                tensor = tensor.permute(1, 2, 0)
            array: NDArray[np.generic] = tensor.contiguous().numpy()
            return array

        return transformed, "the training's transform"
    if recorded is not None:
        return lambda frame: torchvision_tensor(frame, recorded), "the model's contract, by Pillow and torchvision"
    return None, ""


def _prepared(
    transform: Callable[[NDArray[np.uint8]], NDArray[np.generic]], contract: InputContract
) -> Callable[[Frames], Tensor]:
    def prepare(frames: Frames) -> Tensor:
        tensors = [transform(frame) for frame in frames]
        if len({tensor.shape for tensor in tensors}) > 1:
            raise InputError(
                "training transform: returns tensors of different sizes",
                got=", ".join(str(tensor.shape) for tensor in tensors[:3]),
                expected=str(contract.tensor_shape()[1:]),
            )
        return np.stack(tensors)

    return prepare
