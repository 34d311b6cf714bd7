"""Golden cases: real frames with their expected tensors and PyTorch's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from edgeproof_export.contracts import installed_resampler
from edgeproof_runtime.bundle.manifest import GoldenEntry
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system.opencv import cv2

__all__ = ["Golden", "make_golden", "preprocessing_gate", "torchvision_tensor", "write_golden"]

_PER_CHANNEL = ("mean", "std", "fill")
_LARGEST_SIDE = 1024  # golden frames are part of every bundle; eight of 12 megapixels would outweigh most models


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """One golden case.

    Attributes:
        name: name of its image.
        position: position of the image in the dataset.
        frame: uint8 ``HxWx3`` BGR, or ``HxW`` gray; ``HxWxC`` for a contract of color ``channels``.
        tensor: expected input tensor, without the batch dimension.
        outputs: outputs of the reference, without the batch dimension.
        seed: seed; a generator's golden input is its latent vector 0.
    """

    name: str
    position: int
    frame: NDArray[Any]
    tensor: NDArray[np.generic]
    outputs: tuple[NDArray[np.generic], ...]
    seed: int | None = None

    @property
    def output(self) -> NDArray[np.generic]:
        """Return the first output: a classifier's scores, ``C``."""
        return self.outputs[0]

    @property
    def top1(self) -> int:
        """Return the class index of a classifier's top-1 prediction."""
        return int(self.output.argmax())


def make_golden(
    images: ImageList,
    positions: Sequence[int],
    contract: InputContract,
    reference: Callable[[NDArray[np.generic]], Sequence[NDArray[np.generic]]],
) -> list[Golden]:
    """Build golden cases from the images at the given positions.

    Args:
        images: the images; unreadable ones give no case.
        positions: positions of the images to use.
        contract: input contract.
        reference: function from a batch to one array ``N x ...`` per output.

    Raises:
        InputError: no readable image.
    """
    preprocess = Preprocessor(contract)
    cases = []
    for position, picture in images.indexed(positions):
        frame = _bounded(picture.frame, contract)
        tensor = preprocess(frame)
        outputs = tuple(output[0] for output in reference(tensor[None]))
        cases.append(Golden(picture.name, position, frame, tensor, outputs))
    if not cases:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in images.skipped[:3])
        raise InputError("--data: no image could be read", got=reasons or "no images")
    return cases


def write_golden(folder: Path, cases: Sequence[Golden], labels: Sequence[str] | None) -> tuple[GoldenEntry, ...]:
    """Write the cases below ``folder/golden``.

    Args:
        folder: folder of the bundle.
        cases: golden cases.
        labels: labels of a classifier, to record top-1 predictions; None for other tasks.

    Returns:
        Their entries for the manifest.
    """
    (folder / "golden").mkdir()
    entries = []
    for number, case in enumerate(cases):
        stem = f"golden/{number:02d}"
        frame = _write_frame(folder, stem, case)
        np.save(folder / f"{stem}.input.npy", case.tensor)
        names = tuple(f"{stem}.output{index or ''}.npy" for index in range(len(case.outputs)))
        for name, output in zip(names, case.outputs, strict=True):
            np.save(folder / name, output)
        top1, label = (None, None) if labels is None else (case.top1, labels[case.top1])
        entries.append(GoldenEntry(frame, f"{stem}.input.npy", names, top1, label, case.seed))
    return tuple(entries)


def _write_frame(folder: Path, stem: str, case: Golden) -> str:
    """Write a frame as PNG, or as ``.npy`` if it has many channels, of which PNG holds four; return its name."""
    if case.frame.ndim == 3 and (case.frame.shape[2] != 3 or case.frame.dtype != np.uint8):
        np.save(folder / f"{stem}.npy", np.ascontiguousarray(case.frame))
        return f"{stem}.npy"
    encoded, png = cv2.imencode(".png", case.frame)
    if not encoded:
        raise InputError(f"{case.name}: cannot be stored as PNG", got=case.frame.shape)
    (folder / f"{stem}.png").write_bytes(png.tobytes())
    return f"{stem}.png"


def preprocessing_gate(cases: Sequence[Golden], contract: InputContract) -> Gate | None:
    """Compare the golden tensors with those of Pillow and torchvision for the same frames, bit for bit.

    Returns:
        None if the installed Pillow resamples in another order than the contract.
    """
    if contract.resampler != installed_resampler():
        return None
    differing, largest = 0, 0.0
    for case in cases:
        expected = torchvision_tensor(case.frame, contract)
        differing += int(np.count_nonzero(expected != case.tensor))
        largest = max(largest, float(np.abs(expected.astype(np.float64) - case.tensor.astype(np.float64)).max()))
    return Gate.judge(
        "preprocessing vs torchvision",
        "the runtime's input tensors with those of Pillow and torchvision, bit for bit",
        {"n": float(len(cases)), "differing_values": float(differing), "max_abs_diff": largest},
        at_most={"differing_values": 0.0},
    )


def torchvision_tensor(frame: NDArray[Any], contract: InputContract) -> NDArray[np.generic]:
    """Preprocess a frame with Pillow, torchvision and timm only, independent of the runtime.

    Args:
        frame: uint8 ``HxWx3`` BGR, or ``HxW`` gray; ``HxWxC`` for color ``channels``.
        contract: input contract.

    Returns:
        The tensor without the batch dimension.
    """
    if contract.color == "channels":
        pixels = _resized_bands(frame, contract)
    else:
        image = Image.fromarray(frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1]))
        image = image.convert("L" if contract.color == "gray" else "RGB")
        pixels = torch.from_numpy(np.array(_resized(image, contract)))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    if contract.color == "bgr":
        pixels = pixels.flip(0)
    if contract.dtype == "uint8":
        tensor = pixels
    else:
        scaled = pixels.contiguous().to(torch.float32).div(contract.scale)
        tensor = F.normalize(scaled, list(contract.mean), list(contract.std)).to(getattr(torch, contract.dtype))
    if contract.layout == "NHWC":
        tensor = tensor.permute(1, 2, 0)
    array: NDArray[np.generic] = tensor.contiguous().numpy()
    return array


def _resized(image: Image.Image, contract: InputContract) -> Any:
    mode = InterpolationMode(contract.filter)
    size = list(contract.resize_size)
    if contract.resize == "letterbox":
        fitted = ResizeKeepRatio(size, interpolation=contract.filter, longest=1.0)(image)
        fill = _pillow_order(contract)
        return CenterCropOrPad(list(contract.tensor_size), fill=fill)(fitted)
    if contract.resize == "crop_fraction":
        return F.resize(image.crop(_centre_box(image, contract)), size, interpolation=mode)
    if contract.resize == "cover":
        resized = ResizeKeepRatio(size, interpolation=contract.filter)(image)
    else:
        resized = F.resize(image, [size[0]] if contract.resize == "shortest" else size, interpolation=mode)
    if contract.crop_size is None:
        return resized
    return F.center_crop(resized, list(contract.crop_size))


def _resized_bands(frame: NDArray[Any], contract: InputContract) -> torch.Tensor:
    """Resize each channel by itself: uint8 as Pillow's mode L, uint16 and float32 as mode F."""
    mode = np.uint8 if contract.frame_dtype == "uint8" else np.float32
    bands = []
    for index in range(contract.channels):
        band = Image.fromarray(np.ascontiguousarray(frame[:, :, index]).astype(mode, copy=False))
        alone = replace(
            contract, color="channels", **{n: getattr(contract, n)[index : index + 1] for n in _PER_CHANNEL}
        )
        bands.append(torch.from_numpy(np.array(_resized(band, alone))))
    return torch.stack(bands)


def _pillow_order(contract: InputContract) -> list[int] | int:
    """Return the fill colour for Pillow: RGB, or one number for a single channel."""
    if contract.channels == 1:
        return contract.fill[0]
    return list(contract.fill[::-1] if contract.color == "bgr" else contract.fill)


def _centre_box(image: Image.Image, contract: InputContract) -> tuple[int, int, int, int]:
    """Return the box of the centre crop before the resize, after EfficientNet's reference preprocessing:

    ``size / (size + padding) * min(height, width)``, offset ``(side - box + 1) // 2``
    (tensorflow/tpu, efficientnet/preprocessing.py, ``_decode_and_center_crop``).
    """
    fraction = contract.crop_fraction or 1.0
    height, width = contract.resize_size
    limit = min(image.height * width, image.width * height)
    box_h, box_w = max(1, int(fraction * (limit / width))), max(1, int(fraction * (limit / height)))
    top, left = (image.height - box_h + 1) // 2, (image.width - box_w + 1) // 2
    return (left, top, left + box_w, top + box_h)


def _bounded(frame: NDArray[Any], contract: InputContract) -> NDArray[Any]:
    side = _LARGEST_SIDE
    if contract.color == "channels":  # stored without compression
        side = max(1, int(side * (3 / (contract.channels * frame.dtype.itemsize)) ** 0.5))
    shrink = side / max(frame.shape[:2])
    if shrink >= 1:
        return frame
    size = (max(1, round(frame.shape[1] * shrink)), max(1, round(frame.shape[0] * shrink)))
    if contract.color == "channels":  # OpenCV resizes few channels at once
        bands = [cv2.resize(band, size, interpolation=cv2.INTER_AREA) for band in np.moveaxis(frame, 2, 0)]
        return np.stack(bands, axis=2)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
