"""Header of a TensorRT plan, read without TensorRT and without a GPU.

NVIDIA does not document the plan format. The positions of tag and version come from NVIDIA's engineers
(github.com/NVIDIA/TensorRT/issues/3073). Size and target mask were read from plans that TensorRT-RTX 1.7.1
built for every compute capability, and are used for that flavour only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.errors import BundleError

__all__ = ["HEADER_BYTES", "PlanHeader", "read_header"]

HEADER_BYTES = 64

_TAGS = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_RTX_TARGETS = {0: "7.5", 1: "8.0", 2: "8.6", 3: "8.9", 4: "12.0", 5: "12.1"}


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """What a plan says about itself.

    Attributes:
        target: ``tensorrt`` or ``tensorrt-rtx``.
        version: (major, minor, patch, build) of the TensorRT that built it.
        size_bytes: size of the whole plan; None for TensorRT, whose header does not hold it.
        compute_capabilities: compute capabilities that it was built for. None for TensorRT; empty if it was built
            only for the GPU of the build machine and that GPU is unknown here.
    """

    target: str
    version: tuple[int, int, int, int]
    size_bytes: int | None
    compute_capabilities: tuple[str, ...] | None

    @property
    def version_text(self) -> str:
        """The version as ``1.7.1.116``."""
        return ".".join(str(part) for part in self.version)


def read_header(plan: bytes, path: Path) -> PlanHeader:
    """Read a plan's header and compare the size in it with the plan's.

    Args:
        plan: content of the plan.
        path: its file, for messages.

    Raises:
        BundleError: the content is not a plan, or is truncated.
    """
    head, size = plan[:HEADER_BYTES], len(plan)
    fix = "compile the bundle again: edgeproof compile BUNDLE --target TARGET"
    target = _TAGS.get(head[:4])
    if target is None:
        raise BundleError(
            f"{path}: not a TensorRT plan",
            got=f"a file that begins with {head[:4]!r}" if head else "an empty file",
            expected="ftrt (TensorRT) or vtrt (TensorRT-RTX)",
            fix=fix,
        )
    if len(head) < HEADER_BYTES:
        raise BundleError(f"{path}: truncated", got=f"{size} bytes", expected="a complete plan", fix=fix)
    major, minor, patch, build = head[24:28]
    if target == "tensorrt":
        return PlanHeader(target, (major, minor, patch, build), None, None)
    (declared,) = struct.unpack_from("<Q", head, 16)
    if declared != size:
        raise BundleError(f"{path}: truncated", got=f"{size} bytes", expected=f"{declared} bytes", fix=fix)
    (mask,) = struct.unpack_from("<I", head, 32)
    targets = tuple(capability for bit, capability in _RTX_TARGETS.items() if mask >> bit & 1)
    return PlanHeader(target, (major, minor, patch, build), declared, targets)
