"""Convert PyTorch to ONNX by one of several routes: one file, the same names, a dynamic or single-image batch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnx.version_converter
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.jit._trace import TracerWarning

from edgeproof_export.pytorch.static_program import NotStaticError, static_program
from edgeproof_export.pytorch.tracing import described, is_data_dependent, user_line
from edgeproof_export.quietly import quiet
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.errors import InputError

__all__ = ["INPUT_NAME", "OPSET", "ConversionError", "Exporter", "Job", "Route", "check_exporter", "routes_of"]

INPUT_NAME = "input"
# The oldest opset that the dynamo exporter writes directly; ONNX Runtime, OpenVINO, OpenCV 5 and TensorRT 10 read it.
# TensorRT 8 reads up to 17.
OPSET = 18

Exporter = Literal["auto", "dynamo", "torchscript"]
"""Value of ``--exporter``: every route in turn, only PyTorch's dynamo exporter, or only its TorchScript-based one."""

_EXAMPLE_BATCH = 2  # exporters treat 0 and 1 as constants


class ConversionError(InputError):
    """A model that a route cannot convert.

    Attributes:
        final: whether no other route of ``auto`` may convert it.
    """

    def __init__(self, what: str, *, got: object, expected: object | None = None, fix: str, final: bool = False):
        self.final = final
        super().__init__(what, got=got, expected=expected, fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to convert.

    Attributes:
        model: a module in eval mode, or an exported program.
        input: name, shape without the batch dimension, and dtype of the input.
        outputs: names of the outputs.
        opset: ONNX opset version.
        single: whether the graph takes one image only; else the batch is dynamic.
        image: an input without the batch dimension for tracing.
    """

    model: nn.Module | ExportedProgram
    input: TensorSpec
    outputs: Sequence[str]
    opset: int
    single: bool
    image: NDArray[np.generic]

    def example(self, batch: int = _EXAMPLE_BATCH) -> Tensor:
        """Return an example input; its batch is 1 if the graph takes one image only."""
        return torch.from_numpy(np.stack([self.image] * (1 if self.single else batch)))


@dataclass(frozen=True, slots=True)
class Route:
    """One way from PyTorch to ONNX.

    Attributes:
        name: name for reports.
        convert: the conversion; raises any error, or `NotStaticError` if the route does not apply.
    """

    name: str
    convert: Callable[[Job], tuple[onnx.ModelProto, list[str]]]

    def run(self, job: Job) -> tuple[onnx.ModelProto, list[str]]:
        """Convert a model.

        Returns:
            The model, and notes for the report.

        Raises:
            ConversionError: the model cannot be converted by this route.
            NotStaticError: the route does not apply to this model.
        """
        try:
            with _silent(), torch.no_grad():
                model, notes = self.convert(job)
        except (InputError, NotStaticError):
            raise
        except Exception as error:  # the exporter, or user code during tracing, may raise anything
            raise _conversion_error(error) from error
        batch = model.graph.input[0].type.tensor_type.shape.dim[0]
        if not job.single and batch.HasField("dim_value"):
            raise ConversionError(
                "model: cannot be exported with a dynamic batch",
                got=f"a graph for {batch.dim_value} images only",
                fix="--batch 1,1,1 exports it for single images",
            )
        return model, notes


def routes_of(model: nn.Module | ExportedProgram, exporter: Exporter) -> tuple[Route, ...]:
    """Return the routes to try, in order."""
    if exporter == "torchscript" or (isinstance(model, nn.Module) and _holds_script(model)):
        return (_TORCHSCRIPT,)
    if isinstance(model, ExportedProgram):
        return (_DYNAMO,) if exporter == "dynamo" else (_DYNAMO, _TORCHSCRIPT)
    return (_DYNAMO, _STRICT) if exporter == "dynamo" else (_STATIC, _DYNAMO, _STRICT, _TORCHSCRIPT)


def check_exporter(name: str) -> Exporter:
    """Return a valid ``--exporter``.

    Raises:
        InputError: the exporter is unknown.
    """
    for known in get_args(Exporter):
        if name == known:
            return known  # type: ignore[no-any-return]  # get_args is untyped
    raise InputError("--exporter: unknown", got=name, expected=", ".join(get_args(Exporter)))


def _static(job: Job) -> tuple[onnx.ModelProto, list[str]]:
    """Capture a graph of fixed shapes with torch.export, and write it with the TorchScript-based exporter.

    A quarter of the dynamo exporter's time: no shape is symbolic, and nothing is decomposed.
    """
    if not isinstance(job.model, nn.Module):
        raise TypeError("static route: requires a module")
    examples = [job.example(1)] if job.single else [job.example(2), job.example(3)]
    return _by_torchscript(static_program(job.model, examples), job), []


def _dynamo(job: Job) -> tuple[onnx.ModelProto, list[str]]:
    """Capture with torch.export, non-strict or else strict, and write with the dynamo exporter."""
    if isinstance(job.model, ExportedProgram):
        return _by_dynamo(job, job.model), []
    shapes = None if job.single else ({0: Dim("batch")},)
    return _by_dynamo(job, job.model, args=(job.example(),), dynamic_shapes=shapes), []


def _strict(job: Job) -> tuple[onnx.ModelProto, list[str]]:
    """Capture by symbolic evaluation of the model's bytecode, and write with the dynamo exporter."""
    if not isinstance(job.model, nn.Module):
        raise TypeError("strict route: requires a module")
    shapes = None if job.single else ({0: Dim("batch")},)
    program = torch.export.export(job.model, (job.example(),), dynamic_shapes=shapes, strict=True)
    return _by_dynamo(job, program), []


def _torchscript(job: Job) -> tuple[onnx.ModelProto, list[str]]:
    """Trace one call, or take the TorchScript that is there."""
    module = job.model.module() if isinstance(job.model, ExportedProgram) else job.model
    if isinstance(job.model, ExportedProgram):
        _fix_mode(module)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TracerWarning)
        if _holds_script(module) and not isinstance(module, torch.jit.ScriptModule):
            # The exporter's own trace refuses calls of script modules.
            module = torch.jit.trace(module, job.example(), check_trace=False)  # type: ignore[no-untyped-call]
        model = _by_torchscript(module, job)
    lines = {_place(item) for item in caught if issubclass(item.category, TracerWarning)}
    if not lines:
        return model, []
    return model, [
        "TorchScript's trace keeps what these lines did for one image; where another image would lead elsewhere, the "
        f"exported model is wrong: {', '.join(sorted(lines))}."
    ]


_STATIC = Route("torch.export, fixed shapes", _static)
_DYNAMO = Route("dynamo", _dynamo)
_STRICT = Route("dynamo, strict", _strict)
_TORCHSCRIPT = Route("torchscript", _torchscript)


def _by_dynamo(job: Job, model: Any, **arguments: Any) -> onnx.ModelProto:
    program = torch.onnx.export(
        model,
        **arguments,
        input_names=[job.input.name],
        output_names=list(job.outputs),
        opset_version=max(job.opset, OPSET),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise TypeError("torch.onnx.export: returned no program")
    exported: onnx.ModelProto = program.model_proto
    return exported if job.opset >= OPSET else _converted_back(exported, job.opset)


def _by_torchscript(module: nn.Module, job: Job) -> onnx.ModelProto:
    axes = None if job.single else {name: {0: "batch"} for name in (job.input.name, *job.outputs)}
    file = io.BytesIO()
    torch.onnx.export(
        module,
        (job.example(),),
        file,  # type: ignore[arg-type]  # this exporter writes to files in memory
        input_names=[job.input.name],
        output_names=list(job.outputs),
        opset_version=job.opset,
        dynamic_axes=axes,
        dynamo=False,
    )
    return _simplified(onnx.load_from_string(file.getvalue()))


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants as the dynamo exporter does."""
    import onnx_ir
    from onnxscript import optimizer

    found = onnx_ir.from_proto(model)
    # Left alone by default, for its size: the paddings of TensorFlow's "same" convolutions are made of it.
    optimizer.optimize_ir(found, should_fold=lambda node: True if node.op_type == "ConstantOfShape" else None)
    return onnx_ir.to_proto(found)


def _holds_script(module: nn.Module) -> bool:
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def _fix_mode(module: nn.Module) -> None:
    """Let the exporter call ``train(False)`` on a graph module, which refuses it."""
    module.train = lambda mode=True: module  # type: ignore[method-assign]  # noqa: ARG005


def _converted_back(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert to an older opset with ONNX's converter.

    The exporter would convert before folding operators that have no older form, and would not report a failure.
    """
    for node in model.graph.node:
        # The converter keeps this attribute of the later ReduceMean; 0 is the behaviour of the earlier one.
        kept = [item for item in node.attribute if not (item.name == "noop_with_empty_axes" and item.i == 0)]
        del node.attribute[:]
        node.attribute.extend(kept)
    try:
        converted = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(converted)
    except Exception as error:  # converter and checker raise errors without a common base
        raise ConversionError(
            f"model: cannot be converted to ONNX opset {opset}",
            got=described(error),
            expected=f"operators of opset {opset}",
            fix=f"--opset {OPSET}, which TensorRT 10 and later support",
        ) from error
    return converted


def _conversion_error(error: Exception) -> ConversionError:
    line = user_line(error)
    if is_data_dependent(error):
        return ConversionError(
            "model: cannot be exported, a branch or a Python number depends on the values of a tensor",
            got=line or described(error),
            fix="compute it with tensors, as torch.where(condition, a, b) does; --exporter torchscript keeps what the "
            "line does for one image",
            final=True,
        )
    return ConversionError(
        "model: cannot be exported to ONNX",
        got=described(error) + (f", at {line}" if line else ""),
        fix="change this line to operators that torch.export can trace with a dynamic batch"
        if line
        else "run torch.export.export(model, (example,), dynamic_shapes=...), which shows where it fails",
    )


def _place(warning: warnings.WarningMessage) -> str:
    return f"{warning.filename.rsplit('/', 1)[-1]}:{warning.lineno}"


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what exporters print off the terminal: the errors say what matters."""
    if hasattr(torch._C, "_jit_set_onnx_log_enabled"):  # written by C++, past Python's streams
        torch._C._jit_set_onnx_log_enabled(False)
    with quiet(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
