"""Who can build here, and for which GPUs. Nothing in this file needs the model, or onnx to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeproof_runtime.engines import _cuda, _trt, catalog
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["Built", "Target", "find_compiling", "find_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """Who builds, and for which GPUs.

    Attributes:
        name: one of the catalogue's compile targets.
        version: of the installed compiler.
        gpu: name of this machine's GPU; None if it is not the one built for.
        compute_capabilities: built for, in ascending order.
    """

    name: str
    version: str
    gpu: str | None
    compute_capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A compiled engine (TensorRT's plan, OpenVINO's blob) and how its build went."""

    plan: bytes
    build_time_s: float
    peak_rss_bytes: int


def find_compiling(target: str) -> catalog.CatalogEntry:
    """The engine that loads what is compiled for a target.

    Raises:
        InputError: the target is unknown, or an engine that loads the ONNX file.
    """
    known = catalog.compiling()
    if target in known:
        return known[target]
    loads_onnx = any(entry.name == target for entry in catalog.offered())
    raise InputError(
        f"{target} has no engines to compile" if loads_onnx else "unknown target",
        got=target,
        expected=", ".join(known),
        fix=f"run the bundle as it is: {target} compiles while it loads" if loads_onnx else None,
    )


def find_target(name: str, gpus: tuple[str, ...]) -> Target:
    """The TensorRT of this machine.

    Args:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        gpus: compute capabilities asked for; empty means this machine's, or all where there is none.

    Raises:
        UnavailableError: it is not installed, or needs a GPU that is not there.
        InputError: it does not build for one of the GPUs.
    """
    flavour = _trt.flavour(name)
    missing = flavour.unavailable_reason()
    no_gpu = _cuda.unavailable_reason()
    if not flavour.builds_without_gpu and (missing or no_gpu):
        raise UnavailableError(
            f"this machine cannot build for {name}, which builds on the GPU that the engine will run on",
            got="; ".join(reason.what for reason in (missing, no_gpu) if reason),
            fix=f"run this command on the device ({flavour.install}); or build here for RTX GPUs: "
            "--target tensorrt-rtx --gpu sm86,sm89,sm120",
        )
    trt = flavour.load()
    here = None if no_gpu else _cuda.device()
    if not flavour.builds_without_gpu:
        if gpus:
            raise InputError(
                "--gpu chooses other GPUs than this machine's, which only tensorrt-rtx builds for",
                got=", ".join(gpus),
                fix="leave --gpu out, and run the command on the device itself",
            )
        device = here or _cuda.device()
        return Target(name, trt.__version__, device.name, (device.compute_capability,))
    known = _known_capabilities(trt)
    wanted = gpus or ((here.compute_capability,) if here else tuple(c for c in known if c != "7.5"))
    unknown = [capability for capability in wanted if capability not in known]
    if unknown:
        raise UnavailableError(
            f"TensorRT-RTX {trt.__version__} does not build for this GPU",
            got=f"compute capability {', '.join(unknown)}" + (f" ({here.name})" if here and not gpus else ""),
            expected=", ".join(known),
            fix="use --target tensorrt or the engine onnxruntime:cuda on this GPU, or name others with --gpu",
        )
    return Target(name, trt.__version__, None, wanted)


def _known_capabilities(trt: Any) -> tuple[str, ...]:
    numbers = [name[2:] for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    pairs = sorted((int(number[:-1]), int(number[-1])) for number in numbers)
    return tuple(f"{major}.{minor}" for major, minor in pairs)
