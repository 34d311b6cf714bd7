"""What Pillow, torchvision and timm themselves make of a picture under a contract.

PyTorch's packages are imported where they are used: tests that need none of them run on a device too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from edgeproof_runtime.contract.contract import InputContract, Resampler


def pillow_resampler() -> Resampler:
    """The contract's name for the Pillow that is installed here."""
    return "pillow-13" if int(PIL.__version__.split(".")[0]) >= 13 else "pillow-12"


def torchvision_tensor(contract: InputContract, picture: Image.Image) -> NDArray[np.float32]:
    """The float32 tensor of an RGB picture, made by the libraries that the contract names and nobody else."""
    from torchvision.transforms import functional as F

    if contract.color == "gray":
        picture = picture.convert("L")
    tensor = F.to_tensor(_resized(contract, picture))
    if contract.color == "bgr":
        tensor = tensor.flip(0)
    tensor = F.normalize(tensor, list(contract.mean), list(contract.std)).numpy()
    return np.ascontiguousarray(tensor if contract.layout == "NCHW" else tensor.transpose(1, 2, 0))


def _resized(contract: InputContract, picture: Image.Image) -> Image.Image:
    from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    mode = InterpolationMode(contract.filter)  # its values are the contract's names
    size = list(contract.resize_size)
    fill = contract.fill if contract.color != "bgr" else contract.fill[::-1]
    if contract.resize == "shortest":
        picture = F.resize(picture, [size[0]], interpolation=mode)
    elif contract.resize == "squash":
        picture = F.resize(picture, size, interpolation=mode)
    elif contract.resize == "crop_fraction":
        assert contract.crop_fraction is not None
        picture = F.resize(_tensorflow_crop(picture, size, contract.crop_fraction), size, interpolation=mode)
    else:
        longest = 1.0 if contract.resize == "letterbox" else 0.0
        picture = ResizeKeepRatio(size, longest=longest, interpolation=contract.filter)(picture)
    height, width = contract.tensor_size
    if contract.resize == "letterbox":
        picture = CenterCropOrPad([height, width], fill=fill if len(fill) > 1 else fill[0])(picture)
    elif picture.size != (width, height):
        picture = F.center_crop(picture, [height, width])
    return picture


def band_tensor(contract: InputContract, frame: NDArray[Any]) -> NDArray[np.float32]:
    """The float32 tensor of a frame of many channels: each band by itself through `torchvision_tensor`'s libraries."""
    import torch
    from torchvision.transforms import functional as F

    bands = []
    for index in range(contract.channels):
        values = frame[:, :, index]
        band = Image.fromarray(np.ascontiguousarray(values if values.dtype == np.uint8 else values.astype(np.float32)))
        one = {name: (getattr(contract, name)[index],) for name in ("mean", "std", "fill")}
        alone = replace(contract, color="channels", layout="NCHW", **one)
        bands.append(torch.from_numpy(np.array(_resized(alone, band)))[None].to(torch.float32))
    tensor = torch.cat(bands).div(contract.scale)
    tensor = F.normalize(tensor, list(contract.mean), list(contract.std)).numpy()
    return np.ascontiguousarray(tensor if contract.layout == "NCHW" else tensor.transpose(1, 2, 0))


def _tensorflow_crop(picture: Image.Image, size: list[int], fraction: float) -> Image.Image:
    """The centre crop of EfficientNet's ``_decode_and_center_crop``, for a target that need not be square."""
    width, height = picture.size
    limit = min(height * size[1], width * size[0])
    box_h, box_w = max(1, int(fraction * (limit / size[1]))), max(1, int(fraction * (limit / size[0])))
    top, left = (height - box_h + 1) // 2, (width - box_w + 1) // 2
    return picture.crop((left, top, left + box_w, top + box_h))
