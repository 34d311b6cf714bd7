"""`edgeproof compile`: add compiled engines to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes
from edgeproof.cli._shared import BundlePath, JsonFile, err, out, progress_bar
from edgeproof.library.compile import BuiltEngine
from edgeproof.library.compile import compile_ as compile_engines
from edgeproof.library.inputs import open_bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.selection.compiled import trust_engines
from edgeproof_runtime.system.files import write_json

__all__ = ["compile_"]


def compile_(
    bundle: BundlePath,
    target: Annotated[str, typer.Option(help=f"Compile for {', '.join(catalog.compiling())}.", show_default=False)],
    precision: Annotated[
        str, typer.Option(help="One or several precisions of the bundle, or 'all'.", metavar="P[,P]")
    ] = "fp32",
    gpu: Annotated[
        str | None,
        typer.Option(help="Compile for these GPUs instead of this machine's (tensorrt-rtx).", metavar="sm86,sm89"),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Batch bounds (default: the contract's).", metavar="MIN,OPT,MAX")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="Most memory per layer, MiB (default: derived from free memory).", metavar="MIB")
    ] = None,
    optimization_level: Annotated[
        int | None, typer.Option(help="0 (fastest build) to 5 (fastest engine).", min=0, max=5)
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible", help="Build an engine that later TensorRT versions of the same major version load."
        ),
    ] = False,
    hardware_compatibility: Annotated[
        str, typer.Option(help="Also run on other GPUs: none, ampere_plus or same_compute_capability.")
    ] = "none",
    tf32: Annotated[bool, typer.Option(help="Allow TF32 in fp32 matrix products (TensorRT's default).")] = True,
    weakly_typed: Annotated[
        bool,
        typer.Option(
            "--weakly-typed", help="Choose the precision by builder flags, not by the graph (TensorRT before 11)."
        ),
    ] = False,
    dla: Annotated[
        int | None, typer.Option(help="Run on this deep-learning accelerator of a Jetson.", metavar="CORE")
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(help="Keep layer timings between builds in this file.", metavar="FILE"),
        Writes("cache"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even if the engine is present.")] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Build nothing: trust the engines that the bundle has, which another machine compiled."
        ),
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Compile a bundle's models into engines and store them in the bundle.

    A second run finds the stored engine. A change of model, precision, batch bounds, options, TensorRT version or GPU
    rebuilds it; the output names the change. A compiled engine is code: one of another machine is loaded after --trust
    only.

    Examples:

      edgeproof compile model.edge --target tensorrt --precision fp16

      edgeproof compile model.edge --target tensorrt-rtx --gpu sm86,sm89,sm120 --precision all

      edgeproof compile model.edge --target openvino   (shorter start-up on CPUs like this one)
    """
    if trust:
        _trust(bundle, target, json_file)
        return
    # Importing onnx takes a second; --help does not need it.
    from edgeproof_export.compile import BuildOptions, parse_batch, parse_gpus

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
    built: list[BuiltEngine] = []
    try:
        with progress_bar() as tell:
            compiled = compile_engines(
                bundle, target, precision=precision, options=options, force=force, progress=tell, on_engine=built.append
            )
    finally:
        # Engines built before a failure are in the bundle.
        for engine in built:
            _print(engine)
    if json_file is not None:
        write_json(json_file, compiled.to_json())


def _trust(bundle: Path, target: str, json_file: Path | None) -> None:
    opened = open_bundle(bundle)
    trusted = trust_engines(opened, target)
    for name, sha256 in trusted.items():
        out.print(f"trusted {opened.path / name}: sha256 {sha256}")
    if json_file is not None:
        write_json(json_file, {"schema": "edgeproof.compile/1", "bundle": str(opened.path), "trusted": trusted})


def _print(engine: BuiltEngine) -> None:
    found, record = engine.compiled, engine.compiled.record
    for change in found.changes:
        err.print(f"rebuilt because {change}")
    for finding in found.warnings:
        err.print(str(finding))
    gpus = ", ".join(record.compute_capabilities)
    out.print(
        f"{'found' if found.cached else 'built'} {engine.path}: {record.target} {record.version}, {engine.precision}, "
        + (f"compute capability {gpus}, " if gpus else "")
        + f"batch {record.profile.min}..{record.profile.max}, {record.plan_size_bytes / 2**20:.1f} MiB, "
        f"{engine.elapsed_s:.1f} s",
    )
    for note in found.notes:
        out.print(note)
    if isinstance(found.golden, str):
        err.print(f"golden cases not replayed: {found.golden}; run `edgeproof verify` on the device")
    elif found.golden is not None:
        out.print("golden cases: passed on this machine")
