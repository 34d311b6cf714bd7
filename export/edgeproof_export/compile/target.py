"""Find the compiler of this machine and its GPUs; requires neither the model nor onnx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeproof_runtime.engines import _cuda, _trt, catalog
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["Built", "Target", "find_compiling", "find_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Compiler and GPUs of a build.

    Attributes:
        name: one of the catalogue's compile targets.
        version: version of the installed compiler.
        gpu: identity of this machine's GPU; None when building for others.
        compute_capabilities: compute capabilities of the build, in ascending order.
    """

    name: str
    version: str
    gpu: str | None
    compute_capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """Compiled engine (TensorRT's plan, OpenVINO's blob), facts of its build, and notes for the user."""

    plan: bytes
    build_time_s: float
    peak_rss_bytes: int
    notes: tuple[str, ...] = ()


def find_compiling(target: str) -> catalog.CatalogEntry:
    """Return the catalogue entry of a compile target.

    Raises:
        InputError: the target is unknown, or names an engine that loads the ONNX file.
    """
    known = catalog.compiling()
    if target in known:
        return known[target]
    loads_onnx = any(entry.name == target for entry in catalog.offered())
    raise InputError(
        f"--target {target}: nothing to compile" if loads_onnx else "--target: unknown",
        got=target,
        expected=", ".join(known),
        fix=f"run the bundle unchanged: {target} compiles the model when loading it" if loads_onnx else None,
    )


def find_target(name: str, gpus: tuple[str, ...]) -> Target:
    """Find the TensorRT of this machine.

    Args:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        gpus: requested compute capabilities; empty means this machine's, or without a GPU all.

    Raises:
        UnavailableError: TensorRT is not installed, or requires a GPU that this machine does not have.
        InputError: a requested GPU is not supported.
    """
    flavour = _trt.flavour(name)
    missing = flavour.unavailable_reason()
    no_gpu = _cuda.unavailable_reason()
    if not flavour.builds_without_gpu and (missing or no_gpu):
        raise UnavailableError(
            f"target {name}: requires the GPU that the engine will run on",
            got="; ".join(reason.what for reason in (missing, no_gpu) if reason),
            fix=f"run this command on the device ({flavour.install}); or build on this machine for RTX GPUs: "
            "--target tensorrt-rtx --gpu sm86,sm89,sm120",
        )
    trt = flavour.load()
    here = None if no_gpu else _cuda.device()
    if not flavour.builds_without_gpu:
        if gpus:
            raise InputError(
                "--gpu: supported by --target tensorrt-rtx only",
                got=", ".join(gpus),
                fix="leave --gpu out, and run the command on the device",
            )
        device = here or _cuda.device()
        return Target(name, trt.__version__, device.identity, (device.compute_capability,))
    known = _known_capabilities(trt)
    wanted = gpus or ((here.compute_capability,) if here else tuple(c for c in known if c != "7.5"))
    unknown = [capability for capability in wanted if capability not in known]
    if unknown:
        raise UnavailableError(
            f"TensorRT-RTX {trt.__version__}: unsupported GPU",
            got=f"compute capability {', '.join(unknown)}" + (f" ({here.name})" if here and not gpus else ""),
            expected=", ".join(known),
            fix="use --target tensorrt or the engine onnxruntime:cuda on this GPU, or other GPUs with --gpu",
        )
    return Target(name, trt.__version__, None, wanted)


def _known_capabilities(trt: Any) -> tuple[str, ...]:
    numbers = [name[2:] for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    pairs = sorted((int(number[:-1]), int(number[-1])) for number in numbers)
    return tuple(f"{major}.{minor}" for major, minor in pairs)
