"""Benchmarks of a small bundle: scenarios, both drivers, answers checked, what to use, trtexec's times."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import make_bundle, make_defect_bundle, make_generator_bundle
from edgeproof_runtime.bench import (
    BenchOptions,
    Configuration,
    Measured,
    Wanted,
    bench_bundle,
    configurations,
    pareto,
    recommend,
)
from edgeproof_runtime.bench.trtexec import read_trtexec
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import EngineInfo, available, catalog
from edgeproof_runtime.engines.opencv import OpenCvEngine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.measure import Block, Plan, Timing, WarmUp
from edgeproof_runtime.measure import loadgen as loadgen_module
from edgeproof_runtime.measure.loadgen import LoadGen
from edgeproof_runtime.measure.scenarios import Load, built_in

QUICK = Plan(turns=4, block_ms=10, untimed_ms=1, warm_up_s=0.1)
NEEDS_LOADGEN = pytest.mark.skipif(
    loadgen_module.unavailable_reason() is not None, reason=f"no LoadGen: {loadgen_module.unavailable_reason()}"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bench") / "tiny.edge")


class System:
    """Takes 2 ms for whatever it is given, and counts."""

    def __init__(self, streams: int = 1, batch: int = 1) -> None:
        self.streams, self.batch = streams, batch
        self.counts: list[int] = []

    def infer(self, stream: int, count: int) -> None:
        assert 0 <= stream < self.streams
        self.counts.append(count)
        time.sleep(0.002)


SCENARIOS = [
    Load("single-stream"),
    Load("multi-stream", samples_per_query=6),
    Load("offline"),
    Load("server", target_qps=150.0),
]


@pytest.mark.parametrize("load", SCENARIOS, ids=lambda load: load.scenario)
@pytest.mark.parametrize(("streams", "batch"), [(1, 1), (2, 1), (2, 4)])
def test_scenarios_answer_every_sample_once(load: Load, streams: int, batch: int) -> None:
    system = System(streams, batch)
    plan = Plan(block_ms=60, untimed_runs=0, untimed_ms=0, min_runs=3)
    block = built_in(system, load, plan)()
    assert (block.values_ms >= 1.9).all()
    assert block.elapsed_s > 0
    assert max(system.counts) <= batch
    # A few calls more than the samples: what finds out how long one takes.
    assert block.samples <= sum(system.counts) <= block.samples + 2 * streams * batch
    if load.scenario == "multi-stream":
        assert block.samples == 6 * block.values_ms.size


def test_a_server_query_is_late_from_the_moment_it_was_due() -> None:
    block = built_in(System(), Load("server", target_qps=2000.0), Plan(block_ms=50, untimed_runs=0))()
    # Four times as many queries as can be answered: each waits longer than the one before.
    assert block.values_ms[-1] > 5 * block.values_ms[0]


@pytest.mark.parametrize("load", SCENARIOS, ids=lambda load: load.scenario)
def test_what_an_engine_raises_comes_out(load: Load) -> None:
    class Broken(System):
        def infer(self, stream: int, count: int) -> None:
            if len(self.counts) > 5:
                raise InputError("the engine broke")
            super().infer(stream, count)

    for streams in (1, 2):
        with pytest.raises(InputError, match="broke"):
            built_in(Broken(streams), load, Plan(block_ms=100, untimed_runs=0))()


@NEEDS_LOADGEN
@pytest.mark.parametrize("load", SCENARIOS, ids=lambda load: load.scenario)
@pytest.mark.serial
def test_loadgen_drives_the_same_systems(load: Load) -> None:
    system = System(1 if load.scenario == "single-stream" else 2)
    driver = LoadGen(system, load, Plan(block_ms=100, untimed_runs=1))
    block = driver.block()
    assert (block.values_ms >= 1.9).all()
    (taken,) = driver.slices
    assert taken.queries == block.values_ms.size
    assert set(taken.theirs_ms) == {"p50", "p90", "p99"}
    if load.scenario == "single-stream":
        assert taken.ours_ms["p50"] == pytest.approx(taken.theirs_ms["p50"], rel=0.25)
    else:  # LoadGen's begins when the query was due, which on a busy machine is earlier than when it was asked
        assert taken.ours_ms["p50"] <= 1.25 * taken.theirs_ms["p50"]


@NEEDS_LOADGEN
def test_what_an_engine_raises_comes_out_of_loadgen() -> None:
    class Broken(System):
        def infer(self, stream: int, count: int) -> None:
            if len(self.counts) > 3:
                raise InputError("the engine broke")
            super().infer(stream, count)

    for load in SCENARIOS:
        with pytest.raises(InputError, match="broke"):
            LoadGen(Broken(), load, Plan(block_ms=50, untimed_runs=1)).block()


@pytest.mark.parametrize("driver", ["builtin", pytest.param("loadgen", marks=NEEDS_LOADGEN)])
@pytest.mark.slow
def test_configurations_side_by_side(bundle: Bundle, driver: str) -> None:
    chosen = configurations(["opencv", "onnxruntime"], ["fp32"])
    record, gates, _ = bench_bundle(bundle, BenchOptions(configurations=chosen, driver=driver, plan=QUICK))
    assert all(gate.passed for gate in gates)
    assert {gate.name for gate in gates} == {
        f"{kind} {one.name}" for one in chosen for kind in ("golden cases", "answers")
    }
    document = json.loads(json.dumps(record.to_json(), allow_nan=False))
    first = document["configurations"][0]
    assert first["name"] == "opencv fp32"
    yardsticks = {one["engine"]: one for one in document["yardsticks"]}
    assert list(yardsticks) == [one.name for one in catalog.entries() if one.reference and one.name in available()][:2]
    assert yardsticks["onnxruntime"]["version"] == document["configurations"][1]["engine_version"]
    assert all(len(one["blocks"]["median_ms"]) == 4 for one in (first, *yardsticks.values()))
    assert set(first["stages_ms"]) == {"preprocess", "inference", "postprocess", "end_to_end"}
    assert first["latency_ms"]["p50"] is not None
    assert document["null"]["latency_ms"]["p50"] < first["latency_ms"]["p50"]
    assert document["power"]["available"] or document["power"]["reason"]
    if driver == "loadgen":
        assert first["loadgen"]["slices"] == 4


@pytest.mark.parametrize("make", [make_defect_bundle, make_generator_bundle])
def test_tasks_that_do_not_classify(make: Callable[[Path], Bundle], tmp_path: Path) -> None:
    opened = make(tmp_path / "other.edge")
    options = BenchOptions(configurations=configurations(["onnxruntime"], ["fp32"]), plan=QUICK)
    record, gates, _ = bench_bundle(opened, options)
    assert all(gate.passed for gate in gates)
    assert bool(record.measured[0].stages) == (make is make_defect_bundle), "what makes pictures is given no frames"
    json.dumps(record.to_json(), allow_nan=False)


@pytest.mark.slow
def test_batches_and_streams(bundle: Bundle) -> None:
    chosen = configurations(["onnxruntime"], ["fp32"], batches=(1, 3), threads=(1,), streams=(1, 2))
    record, gates, _ = bench_bundle(bundle, BenchOptions(configurations=chosen, plan=QUICK))
    assert all(gate.passed for gate in gates)
    names = [one.name for one in record.measured]
    assert names[-1] == "onnxruntime fp32, batch 3, 1 thread, 2 streams"
    samples = [sum(block.samples for block in one.timing.blocks) for one in record.measured]
    queries = [one.timing.values_ms.size for one in record.measured]
    assert [s // q for s, q in zip(samples, queries, strict=True)] == [1, 1, 3, 3]


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that answers like PyTorch while nobody hurries it, and like nobody after fifty runs."""

    class Deceiver(OpenCvEngine):
        runs = 0

        def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
            self.runs += 1
            outputs = super()._run(batch)
            return outputs if self.runs < 50 else tuple(np.ascontiguousarray(o[:, ::-1]) for o in outputs)

    monkeypatch.setattr("edgeproof_runtime.engines.opencv.OpenCvEngine", Deceiver)


@pytest.mark.usefixtures("wrong")
def test_an_engine_that_is_wrong_only_while_timed_is_called_wrong(bundle: Bundle) -> None:
    chosen = configurations(["opencv", "onnxruntime"], ["fp32"])
    options = BenchOptions(configurations=chosen, plan=QUICK, wanted=Wanted(fps=1.0))
    record, gates, _ = bench_bundle(bundle, options)
    verdicts = {gate.name: gate.passed for gate in gates}
    assert verdicts["golden cases opencv fp32"]
    assert not verdicts["answers opencv fp32"]
    assert verdicts["answers onnxruntime fp32"]
    assert record.front == ["onnxruntime fp32"]
    assert record.answer is not None
    assert record.answer["fulfilling"] == ["onnxruntime fp32"]


def test_what_cannot_run_is_an_error_or_left_out_with_its_reason(bundle: Bundle) -> None:
    chosen = configurations(["onnxruntime"], ["fp32"], batches=(1, 999))
    with pytest.raises(InputError, match="outside"):
        bench_bundle(bundle, BenchOptions(configurations=chosen, plan=QUICK))
    record, _, _ = bench_bundle(bundle, BenchOptions(configurations=chosen, plan=QUICK, required=False))
    assert list(record.left_out) == ["onnxruntime fp32, batch 999"]


@pytest.mark.serial
def test_stress_beside_it_is_recognised(bundle: Bundle) -> None:
    stress = shutil.which("stress-ng")
    if stress is None:
        pytest.skip("stress-ng is not installed")
    chosen = configurations(["onnxruntime"], ["fp32"], threads=(1,))
    plan = Plan(turns=10, block_ms=50, untimed_ms=1, warm_up_s=0.1)
    load = subprocess.Popen(
        [stress, "--cpu", "0", "--timeout", "60s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        _, _, warnings = bench_bundle(bundle, BenchOptions(configurations=chosen, plan=plan))
    finally:
        load.terminate()
        load.wait()
    assert any("other processes used" in text for text in warnings)


def measured(
    name: str, ms: float, fps: float, *, precision: str = "fp32", batch: int = 1, top1: float | None = None
) -> Measured:
    block = Block(np.full(400, ms), round(400 * fps), 400.0, 1.0)
    accuracy = None if top1 is None else {"top1": top1, "ci95": [top1, top1], "n": 1}
    return Measured(
        configuration=Configuration(name, precision, batch),
        info=EngineInfo(name, "1", "CPU", precision),
        timing=Timing(name, (block,), WarmUp(1, 0.0, True)),
        accuracy=accuracy,
    )


def test_front_and_answer() -> None:
    quick = measured("quick", 5, 200, precision="int8", top1=0.90)
    exact = measured("exact", 10, 100, top1=0.92)
    beaten = measured("beaten", 11, 99, top1=0.91)
    full = measured("full", 30, 400, batch=8, top1=0.92)
    everything = [beaten, quick, exact, full]
    assert pareto(everything) == ["quick int8", "exact fp32", "full fp32, batch 8"]
    gate, answer = recommend(everything, Wanted(30, 20))
    assert gate.passed
    assert answer["use"] == "exact fp32", "both fulfil it, and it is the more accurate one"
    # At 30 frames a second the first of a batch of 8 waits 233 ms for the last.
    _, answer = recommend([full], Wanted(30, 20))
    assert answer["latency_ms"] == pytest.approx(30 + 7 / 30 * 1e3)
    gate, answer = recommend(everything, Wanted(150, 20))
    assert answer["use"] == "quick int8"
    gate, answer = recommend(everything, Wanted(1000, 1))
    assert not gate.passed
    assert not answer["fulfilled"]


def trace(count: int = 40, *, copies: bool = True) -> list[dict[str, float]]:
    """Queries as trtexec 10 and 11 export them, 1 ms apart."""
    h2d, d2h = (0.2, 0.05) if copies else (0.0, 0.0)
    found = []
    for i in range(count):
        at = float(i)
        found.append(
            {
                "startEnqMs": at, "endEnqMs": at + 0.03, "startH2dMs": at, "endH2dMs": at + h2d,
                "startComputeMs": at + h2d, "endComputeMs": at + h2d + 0.7,
                "startD2hMs": at + h2d + 0.7, "endD2hMs": at + h2d + 0.7 + d2h,
                "h2dMs": h2d, "computeMs": 0.7, "d2hMs": d2h, "latencyMs": h2d + 0.7 + d2h,
            }
        )  # fmt: skip
    return found


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_trtexecs_times(tmp_path: Path) -> None:
    record, notes = read_trtexec(written(tmp_path / "times.json", trace()))
    (one,) = record.measured
    assert one.timing.summary.p50_ms == pytest.approx(0.95)
    assert one.device_ms is not None
    assert {name: summary.p50_ms for name, summary in one.device_ms.items()} == pytest.approx(
        {"enqueue": 0.03, "h2d": 0.2, "compute": 0.7, "d2h": 0.05, "latency": 0.95}
    )
    assert one.throughput_fps == pytest.approx(1000, rel=0.06)
    assert not any("Copies" in note for note in notes)
    json.dumps(record.to_json(), allow_nan=False)


def test_trtexecs_times_without_copies_are_said_to_be(tmp_path: Path) -> None:
    _, notes = read_trtexec(written(tmp_path / "times.json", trace(copies=False)))
    assert any("11.0" in note and "exclude copies" in note for note in notes)


def test_trtexecs_old_names(tmp_path: Path) -> None:
    old = [{"startInMs": 0, "endInMs": 1, "startComputeMs": 1, "endComputeMs": 3, "startOutMs": 3, "endOutMs": 4,
            "inMs": 1, "computeMs": 2, "outMs": 1, "latencyMs": 4, "endToEndMs": 4}]  # fmt: skip
    record, _ = read_trtexec(written(tmp_path / "times.json", old))
    assert record.measured[0].device_ms is not None
    assert "enqueue" not in record.measured[0].device_ms


@pytest.mark.parametrize(
    "content",
    [
        "", "{}", "[]", "[3]", '[{"timeMs": 3}]', [{**trace(1)[0], "computeMs": "fast"}],
        [{**trace(1)[0], "computeMs": -1}], [{**trace(1)[0], "computeMs": 10**400}],
        '[{"latencyMs": NaN, "h2dMs": 0, "computeMs": 0, "d2hMs": 0}]',
    ],
)  # fmt: skip
def test_what_trtexec_did_not_write_is_one_message(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError):
        read_trtexec(written(tmp_path / "times.json", content))
    with pytest.raises(InputError):
        read_trtexec(tmp_path / "absent.json")
