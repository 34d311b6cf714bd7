"""Golden cases: real frames, the tensors they must become, and what PyTorch answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
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

__all__ = ["Golden", "make_golden", "preprocessing_gate", "torchvision_tensor", "write_golden"]

_LARGEST_SIDE = 1024  # golden frames travel to every device; eight of 12 megapixels would be heavier than most models


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """One golden case.

    Attributes:
        name: of the picture it was made from.
        position: of that picture in the data.
        frame: uint8 ``HxWx3`` BGR, or ``HxW`` gray.
        tensor: what it becomes, without the batch dimension.
        outputs: the reference's answers, without the batch dimension.
        seed: of a generator's latent vector.
    """

    name: str
    position: int
    frame: NDArray[np.uint8]
    tensor: NDArray[np.generic]
    outputs: tuple[NDArray[np.generic], ...]
    seed: int | None = None

    @property
    def output(self) -> NDArray[np.generic]:
        """The first output: of a classifier its scores, ``C``."""
        return self.outputs[0]

    @property
    def top1(self) -> int:
        """Class index of a classifier's first answer."""
        return int(self.output.argmax())


def make_golden(
    images: ImageList,
    positions: Sequence[int],
    contract: InputContract,
    reference: Callable[[NDArray[np.generic]], Sequence[NDArray[np.generic]]],
) -> list[Golden]:
    """Golden cases of the pictures at these positions.

    Args:
        images: the pictures; what cannot be read among them gives no case.
        positions: which.
        contract: how they become tensors.
        reference: from a batch to one array ``N x ...`` per output.

    Raises:
        InputError: not one picture could be read.
    """
    preprocess = Preprocessor(contract)
    cases = []
    for position, picture in images.indexed(positions):
        frame = _bounded(picture.frame)
        tensor = preprocess(frame)
        outputs = tuple(output[0] for output in reference(tensor[None]))
        cases.append(Golden(picture.name, position, frame, tensor, outputs))
    if not cases:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in images.skipped[:3])
        raise InputError("not one picture of the data could be read", got=reasons or "no pictures")
    return cases


def write_golden(folder: Path, cases: Sequence[Golden], labels: Sequence[str] | None) -> tuple[GoldenEntry, ...]:
    """Write the cases below ``folder/golden``.

    Args:
        folder: of the bundle.
        cases: the cases.
        labels: of a classifier, whose first answers are noted; None for other tasks.

    Returns:
        Their entries of the manifest.
    """
    (folder / "golden").mkdir()
    entries = []
    for number, case in enumerate(cases):
        stem = f"golden/{number:02d}"
        encoded, png = cv2.imencode(".png", case.frame)
        if not encoded:
            raise InputError(f"{case.name} cannot be stored as PNG", got=case.frame.shape)
        (folder / f"{stem}.png").write_bytes(png.tobytes())
        np.save(folder / f"{stem}.input.npy", case.tensor)
        names = tuple(f"{stem}.output{index or ''}.npy" for index in range(len(case.outputs)))
        for name, output in zip(names, case.outputs, strict=True):
            np.save(folder / name, output)
        top1, label = (None, None) if labels is None else (case.top1, labels[case.top1])
        entries.append(GoldenEntry(f"{stem}.png", f"{stem}.input.npy", names, top1, label, case.seed))
    return tuple(entries)


def preprocessing_gate(cases: Sequence[Golden], contract: InputContract) -> Gate | None:
    """The golden tensors against what Pillow and torchvision make of the same frames: not one bit may differ.

    Returns:
        None where this machine's Pillow resamples in another order than the contract's.
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


def torchvision_tensor(frame: NDArray[np.uint8], contract: InputContract) -> NDArray[np.generic]:
    """What Pillow, torchvision and timm make of a frame; nothing of the runtime takes part.

    Args:
        frame: uint8 ``HxWx3`` BGR, or ``HxW`` gray.
        contract: what to do.

    Returns:
        The tensor without the batch dimension.
    """
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


def _pillow_order(contract: InputContract) -> list[int] | int:
    """The fill colour as Pillow wants it: RGB, or one number for gray."""
    if contract.color == "gray":
        return contract.fill[0]
    return list(contract.fill[::-1] if contract.color == "bgr" else contract.fill)


def _centre_box(image: Image.Image, contract: InputContract) -> tuple[int, int, int, int]:
    """Box of the centre crop before the resize, as EfficientNet's reference preprocessing cuts it:

    ``size / (size + padding) * min(height, width)``, offset ``(side - box + 1) // 2``
    (tensorflow/tpu, efficientnet/preprocessing.py, ``_decode_and_center_crop``).
    """
    fraction = contract.crop_fraction or 1.0
    height, width = contract.resize_size
    limit = min(image.height * width, image.width * height)
    box_h, box_w = max(1, int(fraction * (limit / width))), max(1, int(fraction * (limit / height)))
    top, left = (image.height - box_h + 1) // 2, (image.width - box_w + 1) // 2
    return (left, top, left + box_w, top + box_h)


def _bounded(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrink = _LARGEST_SIDE / max(frame.shape[:2])
    if shrink >= 1:
        return frame
    size = (max(1, round(frame.shape[1] * shrink)), max(1, round(frame.shape[0] * shrink)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
