"""Rules of a Jetson's deep-learning accelerator (DLA), and how many layers it takes.

`can_run_on_DLA`, `num_layers` and `get_layer` are read from NVIDIA's documentation; no wheel was checked for them.
"""

from __future__ import annotations

import logging
from typing import Any

from edgeproof_runtime.bundle.engine_record import version_numbers
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.system.jetson import Jetson

__all__ = ["board", "check_dla", "use_dla"]

_LOG = logging.getLogger("edgeproof.tensorrt")
# TensorRT 10.7 was the last 10.x with DLA; 11.4.1 has it again, on AGX Orin only.
_ENDED, _AGAIN = (10, 8), (11, 4, 1)
_AGAIN_ON = "AGX Orin"
_QDQ_SINCE = (11,)


def check_dla(version: str, precision: str, profile: BatchBounds, *, board: str | None) -> None:
    """Refuse a build for DLA that TensorRT would refuse, or silently run on the GPU.

    Args:
        version: of TensorRT, such as ``10.3.0``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        profile: batch bounds.
        board: name in the device tree; None on other machines.

    Raises:
        UnavailableError: this TensorRT, or TensorRT on this board, has no DLA.
        InputError: the precision or the batch bounds do not suit DLA.
    """
    numbers = version_numbers(version)
    if _ENDED <= numbers < _AGAIN:
        raise UnavailableError(
            f"--dla: TensorRT {version} does not support DLA",
            expected="TensorRT 8.6 to 10.7 (JetPack 6), or 11.4.1 and later on AGX Orin",
            fix="leave --dla out",
        )
    if numbers >= _AGAIN and _AGAIN_ON not in (board or ""):
        raise UnavailableError(
            f"--dla: TensorRT {version} supports DLA on {_AGAIN_ON} only",
            got=board or "no Jetson",
            fix="leave --dla out",
        )
    if precision == "fp32" or (precision == "int8" and numbers < _QDQ_SINCE):
        reason = "DLA computes in fp16 and int8" if precision == "fp32" else "before TensorRT 11 DLA has no Q/DQ layers"
        raise InputError(f"--dla: {reason}", got=precision, expected="--precision fp16")
    if not profile.min == profile.opt == profile.max:
        raise InputError(
            "--dla: requires one batch size",
            got=f"batch {profile.min}..{profile.max}, optimal {profile.opt}",
            fix=f"--batch {profile.opt}",
        )


def use_dla(trt: Any, builder: Any, config: Any, network: Any, core: int) -> str:
    """Set a configuration to DLA with the GPU for other layers, and return how many layers each takes.

    Raises:
        UnavailableError: the machine does not have the core.
        GateError: no layer can run on DLA.
    """
    if builder.num_DLA_cores <= core:
        raise UnavailableError("--dla: core not available", got=f"{builder.num_DLA_cores} cores", fix="leave --dla out")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    total = network.num_layers
    able = sum(bool(config.can_run_on_DLA(network.get_layer(index))) for index in range(total))
    counted = f"DLA {core}: {able} of {total} layers, GPU: {total - able}"
    _LOG.info("%s", counted)
    if able == 0:
        raise GateError(
            "--dla: no layer of this model can run on DLA", got=counted, expected="at least 1", fix="leave --dla out"
        )
    return counted


def board() -> str | None:
    """Return this machine's board; None if it is no Jetson."""
    jetson = Jetson.find()
    return None if jetson is None else jetson.board
