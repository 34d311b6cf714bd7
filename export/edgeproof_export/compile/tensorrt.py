"""Build plans from ONNX, in one path for TensorRT 8.6 to 11 and TensorRT-RTX.

`hasattr` detects the features of a version. The graph sets the precision (fp16 casts, symmetric Q/DQ); builder flags
set it only for weakly typed networks (8.6, or on request).
"""

from __future__ import annotations

import logging
import resource
import time
from pathlib import Path
from typing import Any

import onnx
import psutil

from edgeproof_export.compile.dla import use_dla
from edgeproof_export.compile.lint import Finding, parser_findings
from edgeproof_export.compile.options import BuildOptions
from edgeproof_export.compile.target import Built, Target
from edgeproof_export.compile.watch import BuildWatch
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import _cuda, _trt
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["build_plan", "check_with_parser"]

_LOG = logging.getLogger("edgeproof.tensorrt")


def build_plan(
    model: Path, target: Target, precision: str, profile: BatchBounds, options: BuildOptions, watch: BuildWatch
) -> Built:
    """Build a plan.

    Args:
        model: ONNX file with inputs ``N x ...``, all dimensions but N fixed.
        target: result of `target.find_target`.
        precision: precision for weakly typed networks; others take it from the graph.
        profile: batch bounds.
        options: the other options.
        watch: reports progress, and can stop the build.

    Raises:
        InputError: the model cannot be built; includes TensorRT's message.
        UnavailableError: the version does not support an option, or memory ran low.
        KeyboardInterrupt: the user stopped the build.
    """
    begin = time.perf_counter()
    plan, notes = watch.run(lambda: _build(model, target, precision, profile, options, watch))
    # ru_maxrss is in KiB on Linux, the maximum since the process started.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Built(plan, time.perf_counter() - begin, peak, notes)


def check_with_parser(model: Path, target: Target) -> list[Finding]:
    """Check a model with the installed TensorRT's parser; see `parser_findings`."""
    trt = _trt.flavour(target.name).load()
    network = _network(trt, _builder(trt), weakly_typed=False)
    parser = trt.OnnxParser(network, _trt.logger(trt))
    operators = [node.op_type for node in onnx.load(model, load_external_data=False).graph.node]
    findings = parser_findings(trt, parser, model.read_bytes(), model, operators)
    _trt.logger(trt).take_errors()
    return findings


def _build(
    model: Path, target: Target, precision: str, profile: BatchBounds, options: BuildOptions, watch: BuildWatch
) -> tuple[bytes, tuple[str, ...]]:
    trt = _trt.flavour(target.name).load()
    logger = _trt.logger(trt)
    logger.take_errors()
    builder = _builder(trt)
    network = _network(trt, builder, weakly_typed=_weakly_typed(trt, options))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.read_bytes(), str(model)):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise InputError(f"{target.name} {target.version}: cannot parse the model", got=errors or logger.take_errors())
    config = builder.create_builder_config()
    notes = [] if options.dla_core is None else [use_dla(trt, builder, config, network, options.dla_core)]
    monitor = _configure(trt, builder, config, network, target, precision, profile, options, watch)
    serialized = builder.build_serialized_network(network, config)
    del monitor
    if serialized is None:
        raise InputError(
            f"{target.name} {target.version}: cannot build the model",
            got=logger.take_errors(),
            fix="try another precision, a smaller largest batch (--batch), or --optimization-level 2"
            + (", or --weakly-typed" if hasattr(trt.BuilderFlag, "FP16") else ""),
        )
    plan = bytes(memoryview(serialized))
    if options.timing_cache is not None:
        _save_timings(config, options.timing_cache)
    return plan, tuple(notes)


def _weakly_typed(trt: Any, options: BuildOptions) -> bool:
    # trtexec of TensorRT 8 and 10 sets the precision for DLA by flags; strongly typed layers may not reach it.
    return options.weakly_typed or (options.dla_core is not None and hasattr(trt.BuilderFlag, "FP16"))


def _load_timings(config: Any, path: Path) -> None:
    """Give the builder the timings of earlier builds; those of another device or version are left out."""
    old = path.read_bytes() if path.is_file() else b""
    for content in (old, b"") if old else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return
        _LOG.warning("%s: timings of another device or TensorRT, not used", path)


def _save_timings(config: Any, path: Path) -> None:
    """Write the timings; a failure is a warning, because the plan is built."""
    cache = config.get_timing_cache()
    timings = None if cache is None else cache.serialize()
    if timings is None:
        _LOG.warning("%s: not written, TensorRT gives no timings", path)
        return
    try:
        write_atomically(path, bytes(memoryview(timings)))
    except (InputError, OSError) as error:
        _LOG.warning("%s: not written: %s", path, error)


def _builder(trt: Any) -> Any:
    try:
        return trt.Builder(_trt.logger(trt))
    except TypeError as error:  # the bindings raise it for a null pointer
        raise UnavailableError("TensorRT: cannot start its builder", got=_trt.logger(trt).take_errors()) from error


def _network(trt: Any, builder: Any, *, weakly_typed: bool) -> Any:
    flags = trt.NetworkDefinitionCreationFlag
    if hasattr(flags, "STRONGLY_TYPED") and not weakly_typed:
        return builder.create_network(1 << int(flags.STRONGLY_TYPED))
    if not hasattr(trt.BuilderFlag, "FP16"):
        raise UnavailableError(
            f"TensorRT {trt.__version__}: does not support weakly typed networks", fix="leave --weakly-typed out"
        )
    return builder.create_network(1 << int(flags.EXPLICIT_BATCH))


def _configure(
    trt: Any,
    builder: Any,
    config: Any,
    network: Any,
    target: Target,
    precision: str,
    profile: BatchBounds,
    options: BuildOptions,
    watch: BuildWatch,
) -> Any:
    """Set up the configuration; return the progress monitor, which must outlive the build."""
    if _weakly_typed(trt, options) or not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        for name in {"fp32": (), "fp16": ("FP16",), "int8": ("INT8", "FP16")}[precision]:
            config.set_flag(getattr(trt.BuilderFlag, name))
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatibility != "none":
        level = options.hardware_compatibility.upper()
        if not hasattr(trt.HardwareCompatibilityLevel, level):
            raise UnavailableError(
                f"TensorRT {trt.__version__}: does not support hardware compatibility {level.lower()}"
            )
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    workspace = _workspace_bytes(options)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if target.gpu is None:
        config.num_compute_capabilities = len(target.compute_capabilities)
        for index, capability in enumerate(target.compute_capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, _enum_name(capability)), index)
    _add_profile(builder, config, network, profile)
    if options.timing_cache is not None:
        _load_timings(config, options.timing_cache)
    if not hasattr(config, "progress_monitor"):
        return None
    config.progress_monitor = monitor = watch.monitor(trt)
    return monitor


def _add_profile(builder: Any, config: Any, network: Any, profile: BatchBounds) -> None:
    shapes = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        batch, *rest = tuple(tensor.shape)
        if batch != -1 and (profile.min, profile.max) != (batch, batch):
            raise InputError(
                f"{tensor.name}: the batch is fixed at {batch}",
                got=f"batch bounds {profile.min}..{profile.max}",
                fix=f"--batch {batch}, or export the model with a dynamic batch",
            )
        if any(n < 0 for n in rest):
            raise InputError(f"{tensor.name}: has dynamic dimensions besides the batch", got=tuple(tensor.shape))
        shapes.set_shape(tensor.name, *((n, *rest) for n in (profile.min, profile.opt, profile.max)))
    config.add_optimization_profile(shapes)


def _workspace_bytes(options: BuildOptions) -> int | None:
    """Return the requested limit; else half of the GPU's free memory, or a quarter if shared with the host."""
    if options.workspace_mib is not None:
        return options.workspace_mib * 2**20
    if _cuda.unavailable_reason() is not None:
        return None  # built for other GPUs, whose memory is unknown
    if _cuda.device().integrated:
        # cudaMemGetInfo may report less there than can be allocated: it leaves out what the kernel would free.
        return psutil.virtual_memory().available // 4
    return _cuda.memory().free_bytes // 2


def _enum_name(capability: str) -> str:
    return "SM" + capability.replace(".", "")
