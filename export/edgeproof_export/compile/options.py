"""What a person may ask of a build."""

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
        profile: batch bounds of the optimisation profile; None takes the contract's.
        gpus: compute capabilities to build for, such as ``8.6`` (TensorRT-RTX only); empty means this
            machine's GPU, or every one that the flavour knows where there is none.
        workspace_mib: most memory that a layer may use, in MiB; None derives it from the free memory.
        optimization_level: 0 (quick build) to 5 (quick engine); None leaves TensorRT's own, 3.
        version_compatible: the plan also loads in later versions of the same major version.
        hardware_compatibility: on which other GPUs the plan is to run.
        tf32: fp32 matrix products may round their operands to 10 bits of mantissa (TensorRT's own default).
        weakly_typed: precision from builder flags instead of the graph (TensorRT before 11 only).
        dla_core: run what it can on this deep-learning accelerator of a Jetson, the rest on the GPU.
        timing_cache: file that keeps the timings of layers between builds; read, and written afterwards.

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
            raise InputError("the workspace is a size in MiB", got=self.workspace_mib, expected="at least 1")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise InputError("unknown builder optimisation level", got=self.optimization_level, expected="0..5")
        if self.hardware_compatibility not in get_args(HardwareCompatibility):
            raise InputError(
                "unknown hardware compatibility",
                got=self.hardware_compatibility,
                expected=", ".join(get_args(HardwareCompatibility)),
            )
        if self.dla_core is not None and self.dla_core < 0:
            raise InputError("a DLA core is a number from 0 on", got=self.dla_core)

    def for_key(self) -> dict[str, str | int | bool]:
        """The options that change the plan, as they go into an engine's key.

        The workspace counts only where it was given: what is derived from free memory is never twice the same.
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
    """``sm86,sm120`` or ``8.6,12.0`` -> ``("8.6", "12.0")``, in ascending order, each once.

    Raises:
        InputError: a part is neither.
    """
    found = set()
    for part in text.split(","):
        match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", part.strip().lower())
        if match is None:
            raise InputError("not a compute capability", got=repr(part.strip()), expected="such as sm86 or 8.6")
        found.add((int(match[1]), int(match[2])))
    return tuple(f"{major}.{minor}" for major, minor in sorted(found))


def parse_batch(text: str) -> BatchBounds:
    """``1,8,32`` -> the bounds min 1, opt 8, max 32; one number stands for all three.

    Raises:
        InputError: these are no batch bounds.
    """
    parts = text.split(",")
    try:
        numbers = [int(part) for part in parts]
        if len(numbers) == 1:
            return BatchBounds(numbers[0], numbers[0], numbers[0])
        low, opt, high = numbers
        return BatchBounds(low, opt, high)
    except (ValueError, ContractError) as error:
        raise InputError("these are no batch bounds", got=text, expected="MIN,OPT,MAX such as 1,8,32") from error
