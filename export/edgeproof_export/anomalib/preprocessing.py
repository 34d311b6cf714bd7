"""The preprocessing that an anomalib checkpoint records, as input contract and as torchvision's transform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from PIL import Image
from torch import Tensor

from edgeproof_export.contracts import installed_resampler
from edgeproof_runtime.contract.contract import Filter, InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["Preprocessing"]

_FIX = "export the model where it was trained, with anomalib's to_onnx, or train it with Resize, CenterCrop, Normalize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Resize, centre crop and normalisation, in this order.

    Attributes:
        size: height and width after the resize; one number is the shorter side.
        filter: filter of the resize.
        crop: height and width of the centre crop, or None.
        mean, std: of the normalisation, of RGB values 0..1.
    """

    size: tuple[int, ...]
    filter: Filter = "bilinear"
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @classmethod
    def of(cls, spec: Any, name: str) -> Preprocessing:
        """Read a recorded transform: ``class_path`` and ``init_args`` of torchvision's v2 transforms, nested.

        Args:
            spec: the record.
            name: name of the checkpoint in messages.

        Raises:
            InputError: a transform, its arguments, or their order has no exact contract.
        """
        found: dict[str, Any] = {}
        for kind, arguments in _steps(spec, name):
            late = {"Resize": ("size", "crop", "mean"), "CenterCrop": ("crop", "mean"), "Normalize": ("mean",)}
            if kind not in late or any(field in found for field in late[kind]):
                raise _unsupported(name, f"{kind} in {_shown(spec, name)}")
            try:
                found |= _READERS[kind](arguments)
            except (TypeError, ValueError, LookupError) as error:
                raise _unsupported(name, f"{kind}({arguments})") from error
        if "size" not in found:
            raise _unsupported(name, f"{_shown(spec, name) or 'no transform'}, without Resize")
        return cls(**found)

    def contract(self) -> InputContract:
        """Return the input contract; resized pixels are rounded to uint8, which anomalib leaves in float32."""
        return InputContract(
            color="rgb",
            resize="squash" if len(self.size) == 2 else "shortest",
            resize_size=(self.size[0], self.size[-1]),
            crop_size=self.crop,
            filter=self.filter,
            resampler=installed_resampler(),
            mean=self.mean,
            std=self.std,
        )

    def module(self) -> Any:
        """Return torchvision's transform of float32 RGB values 0..1, ``3xHxW``, as anomalib trains with it."""
        from torchvision.transforms import InterpolationMode, v2

        steps: list[Any] = [v2.Resize(list(self.size), InterpolationMode(self.filter), antialias=True)]
        if self.crop is not None:
            steps.append(v2.CenterCrop(list(self.crop)))
        return v2.Compose([*steps, v2.Normalize(list(self.mean), list(self.std))])

    def transform(self, image: Image.Image) -> Tensor:
        """Preprocess an image as anomalib does: resized in float32."""
        from torchvision.transforms.v2 import functional as F

        values = F.to_dtype(F.pil_to_tensor(image.convert("RGB")), torch.float32, scale=True)
        found: Tensor = self.module()(values)
        return found


def _steps(spec: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the class names and arguments of the transforms, without their compositions."""
    if spec is None:
        return
    try:
        kind, arguments = str(spec["class_path"]).rpartition(".")[2], dict(spec["init_args"])
        if kind != "Compose":
            yield kind, arguments
            return
        parts = list(arguments["transforms"])
    except (TypeError, ValueError, LookupError) as error:
        raise _unsupported(name, f"a record of {type(spec).__name__}") from error
    for part in parts:
        yield from _steps(part, name)


def _resize(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments.get("max_size") is not None or arguments.get("antialias", True) is False:
        raise ValueError("no contract")
    kind = arguments.get("interpolation", "bilinear")
    if kind not in get_args(Filter):
        raise ValueError("no contract")
    return {"size": _size(arguments["size"]), "filter": kind}


def _crop(arguments: Mapping[str, Any]) -> dict[str, Any]:
    size = _size(arguments["size"])
    return {"crop": (size[0], size[-1])}


def _normalize(arguments: Mapping[str, Any]) -> dict[str, Any]:
    mean, std = (tuple(float(value) for value in arguments[field]) for field in ("mean", "std"))
    if {len(mean), len(std)} != {3}:
        raise ValueError("not of RGB")
    return {"mean": mean, "std": std}


def _size(value: Any) -> tuple[int, ...]:
    size = (int(value),) if isinstance(value, int) else tuple(int(side) for side in value)
    if not 1 <= len(size) <= 2 or min(size) < 1:
        raise ValueError("not a size")
    return size


_READERS = {"Resize": _resize, "CenterCrop": _crop, "Normalize": _normalize}


def _shown(spec: Any, name: str) -> str:
    return ", ".join(kind for kind, _ in _steps(spec, name))


def _unsupported(name: str, got: str) -> InputError:
    return InputError(
        f"{name}: its preprocessing has no exact input contract",
        got=got,
        expected="Resize (antialiased), CenterCrop and Normalize, in this order",
        fix=_FIX,
    )
