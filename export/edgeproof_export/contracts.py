"""Build input contracts from torchvision's presets, timm's data configuration, or flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import PIL

from edgeproof_runtime.contract.contract import (
    BatchBounds,
    Color,
    DType,
    Filter,
    InputContract,
    Layout,
    Resampler,
    ResizeMode,
)
from edgeproof_runtime.errors import InputError

__all__ = ["ContractFlags", "from_timm", "from_torchvision", "installed_resampler"]


def installed_resampler() -> Resampler:
    """Return the resampling order of the installed Pillow; the training's order is not recorded."""
    return "pillow-13" if int(PIL.__version__.split(".")[0]) >= 13 else "pillow-12"


def from_torchvision(preset: Any) -> InputContract:
    """Build the contract of a torchvision classification preset (``Weights.transforms()``).

    Args:
        preset: ``torchvision.transforms._presets.ImageClassification``.

    Raises:
        InputError: another kind of preset, or a filter that the contract does not support.
    """
    try:
        resize, crop = preset.resize_size, preset.crop_size
        interpolation = preset.interpolation.value
        mean, std = tuple(map(float, preset.mean)), tuple(map(float, preset.std))
    except AttributeError as error:
        raise InputError(
            "torchvision weights: not for classification",
            got=type(preset).__name__,
            expected="ImageClassification",
        ) from error
    square = len(resize) == 1
    return InputContract(
        resize="shortest" if square else "squash",
        resize_size=_two(resize),
        crop_size=_two(crop),
        filter=_filter(interpolation),
        resampler=installed_resampler(),
        mean=mean,
        std=std,
    )


def from_timm(config: Mapping[str, Any]) -> InputContract:
    """Build the contract of a timm data configuration, equal to ``timm.data.create_transform`` for evaluation.

    Args:
        config: from ``timm.data.resolve_model_data_config``.

    Raises:
        InputError: a filter, crop mode or number of channels that the contract does not support.
    """
    channels, height, width = config["input_size"]
    if channels not in (1, 3):
        raise InputError("model input: unsupported number of channels", got=f"{channels} channels", expected="1 or 3")
    fraction = config["crop_pct"]
    scaled = (math.floor(height / fraction), math.floor(width / fraction))
    mode = config.get("crop_mode") or "center"
    mean = tuple(map(float, config["mean"]))
    if mode == "squash":
        resize: ResizeMode = "squash"
    elif mode == "border":
        resize = "letterbox"
    elif mode == "center":
        resize = "shortest" if scaled[0] == scaled[1] else "cover"
    else:
        raise InputError("timm crop mode: unsupported", got=mode, expected="center, squash or border")
    return InputContract(
        color="rgb" if channels == 3 else "gray",
        resize=resize,
        resize_size=scaled,
        crop_size=(height, width),
        filter=_filter(config["interpolation"]),
        resampler=installed_resampler(),
        fill=tuple(round(255 * v) for v in mean) if mode == "border" else (0,) * channels,
        mean=mean,
        std=tuple(map(float, config["std"])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFlags:
    """Flags for the input contract; None keeps the field of the model's contract.

    Attributes:
        input_size: (height, width); resize to exactly this size, no crop.
        color, resize, resize_size, crop_size, crop_fraction, filter, fill, scale, mean, std, layout, dtype, batch:
            as in `InputContract`.
    """

    input_size: tuple[int, int] | None = None
    color: Color | None = None
    resize: ResizeMode | None = None
    resize_size: tuple[int, int] | None = None
    crop_size: tuple[int, int] | None = None
    crop_fraction: float | None = None
    filter: Filter | None = None
    fill: tuple[int, ...] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Layout | None = None
    dtype: DType | None = None
    batch: BatchBounds | None = None

    def __post_init__(self) -> None:
        choices = (("color", Color), ("resize", ResizeMode), ("filter", Filter), ("layout", Layout), ("dtype", DType))
        for name, allowed in choices:
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                raise InputError(f"unknown --{name}", got=value, expected=", ".join(get_args(allowed)))
        sized = [name for name in ("resize", "resize_size", "crop_size", "crop_fraction") if getattr(self, name)]
        if self.input_size is not None and sized:
            raise InputError(
                "--input-size: excludes the other size flags",
                got="--input-size and " + ", ".join("--" + name.replace("_", "-") for name in sized),
                expected="--input-size alone, or --resize, --resize-size and --crop-size",
            )

    def apply(self, base: InputContract | None) -> InputContract:
        """Return the model's contract with these fields replaced, or a contract of these fields alone.

        Raises:
            InputError: the model has no contract, and size, mean or std are missing.
            ContractError: the fields contradict each other.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        given |= self._geometry(base)
        given.pop("input_size", None)
        if self.dtype == "uint8":  # the model normalises; the contract's float stage does nothing
            channels = 1 if given.get("color", base.color if base is not None else None) == "gray" else 3
            given = {"scale": 1.0, "mean": (0.0,) * channels, "std": (1.0,) * channels, **given}
        if base is not None:
            return replace(base, **given)
        self._require_complete(given)
        channels = 1 if given.get("color") == "gray" else 3
        given.setdefault("fill", (0,) * channels)
        return InputContract(**{"resampler": installed_resampler(), "crop_size": None, **given})

    def _geometry(self, base: InputContract | None) -> dict[str, Any]:
        """Return the geometry fields implied by the given flags."""
        if self.input_size is not None:
            return {"resize": "squash", "resize_size": self.input_size, "crop_size": None, "crop_fraction": None}
        if self.crop_fraction is not None and self.resize in (None, "crop_fraction"):
            crop = self.crop_size
            size = self.resize_size or (base.tensor_size if base is not None else None)
            return {"resize": "crop_fraction", "crop_size": crop, **({"resize_size": size} if size else {})}
        if self.resize not in (None, "crop_fraction") and base is not None and base.crop_fraction is not None:
            return {"crop_fraction": None}
        return {}

    def _require_complete(self, given: Mapping[str, Any]) -> None:
        missing = []
        if "resize_size" not in given:
            missing.append("--input-size (or --resize with --resize-size and --crop-size)")
        elif "resize" not in given:
            missing.append("--resize")
        missing += [f"--{name}" for name in ("mean", "std") if name not in given]
        if missing:
            raise InputError(
                "input contract: unknown for this model",
                got="no contract in the model, and no " + ", no ".join(missing),
                expected="the preprocessing of the training; a guess would silently drop accuracy",
                fix="for example --input-size 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, or define "
                "edgeproof_contract in the factory's module",
            )


def _two(size: Sequence[int]) -> tuple[int, int]:
    return (int(size[0]), int(size[-1]))


def _filter(name: str) -> Filter:
    for known in get_args(Filter):
        if name == known:
            return known  # type: ignore[no-any-return]  # get_args is untyped
    raise InputError("interpolation of the model: unsupported", got=name, expected=", ".join(get_args(Filter)))
