"""The hops before the ONNX model: PyTorch with its training's own transforms, then on the tensors of the contract."""

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
from edgeproof_export.to_onnx import TorchReference
from edgeproof_export.weights import weights_digest
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.verify.hops import Frames, Hop

__all__ = ["TorchHops", "torch_hops"]


@dataclass(frozen=True, slots=True)
class TorchHops:
    """The chain's beginning.

    Attributes:
        hops: ``training`` and ``contract``; only ``contract`` where the training's transforms are not known.
        notes: sentences for people.
    """

    hops: tuple[Hop, ...]
    notes: tuple[str, ...]


def torch_hops(
    bundle: Bundle, prepare: Callable[[Frames], Tensor], *, model: str | None = None, weights: str | None = None
) -> TorchHops:
    """Build the model again and put it behind two preprocessings: the training's own, and the contract's.

    Both get the frames as the runtime decodes them, so that the first hop costs what the contract costs and
    nothing else.

    Args:
        bundle: what the model was exported to.
        prepare: frames to tensors by the bundle's contract, the same object as in the hops that follow.
        model: MODEL as `edgeproof export` takes it; None takes what the bundle says it was made of.
        weights: as `edgeproof export` takes them.

    Raises:
        InputError: there is no PyTorch model, it cannot be built, or its weights are not the bundle's.
    """
    provenance = bundle.manifest.provenance
    spec = model or provenance.get("model")
    if not isinstance(spec, str):
        raise InputError("the bundle does not say which model it was made of", fix="--model MODEL --weights FILE")
    if weights is None and model is None:
        weights = _recorded_weights(provenance)
    source = resolve(spec, weights=weights)
    if isinstance(source.model, Path):
        raise InputError(
            f"there is no PyTorch model behind {spec}", got="an ONNX file", fix="--model MODEL --weights FILE"
        )
    _require_same_weights(source, provenance, spec)
    infer = TorchReference(source.model, bundle.contract, spec)
    transform, description = _transform(source, bundle.contract)
    contract = Hop("contract", "PyTorch on the tensors that the bundle's contract makes", prepare, infer)
    if transform is None:
        note = f"{spec} brings no transform of its training: the chain starts with the contract's tensors."
        return TorchHops((contract,), (note,))
    notes: tuple[str, ...] = ()
    if bundle.contract.resampler == installed_resampler():
        contract = Hop(contract.name, contract.what, prepare, infer, compared="tensors")
    else:
        notes = (
            "The contract resamples as another version of Pillow than the one installed here: the tensors are not "
            "held against the training's bit for bit, only the accuracy is.",
        )
    return TorchHops(
        (Hop("training", f"PyTorch with {description}", _prepared(transform, bundle.contract), infer), contract), notes
    )


def _recorded_weights(provenance: dict[str, Any]) -> str | None:
    if file := provenance.get("weights_file"):
        if Path(str(provenance.get("model"))).name == file:
            return None  # a .pt2 or a checkpoint brings its weights
        raise InputError("the bundle was made with weights from a file", got=file, fix=f"--weights {file}")
    return "random" if str(provenance.get("weights", "")).startswith("random") else None


def _require_same_weights(source: Source, provenance: dict[str, Any], spec: str) -> None:
    # A property of exported programs, a method of modules.
    module = source.model
    state = dict(module.state_dict() if isinstance(module, nn.Module) else module.state_dict)  # type: ignore[union-attr]
    found, expected = weights_digest(state), provenance.get("weights_sha256")
    if expected is not None and found != expected:
        raise InputError(
            f"the weights of {spec} are not those that the bundle was made of",
            got=f"sha256 {found}",
            expected=f"sha256 {expected}",
            fix=f"--weights {provenance.get('weights_file', 'FILE')}",
        )


def _transform(
    source: Source, contract: InputContract
) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.generic]] | None, str]:
    """From a frame to a tensor as the training did it, and what that is."""
    own, recorded = source.transform, source.contract
    if own is not None:
        mode = "L" if contract.color == "gray" else "RGB"

        def transformed(frame: NDArray[np.uint8]) -> NDArray[np.generic]:
            rgb = frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1])
            tensor = own(Image.fromarray(rgb).convert(mode))
            if not isinstance(tensor, TorchTensor):
                raise InputError(f"the transform of {source.spec} makes no tensor", got=type(tensor).__name__)
            if contract.layout == "NHWC":
                tensor = tensor.permute(1, 2, 0)
            array: NDArray[np.generic] = tensor.contiguous().numpy()
            return array

        return transformed, "the training's own transform"
    if recorded is not None:
        return lambda frame: torchvision_tensor(frame, recorded), "the model's own contract, by Pillow and torchvision"
    return None, ""


def _prepared(
    transform: Callable[[NDArray[np.uint8]], NDArray[np.generic]], contract: InputContract
) -> Callable[[Frames], Tensor]:
    def prepare(frames: Frames) -> Tensor:
        tensors = [transform(frame) for frame in frames]
        if len({tensor.shape for tensor in tensors}) > 1:
            raise InputError(
                "the training's transform makes tensors of several sizes",
                got=", ".join(str(tensor.shape) for tensor in tensors[:3]),
                expected=str(contract.tensor_shape()[1:]),
            )
        return np.stack(tensors)

    return prepare
