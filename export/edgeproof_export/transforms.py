"""Input contracts of a training's evaluation transform: exact, or refused with the step that has no contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from edgeproof_export.contracts import filter_named, from_timm, from_torchvision, installed_resampler, named_color
from edgeproof_export.drawn_images import CHECKED_SIZES, SAME_LEVELS, drawn, levels_apart
from edgeproof_runtime.contract.contract import Color, Filter, InputContract, ResizeMode
from edgeproof_runtime.errors import ContractError, InputError

__all__ = ["Mapped", "contract_of_transform"]

_WHAT = "transform"
_FIX = "give the transform of the evaluation: resize, centre crop, to tensor, normalize; or an InputContract"


@dataclass(frozen=True, slots=True)
class Mapped:
    """A transform as an input contract.

    Attributes:
        contract: the contract.
        transform: function from a PIL image to a ``CxHxW`` tensor; None if only the contract was given.
        notes: notes for the report.
    """

    contract: InputContract
    transform: Callable[[Any], torch.Tensor] | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Read:
    """What the steps of a transform said so far."""

    color: Color | None = None
    resize: ResizeMode | None = None
    resize_size: tuple[int, int] | None = None
    filter: Filter = "bilinear"
    crop_size: tuple[int, int] | None = None
    fill: tuple[int, ...] | None = None
    tensor: bool = False
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] = ()
    names: list[str] = field(default_factory=list)


def contract_of_transform(
    transform: Any, *, size: tuple[int, int] | None = None, channels: int | None = None
) -> Mapped:
    """Return the contract of an evaluation transform, compared with it on drawn images.

    Args:
        transform: a ``Compose`` of torchvision (v1 or v2) or timm, a preset (``Weights.transforms()``), timm's data
            configuration, an image processor of transformers, or an `InputContract`.
        size: (height, width) of the images that a transform without a resize was trained on.
        channels: channels of the model's input, for a transform that takes gray and colour images alike.

    Raises:
        InputError: names the step that has no contract.
    """
    if isinstance(transform, InputContract):
        return Mapped(transform)
    if isinstance(transform, Mapping):
        return _of_timm(transform)
    if any(kind.__name__ == "BaseImageProcessor" for kind in type(transform).__mro__):
        from edgeproof_export.pytorch.hugging_face_contract import contract_of

        return Mapped(*_swapped(contract_of(transform, _WHAT)))
    if hasattr(transform, "resize_size") and hasattr(transform, "crop_size"):
        return _compared(from_torchvision(transform), transform, CHECKED_SIZES)
    if not callable(transform):
        raise InputError(
            f"{_WHAT}: unsupported",
            got=type(transform).__name__,
            expected="a transform of torchvision or timm",
            fix=_FIX,
        )
    read = _Read()
    for step in _steps(transform):
        _read_step(step, read)
    contract = _contract(read, size, channels)
    sizes = CHECKED_SIZES if "Resize" in "".join(read.names) else (contract.tensor_size,)
    return _compared(contract, transform, sizes, gray=contract.color == "gray" and "Grayscale" not in read.names)


def _swapped(found: tuple[InputContract, tuple[str, ...]]) -> tuple[InputContract, None, tuple[str, ...]]:
    contract, notes = found
    return contract, None, notes


def _of_timm(config: Mapping[str, Any]) -> Mapped:
    import timm

    missing = [name for name in ("input_size", "interpolation", "mean", "std", "crop_pct") if name not in config]
    if missing:
        raise InputError(
            f"{_WHAT}: not a data configuration of timm",
            got=f"a mapping without {', '.join(missing)}",
            fix="timm.data.resolve_model_data_config(model)",
        )
    contract = from_timm(config)
    gray = contract.color == "gray"
    known = {name: config[name] for name in ("input_size", "interpolation", "mean", "std", "crop_pct")}
    mode = {"crop_mode": config["crop_mode"]} if config.get("crop_mode") else {}
    return _compared(contract, timm.data.create_transform(**known, **mode), CHECKED_SIZES, gray=gray)


def _steps(transform: Any) -> Iterator[Any]:
    """Yield the steps of nested compositions, in order."""
    inner = getattr(transform, "transforms", None)
    if inner is None and isinstance(transform, nn.Sequential):
        inner = list(transform)
    if inner is None:
        yield transform
    elif type(transform).__name__ not in ("Compose", "Sequential"):  # RandomChoice, RandomOrder, RandomApply
        raise _refused(type(transform).__name__, "it draws what it does at random")
    else:
        for step in inner:
            yield from _steps(step)


def _read_step(step: Any, read: _Read) -> None:
    """Take one step into what was read.

    Raises:
        InputError: the step has no contract at this place.
    """
    name = type(step).__name__
    read.names.append(name)
    if name in ("Identity", "ToPureTensor", "ToPILImage"):
        return
    if name in ("ToTensor", "MaybeToTensor"):
        read.tensor, read.scale = True, 255.0
    elif name in ("PILToTensor", "MaybePILToTensor", "ToImage"):
        read.tensor = True
    elif name in ("ToDtype", "ConvertImageDtype"):
        _to_dtype(step, name, read)
    elif name == "Normalize":
        if not read.tensor or read.mean is not None:
            raise _refused(name, "it must come once, after the conversion to a tensor")
        read.mean, read.std = _values(step.mean), _values(step.std)
    elif name in ("RGB", "Grayscale", "Resize", "ResizeKeepRatio", "CenterCrop", "CenterCropOrPad"):
        if read.tensor:
            raise _refused(
                name,
                "it works on a tensor, whose pixels torchvision rounds differently than Pillow's",
                f"put {name} before the conversion to a tensor, and train or evaluate again",
            )
        _read_geometry(step, name, read)
    else:
        random = name.startswith("Random") or any("Random" in kind.__name__ for kind in type(step).__mro__)
        raise _refused(name, "it changes images at random" if random else "its pixels are not those of a contract")


def _read_geometry(step: Any, name: str, read: _Read) -> None:
    if name == "RGB":
        read.color = "rgb"
    elif name == "Grayscale":
        if step.num_output_channels != 1:
            raise _refused(name, f"num_output_channels is {step.num_output_channels}, a contract's gray has 1")
        read.color = "gray"
    elif read.crop_size is not None or (read.resize is not None and name.startswith("Resize")):
        raise _refused(name, f"it comes after {', '.join(read.names[:-1])}")
    elif name == "Resize":
        sizes = _sizes(step.size)
        if getattr(step, "max_size", None) is not None:
            raise _refused(name, f"max_size is {step.max_size}")
        read.resize = "shortest" if len(sizes) == 1 else "squash"
        read.resize_size, read.filter = (sizes[0], sizes[-1]), _filter(step.interpolation)
    elif name == "ResizeKeepRatio":
        if step.random_scale_prob or step.random_aspect_prob or isinstance(step.interpolation, (tuple, list)):
            raise _refused(name, "it changes images at random")
        if step.longest not in (0.0, 1.0):
            raise _refused(name, f"longest is {step.longest:g}")
        read.resize = "letterbox" if step.longest == 1.0 else "cover"
        read.resize_size, read.filter = (step.size[0], step.size[1]), _filter(step.interpolation)
    else:
        sizes = _sizes(step.size)
        read.crop_size = (sizes[0], sizes[-1])
        if name == "CenterCropOrPad":
            if step.padding_mode != "constant":
                raise _refused(name, f"padding_mode is {step.padding_mode}")
            fill = step.fill if isinstance(step.fill, (tuple, list)) else [step.fill]
            read.fill = tuple(int(value) for value in fill)
        elif read.resize is None:
            raise _refused(name, "there is no resize before it, so it may pad", "put Resize before it")


def _to_dtype(step: Any, name: str, read: _Read) -> None:
    dtype = step.dtype
    if isinstance(dtype, Mapping):
        found = {value for value in dtype.values() if value is not None}
        dtype = next(iter(found)) if len(found) == 1 else None
    if dtype is not torch.float32 or not read.tensor:
        raise _refused(name, f"dtype {dtype}", "convert to torch.float32, after the conversion to a tensor")
    if read.scale is None:
        read.scale = 255.0 if getattr(step, "scale", True) else 1.0


def _contract(read: _Read, size: tuple[int, int] | None, channels: int | None) -> InputContract:
    if not read.tensor:
        raise InputError(f"{_WHAT}: makes no tensor", got=", ".join(read.names) or "no steps", fix=_FIX)
    if read.resize is None:
        if size is None:
            raise InputError(
                f"{_WHAT}: has no resize, so the size of its images is unknown",
                got=", ".join(read.names),
                expected="the size of the training's images",
                fix="contract=ContractFlags(input_size=(HEIGHT, WIDTH))",
            )
        read.resize, read.resize_size = "squash", size
    if read.resize == "shortest" and read.crop_size is None:
        raise _refused(
            "Resize", "with one number and without CenterCrop, the tensor's size depends on the image", "add CenterCrop"
        )
    given = max(len(read.mean or ()), len(read.std))
    count = 1 if read.color == "gray" else given if given > 1 else 3 if read.color == "rgb" else channels or 3
    color = read.color or named_color(count)
    plain = read.scale is None and read.mean is None
    mean, std = (0.0,) if read.mean is None else read.mean, (1.0,) if read.mean is None else read.std
    fill = read.fill if read.fill is not None else (0,)
    try:
        return InputContract(
            color=color,
            resize=read.resize,
            resize_size=read.resize_size or (0, 0),
            crop_size=read.crop_size,
            filter=read.filter,
            resampler=installed_resampler(),
            fill=_spread(fill, count),
            scale=read.scale or 1.0,
            mean=_spread(mean, count),
            std=_spread(std, count),
            dtype="uint8" if plain else "float32",
        )
    except ContractError as error:
        raise InputError(f"{_WHAT}: has no input contract", got=error, fix=_FIX) from error


def _compared(
    contract: InputContract, transform: Any, sizes: Sequence[tuple[int, int]], *, gray: bool = False
) -> Mapped:
    """Run the transform on drawn images (height, width), gray or RGB, which must give the contract's tensors.

    Raises:
        InputError: it fails, or its tensors are others.
    """
    apart = 0.0
    for height, width in sizes:
        frame = drawn(height, width)
        frame = np.ascontiguousarray(frame[..., 0]) if gray else frame
        image = Image.fromarray(frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1]))
        try:
            found = transform(image)
        except Exception as error:  # user code may raise anything
            raise InputError(
                f"{_WHAT}: fails on a PIL image of {width}x{height}",
                got=f"{type(error).__name__}: {error}",
                expected="a function from a PIL image to a tensor",
            ) from error
        if not isinstance(found, torch.Tensor):
            raise InputError(f"{_WHAT}: returns no tensor", got=type(found).__name__, expected="CxHxW")
        apart = max(apart, levels_apart(found.numpy(), frame, contract))
    if apart > SAME_LEVELS:
        raise InputError(
            f"{_WHAT}: computes other tensors than its steps tell",
            got=f"up to {apart:.2g} of 255 levels beside {contract.summary()}",
            expected="the same tensors",
            fix=_FIX,
        )
    equal = "to the bit" if apart == 0 else f"but for float32 rounding ({apart:.1g} of 255 levels)"
    notes = [f"The input contract is the transform's, compared on drawn images ({len(sizes)}): equal {equal}."]
    if len(sizes) == 1:
        height, width = sizes[0]
        notes.append(f"The transform has no resize: images that are not {width}x{height} are squashed to it.")
    return Mapped(contract, transform, tuple(notes))


def _filter(interpolation: Any) -> Filter:
    return filter_named(str(getattr(interpolation, "value", interpolation)))  # v2 keeps the name


def _sizes(size: Any) -> tuple[int, ...]:
    values = (size,) if isinstance(size, int) else tuple(int(value) for value in size or ())
    if len(values) not in (1, 2):
        raise _refused("Resize", f"size is {size}")
    return values


def _values(values: Any) -> tuple[float, ...]:
    """Return numbers, or a tensor's: those of float32 as they were typed."""
    if isinstance(values, torch.Tensor) and values.dtype == torch.float32:
        return tuple(float(str(value)) for value in values.flatten().numpy())
    return tuple(float(value) for value in torch.as_tensor(values, dtype=torch.float64).flatten().tolist())


def _spread(values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return values * count if len(values) == 1 else values


def _refused(name: str, why: str, fix: str = _FIX) -> InputError:
    return InputError(f"{_WHAT}: {name} has no input contract", got=why, fix=fix)
