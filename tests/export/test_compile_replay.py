"""`compile` on a fake TensorRT and GPU: the new plan replays the golden cases before the bundle lists it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from bundles import make_bundle, tiny_onnx
from edgeproof_export.compile import compile_bundle, keep
from edgeproof_export.compile.target import Built
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import trial
from edgeproof_runtime.errors import GateError
from edgeproof_runtime.metrics.gate import Gate
from fake_tensorrt import FakeCudart, FakeTensorRt, fake_plan, plan_record, stand_in

Compile = Callable[..., keep.Compiled]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge")


@pytest.fixture
def compile_plan(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Compile:
    """Compiles a plan that computes what the model of a seed does, for a compute capability."""

    def call(seed: int, capability: str = "8.6") -> keep.Compiled:
        cudart, model = FakeCudart(), ReferenceEvaluator(tiny_onnx(seed=seed))
        trt = FakeTensorRt(cudart, (3, 16, 16))
        trt.names, trt.out_shape = ["input", "logits"], (5,)
        trt.network = lambda batch: np.asarray(model.run(None, {"input": batch})[0])
        plan = fake_plan()
        digest = bundle.sha256("model.onnx")
        record = plan_record(plan, onnx_sha256=digest, compute_capabilities=(capability,))
        built = Built(plan, 1.0, 1)
        stand_in(monkeypatch, cudart, trt)
        monkeypatch.setattr(trial, "require_harmless", lambda *_: None)  # its child process has no fake
        monkeypatch.setitem(keep.BUILDERS, "tensorrt", lambda *_: (record, lambda _watch: (built, ())))
        return compile_bundle(bundle, "tensorrt")

    return call


def test_a_plan_that_answers_like_the_model_is_stored(bundle: Bundle, compile_plan: Compile) -> None:
    golden = compile_plan(seed=0).golden
    assert isinstance(golden, Gate)
    assert golden.passed
    assert golden.name == "parity tensorrt fp32"
    assert len(Bundle.open(bundle.path).engines("tensorrt")) == 1


def test_a_plan_that_answers_wrongly_is_refused(bundle: Bundle, compile_plan: Compile) -> None:
    with pytest.raises(GateError, match="fails the golden cases") as caught:
        compile_plan(seed=5)
    assert caught.value.exit_code == 1
    assert "--no-tf32" in str(caught.value)
    assert list(Bundle.open(bundle.path).engines()) == []


def test_a_plan_for_another_gpu_is_stored_and_said_to_be_untried(bundle: Bundle, compile_plan: Compile) -> None:
    golden = compile_plan(seed=5, capability="8.7").golden
    assert isinstance(golden, str)
    assert "built for another GPU" in golden
    assert len(Bundle.open(bundle.path).engines("tensorrt")) == 1
