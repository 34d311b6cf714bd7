"""The errors that edgeproof raises deliberately, and the exit code of each.

::

    EdgeproofError
    ├── InputError              2  bad usage or bad input
    │   ├── ContractError       2  an input contract whose fields contradict each other
    │   ├── FrameError          2  a frame of an unsupported dtype, shape or size
    │   ├── BundleError         2  a bundle that is missing, damaged, modified or of another schema
    │   ├── NotInBundleError    2  a model or compiled engine that is not in the bundle
    │   ├── EngineFaultError    2  an engine that crashes, hangs or exhausts the memory on a model
    │   └── SourceError         2  a camera, video or image that cannot be read
    ├── GateError               1  a measurement missed its bound (parity, accuracy, regression)
    └── UnavailableError        3  a GPU, engine or package is not available on this machine
        └── CudaError           3  a CUDA runtime call failed
            └── CudaMemoryError 3  out of GPU memory or pinned host memory

70 (``internal`` in spec.json) is a fault of edgeproof itself: no class has it.

A message is ``object: what is wrong``, then what was found, what was expected and how to fix it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeproof_runtime import _native

__all__ = [
    "BundleError",
    "ContractError",
    "CudaError",
    "CudaMemoryError",
    "EdgeproofError",
    "EngineFaultError",
    "FrameError",
    "GateError",
    "InputError",
    "NotInBundleError",
    "Skipped",
    "SourceError",
    "UnavailableError",
    "one_line",
]


class EdgeproofError(Exception):
    """Base of every deliberate error. Secrets in ``what`` and ``got`` are redacted.

    Args:
        what: the object and what is wrong with it, in one clause.
        got: what was found.
        expected: what is valid.
        fix: the command or edit that solves it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        what: str,
        *,
        got: object | None = None,
        expected: object | None = None,
        fix: str | None = None,
    ) -> None:
        self.what: str = _native.redact(what)
        self.got: str | None = None if got is None else _native.redact(str(got))
        self.expected: str | None = None if expected is None else str(expected)
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.what]
        if self.got is not None:
            parts.append(f"  got:      {self.got}")
        if self.expected is not None:
            parts.append(f"  expected: {self.expected}")
        if self.fix is not None:
            parts.append(f"  fix:      {self.fix}")
        return "\n".join(parts)


class InputError(EdgeproofError):
    """Bad usage or bad input."""


class ContractError(InputError):
    """An input contract whose fields contradict each other, such as a crop larger than the resized image."""


class FrameError(InputError):
    """A frame of an unsupported dtype, shape or size."""


class BundleError(InputError):
    """A bundle that is missing, damaged, modified or of another schema."""


class NotInBundleError(InputError):
    """A precision or compiled engine that is not in the bundle, whatever this machine supports."""


class EngineFaultError(InputError):
    """An engine that crashes, hangs or exhausts the memory on a model: found in a child process, not in this one."""


class SourceError(InputError):
    """A camera, video, folder or image that cannot be opened or read."""


class GateError(EdgeproofError):
    """A measurement missed its bound: parity, accuracy or regression."""

    exit_code: ClassVar[int] = 1


class UnavailableError(EdgeproofError):
    """A GPU, engine or package is not available on this machine."""

    exit_code: ClassVar[int] = 3


class CudaError(UnavailableError):
    """A CUDA runtime call failed.

    Attributes:
        code: the CUDA runtime's name of the error, such as ``cudaErrorLaunchFailure``.
    """

    def __init__(self, what: str, code: str, *, got: object | None = None, fix: str | None = None) -> None:
        self.code = code
        super().__init__(what, got=got if got is not None else code, fix=fix)


class CudaMemoryError(CudaError):
    """Out of GPU memory or pinned host memory."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that could not be read.

    Attributes:
        name: the input, such as a file name.
        reason: why, in one clause.
    """

    name: str
    reason: str


def one_line(error: BaseException) -> str:
    """Return an error in one line, for logs and tables: what an `EdgeproofError` names stays apart by semicolons."""
    between = "; " if isinstance(error, EdgeproofError) else " "
    return between.join(" ".join(line.split()) for line in str(error).splitlines())
