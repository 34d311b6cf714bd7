"""Datasets of other programs that are recognised and not read, with the way to a form that is."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from edgeproof_runtime.data.images import own_files

__all__ = ["Foreign", "foreign_dataset"]

_SAVE = 'save the arrays: np.savez("data.npz", x_test=images, y_test=labels)'
_LOOKED_AT = 50


class Foreign(NamedTuple):
    """What a dataset is, and what to do with it."""

    kind: str
    fix: str


_BY_NAME = (
    (
        r".*-idx[0-9]-ubyte(\.gz)?",
        Foreign("MNIST's IDX files", f"read them with torchvision.datasets.MNIST and {_SAVE}"),
    ),
    (
        r"(data_batch_[1-5]|test_batch|batches\.meta(\.txt)?)(\.bin)?",
        Foreign("CIFAR-10's batches", f"read them with torchvision.datasets.CIFAR10 and {_SAVE}"),
    ),
    (r".*\.mat", Foreign("a MATLAB file", f"read it with scipy.io.loadmat and {_SAVE}")),
    (r".*\.(h5|hdf5)", Foreign("an HDF5 file", f"read it with h5py and {_SAVE}")),
    (r".*\.mdb", Foreign("an LMDB database", "write its images into class folders, or a WebDataset .tar")),
    (
        r".*\.tfrecords?(-[0-9]+-of-[0-9]+)?|.*\.tfrecords?\.gz",
        Foreign("TFRecord files", "write their images into class folders, or a WebDataset .tar"),
    ),
    (r".*\.(xlsx|xls|ods)", Foreign("a spreadsheet", "save it as CSV with the columns image and label")),
    (r".*\.(pkl|pickle)", Foreign("a pickle, which may run code", _SAVE)),
    (
        r".*\.npy",
        Foreign("single arrays", 'join them: np.savez("data.npz", x_test=np.load(IMAGES), y_test=np.load(LABELS))'),
    ),
    (r".*\.(pt|pth)", Foreign("PyTorch tensors", _SAVE.replace("images,", "images.numpy(),"))),
    (r".*\.(rec|lst)", Foreign("MXNet's image list", "write a text file with a line PATH LABEL for each image")),
    (r".*\.ya?ml", Foreign("a description of a dataset", "pass the folder of its images")),
    (r".*\.(mp4|avi|mov|mkv|webm)", Foreign("videos", "extract frames first: ffmpeg -i VIDEO FOLDER/%05d.png")),
)


def foreign_dataset(path: Path) -> Foreign | None:
    """Return what a file, or one of the first files of a folder, is known to be."""
    files = [path] if path.is_file() else islice(own_files(path), _LOOKED_AT)
    for file in files:
        for pattern, what in _BY_NAME:
            if re.fullmatch(pattern, file.name.lower()):
                return what
    return None
