"""The input contract: every step from a camera frame to the model's input tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from edgeproof_runtime.errors import ContractError
from edgeproof_runtime.system.spec import SPEC

__all__ = ["MAX_CHANNELS", "BatchBounds", "Color", "Filter", "FrameDtype", "InputContract", "Resampler", "ResizeMode"]

Color = Literal["rgb", "bgr", "gray", "channels"]
FrameDtype = Literal["uint8", "uint16", "float32"]
ResizeMode = Literal["shortest", "cover", "squash", "letterbox", "crop_fraction"]
Filter = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
Resampler = Literal["pillow-12", "pillow-13"]
Layout = Literal["NCHW", "NHWC"]
DType = Literal["float32", "float16", "uint8"]

MAX_SIDE: int = SPEC["bounds"]["side"]  # larger than any model input; the product of two sides fits 32 bits
MAX_CHANNELS: int = SPEC["bounds"]["channels"]
_MAX_BATCH: int = SPEC["bounds"]["batch"]
_MAX_TENSOR_BYTES: int = SPEC["bounds"]["tensor_bytes"]
_ITEM_BYTES = {"float32": 4, "float16": 2, "uint8": 1}


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """Smallest, typical and largest supported batch: the bounds of an optimisation profile."""

    min: int = 1
    opt: int = 1
    max: int = 32

    def __post_init__(self) -> None:
        values = (self.min, self.opt, self.max)
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values) or not (
            1 <= self.min <= self.opt <= self.max
        ):
            raise ContractError(
                "batch: bounds are not in order", got=values, expected="integers, 1 <= min <= opt <= max"
            )
        if self.max > _MAX_BATCH:
            raise ContractError("batch: too large", got=self.max, expected=f"at most {_MAX_BATCH}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class InputContract:
    """The preprocessing that the model was trained with.

    The uint8 stage (colour, crop, resize, pad) equals Pillow's bit for bit. The float stage
    ``(x / scale - mean) / std`` in float32 equals torchvision's ``ToTensor`` + ``Normalize``.

    Attributes:
        color: channel order of the tensor. ``gray`` is ITU-R 601 luma, as in ``Image.convert("L")``. ``channels``:
            as many channels as ``mean`` has values, 1..64, in the frame's order; each is resized by itself.
        resize: ``shortest``: scale the shorter side to ``resize_size`` (torchvision's ``Resize(int)``).
            ``cover``: keep the aspect ratio; the smallest size that covers ``resize_size`` (timm, not square).
            ``squash``: exactly ``resize_size``. ``letterbox``: keep the aspect ratio; the largest size that
            fits ``resize_size``, padded with ``fill``. ``crop_fraction``: crop the centre box of this fraction
            (TensorFlow's EfficientNet), then resize to exactly ``resize_size``.
        resize_size: (height, width) in pixels; for ``shortest`` both equal the shorter side.
        crop_size: (height, width) of the centre crop after the resize; None keeps ``resize_size``.
        crop_fraction: 0 < fraction <= 1, only with ``resize="crop_fraction"``.
        filter: Pillow's resampling filter, antialiased as in Pillow.
        resampler: order of the two passes. ``pillow-12`` (Pillow 2.7 to 12) always filters rows first;
            ``pillow-13`` filters columns first if that removes more than twice as many pixels. Each pass
            rounds to uint8, so the order changes the last bit of tall images.
        frame_dtype: dtype of the frames; ``uint16`` and ``float32`` require color ``channels``, and are resized
            as Pillow resizes mode F: in float32, without rounding to integers.
        fill: letterbox colour per channel, in the tensor's channel order: 0..255, or 0..65535 if the frames are not
            uint8.
        scale: divisor of the frame's values: 255 gives 0..1 of uint8.
        mean: per channel, in the tensor's channel order, in units of ``x / scale``.
        std: per channel, as ``mean``.
        layout: ``NCHW`` or ``NHWC``.
        dtype: dtype of the tensor; ``uint8`` requires scale 1, mean 0 and std 1.
        batch: batch bounds.

    Raises:
        ContractError: the fields contradict each other.
    """

    color: Color = "rgb"
    resize: ResizeMode = "shortest"
    resize_size: tuple[int, int] = (256, 256)
    crop_size: tuple[int, int] | None = (224, 224)
    crop_fraction: float | None = None
    filter: Filter = "bilinear"
    resampler: Resampler = "pillow-13"
    frame_dtype: FrameDtype = "uint8"
    fill: tuple[int, ...] = (0, 0, 0)
    scale: float = 255.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    layout: Layout = "NCHW"
    dtype: DType = "float32"
    batch: BatchBounds = field(default_factory=BatchBounds)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("color", Color),
            ("resize", ResizeMode),
            ("filter", Filter),
            ("resampler", Resampler),
            ("frame_dtype", FrameDtype),
            ("layout", Layout),
            ("dtype", DType),
        ):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ContractError(
                    f"input contract: unknown {name}",
                    got=repr(value),
                    expected=", ".join(get_args(allowed)),
                )
        _check_size("resize_size", self.resize_size)
        if self.crop_size is not None:
            _check_size("crop_size", self.crop_size)
        self._check_geometry()
        self._check_frame_dtype()
        self._check_values()
        size_bytes = math.prod(self.tensor_shape()) * _ITEM_BYTES[self.dtype]
        if size_bytes > _MAX_TENSOR_BYTES:
            raise ContractError(
                "input contract: tensor too large", got=f"{size_bytes} bytes", expected=f"at most {_MAX_TENSOR_BYTES}"
            )

    def _check_geometry(self) -> None:
        if self.resize == "shortest" and self.resize_size[0] != self.resize_size[1]:
            raise ContractError(
                "resize_size: resize 'shortest' requires two equal numbers",
                got=self.resize_size,
                expected="(n, n), the length of the shorter side",
                fix="use resize 'cover' for a target that is not square",
            )
        if self.resize in ("shortest", "cover") and self.crop_size is None:
            raise ContractError(
                f"crop_size: required by resize {self.resize!r}",
                got="no crop_size",
                expected="a crop_size, because the longer side depends on the frame",
            )
        if self.crop_size is not None and (
            self.crop_size[0] > self.resize_size[0] or self.crop_size[1] > self.resize_size[1]
        ):
            raise ContractError(
                "crop_size: larger than the resized image",
                got=f"crop {self.crop_size} of {self.resize_size}",
                expected="crop_size <= resize_size in height and width",
            )
        if (self.resize == "crop_fraction") != (self.crop_fraction is not None):
            raise ContractError(
                "crop_fraction: must be set with resize 'crop_fraction', and only with it",
                got=f"resize {self.resize!r}, crop_fraction {self.crop_fraction}",
                expected="both or neither",
            )
        if self.crop_fraction is not None and not 0.0 < self.crop_fraction <= 1.0:
            raise ContractError("crop_fraction: out of range", got=self.crop_fraction, expected="0 < f <= 1")
        if self.resize == "crop_fraction" and self.crop_size is not None:
            raise ContractError(
                "crop_size: unsupported with resize 'crop_fraction', which crops before it resizes",
                got=f"crop_size {self.crop_size}",
                expected="no crop_size",
            )

    def _check_frame_dtype(self) -> None:
        if self.frame_dtype == "uint8":
            return
        if self.color != "channels":
            raise ContractError(
                "frame_dtype: must be uint8 for color rgb, bgr and gray",
                got=f"{self.frame_dtype}, color {self.color}",
                expected="uint8, or color channels",
            )
        if self.dtype == "uint8":
            raise ContractError(
                "dtype: uint8 requires frame_dtype uint8", got=self.frame_dtype, expected="dtype float32 or float16"
            )

    def _check_values(self) -> None:
        if self.color == "channels" and not 1 <= len(self.mean) <= MAX_CHANNELS:
            raise ContractError(
                "mean: wrong number of channels",
                got=f"{len(self.mean)} values",
                expected=f"1..{MAX_CHANNELS} values, one per channel",
            )
        brightest = 255 if self.frame_dtype == "uint8" else 65_535
        for name in ("mean", "std", "fill"):
            value = getattr(self, name)
            if len(value) != self.channels:
                raise ContractError(
                    f"{name}: wrong number of channels for color {self.color!r}",
                    got=f"{len(value)} values",
                    expected=f"{self.channels}",
                )
        if not all(math.isfinite(v) for v in (*self.mean, *self.std, self.scale)):
            raise ContractError("mean, std, scale: must be finite", got=(self.mean, self.std, self.scale))
        if any(v <= 0 for v in (*self.std, self.scale)):
            raise ContractError(
                "std, scale: must be above zero", got=(self.std, self.scale), expected="values above zero"
            )
        if not all(isinstance(v, int) and 0 <= v <= brightest for v in self.fill):
            raise ContractError("fill: out of range", got=self.fill, expected=f"integers 0..{brightest}")
        if self.dtype == "uint8" and (self.scale != 1 or any(self.mean) or any(v != 1 for v in self.std)):
            raise ContractError(
                "dtype: uint8 requires scale 1, mean 0 and std 1",
                got=f"scale {self.scale}, mean {self.mean}, std {self.std}",
                expected="scale 1, mean 0, std 1",
                fix="leave out --scale, --mean and --std: a model that takes uint8 normalises by itself",
            )

    @property
    def channels(self) -> int:
        """1 for gray, 3 for rgb and bgr, the length of ``mean`` for channels."""
        return len(self.mean) if self.color == "channels" else 1 if self.color == "gray" else 3

    @property
    def tensor_size(self) -> tuple[int, int]:
        """(height, width) of the input tensor, in pixels."""
        return self.crop_size or self.resize_size

    def tensor_shape(self, batch: int = 1) -> tuple[int, int, int, int]:
        """Return the shape of the input tensor for a batch size, in the contract's layout."""
        height, width = self.tensor_size
        if self.layout == "NCHW":
            return (batch, self.channels, height, width)
        return (batch, height, width, self.channels)

    def to_json(self) -> dict[str, Any]:
        """Return the contract as plain JSON values; `from_json` is the inverse."""
        raw = asdict(self)
        if self.frame_dtype == "uint8":
            del raw["frame_dtype"]  # as in the bundles of earlier versions
        return {k: list(v) if isinstance(v, tuple) else v for k, v in raw.items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> InputContract:
        """Build a contract from plain JSON values.

        Raises:
            ContractError: a field is unknown, missing, of the wrong type or contradicts another.
        """
        if not isinstance(raw, Mapping):
            raise ContractError("input contract: not an object", got=type(raw).__name__)
        names = {f.name for f in fields(cls)}
        if set(raw) | {"frame_dtype"} != names:
            raise ContractError(
                "input contract: unknown or missing fields",
                got=f"unknown {sorted(set(raw) - names)}, missing {sorted(names - set(raw) - {'frame_dtype'})}",
                expected=", ".join(sorted(names)),
            )
        try:
            return cls(
                color=raw["color"],
                resize=raw["resize"],
                resize_size=_pair(raw["resize_size"]),
                crop_size=None if raw["crop_size"] is None else _pair(raw["crop_size"]),
                crop_fraction=None if raw["crop_fraction"] is None else float(raw["crop_fraction"]),
                filter=raw["filter"],
                resampler=raw["resampler"],
                frame_dtype=raw.get("frame_dtype", "uint8"),
                fill=tuple(raw["fill"]),
                scale=float(raw["scale"]),
                mean=tuple(float(v) for v in raw["mean"]),
                std=tuple(float(v) for v in raw["std"]),
                layout=raw["layout"],
                dtype=raw["dtype"],
                batch=BatchBounds(**raw["batch"]),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ContractError("input contract: a field has the wrong type", got=error) from error

    def __repr__(self) -> str:
        bounds = self.batch
        batch = f"batch {bounds.min}" if bounds.min == bounds.max else f"batch {bounds.min}..{bounds.max}"
        return f"InputContract({self.summary()}; {self.dtype} {self.layout}, {batch})"

    def _repr_html_(self) -> str:
        from edgeproof_runtime.contract.drawing import html_of

        return html_of(self)

    def summary(self) -> str:
        """Describe the contract in one line: ``rgb 224x224, shortest 256 bicubic, crop 224, (x/255 - mean) / std``."""
        height, width = self.tensor_size
        size = "x".join(str(v) for v in dict.fromkeys(self.resize_size))
        color = f"{self.channels} channels" if self.color == "channels" else self.color
        frames = "" if self.frame_dtype == "uint8" else f" of {self.frame_dtype}"
        parts = [f"{color}{frames} {width}x{height}"]
        fraction = f" {self.crop_fraction:g}" if self.crop_fraction is not None else ""
        parts.append(f"{self.resize}{fraction} {size} {self.filter}")
        if self.crop_size is not None:
            parts.append(f"crop {'x'.join(str(v) for v in dict.fromkeys(self.crop_size))}")
        mean = " ".join(f"{v:g}" for v in self.mean)
        std = " ".join(f"{v:g}" for v in self.std)
        parts.append(f"(x/{self.scale:g} - [{mean}]) / [{std}]")
        return ", ".join(parts)


def _pair(value: Any) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{value!r}: not a pair [height, width]")
    return (value[0], value[1])


def _check_size(name: str, size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MAX_SIDE for v in size):
        raise ContractError(f"{name}: not a size", got=size, expected=f"(height, width), each an integer 1..{MAX_SIDE}")
