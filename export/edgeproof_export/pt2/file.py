"""Load an exported program (``.pt2``) that was checked and written anew, or as it is where the user trusts it."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from edgeproof_export.foreign_errors import described
from edgeproof_export.parsing.trial import require_harmless
from edgeproof_export.pt2.findings import CodeFound, Damaged
from edgeproof_export.pt2.operators import require_operator
from edgeproof_export.pt2.rewrite import rewritten
from edgeproof_export.quietly import quiet
from edgeproof_export.weights.stand_ins import load_restricted
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.regular import open_regular

__all__ = ["load_program"]


def load_program(path: Path, *, trust: bool = False) -> ExportedProgram:
    """Load an exported program.

    Args:
        path: file of ``torch.export.save``.
        trust: hand the file to PyTorch as it is, which may run code that the file holds.

    Raises:
        InputError: the file is damaged, or holds code and is not trusted.
    """
    if trust:
        return _loaded(path, path)
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        out = Path(folder) / "program.pt2"
        try:
            with io.BufferedReader(open_regular(path, sys.maxsize)) as file:
                rewritten(file, out, _unpickle)
        except CodeFound as found:
            raise InputError(
                f"{path}: holds more than a graph of PyTorch's operators and its tensors",
                got=found,
                expected="an exported program whose loading runs no code of the file",
                fix=f"if you trust its origin: edgeproof export {path} --trust, which may run code of the file",
            ) from found
        except (Damaged, OSError) as found:
            raise _unreadable(path, found) from found
        require_harmless("pt2", out, sha256_of(out), path)
        program = _loaded(out, path)
    _require_operators(program, path)
    return program


def _loaded(file: Path, path: Path) -> ExportedProgram:
    try:
        with quiet():
            return torch.export.load(file)
    except Exception as error:  # torch raises many types for a damaged archive
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not an exported program readable by torch {torch.__version__}",
        got=described(error),
        expected="a file of torch.export.save() with tensors only",
    )


def _unpickle(content: bytes, name: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        file = Path(folder) / "tensors.pt"
        file.write_bytes(content)
        try:
            return load_restricted(file)
        except InputError as error:
            raise CodeFound(f"{name}: {error.got or error.what}") from error


def _require_operators(program: ExportedProgram, path: Path) -> None:
    """Require that targets are what their names say: a name may have led to anything that can be called."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            if node.op != "call_function" or isinstance(node.target, torch._ops.OpOverload):
                continue
            name = f"{getattr(node.target, '__module__', '')}.{getattr(node.target, '__name__', '')}"
            try:
                require_operator(name.replace("torch._ops.", "torch.ops.").replace("_operator.getitem", "_operator.eq"))
            except CodeFound as found:
                raise InputError(f"{path}: calls what is no operator of PyTorch", got=name) from found
