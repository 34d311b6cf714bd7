"""Build input contracts from torchvision's presets, timm's data configuration, or flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import PIL

from edgeproof_runtime.contract.contract import (
    MAX_CHANNELS,
    BatchBounds,
    Color,
    DType,
    Filter,
    FrameDtype,
    InputContract,
    Layout,
    Resampler,
    ResizeMode,
)
from edgeproof_runtime.errors import InputError

__all__ = ["ContractFlags", "filter_named", "from_timm", "from_torchvision", "installed_resampler", "named_color"]


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
        filter=filter_named(interpolation),
        resampler=installed_resampler(),
        mean=mean,
        std=std,
    )


def from_timm(config: Mapping[str, Any]) -> InputContract:
    """Build the contract of a timm data configuration, equal to ``timm.data.create_transform`` for evaluation.

    Args:
        config: from ``timm.data.resolve_model_data_config``.

    Raises:
        InputError: a filter or crop mode that the contract does not support, or mean and std of another number of
            channels.
    """
    channels, height, width = config["input_size"]
    fraction = config["crop_pct"]
    scaled = (math.floor(height / fraction), math.floor(width / fraction))
    mode = config.get("crop_mode") or "center"
    mean, std = (tuple(map(float, config[name])) for name in ("mean", "std"))
    if {len(mean), len(std)} != {channels}:
        raise InputError(
            "model input: mean and std are of another number of channels",
            got=f"{channels} channels, mean {mean}, std {std}",
            expected=f"{channels} values each",
        )
    if mode == "squash":
        resize: ResizeMode = "squash"
    elif mode == "border":
        resize = "letterbox"
    elif mode == "center":
        resize = "shortest" if scaled[0] == scaled[1] else "cover"
    else:
        raise InputError("timm crop mode: unsupported", got=mode, expected="center, squash or border")
    return InputContract(
        color=named_color(channels),
        resize=resize,
        resize_size=scaled,
        crop_size=(height, width),
        filter=filter_named(config["interpolation"]),
        resampler=installed_resampler(),
        fill=tuple(round(255 * v) for v in mean) if mode == "border" else (0,) * channels,
        mean=mean,
        std=std,
    )


def named_color(channels: int) -> Color:
    """Return the usual colour of a number of channels: gray, rgb, or channels for any other."""
    return "gray" if channels == 1 else "rgb" if channels == 3 else "channels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFlags:
    """Flags for the input contract; None keeps the field of the model's contract.

    The other fields are those of `InputContract`; one value of ``mean``, ``std`` and ``fill`` stands for all channels.

    Attributes:
        input_size: (height, width); resize to exactly this size, no crop.
        channels: number of channels. 1 means gray and 3 rgb, unless ``color`` is ``channels`` or the frames are not
            uint8; any other number means color ``channels``. None follows the length of ``mean`` or ``std``.
    """

    input_size: tuple[int, int] | None = None
    channels: int | None = None
    color: Color | None = None
    frame_dtype: FrameDtype | None = None
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
        for name, allowed in (
            ("color", Color),
            ("frame_dtype", FrameDtype),
            ("resize", ResizeMode),
            ("filter", Filter),
            ("layout", Layout),
            ("dtype", DType),
        ):
            value = getattr(self, name)
            if value is not None and value not in get_args(allowed):
                option = name.replace("_", "-")
                raise InputError(f"unknown --{option}", got=value, expected=", ".join(get_args(allowed)))
        self._check_channels()
        sized = [name for name in ("resize", "resize_size", "crop_size", "crop_fraction") if getattr(self, name)]
        if self.input_size is not None and sized:
            raise InputError(
                "--input-size: excludes the other size flags",
                got="--input-size and " + ", ".join("--" + name.replace("_", "-") for name in sized),
                expected="--input-size alone, or --resize, --resize-size and --crop-size",
            )

    def _check_channels(self) -> None:
        if self.channels is None:
            return
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise InputError("--channels: out of range", got=self.channels, expected=f"1..{MAX_CHANNELS}")
        fixed = {"gray": 1, "rgb": 3, "bgr": 3}.get(self.color or "", self.channels)
        if fixed != self.channels:
            raise InputError(
                "--channels: does not fit --color",
                got=f"--channels {self.channels} --color {self.color}",
                expected=f"{fixed} channels for color {self.color}",
                fix=f"--channels {self.channels} alone",
            )

    @property
    def wanted_channels(self) -> int | None:
        """Number of channels that the flags ask for; None if they leave it to the model."""
        if self.channels is not None:
            return self.channels
        if self.color in ("gray", "rgb", "bgr"):
            return 1 if self.color == "gray" else 3
        lengths = (len(values) for values in (self.mean, self.std) if values is not None)
        return next((n for n in lengths if n > 1), None)

    def _colors(self, base: InputContract | None) -> dict[str, Any]:
        """Return colour, dtype of the frames, and the fields with a value per channel.

        Raises:
            InputError: the model's mean and std are of another number of channels, and none are given.
        """
        kept = base.channels if base is not None else 1 if self.color == "channels" else 3
        channels = self.wanted_channels or kept
        wide = (self.frame_dtype or ("uint8" if base is None else base.frame_dtype)) != "uint8"
        if self.color is not None:
            color: Color = self.color
        elif channels == kept and base is not None and not wide:
            color = base.color
        else:
            color = "channels" if wide else named_color(channels)
        found: dict[str, Any] = {"color": color}
        for name in ("mean", "std", "fill"):
            values = getattr(self, name)
            if values is not None and len(values) not in (1, channels):
                raise InputError(
                    f"--{name}: wrong number of values",
                    got=f"{len(values)} for color {color}",
                    expected=f"{channels}, or one for all channels",
                    fix="--channels N for a model of N channels",
                )
            if values is not None:
                found[name] = values * channels if len(values) == 1 else values
            elif name == "fill" and channels != kept:
                found[name] = (0,) * channels
        if self.frame_dtype not in (None, "uint8") and self.scale is None:
            raise InputError(
                f"--frame-dtype {self.frame_dtype}: --scale missing",
                expected="the divisor of the training, such as 65535, or 10000 for reflectances",
                fix="--scale 10000",
            )
        missing = [f"--{name}" for name in ("mean", "std") if name not in found]
        if base is not None and channels != kept and missing:
            raise InputError(
                f"input contract: {' and '.join(missing)} missing for {channels} channels",
                got=f"the model's, of {kept} channels",
                expected="one value per channel, or one for all",
                fix=f"--mean {','.join('0' * channels)} --std {','.join('1' * channels)} for values of x / scale as "
                "they are, or those of the training",
            )
        return found

    def apply(self, base: InputContract | None) -> InputContract:
        """Return the model's contract with these fields replaced, or a contract of these fields alone.

        Raises:
            InputError: the model has no contract, and size, mean or std are missing.
            ContractError: the fields contradict each other.
        """
        if self.dtype == "uint8":  # the model normalises; the contract's float stage does nothing
            idle: dict[str, Any] = {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}
            missing = {name: value for name, value in idle.items() if getattr(self, name) is None}
            if missing:
                return replace(self, **missing).apply(base)
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        given |= self._geometry(base)
        given |= self._colors(base)
        given.pop("input_size", None)
        given.pop("channels", None)
        if base is not None:
            return replace(base, **given)
        self._require_complete(given)
        given.setdefault("fill", (0,) * len(given["mean"]))
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


def filter_named(name: str) -> Filter:
    """Return the filter of a name, as torchvision and timm write it.

    Raises:
        InputError: the contract has no such filter.
    """
    for known in get_args(Filter):
        if name == known:
            return known  # type: ignore[no-any-return]  # get_args is untyped
    raise InputError("interpolation of the model: unsupported", got=name, expected=", ".join(get_args(Filter)))
