"""Input contracts: from torchvision's presets, from timm's data configuration, from flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import PIL

from edgeproof_runtime.contract.contract import BatchBounds, Color, Filter, InputContract, Layout, Resampler, ResizeMode
from edgeproof_runtime.errors import InputError

__all__ = ["ContractFlags", "from_timm", "from_torchvision", "installed_resampler"]


def installed_resampler() -> Resampler:
    """The order of passes of the Pillow of this machine: nothing records that of the training."""
    return "pillow-13" if int(PIL.__version__.split(".")[0]) >= 13 else "pillow-12"


def from_torchvision(preset: Any) -> InputContract:
    """Contract of a torchvision classification preset (``Weights.transforms()``).

    Args:
        preset: ``torchvision.transforms._presets.ImageClassification``.

    Raises:
        InputError: it is another kind of preset, or uses a filter that the contract does not have.
    """
    try:
        resize, crop = preset.resize_size, preset.crop_size
        interpolation = preset.interpolation.value
        mean, std = tuple(map(float, preset.mean)), tuple(map(float, preset.std))
    except AttributeError as error:
        raise InputError(
            "these torchvision weights are not for classification",
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
    """Contract of a timm data configuration, as ``timm.data.create_transform`` evaluates with it.

    Args:
        config: from ``timm.data.resolve_model_data_config``.

    Raises:
        InputError: a filter, a crop mode or a number of channels that the contract does not have.
    """
    channels, height, width = config["input_size"]
    if channels not in (1, 3):
        raise InputError("the model takes pictures of another kind", got=f"{channels} channels", expected="1 or 3")
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
        raise InputError("timm's crop mode is not known", got=mode, expected="center, squash or border")
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
    """What a person said about the input; None leaves a field to the model's own contract.

    Attributes:
        input_size: (height, width): squash to exactly this size, no crop.
        color, resize, resize_size, crop_size, crop_fraction, filter, fill, scale, mean, std, layout, batch:
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
    batch: BatchBounds | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("color", Color), ("resize", ResizeMode), ("filter", Filter), ("layout", Layout)):
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                raise InputError(f"unknown --{name}", got=value, expected=", ".join(get_args(allowed)))
        sized = [name for name in ("resize", "resize_size", "crop_size", "crop_fraction") if getattr(self, name)]
        if self.input_size is not None and sized:
            raise InputError(
                "--input-size says all about the size",
                got="--input-size and " + ", ".join("--" + name.replace("_", "-") for name in sized),
                expected="--input-size alone, or --resize, --resize-size and --crop-size",
            )

    def apply(self, base: InputContract | None) -> InputContract:
        """The contract: the model's own with these fields in its place, or one made of these fields alone.

        Raises:
            InputError: the model has no contract of its own, and size, mean or std were not given.
            ContractError: the fields contradict each other.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        given |= self._geometry(base)
        given.pop("input_size", None)
        if base is not None:
            return replace(base, **given)
        self._require_complete(given)
        channels = 1 if given.get("color") == "gray" else 3
        given.setdefault("fill", (0,) * channels)
        return InputContract(**{"resampler": installed_resampler(), "crop_size": None, **given})

    def _geometry(self, base: InputContract | None) -> dict[str, Any]:
        """What one statement about the geometry says about the others."""
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
                "nobody knows how this model's input must be prepared",
                got="no contract in the model, and no " + ", no ".join(missing),
                expected="what the model was trained with; a guess would cost accuracy unseen",
                fix="for example --input-size 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, or give the "
                "module an attribute edgeproof_contract",
            )


def _two(size: Sequence[int]) -> tuple[int, int]:
    return (int(size[0]), int(size[-1]))


def _filter(name: str) -> Filter:
    for known in get_args(Filter):
        if name == known:
            return known  # type: ignore[no-any-return]  # get_args is untyped
    raise InputError("the model's interpolation is not known", got=name, expected=", ".join(get_args(Filter)))
