"""`edgeproof triton`: write a model repository of NVIDIA's Triton Inference Server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes
from edgeproof.cli._shared import BundlePath, JsonFile, Trust, err, open_trusted, out
from edgeproof.library.triton import triton as write_triton
from edgeproof_runtime.system.files import write_json

__all__ = ["triton"]


def triton(
    bundle: BundlePath,
    repository: Annotated[
        Path,
        typer.Option(help="Folder of the repository; models that edgeproof wrote there stay.", metavar="DIR"),
        Writes("bundle"),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the model (default: the bundle's).", metavar="M", show_default=False)
    ] = None,
    preprocess: Annotated[
        str, typer.Option(help="python: the server takes images; client: it takes preprocessed tensors.")
    ] = "python",
    image: Annotated[
        str, typer.Option(help="What the server takes: encoded (JPEG or PNG files) or frame (BGR pixels, uint8).")
    ] = "encoded",
    engine: Annotated[
        str,
        typer.Option(
            help="Engines of the network: onnxruntime, tensorrt, openvino, python (edgeproof's own); the first is the "
            "default, the others are variants.",
            metavar="E[,E]",
        ),
    ] = "onnxruntime",
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, fp16 or int8 (default: the exported model's).", metavar="P", show_default=False),
    ] = None,
    trust: Trust = None,
    json_file: JsonFile = None,
) -> None:
    """Write a bundle into a model repository of NVIDIA's Triton Inference Server.

    The model M takes images: M_pre preprocesses them with edgeproof's core in Triton's Python backend, bit for bit as
    on the device, and M_net is the network. `edgeproof verify --url` then proves what the server computes.

    Examples:

      edgeproof triton model.edge --repository models

      edgeproof triton model.edge --repository models --engine onnxruntime,tensorrt --precision fp16

      edgeproof triton model.edge --repository models --name line3 --preprocess client --json triton.json

      tritonserver --model-repository models

      edgeproof verify model.edge --url http://localhost:8000 --model model
    """
    written = write_triton(
        open_trusted(bundle, trust),
        repository,
        name=name,
        preprocess=preprocess,
        image=image,
        engine=engine,
        precision=precision,
    )
    for note in written.notes:
        err.print(f"note: {note}")
    if json_file is not None:
        write_json(json_file, written.to_json())
    out.print(f"{repository}: {', '.join(written.entry['folders'])}")
    err.print(f"next: tritonserver --model-repository {repository}")
