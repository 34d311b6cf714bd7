"""ONNX files as people have them: each is exported right, or refused with the mend.

Small graphs stand for what exporters and converters write; `test_onnx_packages` has files of published packages.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeproof import verify
from edgeproof_export import Exported, export_bundle
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.gate import ParityOutcome, require
from edgeproof_export.onnx_files.inputs import read_input
from edgeproof_export.onnx_files.mend import mend_versions
from edgeproof_export.optimize.run import OptimizeOptions, optimize_bundle
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import EdgeproofError, GateError, InputError
from edgeproof_runtime.metrics.gate import Gate
from onnx_files import CLASSES, FLOAT16, SIZE, UINT8, Net, classifier

PLAIN = {"input_size": (SIZE, SIZE), "mean": (0.0,) * 3, "std": (1.0,) * 3}
IMAGENET = {"input_size": (SIZE, SIZE), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

Array = NDArray[np.generic]


@pytest.fixture
def send(tmp_path: Path) -> Callable[..., Exported]:
    """Export a net, or the file that is there already; ``contract`` holds fields of the flags."""

    def export(
        net: Net | None = None, *domains: str, contract: dict[str, Any] | None = None, **options: Any
    ) -> Exported:
        path = tmp_path / "m.onnx"
        if net is not None:
            net.save(path, *domains)
        flags = ContractFlags(**(PLAIN if contract is None else contract))
        return export_bundle(str(path), tmp_path / "m.edge", contract=flags, force=True, **options)

    return export


def answers(exported: Exported, *, batch: int = 3) -> tuple[Array, Array]:
    """Return the bundle's answers for three frames, and the tensors of the frames."""
    bundle = exported.bundle
    frames = np.random.default_rng(3).integers(0, 256, (batch, 40, 50, 3)).astype(np.uint8)
    tensors = np.stack([Preprocessor(bundle.contract)(frame) for frame in frames])
    path = bundle.path / next(iter(bundle.manifest.models.values()))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = min(batch, bundle.contract.batch.max)
    parts = [session.run(None, {session.get_inputs()[0].name: tensors[i : i + size]})[0] for i in range(0, batch, size)]
    return np.concatenate(parts), tensors


def original(net: Net, tensors: Array, output: str = "logits", *domains: str) -> Array:
    """Return what the file as given answers, in batches that it takes."""
    session = ort.InferenceSession(net.model(*domains).SerializeToString(), providers=["CPUExecutionProvider"])
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else len(tensors)
    padded = np.concatenate([tensors, np.zeros((-len(tensors) % size, *tensors.shape[1:]), tensors.dtype)])
    parts = [session.run([output], {"x": padded[i : i + size]})[0] for i in range(0, len(padded), size)]
    found: Array = np.concatenate(parts)[: len(tensors)]
    return found


def notes(exported: Exported) -> str:
    return "\n".join(exported.report.warnings)


def same(exported: Exported, net: Net, *domains: str) -> None:
    found, tensors = answers(exported)
    np.testing.assert_allclose(found, original(net, tensors, "logits", *domains), rtol=1e-4, atol=1e-5)


# Inputs: open sizes, batches, dtypes and layouts (rows 7, 8 and 10)


def test_open_height_and_width_are_fixed_by_the_contract(send: Callable[..., Exported]) -> None:
    done = send(classifier("batch_size", sizes=("height", "width")))
    assert done.bundle.input_spec.shape == (3, SIZE, SIZE)
    model = onnx.load(done.bundle.path / "model.onnx")
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [0, 3, SIZE, SIZE]
    assert "open sizes are fixed at (3, 16, 16)" in notes(done)
    with pytest.raises(InputError, match="input contract: unknown") as caught:
        send(contract={})
    assert "--input-size" in str(caught.value)


@pytest.mark.parametrize("batch", [-1, "batch", "None"])
def test_an_open_batch_in_any_spelling(send: Callable[..., Exported], batch: int | str) -> None:
    done = send(classifier(batch))
    assert done.bundle.contract.batch == BatchBounds(1, 1, 32)
    assert "parity onnxruntime fp32" not in [gate.name for gate in done.report.gates]


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("shape", [None, (-1, 8), (0, 8)], ids=["flatten", "constant", "zero"])
def test_a_fixed_batch_is_opened_and_the_gate_proves_it(
    send: Callable[..., Exported], batch: int, shape: tuple[int, int] | None
) -> None:
    net = classifier(batch)
    if shape is not None:
        flatten = next(node for node in net.nodes if node.op_type == "Flatten")
        sizes = (batch, 8) if shape[0] == -1 else (batch, -1)
        reshape = ["pooled", net.constant("sizes", np.array(sizes, np.int64))]
        net.nodes[net.nodes.index(flatten)] = helper.make_node("Reshape", reshape, ["features"], name="flat")
    done = send(net)
    assert done.bundle.contract.batch == BatchBounds(1, 1, 32)
    assert f"The batch of {batch} was opened" in notes(done)
    assert "parity onnxruntime fp32" in [gate.name for gate in done.report.gates]
    same(done, net)


def stuck(batch: int) -> Net:
    """Return a network that computes over the batch, so that it cannot be opened."""
    net = Net(batch)
    net.features()
    joined = net.add("Concat", "features", net.weight("token", 1, 8), axis=0)
    net.add("Slice", joined, *(net.constant(f"s{i}", np.array([i * batch])) for i in (0, 1)), out="kept")
    net.logits("kept")
    net.output("logits", CLASSES)
    return net


def test_a_batch_that_stays_fixed(send: Callable[..., Exported], tmp_path: Path) -> None:
    net = stuck(1)
    done = send(net)
    assert done.bundle.contract.batch == BatchBounds(1, 1, 1)
    assert "the batch is fixed at 1" in notes(done)
    same(done, net)
    assert send(net, contract={**PLAIN, "batch": BatchBounds(1, 1, 1)}).bundle.contract.batch.max == 1
    with pytest.raises(InputError, match="the batch is fixed"):
        send(net, contract={**PLAIN, "batch": BatchBounds(1, 4, 8)})


@pytest.mark.parametrize("contract", [{}, {"dtype": "uint8"}], ids=["float32", "uint8"])
def test_a_fixed_batch_that_cannot_be_opened_is_filled_up_in_the_graph(
    send: Callable[..., Exported], contract: dict[str, Any]
) -> None:
    net = stuck(8)
    if contract:
        net.inputs[0].type.tensor_type.elem_type = UINT8
        net.nodes.insert(0, helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT))
        net.nodes[1].input[0] = "pixels"
        net.nodes.insert(1, helper.make_node("Mul", ["pixels", net.constant("share", np.float32(1 / 255))], ["scaled"]))
        net.nodes[2].input[0] = "scaled"
        contract = {"input_size": (SIZE, SIZE)}
    done = send(net, contract=contract or None)
    assert done.bundle.contract.batch == BatchBounds(1, 1, 8)
    assert "one image takes the time of 8" in notes(done)
    assert {"parity onnxruntime fp32", "parity openvino fp32"} <= {gate.name for gate in done.report.gates}
    for batch in (1, 3, 8, 11):
        found, tensors = answers(done, batch=batch)
        np.testing.assert_allclose(found, original(net, tensors), rtol=1e-4, atol=1e-5)
    assert all(verify(done.bundle, engine=name).passed for name in ("onnxruntime", "openvino"))
    single = send(net, contract={**(contract or PLAIN), "batch": BatchBounds(1, 1, 1)})
    assert single.bundle.contract.batch == BatchBounds(1, 1, 1)
    with pytest.raises(InputError, match="the batch is fixed") as caught:
        send(net, contract={**(contract or PLAIN), "batch": BatchBounds(1, 8, 9)})
    assert "8 images" in str(caught.value)
    assert "--batch 1,1,8" in str(caught.value.fix)


def test_a_batch_whose_images_depend_on_each_other_is_refused(send: Callable[..., Exported]) -> None:
    net = stuck(8)
    net.nodes.insert(-1, helper.make_node("ReduceMean", ["kept"], ["mean"], axes=[0], keepdims=1))
    net.nodes.insert(-1, helper.make_node("Sub", ["kept", "mean"], ["apart"]))
    net.nodes[-1].input[0] = "apart"
    with pytest.raises(InputError, match="the batch is fixed") as caught:
        send(net)
    assert "8 images" in str(caught.value)
    assert "dynamic" in str(caught.value.fix)


def test_an_open_batch_that_is_only_declared(send: Callable[..., Exported]) -> None:
    net = stuck(1)
    net.inputs[0].type.tensor_type.shape.dim[0].dim_param = "N"
    assert send(net).bundle.contract.batch == BatchBounds(1, 1, 1)


def test_float16_inputs(send: Callable[..., Exported]) -> None:
    done = send(classifier(dtype=FLOAT16))
    assert done.bundle.contract.dtype == "float16"
    assert answers(done)[0].dtype == np.float32
    with pytest.raises(InputError, match="--dtype: does not fit") as caught:
        send(contract={**PLAIN, "dtype": "float32"})
    assert caught.value.fix == "--dtype float16"


@pytest.mark.parametrize("sides", [1, 2])
def test_a_linear_resize_of_one_pixel_is_a_nearest_one(send: Callable[..., Exported], sides: int) -> None:
    """As in EfficientAD's decoder; OpenCV 5.0.0 reads past the end of one row and gives other values each time."""
    net = Net()
    net.features()
    pooled = net.add("Expand", "pooled", net.constant("two", np.array([1, 8, sides, sides])))
    size = net.constant("size", np.array([1, 8, 4, 4]))
    begin, end = net.constant("begin", np.array([0])), net.constant("end", np.array([1]))
    batch = net.add("Slice", net.add("Shape", "x"), begin, end)
    sizes = net.add("Concat", batch, net.add("Slice", size, end, net.constant("four", np.array([4]))), axis=0)
    grown = net.add("Resize", pooled, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    net.logits(net.add("Flatten", net.add("GlobalAveragePool", grown), axis=1))
    net.output("logits", CLASSES)
    done = send(net)
    same(done, net)
    graph = onnx.load(done.bundle.path / done.bundle.manifest.models["fp32"]).graph
    (resize,) = [node for node in graph.node if node.op_type == "Resize"]
    modes = [item.s for item in resize.attribute if item.name == "mode"]
    assert modes == [b"nearest" if sides == 1 else b"linear"]
    assert any(gate.name.startswith("parity opencv") for gate in done.report.gates)


def preprocessing_inside(dtype: int = TensorProto.UINT8) -> Net:
    """Return a network on ``N x H x W x C`` images that normalises by itself."""
    net = Net()
    net.inputs = [helper.make_tensor_value_info("x", dtype, ["batch", SIZE, SIZE, 3])]
    scaled = net.add("Div", net.add("Cast", "x", to=TensorProto.FLOAT), net.constant("s", np.float32(255)))
    net.features(net.add("Transpose", scaled, perm=[0, 3, 1, 2]))
    net.logits()
    net.output("logits", CLASSES)
    return net


@pytest.mark.parametrize("contract", [{"input_size": (SIZE, SIZE)}, {"input_size": (SIZE, SIZE), "dtype": "uint8"}])
def test_uint8_nhwc_with_the_preprocessing_inside(send: Callable[..., Exported], contract: dict[str, Any]) -> None:
    net = preprocessing_inside()
    done = send(net, contract=contract)
    found = done.bundle.contract
    assert (found.dtype, found.layout, found.scale, found.mean, found.std) == ("uint8", "NHWC", 1, (0,) * 3, (1,) * 3)
    same(done, net)
    with pytest.raises(InputError, match="uint8 requires scale 1") as caught:
        send(contract={**contract, "mean": (0.5,) * 3, "dtype": "uint8"})
    assert "--mean" in str(caught.value.fix)


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.DOUBLE])
def test_other_input_types_are_converted_in_the_graph(send: Callable[..., Exported], dtype: int) -> None:
    net = preprocessing_inside(dtype)
    done = send(net, contract=None if dtype == TensorProto.DOUBLE else {"input_size": (SIZE, SIZE)})
    assert done.bundle.contract.dtype == ("float32" if dtype == TensorProto.DOUBLE else "uint8")
    found, tensors = answers(done)
    wide = tensors.astype(np.float64 if dtype == TensorProto.DOUBLE else np.int64)
    np.testing.assert_allclose(found, original(net, wide), rtol=1e-4, atol=1e-6)


def test_flat_inputs_take_the_tensor_as_one_row(send: Callable[..., Exported]) -> None:
    net = Net()
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3 * SIZE * SIZE])]
    net.add("Gemm", "x", net.weight("w", 3 * SIZE * SIZE, CLASSES), out="logits")
    net.output("logits", CLASSES)
    done = send(net)
    found, tensors = answers(done)
    np.testing.assert_allclose(found, original(net, tensors.reshape(3, -1)), rtol=1e-4)


def test_one_channel_without_a_dimension_of_its_own(send: Callable[..., Exported]) -> None:
    net = Net()
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SIZE, SIZE])]
    net.features(net.add("Unsqueeze", "x", net.constant("axis", np.array([1]))), channels=1)
    net.logits()
    net.output("logits", CLASSES)
    done = send(net, contract={"input_size": (SIZE, SIZE), "color": "gray", "mean": (0.0,), "std": (1.0,)})
    found, tensors = answers(done)
    np.testing.assert_allclose(found, original(net, tensors[:, 0]), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="does not fit input x") as caught:
        send()
    assert "--color gray" in str(caught.value.fix)


def test_one_image_without_a_batch(send: Callable[..., Exported]) -> None:
    net = Net(1)
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, SIZE, SIZE])]
    net.features(net.add("Unsqueeze", "x", net.constant("axis", np.array([0]))))
    net.add("Squeeze", net.logits(out="row"), net.constant("first", np.array([0])), out="logits")
    net.outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [CLASSES])]
    done = send(net)
    assert done.bundle.contract.batch == BatchBounds(1, 1, 1)
    found, tensors = answers(done)
    session = ort.InferenceSession(net.model().SerializeToString(), providers=["CPUExecutionProvider"])
    expected = [session.run(None, {"x": tensor})[0] for tensor in tensors]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-4, atol=1e-5)


def test_functions_in_the_file_are_written_out(send: Callable[..., Exported], tmp_path: Path) -> None:
    net = classifier()
    net.nodes.append(helper.make_node("Double", ["logits"], ["y"], domain="my.functions"))
    net.outputs = []
    net.output("y", CLASSES)
    model = net.model("my.functions")
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("my.functions", "Double", ["a"], ["b"], body, opsets))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    done = send()
    assert not onnx.load(done.bundle.path / "model.onnx").functions
    assert {row.name for row in done.report.engines if row.passed} >= {"openvino"}


@pytest.mark.parametrize(
    ("net", "contract", "fix"),
    [
        (lambda: classifier(), {**PLAIN, "input_size": (32, 32)}, "--input-size 16x16"),
        (
            lambda: classifier(sizes=("h", "w")),
            {"input_size": (8, 8), "mean": (0.0,), "std": (1.0,), "color": "gray"},
            "--color rgb",
        ),
        (lambda: classifier(), {**PLAIN, "layout": "NHWC"}, "--layout NCHW"),
    ],
    ids=["size", "color", "layout"],
)
def test_a_contract_that_does_not_fit_names_the_flag(
    send: Callable[..., Exported], net: Callable[[], Net], contract: dict[str, Any], fix: str
) -> None:
    with pytest.raises(InputError, match="does not fit input x") as caught:
        send(net(), contract=contract)
    assert caught.value.fix == fix


# Files: versions, weights beside the model, other files of this name (rows 19 and 30)


@pytest.mark.parametrize(("opset", "ir"), [(8, 3), (9, 4), (21, 10), (23, 12)])
def test_old_and_new_versions(send: Callable[..., Exported], opset: int, ir: int) -> None:
    net = classifier(opset=opset, ir=ir)
    if ir == 3:  # IR 3 lists weights as inputs
        net.inputs += [helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)) for w in net.weights]
    done = send(net)
    model = onnx.load(done.bundle.path / "model.onnx")
    assert (len(model.graph.input), model.opset_import[0].version) == (1, opset)
    assert 4 <= model.ir_version <= 10
    assert ("IR version 12 lowered to 10" in notes(done)) == (ir == 12)


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    inner = helper.make_node("F", ["x"], ["y"], domain="own")
    model = classifier().model()
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [inner], [helper.make_opsetid("own", 1)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("F", [model.graph.output[0].name], ["again"], domain="own"))
    with pytest.raises(InputError, match="functions cannot be inlined"):
        mend_versions(model, "m.onnx")


def test_a_file_older_than_the_engines_operators_is_converted(send: Callable[..., Exported]) -> None:
    net = classifier(opset=6, ir=3)
    net.inputs += [helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)) for w in net.weights]
    net.nodes[-1].attribute.append(helper.make_attribute("broadcast", 1))  # of Gemm before opset 7
    done = send(net)
    assert "converted from opset 6 to 13" in notes(done)
    assert done.bundle.contract.batch.max == 32
    found, tensors = answers(done)
    np.testing.assert_allclose(found, original(classifier(), tensors), rtol=1e-4, atol=1e-5)


def test_versions_that_nothing_here_reads(send: Callable[..., Exported]) -> None:
    with pytest.raises(InputError, match="opset 99 is newer than the installed onnx") as caught:
        send(classifier(opset=99))
    assert "pip install --upgrade" in str(caught.value.fix)


def test_weights_beside_the_model(send: Callable[..., Exported], tmp_path: Path) -> None:
    net = classifier()
    onnx.save_model(net.model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    done = send()
    assert [path.name for path in done.bundle.path.glob("*.onnx*")] == ["model.onnx"]
    same(done, net)
    digest = done.bundle.manifest.provenance["weights_sha256"]
    (tmp_path / "w.bin").write_bytes(bytes(byte ^ 1 for byte in (tmp_path / "w.bin").read_bytes()))
    assert send().bundle.manifest.provenance["weights_sha256"] != digest
    (tmp_path / "w.bin").unlink()
    with pytest.raises(InputError, match="weights are in a file that is missing") as caught:
        send()
    assert "w.bin" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>login</html>", "HTML page"),
        (b"", "empty file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    ],
    ids=["lfs", "html", "empty", "hdf5"],
)
def test_files_that_only_have_the_name(
    send: Callable[..., Exported], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match="not an ONNX model") as caught:
        send()
    assert message in str(caught.value.got)


def test_a_file_cut_off(send: Callable[..., Exported], tmp_path: Path) -> None:
    content = classifier().model().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"m\.onnx"):
        send()


def test_custom_operators_are_named(send: Callable[..., Exported], tmp_path: Path) -> None:
    net = classifier()
    net.outputs = []
    net.output(net.add("DeformRoi", "logits", out="y", domain="my.ops"), CLASSES)
    with pytest.raises(InputError, match="custom operators") as caught:
        send(net, "my.ops")
    assert caught.value.got == "DeformRoi of my.ops"
    assert ".partial" not in str(caught.value)


def test_operators_that_the_reference_lacks_name_no_temporary_path(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.outputs = []
    net.output(net.add("NoSuchOperator", "logits", out="y", domain="com.microsoft"), CLASSES)
    with pytest.raises(EdgeproofError, match="ONNX Runtime") as caught:
        send(net, "com.microsoft")
    assert "partial" not in str(caught.value)
    assert "NoSuchOperator" in str(caught.value)


def test_weights_that_are_nan_are_named(send: Callable[..., Exported]) -> None:
    net = classifier()
    weights = np.ones((8, CLASSES), np.float32)
    weights[2, 1] = np.nan
    net.weights = [one for one in net.weights if one.name != "w_fc"]
    net.constant("w_fc", weights)
    with pytest.raises(InputError, match="weights that are not numbers") as caught:
        send(net)
    assert caught.value.got == "w_fc"


def test_two_inputs_are_listed(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.inputs.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))
    with pytest.raises(InputError, match="not an image classifier") as caught:
        send(net)
    assert "scale (1)" in str(caught.value.got)


# Training mode (row 29)


def test_graphs_in_training_mode_are_named(send: Callable[..., Exported]) -> None:
    net = Net()
    parameters = [net.constant(name, np.ones(3, np.float32)) for name in ("g", "b", "m", "v")]
    net.features(net.add("BatchNormalization", "x", *parameters, out=["y", "m2", "v2"], training_mode=1))
    net.logits(net.add("Dropout", "features", net.constant("r", np.float32(0.5)), net.constant("t", np.array(True))))
    net.output("logits", CLASSES)
    with pytest.raises(InputError, match="exported in training mode") as caught:
        send(net)
    assert caught.value.got == f"BatchNormalization n0, Dropout {net.nodes[-2].name}"
    assert "model.eval()" in str(caught.value.fix)


def test_dropout_in_inference_mode_is_fine(send: Callable[..., Exported]) -> None:
    net = Net()
    net.features()
    net.logits(net.add("Dropout", "features"))
    net.output("logits", CLASSES)
    assert send(net).bundle.manifest.outputs[0].activation == "none"


# Quantised models (row 11)


@pytest.fixture
def calibrated() -> Iterator[Any]:
    from onnxruntime.quantization import CalibrationDataReader

    class Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no type hints
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.batches = iter([{"x": rng.random((4, 3, SIZE, SIZE), dtype=np.float32)} for _ in range(4)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    logging.disable(logging.CRITICAL)
    yield Images()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("form", ["qdq", "qoperator", "dynamic"])
def test_quantised_models_are_exported_as_int8(
    send: Callable[..., Exported], tmp_path: Path, calibrated: Any, form: str
) -> None:
    from onnxruntime.quantization import QuantFormat, quantize_dynamic, quantize_static

    plain = classifier().save(tmp_path / "fp32.onnx")
    if form == "dynamic":
        quantize_dynamic(plain, str(tmp_path / "m.onnx"))
    else:
        kind = QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator
        quantize_static(plain, str(tmp_path / "m.onnx"), calibrated, quant_format=kind)
    done = send()
    manifest = done.bundle.manifest
    assert (manifest.base_precision, list(manifest.models)) == ("int8", ["int8"])
    assert {row.name: row.passed for row in done.report.engines}["opencv"] is None
    assert "opencv: cannot run this model, left out: engine opencv: unsupported precision int8" in notes(done)
    assert verify(done.bundle, engine="onnxruntime").passed
    if form == "qoperator":
        assert "openvino: cannot run this model" in notes(done)
        assert "partial" not in notes(done)


def test_a_quantised_bundle_is_not_optimised(send: Callable[..., Exported], tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    logging.disable(logging.CRITICAL)
    quantize_dynamic(classifier().save(tmp_path / "fp32.onnx"), str(tmp_path / "m.onnx"))
    logging.disable(logging.NOTSET)
    bundle = send().bundle
    with pytest.raises(InputError, match="no fp32 model") as caught:
        bundle.artifact("fp32")
    assert "--precision int8" in str(caught.value.fix)
    with pytest.raises(InputError, match="already quantised"):
        optimize_bundle(bundle, cast(Any, None), OptimizeOptions())


@pytest.mark.slow
def test_the_device_program_takes_a_quantised_bundle(
    send: Callable[..., Exported], tmp_path: Path, calibrated: Any, device_program: Path
) -> None:
    from onnxruntime.quantization import quantize_static

    quantize_static(classifier().save(tmp_path / "fp32.onnx"), str(tmp_path / "m.onnx"), calibrated)
    command = [device_program, send().bundle.path, "--verify"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "no engine" in done.stderr or "unsupported" in done.stderr:
        pytest.skip(f"edgeproof-run has no int8 engine: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "int8" in done.stdout


@pytest.mark.slow
def test_the_device_program_fills_up_a_fixed_batch(send: Callable[..., Exported], device_program: Path) -> None:
    command = [device_program, send(stuck(8)).bundle.path, "--verify", "--engine", "openvino"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    parity openvino fp32" in done.stdout


def test_the_advice_after_a_failed_gate_is_not_about_python() -> None:
    gate = Gate.judge("parity openvino int8", "", {"cosine": 0.1}, at_least={"cosine": 0.95})
    with pytest.raises(GateError) as caught:
        require([gate], ParityOutcome((gate,), (), (), {}, (), 1, "int8"), "ONNX Runtime")
    assert "Python" not in str(caught.value)


# Heads (rows 12 to 15 and 30)


def test_trailing_dimensions_are_squeezed(send: Callable[..., Exported]) -> None:
    net = Net()
    net.features()
    net.add("Conv", "pooled", net.weight("w", CLASSES, 8, 1, 1), out="scores")
    net.output("scores", CLASSES, 1, 1)
    done = send(net)
    assert done.bundle.manifest.outputs[0].shape == (CLASSES,)
    found, tensors = answers(done)
    np.testing.assert_allclose(found, original(net, tensors, "scores")[:, :, 0, 0], rtol=1e-4)


def one_value(*, sigmoid: bool, squeezed: bool) -> Net:
    net = Net()
    net.features()
    last = net.logits(classes=1)
    last = net.add("Sigmoid", last) if sigmoid else last
    last = net.add("Squeeze", last, net.constant("axis", np.array([1]))) if squeezed else last
    net.output(last, *(() if squeezed else (1,)))
    return net


@pytest.mark.parametrize("squeezed", [False, True], ids=["N1", "N"])
@pytest.mark.parametrize("sigmoid", [False, True], ids=["logit", "probability"])
def test_one_value_becomes_two_classes(send: Callable[..., Exported], sigmoid: bool, squeezed: bool) -> None:
    net = one_value(sigmoid=sigmoid, squeezed=squeezed)
    done = send(net)
    output = done.bundle.manifest.outputs[0]
    assert (output.shape, output.activation, done.bundle.labels) == ((2,), "sigmoid", ("negative", "positive"))
    found, tensors = answers(done)
    value = original(net, tensors, net.outputs[0].name).reshape(-1)
    p = value if sigmoid else 1 / (1 + np.exp(-value))
    np.testing.assert_allclose(found, np.stack([1 - p, p], axis=1), atol=1e-6)
    assert "exported as two classes" in notes(done)


def test_two_labels_of_a_head_with_one_value(send: Callable[..., Exported], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    done = send(one_value(sigmoid=True, squeezed=True), labels=tmp_path / "labels.txt")
    assert done.bundle.labels == ("cat", "dog")


def with_sigmoid() -> Net:
    net = classifier()
    net.outputs = []
    net.output(net.add("Sigmoid", "logits", out="p"), CLASSES)
    return net


def test_quantised_scores_are_taken_before_they_are_rounded(send: Callable[..., Exported]) -> None:
    net = Net()
    net.inputs = [helper.make_tensor_value_info("x", UINT8, ["batch", 3, SIZE, SIZE])]
    zero = net.constant("zero", np.uint8(0))
    net.features(net.add("DequantizeLinear", "x", net.constant("pixel", np.float32(1 / 255)), zero))
    net.add("Softmax", net.logits(), axis=1, out="shares")
    net.add("QuantizeLinear", "shares", net.constant("step", np.float32(1 / 256)), zero, out="rounded")
    net.output("rounded", CLASSES, dtype=UINT8)
    done = send(net, contract={"input_size": (SIZE, SIZE)})
    assert "Output rounded is quantised: the scores before it, shares, are taken." in notes(done)
    assert done.bundle.manifest.outputs[0].activation == "softmax"
    found, tensors = answers(done)
    np.testing.assert_allclose(found, original(net, tensors, "rounded") / 256, atol=0.6 / 256)


def test_an_output_that_is_no_tensor(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.add("SequenceConstruct", "logits", out="list")
    net.outputs = [helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, ["N", CLASSES])]
    with pytest.raises(InputError, match="not a classifier") as caught:
        send(net)
    assert caught.value.got == "no output that is a tensor"


@pytest.mark.parametrize("change", ["no graph name", "one node name"])
def test_names_that_a_runtime_refuses_are_mended(send: Callable[..., Exported], tmp_path: Path, change: str) -> None:
    net = classifier()
    model = net.model()
    if change == "no graph name":
        model.graph.name = ""
    for node in model.graph.node:
        node.name = "" if change == "no graph name" else "layer"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    same(send(), net)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "{0: 'ant', 1: \"bee's\", 2: 'cow', 3: 'dog'}"),
        ("class_names", '["ant", "bee\'s", "cow", "dog"]'),
        ("id2label", '{"0": "ant", "1": "bee\'s", "2": "cow", "3": "dog"}'),
        ("Labels", "ant, bee's, cow, dog"),
    ],
)
def test_labels_in_the_metadata(send: Callable[..., Exported], tmp_path: Path, key: str, value: str) -> None:
    net = classifier()
    net.metadata = {key: value, "stride": "32"}
    done = send(net)
    assert done.bundle.labels == ("ant", "bee's", "cow", "dog")
    assert f"Labels: those in the file's metadata, key {key.lower()}." in notes(done)
    (tmp_path / "l.txt").write_text("a\nb\nc\nd\n")
    assert send(net, labels=tmp_path / "l.txt").bundle.labels == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "value", ["a,b,c", "{0: 'a', 1: 'a', 2: 'b', 3: 'c'}", "(" * 5000, "[1, 2, 3, 4]", "a,b,c," + "d" * 300]
)
def test_metadata_that_names_other_classes_is_passed_over(send: Callable[..., Exported], value: str) -> None:
    net = classifier()
    net.metadata = {"names": value}
    assert send(net).bundle.labels == ("0", "1", "2", "3")


def test_a_sigmoid_head_is_recognised(send: Callable[..., Exported]) -> None:
    done = send(with_sigmoid())
    assert done.bundle.manifest.outputs[0].activation == "sigmoid"
    assert "last operation, Sigmoid" in done.bundle.manifest.provenance["activation"]
    assert "--task multilabel" in notes(done)
    shown = {sample.name: sample.probability for sample in done.report.samples}
    for case, sample in zip(done.bundle.golden(), done.report.samples, strict=True):
        assert shown[sample.name] == pytest.approx(float(case.outputs[0].max()), abs=1e-6)


def test_a_sigmoid_written_out_is_recognised_by_its_values(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.outputs = []
    grown = net.add("Add", net.add("Exp", net.add("Neg", "logits")), net.constant("one", np.float32(1)))
    net.output(net.add("Reciprocal", grown, out="p"), CLASSES)
    done = send(net)
    assert done.bundle.manifest.outputs[0].activation == "sigmoid"
    assert "every score lies in 0..1" in done.bundle.manifest.provenance["activation"]


def test_a_given_activation_is_binding(send: Callable[..., Exported]) -> None:
    done = send(with_sigmoid(), activation="none")
    assert done.bundle.manifest.outputs[0].activation == "none"
    assert "--activation none is kept" in notes(done)
    assert done.bundle.manifest.provenance["activation"] == "logits, as given by --activation"


def test_percentages_are_refused(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.outputs = []
    net.output(net.add("Mul", net.add("Softmax", "logits", axis=1), net.constant("all", np.float32(100))), CLASSES)
    with pytest.raises(InputError, match="the scores are percentages") as caught:
        send(net)
    assert "add up to 100" in str(caught.value.got)


@pytest.mark.parametrize("kind", ["Tanh", "Softsign"])
def test_values_in_minus_1_to_1_are_no_probabilities(send: Callable[..., Exported], kind: str) -> None:
    net = Net()
    net.features()
    net.logits(classes=1)
    net.output(net.add(kind, net.add("Abs", "logits")), 1)
    done = send(net)
    found, tensors = answers(done)
    expected = original(net, tensors, net.outputs[0].name)
    assert (expected > 0).all(), "as probabilities are"
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-expected[:, 0])), rtol=1e-5)


def test_softmax_and_logits_by_the_graph(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.outputs = []
    net.output(net.add("Softmax", "logits", out="p", axis=1), CLASSES)
    assert send(net).bundle.manifest.provenance["activation"] == "softmax, by the graph's last operation, Softmax"
    quiet = classifier()
    quiet.weights[-1].CopyFrom(onnx.numpy_helper.from_array(np.full(CLASSES, 0.5, np.float32), quiet.weights[-1].name))
    quiet.weights[-2].CopyFrom(onnx.numpy_helper.from_array(np.full((8, CLASSES), 1e-3, np.float32), "w_fc"))
    done = send(quiet)  # logits in 0..1 by chance
    assert done.bundle.manifest.outputs[0].activation == "none"


@pytest.mark.parametrize("kind", ["ArgMax", "TopK", "ReduceMax"])
def test_the_scores_before_a_decision_are_taken(send: Callable[..., Exported], kind: str) -> None:
    net = classifier()
    net.outputs = []
    if kind == "TopK":
        net.add("TopK", "logits", net.constant("k", np.array([2])), out=["values", "label"])
        net.output("values", 2)
        net.output("label", 2, dtype=TensorProto.INT64)
    else:
        if kind == "ReduceMax":
            net.output(net.add("ReduceMax", "logits", out="best", axes=[1], keepdims=0))
        net.output(net.add("ArgMax", "logits", out="label", axis=1, keepdims=0), dtype=TensorProto.INT64)
    done = send(net)
    assert done.bundle.manifest.outputs[0].name == "logits"
    assert "the scores before it, logits, are taken" in notes(done)
    same(done, classifier())


def test_zip_map_of_scikit_learn(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.outputs = []
    net.add("Softmax", "logits", out="probabilities", axis=1)
    names = ["ant", "bee", "cat", "dog"]
    net.add("ZipMap", "probabilities", out="z", domain="ai.onnx.ml", classlabels_strings=names)
    label = net.add("ArgMax", "probabilities", out="index", axis=1, keepdims=0)
    net.add("ArrayFeatureExtractor", net.constant("names", np.array(names)), label, out="label", domain="ai.onnx.ml")
    net.output("label", dtype=TensorProto.STRING)
    maps = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    net.outputs.append(helper.make_value_info("z", helper.make_sequence_type_proto(maps)))
    done = send(net, "ai.onnx.ml")
    assert done.bundle.labels == tuple(names)
    assert done.bundle.manifest.outputs[0].activation == "softmax"
    assert not any(node.domain for node in onnx.load(done.bundle.path / "model.onnx").graph.node)


def test_several_outputs_are_taken_where_clear(send: Callable[..., Exported]) -> None:
    net = classifier()
    net.nodes[-1].output[0] = "y"
    net.outputs = []
    for name in ("copy_a", "copy_b"):
        net.output(net.add("Identity", "y", out=name), CLASSES)
    assert "same scores" in notes(send(net))
    net.outputs = net.outputs[:1]
    net.output("features", 8)
    done = send(net)
    assert done.bundle.manifest.outputs[0].name == "copy_a"


def test_several_outputs_are_asked_for_where_not(send: Callable[..., Exported]) -> None:
    net = Net()
    net.features()
    net.output(net.logits(out="make", tag="1", classes=5), 5)
    net.output(net.logits(out="colour", tag="2", classes=7), 7)
    with pytest.raises(InputError, match="several outputs may hold") as caught:
        send(net)
    assert caught.value.got == "make float32 (2, 5), colour float32 (2, 7)"
    assert "--output colour" in str(caught.value.fix)
    done = send(output="make")
    assert done.bundle.manifest.outputs[0].shape == (5,)
    found, tensors = answers(done)
    np.testing.assert_allclose(found, original(net, tensors, "make"), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"--output: .* no such output"):
        send(output="size")


# Multi-label models of others


def test_a_multi_label_model_with_thresholds_not_chosen(send: Callable[..., Exported]) -> None:
    for net in (with_sigmoid(), classifier()):
        done = send(net, task="multilabel")
        settings = done.bundle.manifest.multilabel
        assert settings is not None
        assert (settings.thresholds, settings.criterion, settings.images) == ((0.5,) * CLASSES, "default", 0)
        assert "not chosen on data" in notes(done)
        found, tensors = answers(done)
        logits = original(classifier(), tensors).astype(np.float64)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_thresholds_are_chosen_on_labelled_images(send: Callable[..., Exported], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["image,a,b,c,d"]
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"{index}.png"), rng.integers(0, 256, (20, 20, 3)).astype(np.uint8))
        rows.append(f"{index}.png," + ",".join(str(int(v)) for v in rng.integers(0, 2, 4)))
    (tmp_path / "test.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    done = send(with_sigmoid(), task="multilabel", data=str(tmp_path / "test.csv"), labels=tmp_path / "labels.txt")
    settings = done.bundle.manifest.multilabel
    assert settings is not None
    assert (settings.criterion, settings.images) == ("best-f1", 12)
    assert "therefore too good" in notes(done)


def test_what_is_no_multi_label_model(send: Callable[..., Exported]) -> None:
    with pytest.raises(InputError, match="not a multi-label model"):
        send(one_value(sigmoid=True, squeezed=True), task="multilabel")
    with pytest.raises(InputError, match="--task: does not fit"):
        send(classifier(), task="reconstruct")


# Contracts that cannot be right (row 28)


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ({**PLAIN, "mean": (127.5,) * 3}, "as -127.5 to -126.5 (first channel). That is far from 0"),
        ({**IMAGENET, "scale": 1.0}, "wider than any usual normalisation"),
        ({**IMAGENET, "mean": (0.0,) * 3, "std": (58.0, 57.0, 57.0)}, "Black and white hardly differ"),
    ],
    ids=["mean", "scale", "std"],
)
def test_a_contract_out_of_range_is_said(send: Callable[..., Exported], contract: dict[str, Any], message: str) -> None:
    assert message in notes(send(classifier(), contract=contract))


@pytest.mark.parametrize(
    "contract", [PLAIN, IMAGENET, {**PLAIN, "scale": 1.0}, {**PLAIN, "mean": (0.5,) * 3, "std": (0.5,) * 3}]
)
def test_usual_contracts_are_not_mentioned(send: Callable[..., Exported], contract: dict[str, Any]) -> None:
    assert "Input contract" not in notes(send(classifier(), contract=contract))


@pytest.mark.parametrize("form", ["sub", "norm"])
def test_normalising_twice_is_said(send: Callable[..., Exported], form: str) -> None:
    net = Net()
    mean, std = (np.array(IMAGENET[name], np.float32) for name in ("mean", "std"))
    if form == "sub":
        shifted = net.add("Sub", "x", net.constant("m", mean.reshape(1, 3, 1, 1)))
        first = net.add("Div", shifted, net.constant("s", std.reshape(1, 3, 1, 1)))
    else:
        parameters = (np.ones(3, np.float32), np.zeros(3, np.float32), mean, std**2)
        first = net.add("BatchNormalization", "x", *(net.constant(f"p{i}", p) for i, p in enumerate(parameters)))
    net.features(first)
    net.logits()
    net.output("logits", CLASSES)
    assert "the graph begins by normalising itself" in notes(send(net, contract=IMAGENET))
    assert "Input contract" not in notes(send(net))


def test_inputs_unlike_those_of_the_training_are_said(send: Callable[..., Exported]) -> None:
    net = Net()
    conv = net.add("Conv", "x", net.weight("w0", 8, 3, 3, 3), pads=[1, 1, 1, 1], out="conv")
    rng = np.random.default_rng(0)
    statistics = (np.ones(8), np.zeros(8), rng.normal(0, 0.3, 8), 1 + rng.random(8))
    parameters = [net.constant(f"p{i}", value.astype(np.float32)) for i, value in enumerate(statistics)]
    pooled = net.add("GlobalAveragePool", net.add("BatchNormalization", conv, *parameters))
    net.logits(net.add("Flatten", pooled))
    net.output("logits", CLASSES)
    assert "Input contract" not in notes(send(net, contract=IMAGENET))
    assert "standard deviations from the mean of the training" in notes(send(net, contract={**PLAIN, "scale": 1.0}))


@pytest.mark.parametrize(
    ("dims", "dtype", "message"),
    [
        ((None, 8, 3, SIZE, SIZE), TensorProto.FLOAT, "clips and volumes"),
        ((None, 8), TensorProto.FLOAT, "values of a table"),
        ((None, None), TensorProto.INT64, "numbers of words"),
    ],
)
def test_an_input_that_is_no_image_is_named(dims: tuple[int | None, ...], dtype: int, message: str) -> None:
    value = helper.make_tensor_value_info("x", dtype, list(dims))
    table = helper.make_tensor("table", TensorProto.FLOAT, [30, 4], np.zeros(120, np.float32))
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])] if dtype == TensorProto.INT64 else []
    graph = helper.make_graph(nodes, "g", [value], [], [table])
    with pytest.raises(InputError) as caught:
        read_input(helper.make_model(graph), "m.onnx")
    assert message in str(caught.value)
