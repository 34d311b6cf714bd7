"""The TensorRT engine around a stand-in for TensorRT, on a fake CUDA runtime and, where there is a GPU, a real one."""

from __future__ import annotations

import gc
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.engine_record import EngineRecord, other_gpu
from edgeproof_runtime.bundle.trust import trust
from edgeproof_runtime.engines import _cuda
from edgeproof_runtime.engines.tensorrt import _MEMORY, TensorRtEngine, TensorRtRtxEngine
from edgeproof_runtime.errors import CudaError, CudaMemoryError, InputError, UnavailableError
from fake_tensorrt import FakeCudart, FakeTensorRt, Status, fake_plan, plan_record, stand_in

SHAPE = (3, 5, 7)


@dataclass
class Bench:
    """An engine's surroundings, and how to load one in them."""

    folder: Path
    cudart: Any
    trt: FakeTensorRt
    target: str
    load: Callable[..., TensorRtEngine]

    @property
    def is_fake(self) -> bool:
        return isinstance(self.cudart, FakeCudart)


def _write(folder: Path, target: str, version: str, capability: str) -> Path:
    plan = fake_plan(target, version)
    (folder / "model.plan").write_bytes(plan)
    record = plan_record(plan, target=target, version=version, compute_capabilities=(capability,))
    (folder / "engine.json").write_text(json.dumps(record.to_json()))
    return folder / "model.plan"


def _bench(folder: Path, monkeypatch: pytest.MonkeyPatch, cudart: Any, *, rtx: bool) -> Bench:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    version = "1.7.1.116" if rtx else "10.3.0.30"
    trt = FakeTensorRt(cudart, SHAPE, version=version, rtx=rtx)
    stand_in(monkeypatch, cudart, trt)
    target = "tensorrt-rtx" if rtx else "tensorrt"
    plan = _write(folder, target, version, _cuda.device().compute_capability)
    trust(hashlib.sha256(plan.read_bytes()).hexdigest(), "built here")
    cls = TensorRtRtxEngine if rtx else TensorRtEngine

    def load(*, max_batch: int = 8, output_dtype: str = "float32") -> TensorRtEngine:
        outputs = (TensorSpec("out", SHAPE, output_dtype),)
        return cls(ModelArtifact(plan, "fp32", TensorSpec("in", SHAPE), outputs, max_batch))

    return Bench(folder, cudart, trt, target, load)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Plain TensorRT on a fake CUDA runtime, and on the real one."""
    if request.param == "real":
        reason = _cuda.unavailable_reason()
        if reason is not None:
            pytest.skip(str(reason))
        yield _bench(tmp_path, monkeypatch, _cuda.cudart(), rtx=False)
    else:
        yield _bench(tmp_path, monkeypatch, FakeCudart(), rtx=False)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Plain TensorRT on a fake CUDA runtime only: for what is counted inside it."""
    return _bench(tmp_path, monkeypatch, FakeCudart(), rtx=False)


def _batch(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)


def test_every_batch_size_runs_again_and_again(bench: Bench) -> None:
    with bench.load() as engine:
        for seed, count in enumerate((1, 1, 1, 3, 3, 8, 2, 2, 2, 2, 1)):
            batch = _batch(count, seed)
            (out,) = engine.run(batch)
            np.testing.assert_array_equal(out, batch)


def test_outputs_belong_to_the_caller(bench: Bench) -> None:
    with bench.load() as engine:
        (first,) = engine.run(_batch(2, 1))
        engine.run(_batch(2, 2))
        np.testing.assert_array_equal(first, _batch(2, 1))


def test_device_time_is_measured_beside_the_hosts(bench: Bench) -> None:
    with bench.load() as engine:
        engine.run(_batch(4))
        assert set(engine.last_device_ms) == {"enqueue", "h2d", "compute", "d2h", "latency"}
        assert all(value >= 0 for value in engine.last_device_ms.values())


def test_a_graph_is_captured_for_the_second_batch_of_a_size_and_kept_beside_others(bench: Bench) -> None:
    with bench.load() as engine:
        launches = []
        for seed, count in enumerate((2, 2, 2, 3, 3, 2, 3, 1)):
            before = bench.trt.launches
            (out,) = engine.run(_batch(count, seed))
            np.testing.assert_array_equal(out, _batch(count, seed))
            launches.append(bench.trt.launches - before)
        assert launches == [1, 1, 0, 1, 1, 0, 0, 0]  # direct, captured, launched as a graph
        assert bench.trt.contexts == 3  # one per size
        assert engine.describe().details["cuda_graph"] == "captured"
        assert engine.graph_launches == (7, 10)  # all but a direct run of each size, warm-up included


def test_alternating_batches_and_rotated_buffers_launch_graphs(fake: Bench) -> None:
    fake.cudart.attributes["integrated"] = 1
    with fake.load() as engine:
        buffers = [engine.allocate_input(1 + number % 2) for number in range(12)]
        for _ in range(2):
            for buffer in buffers:
                engine.run(buffer)
        launched, runs = engine.graph_launches or (0, 0)
        for turn in range(200):
            buffer = buffers[turn % len(buffers)]
            buffer[...] = turn
            np.testing.assert_array_equal(engine.run(buffer)[0], buffer)
        after, total = engine.graph_launches or (0, 0)
        assert (after - launched) / (total - runs) == 1.0


def test_more_sizes_than_contexts_take_turns(fake: Bench) -> None:
    with fake.load() as engine:
        for seed in range(3):
            for count in range(1, 9):
                np.testing.assert_array_equal(engine.run(_batch(count, seed))[0], _batch(count, seed))
        assert fake.trt.contexts == 4


def test_without_memory_for_another_context_the_first_is_set_anew(fake: Bench) -> None:
    fake.trt.most_contexts = 1
    with fake.load() as engine:
        for seed, count in enumerate((1, 2, 2, 2, 1, 1, 3)):
            np.testing.assert_array_equal(engine.run(_batch(count, seed))[0], _batch(count, seed))
        assert fake.trt.contexts == 1


def test_more_addresses_than_graphs_take_turns(fake: Bench) -> None:
    fake.cudart.attributes["integrated"] = 1
    with fake.load() as engine:
        buffers = [engine.allocate_input(1) for _ in range(70)]
        for turn, buffer in enumerate(buffers + buffers + buffers):
            buffer[...] = turn
            np.testing.assert_array_equal(engine.run(buffer)[0], buffer)
        engine.close()
    del engine, buffer, buffers
    gc.collect()
    assert fake.cudart.live == {}


def test_an_output_that_the_bundle_does_not_name_gets_memory(bench: Bench) -> None:
    bench.trt.names.append("features")
    with bench.load() as engine:
        for count in (1, 2, 2, 2):
            np.testing.assert_array_equal(engine.run(_batch(count))[0], _batch(count))
        assert engine.describe().details["cuda_graph"] == "captured"


def test_a_profile_above_the_bundles_batches_is_a_message(fake: Bench) -> None:
    fake.trt.profile = (4, 4, 8)
    with pytest.raises(InputError, match="compiled for larger batches") as caught:
        fake.load(max_batch=2)
    assert "batches of 4 to 8" in str(caught.value)
    assert "--batch MIN,OPT,MAX" in str(caught.value)


def test_plugins_are_registered_once(fake: Bench) -> None:
    for _ in range(2):
        fake.load().close()
    assert fake.trt.plugins == 1


def test_tensorrts_warning_of_another_gpu_is_raised_once(fake: Bench, caplog: pytest.LogCaptureFixture) -> None:
    fake.trt.warning = "Using an engine plan file across different models of devices is not recommended"
    for _ in range(2):
        fake.load().close()
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [fake.trt.warning]


def test_a_plan_of_another_gpu_of_the_same_capability_is_told(fake: Bench, caplog: pytest.LogCaptureFixture) -> None:
    file = fake.folder / "engine.json"
    record = EngineRecord.from_json(json.loads(file.read_text()))
    file.write_text(json.dumps(replace(record, gpu=_cuda.device().identity).to_json()))
    fake.load().close()
    assert caplog.records == []
    fake.cudart.attributes["multiprocessors"] = 8
    with fake.load() as engine:
        assert engine.describe().details["built_on"] == "Fake GPU, 16 SMs, 2 GiB"
    (warning,) = caplog.records
    assert "built on Fake GPU, 16 SMs, 2 GiB, this is Fake GPU, 8 SMs, 2 GiB" in warning.message


def test_gpus_of_one_capability_are_told_apart_as_the_golden_says(fake: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = json.loads((Path(__file__).resolve().parents[2] / "golden" / "gpus.json").read_text("utf-8"))
    for case in golden["identities"]:
        monkeypatch.setattr(_cuda, "memory", lambda total=case["memory_bytes"]: _cuda.MemoryInfo(0, total))
        fake.cudart.attributes["multiprocessors"] = case["multiprocessors"]
        assert replace(_cuda.device(), name=case["name"], board=case["board"]).identity == case["identity"]
    record = EngineRecord.from_json(json.loads((fake.folder / "engine.json").read_text()))
    for case in golden["notes"]:
        assert other_gpu(replace(record, gpu=case["built_on"]), case["identity"]) == case["note"]


def test_loading_warms_up_so_that_the_first_batch_is_as_quick_as_the_next(bench: Bench) -> None:
    with bench.load() as engine:
        assert bench.trt.launches == 2  # one plain, one into a graph
        assert engine.describe().details["cuda_graph"] == "captured"
        (out,) = engine.run(_batch(1))
        assert bench.trt.launches == 2
        np.testing.assert_array_equal(out, _batch(1))


def test_what_cannot_be_captured_is_launched_plainly(bench: Bench) -> None:
    bench.trt.capturable = False
    with bench.load() as engine:
        for seed in range(4):
            (out,) = engine.run(_batch(2, seed))
            np.testing.assert_array_equal(out, _batch(2, seed))
        assert engine.describe().details["cuda_graph"].startswith("not possible: operation not permitted")


def test_a_failed_launch_does_not_poison_the_next(bench: Bench) -> None:
    with bench.load() as engine:
        engine.run(_batch(2))
        engine.run(_batch(2))
        bench.trt.fail_launches = 1
        with pytest.raises(UnavailableError, match="Cask convolution execution failed"):
            engine.run(_batch(5))
        for seed in range(3):
            (out,) = engine.run(_batch(5, seed))
            np.testing.assert_array_equal(out, _batch(5, seed))


def test_two_engines_in_two_threads_do_not_mix(bench: Bench) -> None:
    errors: list[BaseException] = []

    def work(engine: TensorRtEngine, seed: int) -> None:
        try:
            for step in range(50):
                batch = _batch(1 + (step + seed) % 8, seed * 1000 + step)
                (out,) = engine.run(batch)
                np.testing.assert_array_equal(out, batch)
        except BaseException as error:
            errors.append(error)

    with bench.load() as one, bench.load() as two:
        threads = [threading.Thread(target=work, args=(engine, i)) for i, engine in enumerate((one, two, one, two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


def test_an_output_of_unknown_size_grows(bench: Bench) -> None:
    bench.trt.data_dependent = True
    with bench.load() as engine:
        for count in (2, 2, 8, 1):
            (out,) = engine.run(_batch(count, count))
            np.testing.assert_array_equal(out, _batch(count, count))


def test_input_in_pinned_memory_is_not_copied_on_the_host(bench: Bench) -> None:
    with bench.load() as engine:
        pinned = engine.allocate_input(3)
        assert pinned.shape == (3, *SHAPE)
        pinned[...] = _batch(3, 5)
        for _ in range(3):
            (out,) = engine.run(pinned)
            np.testing.assert_array_equal(out, _batch(3, 5))
        if bench.is_fake:
            assert any(source == pinned.ctypes.data for _, source, _ in bench.cudart.copies)
        (out,) = engine.run(pinned[1:])  # a view that begins elsewhere
        np.testing.assert_array_equal(out, _batch(3, 5)[1:])


def test_pinned_memory_outlives_the_engine_that_made_it(bench: Bench) -> None:
    with bench.load() as engine:
        pinned = engine.allocate_input(2)
    pinned[...] = 1
    assert pinned.sum() == 2 * np.prod(SHAPE)


def test_everything_is_freed_on_close(fake: Bench) -> None:
    with fake.load() as engine:
        engine.run(_batch(2))
        engine.run(_batch(2))
        engine.allocate_input(4)
        engine.close()
    del engine
    gc.collect()
    assert fake.cudart.live == {}


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaHostAlloc", "cudaEventCreate"])
@pytest.mark.parametrize("before", [0, 1])
def test_buffers_are_freed_when_loading_fails(fake: Bench, call: str, before: int) -> None:
    fake.cudart.fail[call] = [Status.cudaSuccess] * before + [Status.cudaErrorMemoryAllocation]
    with pytest.raises(CudaMemoryError, match=f"{call} failed"):
        fake.load()
    gc.collect()
    assert fake.cudart.live == {}


def test_nothing_is_left_when_a_copy_fails(fake: Bench) -> None:
    with fake.load() as engine:
        engine.run(_batch(2))
        engine.run(_batch(2))
        fake.cudart.fail["cudaMemcpyAsync"] = [Status.cudaErrorInvalidValue]
        with pytest.raises(CudaError, match="cudaMemcpyAsync failed") as caught:
            engine.run(_batch(2))
        assert caught.value.code == "cudaErrorInvalidValue"
        (out,) = engine.run(_batch(2, 9))
        np.testing.assert_array_equal(out, _batch(2, 9))
    gc.collect()
    assert fake.cudart.live == {}


def test_an_error_that_ends_the_process_says_so(fake: Bench) -> None:
    with fake.load() as engine:
        fake.cudart.fail["cudaStreamSynchronize"] = [Status.cudaErrorIllegalAddress]
        with pytest.raises(CudaError, match="restart the process"):
            engine.run(_batch(1))


def test_an_integrated_gpu_copies_nothing(fake: Bench) -> None:
    fake.cudart.attributes["integrated"] = 1
    with fake.load() as engine:
        fake.cudart.copies.clear()  # of the measurement
        pinned = engine.allocate_input(2)
        pinned[...] = _batch(2, 3)
        for batch in (_batch(2), pinned, pinned, _batch(1)):
            (out,) = engine.run(batch)
            np.testing.assert_array_equal(out, batch)
        assert fake.cudart.copies == []
        assert "no copies" in engine.describe().details["memory"]


@pytest.mark.parametrize(
    ("slow", "concurrent", "kind"),
    [
        ({"device": 0.01}, 0, "mapped"),
        ({"mapped": 0.01}, 0, "pinned"),
        ({"mapped": 0.01, "device": 0.05}, 0, "mapped"),  # managed memory is not tried
        ({"mapped": 0.01, "device": 0.01}, 1, "managed"),
    ],
)
def test_an_integrated_gpu_uses_the_kind_of_memory_that_is_the_fastest(
    fake: Bench, slow: dict[str, float], concurrent: int, kind: str
) -> None:
    fake.cudart.attributes |= {"integrated": 1, "concurrent_managed": concurrent}
    fake.cudart.slow = slow
    with fake.load() as engine:
        details = engine.describe().details
        assert details["memory"] == _MEMORY[kind]
        assert f"{kind} " in details["memory_measured"]
        assert ("managed" in details["memory_measured"]) == bool(concurrent)
        fake.cudart.copies.clear()
        own = engine.allocate_input(2)
        own[...] = _batch(2, 3)
        for batch in (_batch(2), own, own, _batch(1), own):
            np.testing.assert_array_equal(engine.run(batch)[0], batch)
        assert bool(fake.cudart.copies) == (kind == "pinned")
    del engine, own, batch
    gc.collect()
    assert fake.cudart.live == {}


def test_a_kind_of_memory_that_cannot_be_had_is_left_out(fake: Bench) -> None:
    fake.cudart.attributes |= {"integrated": 1, "concurrent_managed": 1}
    fake.cudart.fail["cudaMallocManaged"] = [Status.cudaErrorInvalidValue]
    with fake.load() as engine:
        assert "managed" not in engine.describe().details["memory_measured"]
        np.testing.assert_array_equal(engine.run(_batch(2))[0], _batch(2))


def test_a_gpu_with_memory_of_its_own_measures_nothing(fake: Bench) -> None:
    with fake.load() as engine:
        assert "memory_measured" not in engine.describe().details
    assert fake.cudart.calls["cudaHostAlloc"] == 2  # input and output


def test_close_is_safe_twice_and_ends_the_engine(bench: Bench) -> None:
    engine = bench.load()
    engine.close()
    engine.close()
    with pytest.raises(InputError, match="closed"):
        engine.run(_batch(1))


def test_a_plan_with_other_tensors_is_refused(fake: Bench) -> None:
    with pytest.raises(InputError, match="tensors do not match the model's"):
        fake.load(output_dtype="float16")


def test_a_plan_with_smaller_batches_is_refused(fake: Bench) -> None:
    with pytest.raises(InputError, match="smaller batches") as caught:
        fake.load(max_batch=9)
    assert "at most 8" in str(caught.value)


def test_a_batch_below_the_profile_is_refused_with_its_bounds(fake: Bench) -> None:
    fake.trt.profile = (2, 4, 8)
    with fake.load() as engine:
        with pytest.raises(InputError, match=r"2\.\.8"):
            engine.run(_batch(1))
        (out,) = engine.run(_batch(2))
        np.testing.assert_array_equal(out, _batch(2))


def test_tensorrts_own_words_are_passed_on(fake: Bench) -> None:
    fake.trt.refuse = True
    with pytest.raises(UnavailableError, match="The engine cannot run on this GPU"):
        fake.load()
    fake.trt.refuse, fake.trt.no_context = False, True
    with pytest.raises(UnavailableError, match="execution context"):
        fake.load()


def test_a_plan_for_another_gpu_is_refused_before_it_is_loaded(fake: Bench) -> None:
    fake.cudart.attributes["minor"] = 9
    with pytest.raises(UnavailableError, match="another GPU") as caught:
        fake.load()
    assert "8.9" in str(caught.value)
    assert "8.6" in str(caught.value)
    assert fake.trt.deserialized == 0


def test_rtx_captures_by_itself_and_keeps_its_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _bench(tmp_path, monkeypatch, FakeCudart(), rtx=True)
    with bench.load() as engine:
        for seed in range(3):
            (out,) = engine.run(_batch(2, seed))
            np.testing.assert_array_equal(out, _batch(2, seed))
        assert engine.describe().details["cuda_graph"] == "TensorRT-RTX's own"
        assert bench.cudart.calls["cudaStreamBeginCapture"] == 0
    (kept,) = (tmp_path / "cache").rglob("*.kernels")
    assert kept.read_bytes() == b"kernels"
    with bench.load():
        assert bench.trt.caches[-1].read == b"kernels"
    monkeypatch.setattr(FakeCudart, "_cudaDriverGetVersion", lambda _self: (13010,))
    with bench.load():
        assert bench.trt.caches[-1].read is None, "kernels of another driver"


def test_why_it_cannot_run_here() -> None:
    for cls in (TensorRtEngine, TensorRtRtxEngine):
        reason = cls.unavailable_reason()
        assert reason is None or "install" in str(reason.fix)


def test_no_driver_is_a_reason_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    cudart = FakeCudart()
    cudart.fail["cudaGetDeviceCount"] = [Status.cudaErrorInsufficientDriver]
    monkeypatch.setattr(_cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(FakeCudart, "_cudaDriverGetVersion", lambda _self: (0,))
    assert "no CUDA driver or GPU found (cudaErrorInsufficientDriver)" in str(_cuda.unavailable_reason())


def test_a_driver_older_than_the_bindings_is_said_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    cudart = FakeCudart()
    cudart.fail["cudaGetDeviceCount"] = [Status.cudaErrorInsufficientDriver] * 2
    monkeypatch.setattr(_cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(FakeCudart, "_cudaDriverGetVersion", lambda _self: (12080,))
    monkeypatch.setattr(FakeCudart, "_cudaRuntimeGetVersion", lambda _self: (13000,))
    reason = _cuda.unavailable_reason()
    assert reason is not None
    assert reason.what == "the driver is too old for these bindings: it supports CUDA 12.8, they require 13.0"
    assert 'pip install "cuda-bindings~=12.8"' in str(reason.fix)
    with pytest.raises(CudaError, match="too old for these bindings"):
        _cuda.call("cudaGetDeviceCount")


def test_the_profiler_times_layers_without_graphs(bench: Bench) -> None:
    bench.trt.layers = {"/stem/Conv + PWN(/act/Relu)": 0.25, "Reformatting CopyNode": 0.125}
    bench.trt.described = json.dumps(
        {"Layers": [{"Name": "/stem/Conv + PWN(/act/Relu)", "LayerType": "CaskConvolution",
                     "Metadata": "[ONNX Layer: /stem/Conv]\x1e[ONNX Layer: /act/Relu]"}, "only a name"]}
    )  # fmt: skip
    with bench.load() as engine:
        artifact, batch = engine.artifact, np.ones((2, *SHAPE), np.float32)
    of_loading = bench.cudart.calls["cudaGraphLaunch"] if bench.is_fake else 0
    times = type(engine).layer_times(artifact, batch, runs=3)
    assert [(t.name, t.kind, t.ms) for t in times] == [
        ("/stem/Conv + PWN(/act/Relu)", "CaskConvolution", 0.25),
        ("Reformatting CopyNode", "", 0.125),
    ]
    assert times[0].covers[1:] == ("/stem/Conv", "/act/Relu")
    if bench.is_fake:
        assert bench.cudart.calls["cudaGraphLaunch"] == 2 * of_loading
    bench.trt.described = '{"Layers": ["/stem/Conv + PWN(/act/Relu)"]}'
    assert [t.kind for t in type(engine).layer_times(artifact, batch, runs=3)] == ["", ""]
