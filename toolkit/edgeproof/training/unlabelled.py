"""Pictures to learn from without their classes: for autoencoders and GANs."""

from __future__ import annotations

from pathlib import Path

from edgeproof.training.data import all_gray, squash_contract
from edgeproof.training.options import TrainOptions
from edgeproof.training.recipes import Recipe
from edgeproof_runtime.bundle.task_settings import GOOD
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.errors import InputError

__all__ = ["plain_contract", "training_pictures"]


def training_pictures(data: str, *, good_only: bool = False) -> ImageList:
    """All pictures below a folder (below its ``train``, where there is one), of an ``.npz`` or of ``cifar10``.

    Args:
        data: as typed.
        good_only: only the folder ``good``, where there are class folders.

    Raises:
        InputError: there is nothing to read, or there are class folders and none is called ``good``.
    """
    if data == "cifar10":
        from edgeproof_export.datasets import cifar10

        return cifar10(split="train").images
    path = Path(data)
    root = path / "train" if (path / "train").is_dir() else path
    if good_only and root.is_dir():
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        if folders and GOOD not in folders:
            raise InputError(
                f"there is no folder of good pictures in {root}",
                got=", ".join(folders[:5]),
                expected=f"a folder called {GOOD}, or pictures without class folders",
                fix=f"put what is good into {root / GOOD}; an autoencoder learns from nothing else",
            )
        root = root / GOOD if folders else root
    return ImageList.open(root, split="train")


def plain_contract(images: ImageList, recipe: Recipe, options: TrainOptions) -> InputContract:
    """Squashed to the recipe's size, 0..1: the range that a sigmoid answers in.

    Raises:
        InputError: another normalisation was asked for.
    """
    if options.normalize not in (None, "255"):
        raise InputError(
            f"{recipe.name} answers with pictures of 0..1, so it is fed with such",
            got=f"--normalize {options.normalize}",
            expected="255",
        )
    color = options.color or ("gray" if all_gray(images) else "rgb")
    side = options.size or recipe.size or 0
    return squash_contract(color, (side, side))
