"""Storage of images: files in a folder, or arrays in memory."""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from edgeproof_runtime.data.band_files import decode_bands
from edgeproof_runtime.data.bands import bands_in_force
from edgeproof_runtime.data.images import decode_image, read_image_file
from edgeproof_runtime.data.photo_header import clipped_by_pillow, exif_orientation, is_cielab
from edgeproof_runtime.errors import InputError, Skipped, SourceError
from edgeproof_runtime.system.arrays import read_array_header
from edgeproof_runtime.system.compat import Self

__all__ = [
    "ArrayStore",
    "EncodedStore",
    "FileStore",
    "PictureStore",
    "Traits",
    "array_names",
    "decode_ahead",
    "load_npz",
]

_DECODE_THREADS = 2
_DECODE_AHEAD = 8
_LARGE, _MOST_EXPANSION = 1 << 28, 200  # bytes; images compress to a tenth


class Traits(NamedTuple):
    """What the header of an image file says that people should know.

    Attributes:
        turned: it has an EXIF rotation.
        clipped: it is grey with 16 bits.
        lab: it is in CIELab.
    """

    turned: bool = False
    clipped: bool = False
    lab: bool = False

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read the header of an image file."""
        return cls(exif_orientation(data) != 1, clipped_by_pillow(data), is_cielab(data))

    @classmethod
    def of_number(cls, number: int) -> Self:
        """Return the traits of a `number`."""
        return cls(*(bool(number >> bit & 1) for bit in range(3)))

    @property
    def number(self) -> int:
        """The traits as bits."""
        return sum(1 << bit for bit, has in enumerate(self) if has)


class PictureStore(ABC):
    """Images by position."""

    not_pictures: Sequence[Skipped] = ()
    exif: bool = False

    def notes(self) -> list[str]:
        """Return what people should know about the images read so far, in sentences."""
        return []

    def note(self, index: int, traits: Traits) -> None:
        """Count an image that was read, here or by a worker, for `notes`."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of an image; it does not depend on where the dataset is stored."""

    @abstractmethod
    def read(self, index: int) -> NDArray[Any]:
        """Read an image as BGR uint8 ``HxWx3`` or grey uint8 ``HxW``; as ``HxWxC`` where many channels are read.

        Raises:
            SourceError: the image cannot be read.
        """

    @abstractmethod
    def content(self, index: int) -> bytes:
        """Return the stored bytes of an image.

        Raises:
            OSError: the file cannot be read.
        """


class EncodedStore(PictureStore):
    """Image files as bytes, wherever they are stored.

    They are read as `edgeproof_runtime.data.bands.reading` says when the store is built.

    Args:
        names: name of each image.
        exif: turn images by their EXIF orientation. torchvision's ``ImageFolder`` does not.
    """

    def __init__(self, names: Sequence[str], *, exif: bool = False) -> None:
        self._names = names
        self._bands = bands_in_force()
        # By position, because an image may be read twice, and by several threads.
        self._read: set[int] = set()
        self._traits: dict[int, Traits] = {}
        self.exif = exif

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]

    def read(self, index: int) -> NDArray[Any]:
        name = self._names[index]
        try:
            data = self.content(index)
        except OSError as error:
            raise SourceError(f"{name}: cannot be read", got=error.strerror or error) from error
        if self._bands is not None:
            return decode_bands(data, name, self._bands)
        frame = decode_image(data, name, apply_orientation=self.exif)
        self.note(index, Traits.of(data))
        return frame

    def note(self, index: int, traits: Traits) -> None:
        self._read.add(index)
        if any(traits):
            self._traits[index] = traits

    def traits(self, index: int) -> Traits:
        """Return what the header of an image said; nothing before it was read."""
        return self._traits.get(index, Traits())

    def notes(self) -> list[str]:
        found = []
        read = len(self._read)
        turned, clipped, lab = (sum(one[kind] for one in list(self._traits.values())) for kind in range(3))
        if turned and not self.exif:
            found.append(
                f"{turned} of {read} images carry an EXIF rotation: `run` turns them, this "
                "command does not, as torchvision's ImageFolder does not; --exif applies it."
            )
        if clipped:
            found.append(
                f"{clipped} of {read} images are grey with 16 bits: edgeproof takes the high "
                "byte, torchvision's ImageFolder clips at 255 (nearly all white). A model trained on clipped images "
                "needs images converted to 8 bits in the same way."
            )
        if lab:
            found.append(
                f"{lab} of {read} images are TIFF in CIELab, whose colours OpenCV and Pillow "
                "compute differently: convert them to RGB as the training did."
            )
        return found


class FileStore(EncodedStore):
    """Image files below a root folder.

    Args:
        root: folder that image names are relative to.
        paths: image files, in order.
        left_out: other files found below ``root``, and why each is not among the images.
        exif: see `EncodedStore`.
    """

    def __init__(
        self, root: Path, paths: Sequence[Path], left_out: Mapping[Path, str] | None = None, *, exif: bool = False
    ) -> None:
        super().__init__([p.relative_to(root).as_posix() for p in paths], exif=exif)
        self.files = paths
        self.not_pictures: list[Skipped] = [
            Skipped(p.relative_to(root).as_posix(), why) for p, why in (left_out or {}).items()
        ]

    def content(self, index: int) -> bytes:
        return read_image_file(self.files[index])


class ArrayStore(PictureStore):
    """Images in one array.

    Args:
        pictures: uint8 ``NxHxWx3`` RGB, ``NxHxWx1`` or ``NxHxW`` grey; where many channels are read, ``NxHxWxC`` or
            ``NxCxHxW`` of their dtype.
        name: name of the array; an image is named ``name[17]``.

    Raises:
        InputError: the array is empty or has another dtype or shape.
    """

    def __init__(self, pictures: NDArray[Any], name: str) -> None:
        self._name = name
        self._bands = bands_in_force()
        if self._bands is not None:
            if pictures.ndim not in (3, 4) or len(pictures) == 0:
                got = f"{pictures.dtype} {pictures.shape}"
                raise InputError(f"{name}: not an array of images", got=got, expected=f"N x {self._bands}")
            try:
                self._bands.fit(pictures[0], name)
            except SourceError as error:
                raise InputError(error.what, got=error.got, expected=f"N of {error.expected}") from error
            self._pictures: NDArray[Any] = pictures
            return
        if pictures.dtype != np.uint8 or not (
            pictures.ndim == 3 or (pictures.ndim == 4 and pictures.shape[3] in (1, 3))
        ):
            raise InputError(
                f"{name}: not an array of images",
                got=f"{pictures.dtype} {pictures.shape}",
                expected="uint8 (N, height, width, 3) RGB or (N, height, width) grey, values 0..255",
                fix=_as_images(pictures, name),
            )
        if 0 in pictures.shape:
            raise InputError(f"{name}: empty", got=pictures.shape)
        self._pictures = pictures[..., 0] if pictures.ndim == 4 and pictures.shape[3] == 1 else pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def name(self, index: int) -> str:
        return f"{self._name}[{index}]"

    def read(self, index: int) -> NDArray[Any]:
        picture = self._pictures[index]
        if self._bands is not None:
            return self._bands.fit(picture, self.name(index))
        return np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)

    def content(self, index: int) -> bytes:
        content: bytes = self._pictures[index].tobytes()
        return content


def _as_images(pictures: NDArray[Any], name: str) -> str | None:
    """Return the line of NumPy that makes images of an array, if its shape and values show which."""
    steps = name
    if pictures.ndim == 4 and pictures.shape[1] in (1, 3) and pictures.shape[3] not in (1, 3):
        steps += ".transpose(0, 2, 3, 1)"
    elif pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] not in (1, 3)):
        return None
    if pictures.dtype.kind == "f" and pictures.size:
        low, high = float(pictures.min()), float(pictures.max())
        if not 0.0 <= low <= high <= 255.0:
            return f"undo the normalisation of {name} (values {low:.3g} to {high:.3g}); the contract applies it"
        steps += ".round()" if high > 1.0 else ""
        steps = f"({steps} * 255).round()" if high <= 1.0 else steps
    if pictures.dtype != np.uint8:
        steps += ".astype(np.uint8)"
    return f"save {name} as {steps}"


def load_npz(path: Path, *names: str) -> tuple[NDArray[Any], ...]:
    """Load arrays of an ``.npz`` file; pickled objects are never loaded.

    Raises:
        InputError: the file is missing or damaged, or an array is not in it.
    """
    with _opened(path) as file:
        missing = [name for name in names if name not in file.files]
        if missing:
            raise InputError(
                f"{path}: no array {' and '.join(missing)}",
                got=", ".join(file.files),
                expected=", ".join(names),
                fix="choose another split, or save the arrays under these names",
            )
        return tuple(_array(file, name, path) for name in names)


def array_names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays of an ``.npz`` file.

    Raises:
        InputError: the file is missing or damaged.
    """
    with _opened(path) as file:
        return tuple(file.files)


def _array(file: NpzFile, name: str, path: Path) -> NDArray[Any]:
    """Read an array whose header and size were compared first: NumPy allocates what a header says."""
    if file.zip is None:
        raise InputError(f"{path}: closed")
    member = file.zip.getinfo(f"{name}.npy" if f"{name}.npy" in file.zip.namelist() else name)
    where = f"{path}: {name}"
    with file.zip.open(member) as stream:
        header = read_array_header(stream, where)
        found = member.file_size - stream.tell()
    if found != header.size_bytes or member.compress_size > path.stat().st_size:
        raise InputError(f"{where}: damaged", got=f"{found} bytes of values", expected=f"{header.size_bytes}")
    if member.file_size > _LARGE and member.file_size > _MOST_EXPANSION * member.compress_size:
        raise InputError(
            f"{where}: expands too much",
            got=f"{member.compress_size} bytes become {member.file_size}",
            expected=f"at most {_MOST_EXPANSION} times as many",
            fix="save the arrays with np.savez",
        )
    array: NDArray[Any] = file[name]
    return array


@contextmanager
def _opened(path: Path) -> Iterator[NpzFile]:
    try:
        # Opened here, because np.load leaves its own file open if it is not an archive.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, NpzFile):
                raise ValueError("a single array without a name")
            yield file
    # zipfile: RuntimeError for encrypted members, NotImplementedError for methods that it lacks.
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read", got=error, expected="an .npz file of plain arrays") from error


def decode_ahead(
    store: PictureStore, positions: Sequence[int] | None = None
) -> Iterator[tuple[int, NDArray[Any] | SourceError]]:
    """Yield the images at these positions, or the error of each, decoded ahead in a few threads.

    Args:
        store: storage of the images.
        positions: positions to read, in this order; None reads all.
    """
    wanted = range(len(store)) if positions is None else positions

    def read(index: int) -> NDArray[Any] | SourceError:
        try:
            return store.read(index)
        except SourceError as error:
            return error

    pool = ThreadPoolExecutor(_DECODE_THREADS, thread_name_prefix="edgeproof-decode")
    try:
        following = iter(wanted)
        waiting = deque((i, pool.submit(read, i)) for i in islice(following, _DECODE_AHEAD))
        while waiting:
            index, future = waiting.popleft()
            picture = future.result()
            waiting.extend((i, pool.submit(read, i)) for i in islice(following, 1))
            yield index, picture
    finally:
        pool.shutdown(cancel_futures=True)
