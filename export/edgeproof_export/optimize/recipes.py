"""Recipes for int8 quantisation, for CPU engines and for TensorRT."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from edgeproof_export.optimize.graph import QUANTIZERS, float_outputs
from edgeproof_export.optimize.inputs import Advance, Inputs
from edgeproof_export.precision import to_int8
from edgeproof_runtime.errors import EdgeproofError, InputError, UnavailableError

__all__ = ["RECIPES", "Recipe", "Shape", "quantize", "require_quantizer"]

Shape = Literal["cpu", "tensorrt"]
_Run = Callable[[onnx.ModelProto, Inputs, Advance], onnx.ModelProto]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Recipe for quantisation.

    Attributes:
        name: name, also part of keys.
        what: description, as a clause.
        library: its distribution; the result depends on its version.
        run: function from a model, its file and calibration images to a quantised model.
    """

    name: str
    what: str
    library: str
    run: _Run


def require_quantizer() -> None:
    """Check that NNCF is installed.

    Raises:
        UnavailableError: NNCF is not installed.
    """
    if find_spec("nncf") is None:
        raise UnavailableError(
            "int8: requires NNCF, which is not installed", fix='pip install "edgeproof[optimize]", or --precision fp16'
        )


def quantize(model: onnx.ModelProto, recipe: Recipe, calibration: Inputs, advance: Advance) -> onnx.ModelProto:
    """Quantise a model with one recipe.

    Args:
        model: fp32 model with unique node names.
        recipe: recipe of `RECIPES`.
        calibration: calibration images.
        advance: called with (done, total) of the images.

    Raises:
        InputError: the library cannot quantise this model; includes its message.
    """
    try:
        quantized = recipe.run(model, calibration, advance)
        onnx.checker.check_model(quantized)
    except (EdgeproofError, MemoryError):
        raise
    except Exception as error:  # NNCF, ONNX Runtime and onnx raise unrelated types
        first = next(iter(str(error).splitlines()), "")
        raise InputError(
            f"{recipe.library}: cannot quantise this model ({recipe.name})", got=f"{type(error).__name__}: {first}"
        ) from error
    finally:
        advance(len(calibration), len(calibration))
    if not any(node.op_type == "QuantizeLinear" for node in quantized.graph.node):
        raise InputError(f"{recipe.library}: no layer to quantise in this model ({recipe.name})")
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    return quantized


def _with_nncf(preset: str, *, full_correction: bool = False, signed: bool = False, safe: bool = False) -> _Run:
    """Return a recipe of NNCF's.

    Args:
        preset: ``PERFORMANCE`` (symmetric activations) or ``MIXED`` (asymmetric).
        full_correction: correct biases by whole runs of the model instead of by layer.
        signed: make every quantiser signed.
        safe: weights of 7 bits. CPUs without VNNI add two products of uint8 and int8 in int16, at most
            2 * 255 * 64 = 32,640; with 8 bits this saturates (NNCF's ``OverflowFix``).
    """

    def run(model: onnx.ModelProto, calibration: Inputs, advance: Advance) -> onnx.ModelProto:
        require_quantizer()
        import nncf

        name = model.graph.input[0].name

        class Told:
            """Yield one image at a time, as often as NNCF iterates."""

            def __iter__(self) -> Iterator[dict[str, Any]]:
                for done, tensor in enumerate(calibration.batches(1), 1):
                    yield {name: tensor}
                    advance(done, len(calibration))

        # Suppress its progress bars, and PyTorch's warning about missing GPUs.
        with contextlib.redirect_stdout(io.StringIO()), _quiet(nncf), _no_advice():
            done: onnx.ModelProto = nncf.quantize(
                model,
                nncf.Dataset(Told()),
                subset_size=len(calibration),
                preset=getattr(nncf.QuantizationPreset, preset),
                fast_bias_correction=not full_correction,
                model_type=nncf.ModelType.TRANSFORMER if _has_attention(model) else None,
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix.ENABLE if safe else None,
                    # It moves scales between layers, so that a layer could not be restored alone.
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
                ),
            )
        return _signed(done) if signed else done

    return run


def _has_attention(model: onnx.ModelProto) -> bool:
    """Return whether a product reads a softmax: NNCF then keeps softmax, GELU and normalisation in fp32."""
    shares = {node.output[0] for node in model.graph.node if node.op_type == "Softmax"}
    return any(node.op_type == "MatMul" and not shares.isdisjoint(node.input) for node in model.graph.node)


def _signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace unsigned quantisers by signed ones of the same range: TensorRT requires int8 and zero points of 0."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = {(n.input[1], n.input[2]) for n in model.graph.node if n.op_type in QUANTIZERS and len(n.input) > 2}
    widened: set[str] = set()
    for scale, zero in sorted(pairs):
        offset = numpy_helper.to_array(tensors[zero])
        if offset.any():
            raise InputError("quantiser: must be symmetric for TensorRT", got=zero)
        if offset.dtype != np.uint8:
            continue
        tensors[zero].CopyFrom(numpy_helper.from_array(np.zeros_like(offset, np.int8), zero))
        if scale not in widened:
            wider = (numpy_helper.to_array(tensors[scale]) * (255 / 127)).astype(np.float32)
            tensors[scale].CopyFrom(numpy_helper.from_array(wider, scale))
            widened.add(scale)
    del model.graph.value_info[:]  # it holds the types before the change
    return model


@contextlib.contextmanager
def _no_advice() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    before = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger("nncf").setLevel(before)


def _with_onnxruntime(model: onnx.ModelProto, calibration: Inputs, advance: Advance) -> onnx.ModelProto:
    def told() -> Iterator[Any]:
        for done, tensor in enumerate(calibration.batches(1), 1):
            yield tensor
            advance(done, len(calibration))

    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        source, out = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        with _no_advice():  # advice on the root logger about steps that the export has done
            to_int8(source, out, told())
        return float_outputs(onnx.load(out))


# The first is the default; if it misses the budget, the search continues with the one closest to fp32.
RECIPES: dict[Shape, tuple[Recipe, ...]] = {
    "cpu": (
        Recipe(
            "nncf-7-bit",
            "NNCF, symmetric, weights of 7 bits per channel, fast bias correction",
            "nncf",
            _with_nncf("PERFORMANCE", safe=True),
        ),
        Recipe(
            "nncf-7-bit-mixed",
            "as nncf-7-bit, asymmetric activations",
            "nncf",
            _with_nncf("MIXED", safe=True),
        ),
    ),
    "tensorrt": (
        Recipe(
            "onnxruntime-symmetric",
            "ONNX Runtime, symmetric, per channel, ranges by smallest and largest value",
            "onnxruntime",
            _with_onnxruntime,
        ),
        Recipe("nncf-signed", "as nncf, every quantiser signed", "nncf", _with_nncf("PERFORMANCE", signed=True)),
    ),
}
