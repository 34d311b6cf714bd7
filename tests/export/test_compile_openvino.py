"""`compile --target openvino`: a compiled model in the bundle, and what becomes of it on another machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundles import make_bundle, tiny_onnx
from edgeproof_export.compile import BuildOptions, compile_bundle
from edgeproof_export.compile import openvino as openvino_builder
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import trust
from edgeproof_runtime.errors import BundleError, GateError, InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import artifact_for, load_engine

pytest.importorskip("openvino")


@pytest.fixture
def compiled(tmp_path: Path) -> Bundle:
    return compile_bundle(make_bundle(tmp_path / "tiny.edge"), "openvino").bundle


def test_it_answers_like_the_onnx_file_and_says_what_it_loaded(compiled: Bundle, tmp_path: Path) -> None:
    plain = make_bundle(tmp_path / "plain.edge")
    with load_engine(compiled, "openvino", "fp32") as fast, load_engine(plain, "openvino", "fp32") as slow:
        batch = np.random.default_rng(0).random((1, *fast.artifact.input.shape), np.float32)
        np.testing.assert_array_equal(fast.run(batch)[0], slow.run(batch)[0])
        assert fast.describe().details["compiled"] == compiled.sha256(compiled.engines("openvino")[0].path)[:16]
        assert "compiled" not in slow.describe().details


def test_a_second_run_finds_it(compiled: Bundle) -> None:
    again = compile_bundle(compiled, "openvino")
    assert again.cached
    assert compile_bundle(compiled, "openvino", force=True).cached is False
    assert len(Bundle.open(compiled.path).engines()) == 1


def test_a_new_engine_replays_the_golden_cases(tmp_path: Path) -> None:
    golden = compile_bundle(make_bundle(tmp_path / "new.edge"), "openvino").golden
    assert isinstance(golden, Gate)
    assert golden.passed
    assert golden.name == "parity openvino fp32"


def test_an_engine_that_answers_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    other = make_bundle(tmp_path / "other.edge", model=tiny_onnx(seed=5)).artifact("fp32", max_batch=1)
    monkeypatch.setattr(openvino_builder, "build_blob", lambda _artifact, real=openvino_builder.build_blob: real(other))
    with pytest.raises(GateError, match="fails the golden cases") as caught:
        compile_bundle(bundle, "openvino")
    assert caught.value.exit_code == 1
    assert "relative_diff" in str(caught.value)
    assert list(Bundle.open(bundle.path).engines()) == []


def test_it_is_for_one_frame_at_a_time(compiled: Bundle) -> None:
    with load_engine(compiled, "openvino", "fp32", max_batch=4) as engine:
        assert "compiled" not in engine.describe().details
        assert engine.run(np.zeros((4, *engine.artifact.input.shape), np.float32))[0].shape[0] == 4


def test_another_cpu_or_openvino_compiles_the_onnx_file(compiled: Bundle) -> None:
    artifact = artifact_for(compiled, "openvino", "fp32", max_batch=1)
    assert artifact.blob is not None
    blob = artifact.blob.read_bytes()
    assert b"ov=20" in blob
    other = blob.replace(b"ov=20", b"ov=19", 1)
    artifact.blob.write_bytes(other)
    with load_engine(compiled, "openvino", "fp32") as engine:
        assert "model.blob: modified: compiled the ONNX file" in engine.describe().details["compiled"]
    trust(hashlib.sha256(other).hexdigest(), "built here")
    with engines.load("openvino", replace(artifact, digests={})) as engine:
        assert "another OpenVINO or CPU" in engine.describe().details["compiled"]
        assert np.isfinite(engine.run(np.zeros((1, *engine.artifact.input.shape), np.float32))[0]).all()


def test_a_blob_of_another_model_is_refused(compiled: Bundle) -> None:
    info = compiled.locate(compiled.engines("openvino")[0].info)
    record = json.loads(info.read_text())
    record["onnx_sha256"] = "0" * 64
    info.write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"no engines/.*engine\.json"):  # left out when it was read again
        load_engine(compiled, "openvino", "fp32")


def test_options_of_tensorrt_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="supported by TensorRT targets only"):
        compile_bundle(make_bundle(tmp_path / "tiny.edge"), "openvino", options=BuildOptions(tf32=False))
