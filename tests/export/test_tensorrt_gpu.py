"""From a network to an answer on a GPU: built, kept, loaded, run; for each flavour that this machine can run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeproof_export.compile import compile_bundle
from edgeproof_export.compile.target import find_target
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import engine_class
from edgeproof_runtime.errors import EdgeproofError
from edgeproof_runtime.selection.compiled import compiled_artifact

TOLERANCE = {"fp32": 0.02, "fp16": 0.05, "int8": 0.3}  # of the largest output; fp32 may run in TF32


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def target(request: pytest.FixtureRequest) -> str:
    """A flavour that builds and runs here; skips with the reason where it does not."""
    name = str(request.param)
    reason = engine_class(name).unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))
    try:
        find_target(name, ())
    except EdgeproofError as error:
        pytest.skip(str(error))
    return name


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["seed", "resnet20"])
def test_a_built_engine_answers_as_onnxruntime_does(
    bundles: Callable[[str], Path], tmp_path: Path, target: str, name: str, precision: str
) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = shutil.copytree(bundles(name), tmp_path / f"{name}.edge")
    done = compile_bundle(Bundle.open(path), target, precision)
    session = ort.InferenceSession(str(done.bundle.artifact(precision).path), providers=["CPUExecutionProvider"])
    with engine_class(target)(compiled_artifact(done.bundle, target, precision)) as engine:
        for count in (1, 1, 1, 4, 4, 32, 32, 1):
            batch = np.random.default_rng(count).normal(size=(count, 3, 32, 32)).astype(np.float32)
            (out,) = engine.run(batch)
            (expected,) = session.run(None, {"input": batch})
            assert np.abs(out - expected).max() <= TOLERANCE[precision] * np.abs(expected).max()
