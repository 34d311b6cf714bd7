"""Training data in memory: images after the contract's uint8 stage, checked before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import psutil
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgeproof.training.recipes import Progress
from edgeproof_export.contracts import installed_resampler
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.class_names import read_class_names
from edgeproof_runtime.data.dataset import ImageList, LabelledData, LabelledImages
from edgeproof_runtime.data.splits import locate, split_of, subfolders
from edgeproof_runtime.data.store import array_names, load_npz
from edgeproof_runtime.errors import InputError, Skipped

__all__ = [
    "BatchModule",
    "Sources",
    "Split",
    "all_gray",
    "channel_statistics",
    "hold_out",
    "open_sources",
    "read_split",
    "squash_contract",
]

_MEMORY_SHARE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images of one split: training, validation or test.

    Attributes:
        pictures: images, uint8 ``N x C x H x W``.
        targets: int64: class indices ``N`` (zeros without classes), or ``N x C`` with 0 and 1.
        names: names of the images.
        skipped: files that could not be read.
        sizes: (height, width) of the smallest and of the largest image as stored.
    """

    pictures: Tensor
    targets: Tensor
    names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, positions: NDArray[np.int64]) -> Split:
        """Return the images at these positions."""
        index = torch.from_numpy(positions)
        names = tuple(self.names[i] for i in positions)
        return Split(self.pictures[index], self.targets[index], names, self.skipped, self.sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """A labelled dataset before it is read.

    Attributes:
        labels: class labels by index.
        class_ids: names of the class folders; None for arrays.
        train: training images.
        val: validation images; None without such a part.
        test: test images; None without such a part.
        gray: whether the images are grey.
        array_size: (height, width) of the images of an array; None for files.
    """

    labels: tuple[str, ...]
    class_ids: tuple[str, ...] | None
    train: LabelledImages[Any]
    val: LabelledImages[Any] | None
    test: LabelledImages[Any] | None
    gray: bool
    array_size: tuple[int, int] | None


def open_sources(data: str, labels: Path | None) -> Sources:
    """Find the parts of a dataset: ``train``, ``val`` and ``test`` of folders, an ``.npz`` or ``cifar10``.

    Raises:
        InputError: no training images were found, or labels and classes do not match.
    """
    if data == "cifar10":
        return _open_cifar10()
    path = Path(data)
    if path.suffix == ".npz":
        return _open_arrays(path, labels)
    if not path.is_dir():
        raise InputError(f"{data}: not a dataset", expected="a folder of class folders, an .npz file, or cifar10")
    return _open_folders(path, labels)


def _open_cifar10() -> Sources:
    from edgeproof_export.datasets import CIFAR10_LABELS, cifar10

    return Sources(CIFAR10_LABELS, None, cifar10(split="train"), None, cifar10(split="test"), False, (32, 32))


def _open_arrays(path: Path, labels: Path | None) -> Sources:
    present = array_names(path)
    arrays = {
        split: load_npz(path, f"x_{split}", f"y_{split}")
        for split in ("train", "val", "test")
        if split == "train" or f"x_{split}" in present
    }
    pictures, targets = arrays["train"]
    if not np.issubdtype(targets.dtype, np.integer) or not targets.size:
        raise InputError(f"{path}: y_train is not an array of class indices", got=f"{targets.dtype} {targets.shape}")
    names = (
        read_class_names(labels, "labels")
        if labels is not None
        else tuple(str(i) for i in range(int(targets.max()) + 1))
    )
    parts = {
        split: LabelledData.from_arrays(*pair, classes=len(names), name=f"x_{split}") for split, pair in arrays.items()
    }
    for split, (others, _) in arrays.items():
        if _is_gray(others) != _is_gray(pictures):
            raise InputError(
                f"{path}: grey and colour images mixed",
                got=f"x_train {pictures.shape}, x_{split} {others.shape}",
                expected="all grey or all colour",
            )
    size = (pictures.shape[1], pictures.shape[2])
    return Sources(names, None, parts["train"], parts.get("val"), parts.get("test"), _is_gray(pictures), size)


def _is_gray(pictures: NDArray[Any]) -> bool:
    return pictures.ndim == 3 or pictures.shape[3] == 1


def _open_folders(path: Path, labels: Path | None) -> Sources:
    located = locate(path, None, prefer=("train",), labelled=True)
    root = located.root
    folders = [folder.name for folder in subfolders(root)]
    if not folders:
        raise InputError(f"{root}: no class folders", expected="one folder per class with its images")
    parts = {"train": LabelledData.open(root, folders)}
    if located.split is not None:
        present = {split_of(folder.name) for folder in subfolders(root.parent)}
        parts |= {
            split: LabelledData.open(root.parent, folders, split=split) for split in ("val", "test") if split in present
        }
    names = tuple(folders) if labels is None else read_class_names(labels, "labels")
    if len(names) != len(folders):
        raise InputError(
            f"{labels}: must have one line per class folder",
            got=f"{len(names)} lines",
            expected=f"{len(folders)} folders",
        )
    train = parts["train"]
    return Sources(names, tuple(folders), train, parts.get("val"), parts.get("test"), all_gray(train.images), None)


def all_gray(images: ImageList, looked_at: int = 32) -> bool:
    """Return whether the images are grey, from a few spread over all of them."""
    positions = sorted(set(np.linspace(0, len(images) - 1, min(looked_at, len(images))).astype(int).tolist()))
    frames = [picture.frame for _, picture in images.indexed(positions)]
    return bool(frames) and all(
        f.ndim == 2 or (np.array_equal(f[..., 0], f[..., 1]) and np.array_equal(f[..., 1], f[..., 2])) for f in frames
    )


def read_split(
    images: ImageList, targets: ArrayLike | None, contract: InputContract, tell: Progress, phase: str
) -> Split:
    """Read every image into memory after the contract's uint8 stage.

    Raises:
        InputError: no image can be read, or they do not fit into memory.
    """
    count, (height, width) = len(images), contract.tensor_size
    size_bytes = count * contract.channels * height * width
    room = int(_MEMORY_SHARE * psutil.virtual_memory().available)
    if size_bytes > room:
        raise InputError(
            "dataset: does not fit into memory",
            got=f"{count} images of {contract.channels}x{height}x{width}: {size_bytes / 2**30:.1f} GiB",
            expected=f"at most {room / 2**30:.1f} GiB",
            fix="use a smaller --size, or fewer images",
        )
    pixels = np.empty((count, contract.channels, height, width), np.uint8)
    preprocess = Preprocessor(contract)
    kept: list[int] = []
    names: list[str] = []
    sizes: set[tuple[int, int]] = set()
    for index, picture in images.indexed():
        sizes.add(picture.frame.shape[:2])
        pixels[len(kept)] = preprocess.uint8_stage(picture.frame).transpose(2, 0, 1)
        kept.append(index)
        names.append(picture.name)
        if len(kept) % 256 == 0:
            tell(phase, len(kept), count)
    tell(phase, count, count)
    if not kept:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in images.skipped[:3])
        raise InputError(f"dataset: none of the {count} images can be read", got=reasons)
    chosen = np.zeros(len(kept), np.int64) if targets is None else np.asarray(targets, np.int64)[kept]
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return Split(
        torch.from_numpy(pixels[: len(kept)]),
        torch.from_numpy(chosen),
        tuple(names),
        tuple(images.skipped),
        (ordered[0], ordered[-1]),
    )


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Hold out a share of each class, at least one image if the class has two.

    Returns:
        The remaining images and the held-out images; the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    targets = split.targets.numpy()
    aside: list[NDArray[np.int64]] = []
    for target in np.unique(targets):
        members = rng.permutation(np.flatnonzero(targets == target))
        count = min(len(members) - 1, max(1, round(share * len(members))))
        aside.append(members[:count])
    chosen = np.sort(np.concatenate(aside))
    left = np.setdiff1d(np.arange(len(targets)), chosen)
    return split.take(left), split.take(chosen)


def channel_statistics(pictures: Tensor, scale: float = 255.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, in units of ``x / scale``, rounded to four digits.

    Args:
        pictures: images, uint8 ``N x C x H x W``.
        scale: divisor of the uint8 values.
    """
    # From histograms: exact, without a float copy of the images.
    values = np.arange(256) / scale
    means, deviations = [], []
    for channel in range(pictures.shape[1]):
        counts = np.bincount(pictures[:, channel].numpy().reshape(-1), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        means.append(round(mean, 4))
        deviations.append(round(max(float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())), 1e-2), 4))
    return tuple(means), tuple(deviations)


class _Batches(Dataset[Any]):
    """Whole batches by index, because collating single images takes longer than a small network's step."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._split.pictures[index], self._split.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(indices)
        return self._split.pictures[chosen], self._split.targets[chosen]


class BatchModule(L.LightningDataModule):  # type: ignore[misc]  # Lightning is untyped here
    """Batches of (uint8 ``N x C x H x W``, int64 ``N``): shuffled for training, in order for validation."""

    def __init__(self, train: Split, val: Split, *, batch: int) -> None:
        super().__init__()
        self.train: Split = train
        self.val: Split = val
        self._batch = batch

    def train_dataloader(self) -> Any:
        """Return training batches, in a new order each epoch."""
        # Batch normalisation cannot train on a last batch of one image.
        drop = len(self.train) > self._batch and len(self.train) % self._batch == 1
        return DataLoader(_Batches(self.train), self._batch, shuffle=True, collate_fn=_uncollated, drop_last=drop)

    def val_dataloader(self) -> Any:
        """Return validation batches, in order."""
        return DataLoader(_Batches(self.val), max(self._batch, 128), collate_fn=_uncollated)


def _uncollated(batch: Any) -> Any:
    return batch


def squash_contract(color: str, size: tuple[int, int]) -> InputContract:
    """Return the contract of gray or RGB images squashed to ``size`` (height, width), values divided by 255."""
    channels = 1 if color == "gray" else 3
    return InputContract(
        color="gray" if channels == 1 else "rgb",
        resize="squash",
        resize_size=size,
        crop_size=None,
        resampler=installed_resampler(),
        fill=(0,) * channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
