"""`edgeproof triton`: configurations against Triton's schema, files, models of the Python backend, and what is refused.

`make check-triton` runs the same repositories in a real server.
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

import edgeproof
from bundles import (
    CONTRACT,
    LABELS,
    make_band_bundle,
    make_bundle,
    make_defect_bundle,
    make_generator_bundle,
    make_multilabel_bundle,
    rewrite,
    tiny_onnx,
)
from command_line import Cli
from edgeproof.model_repository.config import ModelIo, ensemble, network
from edgeproof.model_repository.pbtxt import pbtxt
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import SCHEMA_1, EngineEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import VARIABLE
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import load
from edgeproof_runtime.errors import InputError, NotInBundleError, UnavailableError
from fake_tensorrt import fake_plan, plan_record
from triton_backend import TritonModelException, backend_model, config_of

FP16, FP32, UINT8, STRING = 10, 11, 2, 13  # inference.DataType


def fixed_onnx(batch: int) -> onnx.ModelProto:
    model = tiny_onnx()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return model


def with_int8(out: Path) -> Bundle:
    """A bundle whose int8 model is its fp32 model: what is read of both is the same."""
    bundle = make_bundle(out)
    content = (bundle.path / "model.onnx").read_bytes()
    models = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    return rewrite(bundle, {"model.int8.onnx": content}, lambda m, files: replace(m, models=models, files=files))


def with_plans(out: Path, *capabilities: str) -> Bundle:
    bundle = make_bundle(out)
    files, entries = {}, []
    for capability in capabilities:
        plan = fake_plan() + capability.encode()
        record = plan_record(plan, onnx_sha256=bundle.sha256("model.onnx"), compute_capabilities=(capability,))
        entry = EngineEntry(
            record.key, "tensorrt", "fp32", f"engines/{record.key}/model.plan", f"engines/{record.key}/e.json"
        )
        files |= {entry.path: plan, entry.info: json.dumps(record.to_json()).encode()}
        entries.append(entry)
    return rewrite(bundle, files, lambda m, of: replace(m, schema=SCHEMA_1, engines=tuple(entries), files=of))


MAKERS: dict[str, Callable[[Path], Bundle]] = {
    "classify": make_bundle,
    "int8": with_int8,
    "multilabel": make_multilabel_bundle,
    "anomaly": make_defect_bundle,
    "bands": make_band_bundle,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_configuration_is_one_of_tritons_schema(kind: str, tmp_path: Path) -> None:
    bundle = MAKERS[kind](tmp_path / "B.edge")
    precision = "int8" if kind == "int8" else None
    edgeproof.triton(bundle, tmp_path / "m", name="line", engine="onnxruntime,openvino,python", precision=precision)
    files = sorted((tmp_path / "m").rglob("*.pbtxt"))
    assert len(files) == 3 + 5
    configs = {path.relative_to(tmp_path / "m").as_posix(): config_of(path) for path in files}
    for path, config in configs.items():
        folder = tmp_path / "m" / path.split("/")[0]
        assert config.name == folder.name
        assert config.max_batch_size == 32
        assert (folder / "1").is_dir()
        for output in config.output:
            assert output.label_filename == "" or (folder / output.label_filename).read_text().split() == list(LABELS)
        for warmup in config.model_warmup:
            for name, given in warmup.inputs.items():
                (announced,) = [one for one in config.input if one.name == name]
                size = (folder / "warmup" / given.input_data_file).stat().st_size
                assert given.dims == announced.dims
                if given.data_type == FP32:
                    assert size == 4 * np.prod(given.dims)
    net, whole, pre = configs["line_net/config.pbtxt"], configs["line/config.pbtxt"], configs["line_pre/config.pbtxt"]
    assert net.backend == "onnxruntime"
    assert (tmp_path / "m/line_net/1" / net.default_model_filename).is_file()
    assert (tmp_path / "m/line_net/1/model.xml").is_file()
    assert list(net.input[0].dims) == list(bundle.input_spec.shape) == list(pre.output[0].dims)
    assert [(one.name, list(one.dims)) for one in net.output] == [
        (one.name, list(one.shape) or [1]) for one in bundle.manifest.outputs
    ]
    assert not any(one.HasField("reshape") for one in net.output)
    assert (pre.input[0].data_type, list(pre.input[0].dims)) == (STRING, [1])
    assert [step.model_name for step in whole.ensemble_scheduling.step] == ["line_pre", "line_net"]
    assert whole.parameters["edgeproof.manifest_sha256"].string_value == bundle.manifest_sha256
    assert net.parameters["edgeproof.precision"].string_value == (precision or "fp32")


@pytest.mark.parametrize("batch", [1, 4])
def test_a_graph_of_a_fixed_batch_is_not_batched(batch: int, tmp_path: Path) -> None:
    contract = replace(CONTRACT, batch=BatchBounds(batch, batch, batch))
    model = fixed_onnx(1)  # the reference evaluator computes golden cases one at a time
    bundle = make_bundle(tmp_path / "B.edge", contract, model=model)
    if batch > 1:
        content = fixed_onnx(batch).SerializeToString()
        bundle = rewrite(bundle, {"model.onnx": content}, lambda m, files: replace(m, files=files))
    edgeproof.triton(bundle, tmp_path / "m", name="line")
    configs = {name: config_of(tmp_path / "m" / name / "config.pbtxt") for name in ("line", "line_pre", "line_net")}
    assert {config.max_batch_size for config in configs.values()} == {0}
    assert not any(config.HasField("dynamic_batching") for config in configs.values())
    assert list(configs["line_net"].input[0].dims) == [batch, 3, 16, 16] == list(configs["line_pre"].output[0].dims)
    assert list(configs["line"].output[0].dims) == [batch, 5]
    assert list(configs["line"].input[0].dims) == [batch]
    assert (tmp_path / "m/line_net/warmup/golden").stat().st_size == 4 * batch * 3 * 16 * 16


def test_frames_of_any_size(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    edgeproof.triton(bundle, tmp_path / "m", name="line", image="frame")
    pre = config_of(tmp_path / "m/line_pre/config.pbtxt")
    assert (pre.input[0].data_type, list(pre.input[0].dims)) == (UINT8, [-1, -1, 3])
    assert pre.input[0].allow_ragged_batch
    with backend_model(tmp_path / "m/line_pre") as execute:
        for case, answer in zip(bundle.golden(), execute([case.frame[None] for case in bundle.golden()]), strict=True):
            np.testing.assert_array_equal(answer.tensors[0].values[0], case.tensor)


def test_the_network_alone_for_clients_that_preprocess(tmp_path: Path) -> None:
    written = edgeproof.triton(make_bundle(tmp_path / "B.edge"), tmp_path / "m", preprocess="client")
    assert written.entry["folders"] == ["B"] == [path.name for path in (tmp_path / "m").iterdir() if path.is_dir()]
    assert config_of(tmp_path / "m/B/config.pbtxt").input[0].name == "input"
    generator = make_generator_bundle(tmp_path / "G.edge")
    with pytest.raises(InputError, match="takes no images"):
        edgeproof.triton(generator, tmp_path / "m")
    edgeproof.triton(generator, tmp_path / "m", preprocess="client")
    assert list(config_of(tmp_path / "m/G/config.pbtxt").output[0].dims) == [3, 6, 5]
    assert (tmp_path / "m/B/1/model.onnx").is_file()


def test_plans_are_named_by_gpu_and_there_is_no_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = with_plans(tmp_path / "B.edge", "8.6", "8.9")
    with pytest.raises(UnavailableError, match="a compiled engine is code"):
        edgeproof.triton(bundle, tmp_path / "m", engine="tensorrt")
    assert not (tmp_path / "m").exists()
    monkeypatch.setenv(VARIABLE, " ".join(bundle.sha256(entry.path) for entry in bundle.engines()))
    written = edgeproof.triton(bundle, tmp_path / "m", engine="tensorrt,onnxruntime")
    assert written.notes == tuple(f"model.sm{n}.plan: requires a Triton with TensorRT 10.3.0.30." for n in (86, 89))
    config = config_of(tmp_path / "m/B_net/config.pbtxt")
    assert config.platform == "tensorrt_plan"
    assert dict(config.cc_model_filenames) == {"8.6": "model.sm86.plan", "8.9": "model.sm89.plan"}
    assert config.default_model_filename == ""
    assert config.max_batch_size == 8  # the plan's, not the bundle's
    names = {path.name for path in (tmp_path / "m/B_net/1").iterdir()}
    assert names == {"model.sm86.plan", "model.sm89.plan", "model.onnx"}
    assert config_of(tmp_path / "m/B_net/configs/onnxruntime-gpu.pbtxt").backend == "onnxruntime"
    with pytest.raises(NotInBundleError, match="no TensorRT plan of fp32"):
        edgeproof.triton(make_bundle(tmp_path / "C.edge"), tmp_path / "m", engine="tensorrt")


def test_the_preprocessing_model_is_the_core_bit_for_bit(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    edgeproof.triton(bundle, tmp_path / "m")
    images = [bundle.read(entry.frame) for entry in bundle.manifest.golden]
    tensors = np.stack([case.tensor for case in bundle.golden()])
    with backend_model(tmp_path / "m/B_pre") as execute:
        together = np.array(images, object)[:, None]
        whole, bad, one = execute([together, np.array([[b"no image"]], object), together[:1]])
    np.testing.assert_array_equal(whole.tensors[0].values, tensors)
    np.testing.assert_array_equal(one.tensors[0].values, tensors[:1])
    assert "body: not a supported image; got: 8 bytes" in str(bad.error)
    assert not bad.tensors


def test_the_network_model_computes_what_the_engine_does(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    edgeproof.triton(bundle, tmp_path / "m", engine="python")
    rows = np.stack([case.tensor for case in bundle.golden()])
    with backend_model(tmp_path / "m/B_net") as execute:
        answers = execute([rows[:2], rows[2:3], rows[3:]])
    with load("onnxruntime", bundle.artifact()) as engine:
        np.testing.assert_array_equal(np.concatenate([one.tensors[0].values for one in answers]), engine.run(rows)[0])
    assert [len(one.tensors[0].values) for one in answers] == [2, 1, 3]


def test_a_machine_that_computes_other_values_does_not_serve(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    edgeproof.triton(bundle, tmp_path / "m", engine="python")
    contract = tmp_path / "m/B_pre/1/contract.json"
    contract.write_text(contract.read_text().replace('"rgb"', '"bgr"'))
    with (
        pytest.raises(TritonModelException, match="differs from that of the export"),
        backend_model(tmp_path / "m/B_pre"),
    ):
        pass
    (tmp_path / "m/B_net/1/model.edge/labels.txt").write_text("x\n")
    with pytest.raises(TritonModelException, match="modified"), backend_model(tmp_path / "m/B_net"):
        pass


@pytest.mark.parametrize("model", ["B_pre", "B_net"])
def test_a_backend_without_edgeproof_or_of_another_numpy_says_so(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgeproof.triton(make_bundle(tmp_path / "B.edge"), tmp_path / "m", engine="python")
    monkeypatch.setattr("triton_backend.np.from_dlpack", np.zeros_like)
    with pytest.raises(TritonModelException, match=r'pip install "numpy<2"'), backend_model(tmp_path / "m" / model):
        pass
    for module in ("edgeproof_runtime.contract.contract", "edgeproof_runtime.bundle.golden"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TritonModelException, match="edgeproof is not installed"), backend_model(tmp_path / "m" / model):
        pass


def test_a_folder_of_others_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    (tmp_path / "m/resnet/1").mkdir(parents=True)
    code, _, err = cli("triton", bundle, "--repository", tmp_path / "m")
    assert code == 2
    assert "was not written by edgeproof" in err
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["resnet"]
    report = tmp_path / "r.json"
    (tmp_path / "empty").mkdir()
    for name in ("a", "b", "a"):
        code, out, err = cli("triton", bundle, "--repository", tmp_path / "empty", "--name", name, "--json", report)
        assert (code, out) == (0, f"{tmp_path / 'empty'}: {name}, {name}_pre, {name}_net\n"), err
    (tmp_path / "empty/c").mkdir()
    code, _, err = cli("triton", bundle, "--repository", tmp_path / "empty", "--name", "c")
    assert code == 2
    assert "exists and is of another model" in err
    found = sorted(path.name for path in (tmp_path / "empty").iterdir())
    assert found == ["a", "a_net", "a_pre", "b", "b_net", "b_pre", "c", "edgeproof.json"]
    assert json.loads(report.read_text())["models"]["a"]["image"] == "encoded"
    assert not list(tmp_path.glob(".*"))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_write_that_fails_or_is_killed_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    edgeproof.triton(bundle, tmp_path / "m")
    before = tree(tmp_path / "m")
    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):
        with monkeypatch.context() as patched:
            patched.setattr("edgeproof.model_repository.network.pbtxt", failing(error))
            with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
                edgeproof.triton(bundle, tmp_path / "m", engine="python")
        assert tree(tmp_path / "m") == before
        assert not list(tmp_path.glob(".m.*"))
    code = (
        "import os, sys, edgeproof; from edgeproof.model_repository import network; "
        "network.pbtxt = lambda _: os.kill(os.getpid(), 9); edgeproof.triton(sys.argv[1], sys.argv[2], engine='python')"
    )
    done = subprocess.run([sys.executable, "-c", code, bundle.path, tmp_path / "m"], capture_output=True, check=False)
    assert done.returncode == -9
    assert tree(tmp_path / "m") == before
    assert len(list(tmp_path.glob(".m.*"))) == 1
    edgeproof.triton(bundle, tmp_path / "m", name="other")
    assert not list(tmp_path.glob(".m.*"))
    assert {name: content for name, content in tree(tmp_path / "m").items() if name in before and name[0] == "B"} == {
        name: content for name, content in before.items() if name[0] == "B"
    }


def test_without_an_exchange_of_folders_the_old_one_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    monkeypatch.setattr("edgeproof.model_repository.repository.exchange", lambda _one, _other: False)
    for name in ("a", "b"):
        edgeproof.triton(bundle, tmp_path / "m", name=name)
    assert {path.name for path in (tmp_path / "m").iterdir()} >= {"a", "b"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["B.edge", "m"]


def failing(error: BaseException) -> Callable[..., str]:
    def fail(*_: object) -> str:
        raise error

    return fail


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--name", "a/b"), "--name: not a model name"),
        (("--engine", "tflite"), "--engine: unknown"),
        (("--engine", ","), "--engine: empty"),
        (("--image", "yuv"), "--image: unknown"),
        (("--preprocess", "dali"), "--preprocess: unknown"),
        (("--precision", "fp16"), "no fp16 model"),
    ],
)
def test_bad_usage_writes_nothing(cli: Cli, tmp_path: Path, option: tuple[str, str], said: str) -> None:
    code, _, err = cli("triton", make_bundle(tmp_path / "B.edge").path, "--repository", tmp_path / "m", *option)
    assert code == 2
    assert said in err
    assert not (tmp_path / "m").exists()
    assert not list(tmp_path.glob(".m*"))


def test_an_output_of_one_number_per_sample_is_reshaped() -> None:
    outputs = (TensorSpec("score", ()), TensorSpec("map", (4, 4)))
    io = ModelIo(input=TensorSpec("input", (3, 8, 8), "float16"), outputs=outputs, max_batch=4, fixed=False)
    made = network("net", io, backend={"backend": "onnxruntime"}, device="KIND_CPU", warmup=False)
    score, heat_map = text_format.Parse(pbtxt(made), ModelConfig()).output
    assert (list(score.dims), score.HasField("reshape"), list(score.reshape.shape)) == ([1], True, [])
    assert (list(heat_map.dims), heat_map.HasField("reshape")) == ([4, 4], False)
    whole = text_format.Parse(pbtxt(ensemble("net", io, "encoded", ("uint8", 3))), ModelConfig()).output[0]
    assert (list(whole.dims), whole.HasField("reshape")) == ([1], False)
    assert text_format.Parse(pbtxt(made), ModelConfig()).input[0].data_type == FP16


def test_text_of_labels_and_names_is_escaped() -> None:
    texts = pbtxt({"a": 'x"\\\n\x7fü', "b": [], "c": [1, 2], "d": True}).splitlines()
    assert texts == ['a: "x\\"\\\\\\012\\177ü"', "b: [ ]", "c: [ 1, 2 ]", "d: true"]
