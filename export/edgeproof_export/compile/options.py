"""Options of a build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.errors import ContractError, InputError

__all__ = ["BuildOptions", "HardwareCompatibility", "parse_batch", "parse_gpus"]

HardwareCompatibility = Literal["none", "ampere_plus", "same_compute_capability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of one build.

    Attributes:
        profile: batch bounds of the optimisation profile; None means the contract's.
        gpus: compute capabilities to build for, such as ``8.6`` (TensorRT-RTX only); empty means this machine's GPU,
            or without one every supported GPU.
        workspace_mib: most memory per layer, MiB; None derives it from the free memory.
        optimization_level: 0 (fastest build) to 5 (fastest engine); None means TensorRT's default, 3.
        version_compatible: whether the plan loads in later versions of the same major version.
        hardware_compatibility: other GPUs that the plan runs on.
        tf32: whether fp32 matrix products may round operands to 10 bits of mantissa (TensorRT's default).
        weakly_typed: precision from builder flags instead of the graph (TensorRT before 11 only).
        dla_core: deep-learning accelerator of a Jetson to use; unsupported layers run on the GPU.
        timing_cache: file of layer timings, read before and written after a build.

    Raises:
        InputError: a value is out of range.
    """

    profile: BatchBounds | None = None
    gpus: tuple[str, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    tf32: bool = True
    weakly_typed: bool = False
    dla_core: int | None = None
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise InputError("--workspace: not a size in MiB", got=self.workspace_mib, expected="at least 1")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise InputError("--optimization-level: out of range", got=self.optimization_level, expected="0..5")
        if self.hardware_compatibility not in get_args(HardwareCompatibility):
            raise InputError(
                "--hardware-compatibility: unknown",
                got=self.hardware_compatibility,
                expected=", ".join(get_args(HardwareCompatibility)),
            )
        if self.dla_core is not None and self.dla_core < 0:
            raise InputError("--dla: must be at least 0", got=self.dla_core)

    def for_key(self) -> dict[str, str | int | bool]:
        """Return the options that change the plan, for an engine's key.

        Includes only an explicit workspace: a size derived from free memory differs between builds.
        """
        return {
            "workspace_mib": "auto" if self.workspace_mib is None else self.workspace_mib,
            "optimization_level": "default" if self.optimization_level is None else self.optimization_level,
            "version_compatible": self.version_compatible,
            "hardware_compatibility": self.hardware_compatibility,
            "tf32": self.tf32,
            "weakly_typed": self.weakly_typed,
            "dla_core": "none" if self.dla_core is None else self.dla_core,
        }


def parse_gpus(text: str) -> tuple[str, ...]:
    """Parse ``sm86,sm120`` or ``8.6,12.0`` into ``("8.6", "12.0")``, sorted, without duplicates.

    Raises:
        InputError: a part is invalid.
    """
    found = set()
    for part in text.split(","):
        match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", part.strip().lower())
        if match is None:
            raise InputError("--gpu: not a compute capability", got=repr(part.strip()), expected="sm86, 8.6 or similar")
        found.add((int(match[1]), int(match[2])))
    return tuple(f"{major}.{minor}" for major, minor in sorted(found))


def parse_batch(text: str) -> BatchBounds:
    """Parse ``1,8,32`` into the bounds min 1, opt 8, max 32; a single number sets all three.

    Raises:
        InputError: not batch bounds.
    """
    parts = text.split(",")
    try:
        numbers = [int(part) for part in parts]
        if len(numbers) == 1:
            return BatchBounds(numbers[0], numbers[0], numbers[0])
        low, opt, high = numbers
        return BatchBounds(low, opt, high)
    except (ValueError, ContractError) as error:
        raise InputError("--batch: not batch bounds", got=text, expected="MIN,OPT,MAX, such as 1,8,32") from error
