"""Input contracts of Hugging Face's image processors, checked against the processor itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeproof_export.contracts import from_timm, installed_resampler
from edgeproof_export.drawn_images import CHECKED_SIZES, SAME_LEVELS, drawn, levels_apart
from edgeproof_runtime.contract.contract import Filter, InputContract, ResizeMode
from edgeproof_runtime.errors import ContractError, InputError

__all__ = ["WHOLE_CONTRACT", "contract_of", "largest_difference"]

WHOLE_CONTRACT = "give the training's preprocessing: --input-size, --mean and --std (MODEL hf:FOLDER), or contract="
"""Advice for a processor without a contract."""

_FILTERS: dict[int, Filter] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
# torchvision's resize of uint8 tensors rounds differently than Pillow's, once per pass.
_LARGEST_LEVELS = 4.0


def contract_of(processor: Any, spec: str) -> tuple[InputContract, tuple[str, ...]]:
    """Return the contract of an image processor, and notes for the report.

    Args:
        processor: an image processor of transformers.
        spec: name in error messages.

    Raises:
        InputError: names the field that has no contract.
    """
    name = type(processor).__name__
    fields = processor.to_dict()
    if name.startswith("TimmWrapper"):
        return from_timm(processor.data_config), ()
    try:
        contract = _contract(name.removesuffix("Pil").removesuffix("Fast"), fields, spec)
    except ContractError as error:
        raise InputError(
            f"{spec}: {name} has no input contract", got=f"{error.what}: {error.got}", fix=WHOLE_CONTRACT
        ) from error
    sizes = [size for size in CHECKED_SIZES if not _crops_beside(contract, *size)]
    if not sizes or sizes[0] != CHECKED_SIZES[0]:
        raise _unsupported(spec, name, f"a centre crop that lies one pixel beside torchvision's ({contract.summary()})")
    twin = _pillow_twin(processor)
    exact = max(largest_difference(twin, contract, drawn(*size)) for size in sizes)
    if exact > (SAME_LEVELS if twin is not processor else _LARGEST_LEVELS):
        raise _unsupported(
            spec, name, f"another preprocessing than its fields tell: tensors differ by {exact:.2g} of 255 levels"
        )
    used = max(largest_difference(processor, contract, drawn(*size)) for size in sizes)
    notes = [f"The input contract is {name}'s, compared on {len(sizes)} drawn images."]
    if used > SAME_LEVELS:
        notes.append(
            f"{name} resizes by torchvision, the contract by Pillow as transformers' own Pillow backend does: tensors "
            f"of drawn images differ by at most {used:.2g} of 255 levels."
        )
    if contract.resize == "shortest" and contract.crop_size is not None:
        notes.append(
            f"{name} rounds the corner of its centre crop down, the contract to even as torchvision does: of images "
            "whose longer side leaves 4n + 3 pixels beside the crop, both crops differ by one pixel."
        )
    return contract, tuple(notes)


def _pillow_twin(processor: Any) -> Any:
    """Return the same processor with the Pillow backend; the processor itself if it has no other."""
    import transformers

    kind = getattr(transformers, type(processor).__name__.removesuffix("Fast") + "Pil", None)
    return processor if kind is None else kind.from_dict(processor.to_dict())


def _crops_beside(contract: InputContract, height: int, width: int) -> bool:
    """Return whether a processor's crop of an image lies one pixel beside the contract's."""
    if contract.crop_size is None:
        return False
    sizes = contract.resize_size
    if contract.resize == "shortest":
        short = min(height, width)
        sizes = (int(sizes[0] * height / short), int(sizes[0] * width / short))
    return any((size - crop) % 4 == 3 for size, crop in zip(sizes, contract.crop_size, strict=True))


def largest_difference(processor: Any, contract: InputContract, frame: NDArray[np.uint8]) -> float:
    """Return the largest difference between a processor's and the contract's tensor, in levels of 0..255.

    Args:
        processor: an image processor of transformers.
        contract: the contract.
        frame: uint8 ``HxWx3`` BGR.
    """
    image = Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))
    found = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0], np.float64)
    return levels_apart(found, frame, contract)


def _contract(name: str, fields: Mapping[str, Any], spec: str) -> InputContract:
    if not fields.get("do_resize", True):
        raise _unsupported(spec, name, "do_resize false")
    for key in ("do_pad", "do_thumbnail", "do_align_long_axis"):
        if fields.get(key):
            raise _unsupported(spec, name, f"{key} true")
    resample = fields.get("resample", 2)
    if resample not in _FILTERS:
        raise _unsupported(spec, name, f"resample {resample}")
    resize, size, crop = _geometry(name, fields, spec)
    if fields.get("do_center_crop"):
        crop = _pair(fields.get("crop_size"), spec, name, "crop_size")
    scale = 1.0
    if fields.get("do_rescale", True):
        scale = 1 / float(fields.get("rescale_factor") or 1 / 255)
        scale = float(round(scale)) if abs(scale - round(scale)) < 1e-6 else scale
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if fields.get("do_normalize"):
        mean, std = (_three(fields.get(key), spec, name, key) for key in ("image_mean", "image_std"))
    if fields.get("include_top"):  # EfficientNet divides by the standard deviation once more
        std = tuple(value * value for value in std)
    if fields.get("rescale_offset"):  # x * factor - 1
        mean = tuple(value + 1 for value in mean)
    return InputContract(
        color="bgr" if fields.get("do_flip_channel_order") else "rgb",
        resize=resize,
        resize_size=size,
        crop_size=crop,
        filter=_FILTERS[resample],
        resampler=installed_resampler(),
        scale=scale,
        mean=mean,
        std=std,
    )


def _geometry(
    name: str, fields: Mapping[str, Any], spec: str
) -> tuple[ResizeMode, tuple[int, int], tuple[int, int] | None]:
    """Return mode and size of the resize, and a crop that belongs to it."""
    size = {key: value for key, value in _mapping(fields.get("size"), fields).items() if value}
    edge = size.get("shortest_edge")
    whole = (int(size["height"]), int(size["width"])) if {"height", "width"} <= set(size) else None
    fraction = fields.get("crop_pct")
    if name == "ConvNextImageProcessor" and edge:
        if edge >= 384:  # squashed, without a crop
            return "squash", (int(edge), int(edge)), None
        return "shortest", _square(int(edge / (fraction or 224 / 256))), _square(edge)
    if name == "PoolFormerImageProcessor" and fraction and (edge or (whole and whole[0] == whole[1])):
        return "shortest", _square(int((edge or whole[0]) / fraction)), None  # type: ignore[index]
    if name == "LevitImageProcessor" and edge:
        return "shortest", _square(int((256 / 224) * edge)), None
    if set(size) == {"shortest_edge"}:
        return "shortest", _square(int(size["shortest_edge"])), None
    if whole is not None and set(size) == {"height", "width"}:
        return "squash", whole, None
    raise _unsupported(spec, name, f"size {size}")


def _mapping(size: Any, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a size as a mapping; folders of before 2023 have one number."""
    if isinstance(size, int):
        return {"height": size, "width": size} if fields.get("default_to_square", True) else {"shortest_edge": size}
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return {"height": size[0], "width": size[1]}
    return size if isinstance(size, Mapping) else {}


def _pair(size: Any, spec: str, name: str, key: str) -> tuple[int, int]:
    found = {k: v for k, v in _mapping(size, {}).items() if v}
    if set(found) == {"height", "width"}:
        return int(found["height"]), int(found["width"])
    if set(found) == {"shortest_edge"}:
        return _square(int(found["shortest_edge"]))
    raise _unsupported(spec, name, f"{key} {size}")


def _three(values: Any, spec: str, name: str, key: str) -> tuple[float, ...]:
    found = [values] * 3 if isinstance(values, (int, float)) else values
    if isinstance(found, Sequence) and len(found) in (1, 3) and all(isinstance(one, (int, float)) for one in found):
        return tuple(map(float, found)) * (3 // len(found))
    raise _unsupported(spec, name, f"{key} {values}")


def _square(edge: int) -> tuple[int, int]:
    return (int(edge), int(edge))


def _unsupported(spec: str, name: str, what: str) -> InputError:
    return InputError(
        f"{spec}: {name} has no input contract",
        got=what,
        expected="resize, centre crop, rescale and normalize",
        fix=WHOLE_CONTRACT,
    )
