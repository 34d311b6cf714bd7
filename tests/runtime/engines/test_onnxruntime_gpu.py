"""ONNX Runtime's GPU providers: what is said where there is none, and the CUDA provider where there is one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.engines import Unavailable, onnxruntime_gpu
from edgeproof_runtime.engines.onnxruntime_gpu import (
    OrtCudaEngine,
    OrtTensorRtEngine,
    OrtTensorRtRtxEngine,
    both_packages_reason,
    gpu_package_fix,
)
from edgeproof_runtime.errors import InputError

SHAPE = (3, 8, 8)


@pytest.fixture
def artifact(tmp_path: Path) -> ModelArtifact:
    """A convolution, a ReLU and a mean, with a dynamic batch of up to 32."""
    onnx = pytest.importorskip("onnx")
    helper, rng = onnx.helper, np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Flatten", ["g"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, ("N", *SHAPE))],
        [helper.make_tensor_value_info("y", 1, ("N", 4))],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    return ModelArtifact(tmp_path / "m.onnx", "fp32", TensorSpec("x", SHAPE), (TensorSpec("y", (4,)),), 32)


def _reference(artifact: ModelArtifact, batch: Any) -> Any:
    ort = pytest.importorskip("onnxruntime")
    return ort.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"]).run(None, {"x": batch})[0]


def _batch(count: int) -> Any:
    return np.random.default_rng(count).normal(size=(count, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("cls", [OrtCudaEngine, OrtTensorRtEngine, OrtTensorRtRtxEngine])
def test_a_reason_names_what_mends_it(cls: type[OrtCudaEngine]) -> None:
    reason = cls.unavailable_reason()
    assert reason is None or any(word in str(reason.fix) for word in ("install", "nvidia-smi", "RTX GPU"))


def test_two_packages_in_one_folder_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}[name])
    reason = both_packages_reason()
    assert reason is not None
    assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1" in reason.what
    assert "pip uninstall onnxruntime onnxruntime-gpu" in str(reason.fix)


def test_the_gpus_package_is_advised_only_where_it_has_a_wheel() -> None:
    assert gpu_package_fix("onnxruntime", arch="x86_64") == "pip uninstall onnxruntime && pip install onnxruntime-gpu"
    assert gpu_package_fix(arch="x86_64") == "pip install onnxruntime-gpu"
    for installed in ((), ("onnxruntime",), ("onnxruntime", "onnxruntime-gpu")):
        assert "pip install onnxruntime-gpu" not in gpu_package_fix(*installed, arch="aarch64")


def test_one_package_is_no_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime":
            return "1.32.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert both_packages_reason() is None


def test_the_trap_is_the_reason_where_it_took_the_gpu_away(monkeypatch: pytest.MonkeyPatch) -> None:
    ort = pytest.importorskip("onnxruntime")
    if OrtCudaEngine.provider in ort.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    monkeypatch.setattr(onnxruntime_gpu, "both_packages_reason", lambda: Unavailable("both"))
    assert OrtCudaEngine.unavailable_reason() == Unavailable("both")


def test_profiles_of_the_providers_that_build(artifact: ModelArtifact) -> None:
    assert onnxruntime_gpu._profile(artifact) == {"min": "x:1x3x8x8", "opt": "x:1x3x8x8", "max": "x:32x3x8x8"}


@pytest.fixture
def cuda() -> None:
    """Skips, with the reason, where ONNX Runtime has no CUDA provider that works."""
    reason = OrtCudaEngine.unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_cuda_computes_what_the_cpu_does(artifact: ModelArtifact) -> None:
    with OrtCudaEngine(artifact) as engine:
        # More sizes than are kept, each often enough to be captured and replayed.
        for count in (*range(1, 13), 1, 1, 1, 1, 32, 32, 32, 32, 2):
            batch = _batch(count)
            (out,) = engine.run(batch)
            np.testing.assert_allclose(out, _reference(artifact, batch), atol=1e-4)
        details = engine.describe().details
        assert details["provider"] == "CUDAExecutionProvider"
        assert details["cuda_graph"] == "on"


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_cuda_outputs_belong_to_the_caller_and_pinned_input_works(artifact: ModelArtifact) -> None:
    with OrtCudaEngine(artifact) as engine:
        pinned = engine.allocate_input(4)
        pinned[...] = _batch(4)
        (first,) = engine.run(pinned)
        kept = first.copy()
        pinned[...] = 0
        engine.run(pinned)
        np.testing.assert_array_equal(first, kept)
    with pytest.raises(InputError, match="closed"):
        engine.run(_batch(1))


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_cuda_says_what_it_cannot_load(artifact: ModelArtifact) -> None:
    artifact.path.write_bytes(b"no model")
    with pytest.raises(InputError, match="cannot load"):
        OrtCudaEngine(artifact)
