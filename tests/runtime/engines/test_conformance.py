"""One suite that every engine of the catalogue passes where it is available, and what is done with names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from bundles import make_bundle, tiny_onnx
from edgeproof_export.compile import BuildOptions, compile_bundle
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.manifest import Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import Engine, Unavailable, catalog
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.selection.auto import artifact_for

CPU_ENGINES = [entry.name for entry in catalog.entries() if entry.device == "cpu"]
BATCH = 4
# Of rtol and atol; GPUs add up in other orders, and some round fp32 products.
TOLERANCE = {"cpu": (1e-4, 1e-5), "gpu": (1e-2, 1e-3)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("engines") / "tiny.edge")


@pytest.fixture(scope="module")
def loadable(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelArtifact]:
    """From an engine's name to what it loads; compiles where the engine needs that."""

    @cache
    def get(name: str) -> ModelArtifact:
        entry = catalog.find(name)
        if entry.target is None or entry.loads != "compiled":
            return bundle.artifact(max_batch=BATCH)
        copy = shutil.copytree(bundle.path, tmp_path_factory.mktemp(entry.target) / "tiny.edge")
        options = BuildOptions(profile=BatchBounds(1, 1, BATCH), tf32=False)
        compiled = compile_bundle(Bundle.open(copy), entry.target, options=options)
        return artifact_for(compiled.bundle, name, "fp32", max_batch=BATCH)

    return get


@pytest.fixture(
    params=[
        pytest.param(entry.name, marks=[pytest.mark.gpu] if entry.device == "gpu" else [])
        for entry in catalog.entries()
    ]
)
def engine(request: pytest.FixtureRequest, loadable: Callable[[str], ModelArtifact]) -> Iterator[Engine]:
    require(request.param)
    with engines.load(request.param, loadable(request.param), threads=1) as loaded:
        yield loaded


def require(name: str) -> None:
    reason = engines.engine_class(name).unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))


def inputs(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 3, BATCH])
def test_answers_are_those_of_onnx_reference(engine: Engine, batch: int) -> None:
    data = inputs(batch)
    (answer,) = engine.run(data)
    assert answer.shape == (batch, 5)
    assert answer.dtype == np.float32
    (expected,) = ReferenceEvaluator(tiny_onnx()).run(None, {"input": data})
    device = catalog.find(engine.name).device
    if device == "none":
        assert not answer.any()
    else:
        rtol, atol = TOLERANCE[device]
        np.testing.assert_allclose(answer, expected, rtol=rtol, atol=atol)


def test_answers_stay_what_they_were(engine: Engine) -> None:
    (first,) = engine.run(inputs(1, seed=1))
    kept = first.copy()
    engine.run(inputs(1, seed=2))
    engine.run(inputs(3, seed=3))
    np.testing.assert_array_equal(first, kept)


def test_the_engines_own_buffer_is_taken(engine: Engine) -> None:
    buffer = engine.allocate_input(2)
    assert buffer.shape == (2, 3, 16, 16)
    buffer[...] = inputs(2)
    (from_buffer,) = engine.run(buffer)
    (from_array,) = engine.run(inputs(2))
    np.testing.assert_allclose(from_buffer, from_array, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 3, 16, 15), np.float32),
        np.zeros((3, 16, 16), np.float32),
        np.zeros((1, 3, 16, 16), np.float64),
        np.zeros((BATCH + 1, 3, 16, 16), np.float32),
        np.zeros((0, 3, 16, 16), np.float32),
    ],
    ids=["shape", "no batch", "dtype", "batch too large", "batch of none"],
)
def test_a_batch_that_does_not_fit_is_refused(engine: Engine, wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=f"engine {engine.name}: (the batch does not match|unsupported batch size)"):
        engine.run(wrong)


def test_describes_itself(engine: Engine) -> None:
    info = engine.describe()
    assert info.name == engine.name
    assert info.version
    assert info.precision == "fp32"


def test_closes_twice(engine: Engine) -> None:
    engine.close()
    engine.close()


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_file_that_is_no_model_is_one_message(name: str, bundle: Bundle, tmp_path: Path) -> None:
    require(name)
    good = bundle.artifact()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    artifact = ModelArtifact(broken, "fp32", good.input, good.outputs)
    with pytest.raises(InputError, match="not an ONNX model"):
        engines.load(name, artifact)


# OpenCV runs it: it never counts the channels.
@pytest.mark.parametrize("name", [name for name in CPU_ENGINES if name != "opencv"])
@pytest.mark.parametrize("max_batch", [1, BATCH])
def test_a_model_that_takes_another_input_is_one_message(name: str, max_batch: int, bundle: Bundle) -> None:
    require(name)
    good = bundle.artifact()
    other = TensorSpec("input", (4, 16, 16))  # the model's convolution takes three channels
    with (
        pytest.raises(InputError, match=f"{name}: cannot (load|run)"),
        engines.load(name, ModelArtifact(good.path, "fp32", other, good.outputs, max_batch)) as engine,
    ):
        engine.run(engine.allocate_input(max_batch))


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_model_without_such_an_output_is_one_message(name: str, bundle: Bundle) -> None:
    require(name)
    good = bundle.artifact()
    other = (TensorSpec("scores", (5,)),)
    with (
        pytest.raises(InputError, match=f"{name}: cannot (load|run)"),
        engines.load(name, ModelArtifact(good.path, "fp32", good.input, other, BATCH)) as engine,
    ):
        engine.run(engine.allocate_input(1))


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.name)
def test_every_name_leads_to_an_engine_of_that_name(entry: CatalogEntry) -> None:
    assert engines.engine_class(entry.name).name == entry.name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="onnxruntime, openvino"):
        engines.engine_class("tensorflow")


def test_an_engine_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    reason = Unavailable("not installed", "pip install it")
    monkeypatch.setattr(engines.engine_class("openvino"), "unavailable_reason", classmethod(lambda _: reason))
    with pytest.raises(UnavailableError, match="engine openvino: not available") as caught:
        engines.load("openvino", bundle.artifact())
    assert (caught.value.got, caught.value.fix) == ("not installed", "pip install it")
    assert "openvino" not in engines.available()


@pytest.mark.parametrize(
    ("name", "precision"),
    [(e.name, p) for e in catalog.entries() for p in get_args(Precision) if p not in e.precisions],
)
def test_an_engine_refuses_a_precision_that_it_does_not_run(name: str, precision: str, bundle: Bundle) -> None:
    good = bundle.artifact()
    with pytest.raises(InputError, match=f"unsupported precision {precision}"):
        engines.load(name, ModelArtifact(good.path, precision, good.input, good.outputs))


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_model_that_answers_in_another_shape_is_refused(name: str, bundle: Bundle) -> None:
    require(name)
    good = bundle.artifact()
    wrong = ModelArtifact(good.path, "fp32", good.input, (TensorSpec("logits", (7,)),))
    with engines.load(name, wrong) as engine, pytest.raises(InputError, match="another shape"):
        engine.run(inputs(1))


@pytest.mark.slow
def test_openvino_is_imported_without_its_converter_and_still_converts() -> None:
    pytest.importorskip("openvino")
    program = (
        "import sys; from edgeproof_runtime.engines.openvino import import_openvino as get; ov = get();"
        "assert 'openvino.tools.ovc' not in sys.modules; assert get() is ov; assert not hasattr(ov, 'nothing');"
        "assert callable(ov.convert_model); from openvino.tools.ovc import convert_model"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir() or len(os.sched_getaffinity(0)) < 2, reason="one core, or no /proc"
)
def test_openvino_engines_side_by_side_are_not_bound_to_one_core(bundle: Bundle) -> None:
    require("openvino")
    allowed = set()
    running: list[int] = []
    ended = threading.Event()
    with engines.load("openvino", bundle.artifact(max_batch=1), threads=1) as engine:
        batch = engine.allocate_input(1)

        def work() -> None:
            running.append(threading.get_native_id())
            while not ended.is_set():
                engine.run(batch)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(300):
                if running:
                    allowed.add(len(os.sched_getaffinity(running[0])))
                time.sleep(0.001)
        finally:
            ended.set()
            thread.join()
    assert allowed == {len(os.sched_getaffinity(0))}


@pytest.mark.slow
def test_ctrl_c_after_two_openvino_engines_ended_in_the_order_they_began(bundle: Bundle) -> None:
    require("openvino")
    program = f"""
import gc, signal
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.reader import Bundle

signal.signal(signal.SIGINT, lambda *_: print("handled"))
bundle = Bundle.open({str(bundle.path)!r})
two = [engines.load("openvino", bundle.artifact()) for _ in range(2)]
while two:
    two.pop(0).close()
    gc.collect()
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
