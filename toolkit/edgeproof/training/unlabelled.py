"""Training images without classes, for autoencoders and GANs."""

from __future__ import annotations

from pathlib import Path

from edgeproof.training.data import all_gray, squash_contract
from edgeproof.training.options import TrainOptions
from edgeproof.training.recipes import Recipe
from edgeproof_runtime.bundle.task_settings import GOOD
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.data.splits import TRAINING, locate
from edgeproof_runtime.errors import InputError

__all__ = ["plain_contract", "training_images"]


def training_images(data: str, *, good_only: bool = False) -> ImageList:
    """Open all images below a folder (below its ``train``, if present), of an ``.npz`` or of ``cifar10``.

    Args:
        data: dataset as given on the command line.
        good_only: if there are class folders, read only ``good``.

    Raises:
        InputError: no images were found, or there are class folders without ``good``.
    """
    if data == "cifar10":
        from edgeproof_export.datasets import cifar10

        return cifar10(split="train").images
    path = Path(data)
    root = locate(path, None, prefer=("train",), labelled=False).root if path.is_dir() else path
    if good_only and root.is_dir():
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        if folders and GOOD not in folders:
            raise InputError(
                f"{root}: no folder {GOOD}",
                got=", ".join(folders[:5]),
                expected=f"a folder {GOOD}, or images without class folders",
                fix=f"put the good images into {root / GOOD}; an autoencoder trains on nothing else",
            )
        root = root / GOOD if folders else root
    return ImageList.open(root, prefer=TRAINING)


def plain_contract(images: ImageList, recipe: Recipe, options: TrainOptions) -> InputContract:
    """Return a contract that squashes to the recipe's size with values 0..1, the range of a sigmoid.

    Raises:
        InputError: the options have another normalisation.
    """
    if options.normalize not in (None, "255"):
        raise InputError(
            f"--normalize: {recipe.name} outputs images of 0..1 and requires the same input",
            got=options.normalize,
            expected="255",
        )
    color = options.color or ("gray" if all_gray(images) else "rgb")
    side = options.size or recipe.size or 0
    return squash_contract(color, (side, side))
