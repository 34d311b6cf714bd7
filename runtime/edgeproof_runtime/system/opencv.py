"""OpenCV, imported in this one place: after its limits are set; where it cannot be imported, every use says why."""

from __future__ import annotations

import importlib
import io
import os
import platform
import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.system.spec import SPEC

if TYPE_CHECKING:
    import cv2

__all__ = ["INSTALL", "INSTALL_SYSTEM", "cv2", "opencv_fault", "opencv_places", "unhide"]

# Larger images are refused by their header, before memory is allocated for them. Unless the user set it otherwise.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(SPEC["bounds"]["image_pixels"]))

INSTALL_SYSTEM = "sudo apt install python3-opencv, and a venv with --system-site-packages"
"""The command that brings the system's OpenCV, which has GStreamer."""

# PyPI's OpenCV has no GStreamer, so on a Jetson it must not hide JetPack's.
INSTALL = INSTALL_SYSTEM if platform.machine() == "aarch64" else 'pip install "edgeproof[opencv]"'

# Of PyPI's opencv-python: what a machine without a desktop lacks, and what brings all of it on Debian and Ubuntu.
_DESKTOP = ("libGL", "libEGL", "libX", "libxcb", "libSM", "libICE", "libglib", "libgthread", "libgobject")
_INSTALL_DESKTOP = "sudo apt install libgl1 libglib2.0-0"
_WITHOUT_DESKTOP = "pip uninstall -y opencv-python && pip install opencv-python-headless"


def opencv_fault() -> UnavailableError | None:
    """Return why OpenCV cannot be imported, with the command that mends it; None if it is imported."""
    loaded: Any = cv2
    return loaded.fault() if isinstance(loaded, _Absent) else None


def opencv_places() -> tuple[Path, ...]:
    """Return every OpenCV on the import path; Python takes the first."""
    found: dict[Path, None] = {}
    for entry in sys.path:
        spec = PathFinder.find_spec("cv2", [entry])
        if spec is not None and spec.origin is not None:
            found[Path(spec.origin).resolve()] = None
    return tuple(found)


def unhide(distributions: Collection[str], places: Sequence[str | Path]) -> str | None:
    """Return the command that removes an OpenCV of pip which hides another one; None if it hides none.

    Args:
        distributions: the installed distributions of OpenCV.
        places: folders of every OpenCV on the import path; the first is imported.
    """
    if not distributions or len(places) < 2:
        return None
    return f"pip uninstall {' '.join(distributions)}: it hides the OpenCV in {places[1]}"


def _fault_of(error: BaseException) -> UnavailableError:
    if isinstance(error, ModuleNotFoundError) and error.name == "cv2":
        return UnavailableError("OpenCV: not installed", got=error, fix=INSTALL)
    text = str(error)
    if "_ARRAY_API" in text or "numpy.core.multiarray" in text:
        return UnavailableError(
            "OpenCV: built for NumPy 1",
            got=f"NumPy {metadata.version('numpy')}",
            expected="NumPy 1, or an OpenCV built for NumPy 2",
            fix='pip install "numpy<2"',
        )
    if "cannot open shared object file" in text:
        library = text.partition(":")[0]
        return UnavailableError("OpenCV: a system library is missing", got=library, fix=_bring(library))
    return UnavailableError("OpenCV: cannot be imported", got=f"{type(error).__name__}: {text}", fix=INSTALL)


def _bring(library: str) -> str:
    """Return the commands that mend a library that OpenCV was linked with and the system lacks."""
    if library.startswith(_DESKTOP):
        return f"{_INSTALL_DESKTOP}; or without windows (--show) and root: {_WITHOUT_DESKTOP}"
    return f"install the package of {library}; to find it: apt-file search {library}"


class _Absent:
    """Stands for OpenCV, and for what is in it, where it cannot be imported. Names can be read; every use raises."""

    error = type("error", (Exception,), {})

    def __init__(self, cause: BaseException) -> None:
        self._cause = cause

    def fault(self) -> UnavailableError:
        return _fault_of(self._cause)

    @property
    def __version__(self) -> str:
        raise self.fault()

    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(self._cause)

    def _raise(self, *_: Any, **__: Any) -> NoReturn:
        raise self.fault()

    __call__ = __int__ = __index__ = __or__ = __ror__ = __iter__ = _raise


def _load() -> Any:
    try:
        with redirect_stderr(io.StringIO()):  # NumPy 2 prints a page and a traceback about modules built for NumPy 1
            return importlib.import_module("cv2")
    except Exception as error:  # whatever a native library raises at its import
        return _Absent(error)


if not TYPE_CHECKING:
    cv2 = _load()
