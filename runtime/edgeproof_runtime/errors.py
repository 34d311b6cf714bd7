"""The errors edgeproof raises on purpose, and the exit code each becomes.

::

    EdgeproofError
    ├── InputError              2  bad usage or bad input
    │   ├── ContractError       2  an input contract that contradicts itself
    │   ├── FrameError          2  a frame the contract cannot be applied to
    │   ├── BundleError         2  a bundle that is damaged, tampered with or of another schema
    │   ├── NotInBundleError    2  a model or engine that the bundle does not hold
    │   └── SourceError         2  a camera, video or picture that cannot be read
    ├── GateError               1  a measurement missed its bound (parity, accuracy, regression)
    └── UnavailableError        3  this machine lacks what was asked for
        └── CudaError           3  a call of the CUDA runtime failed
            └── CudaMemoryError 3  the GPU, or pinned host memory, is full

Every message says what happened, what was found, what was expected and how to mend it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "BundleError",
    "ContractError",
    "CudaError",
    "CudaMemoryError",
    "EdgeproofError",
    "FrameError",
    "GateError",
    "InputError",
    "NotInBundleError",
    "Skipped",
    "SourceError",
    "UnavailableError",
]


class EdgeproofError(Exception):
    """Base of every deliberate error.

    Args:
        what: what could not be done, in one clause.
        got: what was found instead.
        expected: what would have been right.
        fix: the command or edit that mends it.
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
        self.what = what
        self.got = None if got is None else str(got)
        self.expected = None if expected is None else str(expected)
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
    """An input contract that contradicts itself, such as a crop larger than the resized image."""


class FrameError(InputError):
    """A frame of a dtype, shape or size that the contract cannot be applied to."""


class BundleError(InputError):
    """A bundle that is missing, damaged, tampered with or of another schema."""


class NotInBundleError(InputError):
    """A precision or compiled engine that the bundle does not hold: the bundle lacks it, not this machine."""


class SourceError(InputError):
    """A camera, video, folder or picture that cannot be opened or read."""


class GateError(EdgeproofError):
    """A measurement missed its bound: parity, accuracy or regression."""

    exit_code: ClassVar[int] = 1


class UnavailableError(EdgeproofError):
    """This machine lacks what was asked for: a GPU, an engine, a package."""

    exit_code: ClassVar[int] = 3


class CudaError(UnavailableError):
    """A call of the CUDA runtime failed.

    Attributes:
        code: the runtime's own name of the error, such as ``cudaErrorLaunchFailure``.
    """

    def __init__(self, what: str, code: str, *, got: object | None = None, fix: str | None = None) -> None:
        self.code = code
        super().__init__(what, got=got if got is not None else code, fix=fix)


class CudaMemoryError(CudaError):
    """The GPU's memory, or the pinned memory of the host, is full."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was asked for and could not be read: its name, and why, as one clause."""

    name: str
    reason: str
