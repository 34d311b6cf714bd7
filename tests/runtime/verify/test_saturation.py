"""An int8 model that misses its bound on a CPU without VNNI: is it the CPU or the model?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from bundles import CONTRACT, make_bundle, rewrite
from edgeproof.cli import main
from edgeproof.library.verify import verify
from edgeproof_export.precision import to_int8
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine
from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.selection.auto import choose
from edgeproof_runtime.selection.choices import Scope
from edgeproof_runtime.verify import saturation
from saturating import SaturatingSession

SAID = "no VNNI: signed int8 saturates here; computed in float32 the same graph passes"


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """`tiny_onnx` with signed Q/DQ pairs, calibrated on its own golden frames."""
    folder = tmp_path_factory.mktemp("int8")
    bundle = make_bundle(folder / "tiny.edge")
    rng = np.random.default_rng(0)
    batches = [rng.normal(0, 2, CONTRACT.tensor_shape(8)).astype(np.float32)]
    to_int8(bundle.artifact().path, folder / "int8.onnx", batches)
    return (folder / "int8.onnx").read_bytes()


@pytest.fixture
def bundle(tmp_path: Path, int8: bytes, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    return with_int8(make_bundle(tmp_path / "tiny.edge"), int8)


def with_int8(bundle: Bundle, content: bytes) -> Bundle:
    models = {**bundle.manifest.models, "int8": "model.int8.onnx"}
    return rewrite(
        bundle, {"model.int8.onnx": content}, lambda manifest, files: replace(manifest, models=models, files=files)
    )


@pytest.fixture
def no_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "cpu_features", lambda: ["avx2", "fma"])
    monkeypatch.setattr(saturation.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(ort, "InferenceSession", SaturatingSession)


def reasons(bundle: Bundle) -> list[str | None]:
    report = verify(bundle, engine="onnxruntime", precision="int8")
    assert not report.passed
    return [row.reason for row in report.engines]


@pytest.mark.usefixtures("no_vnni")
def test_saturation_is_said_by_verify_and_auto(bundle: Bundle) -> None:
    assert reasons(bundle) == [SAID]
    with pytest.raises(UnavailableError, match="no VNNI: signed int8 saturates here"):
        choose(bundle, Scope("onnxruntime", "int8"), remember=False)


@pytest.mark.usefixtures("no_vnni")
@pytest.mark.parametrize(("features", "machine"), [(["avx512_vnni"], "x86_64"), (["neon-dotprod"], "aarch64")])
def test_a_cpu_that_adds_in_32_bits_is_not_accused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, features: list[str], machine: str
) -> None:
    monkeypatch.setattr(saturation, "cpu_features", lambda: features)
    monkeypatch.setattr(saturation.platform, "machine", lambda: machine)
    assert reasons(bundle) == [None]


@pytest.mark.usefixtures("no_vnni")
def test_a_damaged_model_is_not_excused_by_the_cpu(bundle: Bundle, int8: bytes) -> None:
    model = onnx.load_from_string(int8)
    weight = next(t for t in model.graph.initializer if t.name.startswith("conv"))
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    damaged = with_int8(bundle, model.SerializeToString())
    assert reasons(damaged) == [None]


@pytest.mark.usefixtures("no_vnni")
def test_without_onnx_runtime_signed_activations_make_it_likely(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    unavailable = OnnxRuntimeEngine.unavailable_reason
    monkeypatch.setattr(saturation.OnnxRuntimeEngine, "unavailable_reason", lambda: "not installed")
    from edgeproof_runtime.bundle.golden import load_golden
    from edgeproof_runtime.engines import onnxruntime

    engine = onnxruntime.OnnxRuntimeEngine(bundle.artifact("int8"))
    assert saturation.saturation(bundle, engine, load_golden(bundle)) == "no VNNI: signed int8 may saturate here"
    assert unavailable() is None


def signed(path: Path) -> bool:
    return saturation.signed_activations(ModelArtifact(path, "int8", TensorSpec("x", (1,)), ()))


def test_signed_activations_are_read_without_onnx(tmp_path: Path, int8: bytes) -> None:
    (tmp_path / "signed.onnx").write_bytes(int8)
    assert signed(tmp_path / "signed.onnx")
    model = onnx.load_from_string(int8)
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in zeros:
            value = numpy_helper.to_array(tensor).astype(np.uint8)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    (tmp_path / "unsigned.onnx").write_bytes(model.SerializeToString())
    assert not signed(tmp_path / "unsigned.onnx")
    for damaged in (b"", b"\xff" * 40, int8[: len(int8) // 2], b"\x3a\x02\x07"):
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        assert not signed(tmp_path / "damaged.onnx") or damaged == int8[: len(int8) // 2]
    assert not signed(tmp_path / "missing.onnx")


@pytest.mark.usefixtures("no_vnni")
def test_verify_prints_the_reason(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["edgeproof", "verify", str(bundle.path), "--engine", "onnxruntime", "--precision", "int8"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert f"onnxruntime int8: failed: {SAID}" in capsys.readouterr().err
