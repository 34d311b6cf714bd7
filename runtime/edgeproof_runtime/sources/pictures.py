"""Image files as a source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgeproof_runtime.data.band_files import decode_bands
from edgeproof_runtime.data.bands import bands_in_force
from edgeproof_runtime.data.images import decode_image, read_image_file, reason_of, why_left_out
from edgeproof_runtime.errors import Skipped, SourceError
from edgeproof_runtime.sources.base import Frame, Source

__all__ = ["PictureSource", "relative_name"]


class PictureSource(Source):
    """Image files in order, oriented by their EXIF data; read as `edgeproof_runtime.data.bands.reading` says.

    Files that are missing, empty, truncated or not images are skipped and listed in `skipped`.

    Args:
        name: name of the source.
        root: folder that frame names are relative to.
        paths: image files.
        label_of: returns the label of the file at a position.
        others: files that are not images, to list among the skipped.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        paths: Sequence[Path],
        *,
        label_of: Callable[[int, Path], str | None],
        others: Sequence[Path] = (),
    ) -> None:
        super().__init__(name, live=False, fps=None, frame_count=len(paths), of_pictures=True)
        self._root = root
        self._paths = paths
        self._label_of = label_of
        self._not_pictures = [Skipped(relative_name(p, root), why_left_out(p, "is not an image")) for p in others]
        self._bands = bands_in_force()
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        self.skipped[:] = self._not_pictures
        for index, path in enumerate(self._paths):
            if self._closed:
                return
            name = relative_name(path, self._root)
            begin = time.monotonic_ns()
            try:
                data = read_image_file(path)
                captured = time.monotonic_ns()
                if self._bands is not None:
                    image = decode_bands(data, name, self._bands)
                else:
                    image = decode_image(data, name, apply_orientation=True)
            except OSError as error:
                self.skipped.append(Skipped(name, f"cannot be read ({error.strerror})"))
                continue
            except SourceError as error:
                self.skipped.append(Skipped(name, reason_of(error, name)))
                continue
            decoded = time.monotonic_ns()
            yield Frame(
                image=image,
                index=index,
                name=name,
                captured_ns=captured,
                capture_ms=(captured - begin) / 1e6,
                decode_ms=(decoded - captured) / 1e6,
                label=self._label_of(index, path),
            )

    def close(self) -> None:
        self._closed = True


def relative_name(path: Path, root: Path) -> str:
    """Return a path below a folder relative to it, and any other whole."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
