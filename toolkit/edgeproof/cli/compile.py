"""`edgeproof compile`: adds engines to a bundle."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, get_args

import typer

from edgeproof.cli._shared import BundlePath, JsonFile, err, out, progress_bar
from edgeproof_runtime.bundle.manifest import Precision as PrecisionName
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.system.files import write_atomically

__all__ = ["compile_"]


def compile_(
    bundle: BundlePath,
    target: Annotated[str, typer.Option(help=f"One of {', '.join(catalog.compiling())}.", show_default=False)],
    precision: Annotated[
        str, typer.Option(help="Precisions that the bundle has models of, or 'all'.", metavar="P[,P]")
    ] = "fp32",
    gpu: Annotated[
        str | None,
        typer.Option(help="Build for these GPUs instead of this machine's (tensorrt-rtx).", metavar="sm86,sm89"),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Batch bounds instead of the contract's.", metavar="MIN,OPT,MAX")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="Most memory a layer may use; else from the free memory.", metavar="MIB")
    ] = None,
    optimization_level: Annotated[
        int | None, typer.Option(help="0: quick build, to 5: quick engine.", min=0, max=5)
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Also loads in later TensorRTs of the same major version.")
    ] = False,
    hardware_compatibility: Annotated[str, typer.Option(help="none, ampere_plus or same_compute_capability.")] = "none",
    tf32: Annotated[bool, typer.Option(help="Let fp32 products round their operands (TensorRT's default).")] = True,
    weakly_typed: Annotated[
        bool, typer.Option("--weakly-typed", help="Precision by flags, not by the graph (TensorRT before 11).")
    ] = False,
    dla: Annotated[
        int | None, typer.Option(help="Deep-learning accelerator of a Jetson to run on.", metavar="CORE")
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="Keeps layer timings between builds.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even if the engine is there.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Compile a bundle's models into engines and keep them in it.

    A second run finds the engine again; a change of the model, precision, batch bounds, options, TensorRT's
    version or the GPU builds it anew and says which of them changed.

    Examples:

      edgeproof compile model.edge --target tensorrt --precision fp16

      edgeproof compile model.edge --target tensorrt-rtx --gpu sm86,sm89,sm120 --precision all

      edgeproof compile model.edge --target openvino   (a shorter way to the first frame on CPUs like this one)
    """
    # onnx is a second to import, which --help need not wait for.
    from edgeproof_export.compile import BuildOptions, BuildWatch, compile_bundle, parse_batch, parse_gpus
    from edgeproof_export.compile.target import find_compiling

    int8_shape = find_compiling(target).int8_shape
    options = BuildOptions(
        profile=None if batch is None else parse_batch(batch),
        gpus=() if gpu is None else parse_gpus(gpu),
        workspace_mib=workspace,
        optimization_level=optimization_level,
        version_compatible=version_compatible,
        hardware_compatibility=hardware_compatibility,  # type: ignore[arg-type]  # checked by BuildOptions
        tf32=tf32,
        weakly_typed=weakly_typed,
        dla_core=dla,
        timing_cache=timing_cache,
    )
    opened = Bundle.open(bundle)
    here = tuple(name for name in get_args(PrecisionName) if opened.manifest.model_for(name, int8_shape) is not None)
    names = here if precision == "all" else tuple(part.strip() for part in precision.split(","))
    results = []
    for name in names:
        begin = time.perf_counter()
        with progress_bar(f"{target} {name}: ") as report:
            done = compile_bundle(opened, target, name, options, watch=BuildWatch(report), force=force)
        opened, record = done.bundle, done.record
        for change in done.changes:
            err.print(f"rebuilt because {change}")
        for finding in done.warnings:
            err.print(str(finding))
        plan = opened.path / "engines" / record.key / record.plan
        state = "found" if done.cached else "built"
        out.print(
            f"{state} {plan}: {record.target} {record.version}, {name}, "
            + (f"compute capability {', '.join(record.compute_capabilities)}, " if record.compute_capabilities else "")
            + f"batch "
            f"{record.profile.min}..{record.profile.max}, {record.plan_size_bytes / 2**20:.1f} MiB, "
            f"{time.perf_counter() - begin:.1f} s",
        )
        results.append({"cached": done.cached, "changes": list(done.changes), "engine": record.to_json()})
    if json_file is not None:
        document = {"schema": "edgeproof.compile/1", "bundle": str(opened.path), "engines": results}
        write_atomically(json_file, (json.dumps(document, indent=2) + "\n").encode())
