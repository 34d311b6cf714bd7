"""The child process of `trial`: read a file as the export reads it, and say when that is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeproof_runtime.system.child_side import serve

__all__ = ["main"]

# The contract is not known yet. A program that never ends seldom looks at the shape first.
_SHAPES = ((1, 3, 224, 224), (1, 3, 32, 32), (1, 1, 28, 28))


def main() -> None:
    """Read one file after another until standard input ends."""
    serve(_read)


def _read(job: dict[str, Any]) -> Iterator[dict[str, object]]:
    steps = _PARSERS[job["parser"]]()
    yield {"imported": True}
    # What a parser raises has not harmed the process: the parent meets the same exception.
    with contextlib.suppress(Exception):
        steps(job["file"])
    yield {"done": True}


def _onnx() -> Callable[[str], object]:
    from edgeproof_export.onnx_files.rehearsal import rehearse

    return rehearse


def _program() -> Callable[[str], object]:
    import torch
    import torch.export.pt2_archive  # imports most of what `load` needs

    torch.set_num_threads(1)

    def load_and_run(file: str) -> object:
        program = torch.export.load(file)
        module = program.module()
        user = set(program.graph_signature.user_inputs)
        values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in user]
        inputs = [torch.zeros([s if isinstance(s, int) else 2 for s in v.shape], dtype=v.dtype) for v in values]
        with torch.inference_mode():
            return module(*inputs)

    return load_and_run


def _torchscript() -> Callable[[str], object]:
    import torch

    torch.set_num_threads(1)

    def load_and_run(file: str) -> None:
        module = torch.jit.load(file, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        for shape in _SHAPES:
            with contextlib.suppress(Exception), torch.inference_mode():
                module(torch.zeros(shape))

    return load_and_run


def _checkpoint() -> Callable[[str], object]:
    import torch

    from edgeproof_export.weights.stand_ins import read_restricted

    torch.set_num_threads(1)  # OpenMP's threads are not in a fork
    return lambda file: read_restricted(Path(file))


def _safetensors() -> Callable[[str], object]:
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    return load_file


_PARSERS: dict[str, Callable[[], Callable[[str], object]]] = {
    "onnx": _onnx,
    "pt2": _program,
    "torchscript": _torchscript,
    "checkpoint": _checkpoint,
    "safetensors": _safetensors,
}
