"""Precision within a budget: who calibrates, what is restored, what an interruption leaves, and real weights."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundles import CONTRACT, LABELS, make_bundle, tiny_onnx
from edgeproof_export.compile import compile_bundle, keep
from edgeproof_export.compile.lint import lint_model
from edgeproof_export.onnx_files.nodes import name_nodes
from edgeproof_export.optimize import OptimizeOptions, judge, optimize_bundle, recipes, tails
from edgeproof_export.optimize.bench import Bench
from edgeproof_export.optimize.fp16 import find_sensitive, rounded
from edgeproof_export.optimize.graph import quantized_groups, restore
from edgeproof_export.optimize.inputs import Inputs
from edgeproof_export.optimize.lanes import in_order
from edgeproof_export.optimize.ranking import rank_layers
from edgeproof_export.optimize.recipes import RECIPES, quantize
from edgeproof_export.optimize.sequential import surely_above
from edgeproof_export.optimize.split import Split, make_split
from edgeproof_export.optimize.work import Work
from edgeproof_export.precision import to_fp16
from edgeproof_export.tasks import budget_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.measure import Plan
from saturating import SaturatingSession

PLAIN = RECIPES["tensorrt"][0]  # ONNX Runtime's: NNCF takes seconds to import


def quiet(*_: object) -> None:
    pass


def pictures(count: int, seed: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)


def labelled(count: int, targets: NDArray[np.int64] | None = None, seed: int = 3) -> LabelledData:
    truth = np.arange(count) % len(LABELS) if targets is None else targets
    return LabelledData.from_arrays(pictures(count, seed), truth, classes=len(LABELS), name="x")


def answers(model: onnx.ModelProto, batch: NDArray[np.generic]) -> NDArray[np.float32]:
    """Run a graph as written: the int8 kernels that CPUs without VNNI make of it saturate."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {model.graph.input[0].name: batch})[0]
    return found


def fragile_onnx() -> onnx.ModelProto:
    """`tiny_onnx` with one channel a thousand times as large, which the last layer undoes: int8 loses the others."""
    model = name_nodes(tiny_onnx())
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, axis, factor in (("conv", 0, 3_000.0), ("fc", 0, 1 / 3_000.0)):
        value = numpy_helper.to_array(held[name]).copy()
        value.swapaxes(0, axis)[3] *= factor
        held[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return model


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judge, "_PLAN", Plan(turns=2, duration_s=0.1, block_ms=1.0, min_runs=1, warm_up_s=0.01))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipes.RECIPES, "cpu", (PLAIN,))
    monkeypatch.setitem(recipes.RECIPES, "tensorrt", (PLAIN,))


@pytest.fixture
def calibration() -> Inputs:
    data = labelled(12)
    return Inputs(data.images, range(12), CONTRACT, data.targets, quiet)


def as_fp32_answers(bundle: Bundle, count: int, seed: int = 3) -> LabelledData:
    """Pictures whose truth is what fp32 says, so that every change is a loss."""
    data = labelled(count, seed=seed)
    read = Inputs(data.images, range(count), bundle.contract, None, quiet)
    scores = np.concatenate([answers(onnx.load(bundle.artifact().path), batch) for batch in read.batches(32)])
    return labelled(count, scores.argmax(axis=1).astype(np.int64), seed)


@settings(max_examples=15)
@given(st.lists(st.integers(20, 60), min_size=2, max_size=5), st.integers(50, 90))
def test_every_class_gives_its_share_and_no_picture_is_in_both(sizes: list[int], wanted: int) -> None:
    targets = np.repeat(np.arange(len(sizes)), sizes)
    data = labelled(len(targets), targets)
    split = make_split(data, None, CONTRACT, calibration_pictures=wanted, force=True, advance=quiet)
    assert not set(split.calibration.sha256) & set(split.validation.sha256)
    assert len(split.calibration) + len(split.validation) == len(data)
    assert len(split.calibration) == min(wanted, len(data) // 2)
    for index, size in enumerate(sizes):
        share = sum(targets[p] == index for p in split.calibration.positions) / len(split.calibration)
        assert share == pytest.approx(size / len(data), abs=2 / len(split.calibration))


def test_a_copy_of_a_calibration_picture_does_not_validate() -> None:
    some = pictures(120)
    some[1::2] = some[::2]
    data = LabelledData.from_arrays(some, np.arange(120) // 2 % 5, classes=5, name="x")
    split = make_split(data, None, CONTRACT, calibration_pictures=50, force=False, advance=quiet)
    assert "copies of calibration images" in split.notes[0]
    assert len(split.to_json()["calibration"]["sha256"]) == 50


def test_calibrating_on_validation_pictures_is_refused() -> None:
    judged, fitted = labelled(80, seed=1), pictures(60, seed=2)
    fitted[7] = pictures(80, seed=1)[3]
    other = LabelledData.from_arrays(fitted, np.arange(60) % 5, classes=5, name="train")
    with pytest.raises(InputError, match="shares images with --data"):
        make_split(judged, other, CONTRACT, calibration_pictures=60, force=False, advance=quiet)


def test_few_calibration_pictures_are_refused_unless_forced() -> None:
    with pytest.raises(InputError, match="too few"):
        make_split(labelled(80), None, CONTRACT, calibration_pictures=300, force=False, advance=quiet)
    split = make_split(labelled(80), None, CONTRACT, calibration_pictures=300, force=True, advance=quiet)
    assert len(split.calibration) == 40


def test_restoring_every_layer_gives_fp32_back(calibration: Inputs) -> None:
    source = name_nodes(tiny_onnx())
    quantized = quantize(source, PLAIN, calibration, quiet)
    batch = next(calibration.batches(12))
    groups = quantized_groups(quantized)
    assert [group.operator for group in groups] == ["Conv", "Gemm"]
    assert not np.array_equal(answers(quantized, batch), answers(source, batch))
    whole = restore(quantized, source, {node for group in groups for node in group.nodes})
    onnx.checker.check_model(whole)
    np.testing.assert_allclose(answers(whole, batch), answers(source, batch), rtol=1e-5)
    one = restore(quantized, source, groups[1].nodes)
    onnx.checker.check_model(one)
    assert 0 < count(one) < count(quantized)
    with pytest.raises(InputError, match="not found in the fp32 model"):
        restore(quantized, onnx.ModelProto(), groups[0].nodes)


def count(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in model.graph.node)


def zero_points(model: onnx.ModelProto) -> Iterator[NDArray[np.generic]]:
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield numpy_helper.to_array(held[node.input[2]])


@pytest.mark.parametrize("recipe", RECIPES["tensorrt"], ids=lambda recipe: recipe.name)
@pytest.mark.slow
def test_what_tensorrt_gets_is_symmetric_and_signed(recipe: recipes.Recipe, calibration: Inputs) -> None:
    if recipe.library == "nncf":
        pytest.importorskip("nncf")
    quantized = quantize(name_nodes(tiny_onnx()), recipe, calibration, quiet)
    zeros = list(zero_points(quantized))
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    source = answers(tiny_onnx(), next(calibration.batches(12)))
    other = answers(quantized, next(calibration.batches(12)))
    assert np.abs(source - other).max() < 0.2 * np.abs(source).max()


def test_nncf_never_reports_to_its_makers(calibration: Inputs) -> None:
    pytest.importorskip("nncf")
    quantize(name_nodes(tiny_onnx()), RECIPES["cpu"][0], calibration, quiet)
    from nncf.telemetry.wrapper import NNCFTelemetryStub, telemetry

    assert isinstance(telemetry, NNCFTelemetryStub)


def overflowing_onnx() -> onnx.ModelProto:
    """`tiny_onnx` with its features raised beyond fp16 and lowered again."""
    model = name_nodes(tiny_onnx())
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.input[0] = "lowered"
    nodes = []
    for node in model.graph.node:
        if node is relu or node.name == relu.name:
            nodes.append(helper.make_node("Mul", ["features", "up"], ["raised"], "raise"))
            nodes.append(helper.make_node("Mul", ["raised", "down"], ["lowered"], "lower"))
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.float32(v), n) for n, v in (("up", 6e4), ("down", 1 / 6e4))
    )
    return model


def test_layers_that_overflow_in_fp16_are_named_and_stay_fp32(calibration: Inputs, tmp_path: Path) -> None:
    assert find_sensitive(name_nodes(tiny_onnx()), calibration, quiet) == ()
    model = overflowing_onnx()
    kept = find_sensitive(model, calibration, quiet)
    assert [one.layer for one in kept] == ["raise", "lower"]
    assert all("overflows" in one.reason and one.largest > 65504 for one in kept)
    onnx.save(model, tmp_path / "fp32.onnx")
    to_fp16(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx", [one.layer for one in kept])
    half = onnx.load(tmp_path / "fp16.onnx")
    assert any(tensor.data_type == TensorProto.FLOAT16 for tensor in half.graph.initializer)
    batch = next(calibration.batches(12))
    right = answers(model, batch)
    simulated = rounded(model, ["raise", "lower"])
    for other in (half, simulated):
        np.testing.assert_allclose(answers(other, batch), right, atol=1e-2 * np.abs(right).max())
    assert not np.isfinite(answers(rounded(model, []), batch)).all()


def test_layers_go_back_until_the_budget_holds(tmp_path: Path, plain: None) -> None:
    bundle = make_bundle(tmp_path / "fragile.edge", model=fragile_onnx())
    data = as_fp32_answers(bundle, 160)
    found = optimize_bundle(bundle, data, OptimizeOptions(precisions=("int8",), max_drop=0.02, calibration_pictures=60))
    symmetric = found.found["int8-tensorrt"]
    assert symmetric.points[0].paired.drop > 0.02
    assert symmetric.ranking[0].cost > symmetric.ranking[-1].cost
    assert symmetric.points[-1].chosen
    assert symmetric.points[-1].paired.drop <= 0.02
    assert 0 < len(symmetric.points[-1].restored) < len(symmetric.ranking)
    held = Bundle.open(bundle.path)
    assert held.artifact("int8", int8_shape="tensorrt").path == held.locate("model.int8-tensorrt.onnx")
    assert all(gate.passed for gate in found.gates())


def test_int8_for_tensorrt_is_judged_by_its_arithmetic(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Int8 kernels of this CPU that saturate must not decide about a graph that runs elsewhere."""
    bundle = make_bundle(tmp_path / "tiny.edge")
    data = as_fp32_answers(bundle, 120)
    monkeypatch.setattr(ort, "InferenceSession", SaturatingSession)
    options = OptimizeOptions(precisions=("int8",), max_drop=0.3, calibration_pictures=60, engine="onnxruntime")
    done = optimize_bundle(bundle, data, options)
    assert done.found["int8"].points[0].paired.drop > 0.3
    assert [(point.restored, point.chosen) for point in done.found["int8-tensorrt"].points] == [((), True)]


def test_an_engine_that_misreads_a_graph_leads_to_the_next_recipe(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO 2026.4 does with ConvNeXt in symmetric int8: no layer in fp32 mends that."""
    monkeypatch.setitem(recipes.RECIPES, "cpu", (PLAIN, replace(PLAIN, name="other")))
    bundle = make_bundle(tmp_path / "tiny.edge")
    data = as_fp32_answers(bundle, 120)
    monkeypatch.setattr(ort, "InferenceSession", SaturatingSession)
    options = OptimizeOptions(precisions=("int8",), max_drop=0.3, calibration_pictures=60, engine="onnxruntime")
    found = optimize_bundle(bundle, data, options).found["int8"]
    assert [point.restored for point in found.points if point.recipe == PLAIN.name] == [()]
    assert "other" in {point.recipe for point in found.points}
    assert any("otherwise than the graph states" in note for note in found.notes)


def test_answers_by_arithmetic_and_of_fused_kernels_are_remembered_apart(tmp_path: Path) -> None:
    fused = judge.Judge(make_bundle(tmp_path / "tiny.edge"), "onnxruntime", None, tmp_path)
    assert fused.by_arithmetic().key != fused.key


@pytest.mark.slow
def test_a_budget_of_0_is_fp32_and_one_of_1_is_plain_int8(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The int8 engine is one to be removed again: its gate fails on a CPU without VNNI, whose sums saturate."""
    monkeypatch.setattr(keep, "replay", lambda *_: "not replayed in this test")
    bundle = make_bundle(tmp_path / "fragile.edge", model=fragile_onnx())
    data = as_fp32_answers(bundle, 120)
    options = OptimizeOptions(max_drop=1.0, calibration_pictures=60)
    done = optimize_bundle(bundle, data, options)
    assert Bundle.open(bundle.path).precisions == ("fp32", "fp16", "int8")
    assert done.found["int8"].points[0].paired.drop > 0.02
    assert [len(one.points) for one in done.found.values()] == [1, 1, 1]
    compiled = compile_bundle(compile_bundle(done.bundle, "openvino", "int8").bundle, "openvino").bundle
    again = optimize_bundle(compiled, data, replace(options, max_drop=0.0))
    assert "A budget of 0" in again.notes()[0]
    assert Bundle.open(bundle.path).models == {"fp32": "model.onnx"}
    assert not list(bundle.path.rglob("*.model.int8.onnx"))
    left = Bundle.open(bundle.path).engines()
    assert [engine.precision for engine in left] == ["fp32"]
    assert [path.name for path in bundle.path.rglob("*.engine.json")] == [bundle.locate(left[0].info).name]


@pytest.mark.slow
def test_an_interruption_leaves_the_bundle_and_the_next_run_resumes(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    data = as_fp32_answers(bundle, 120)
    before = digests(bundle.path)
    options = OptimizeOptions(max_drop=0.5, calibration_pictures=60, work=tmp_path / "work")

    def stop(phase: str, _done: int, _total: int) -> None:
        if phase == "int8: validation":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize_bundle(bundle, data, options, tell=stop)
    assert digests(bundle.path) == before
    assert list((tmp_path / "work").glob("*.onnx"))

    def again(*_: object) -> onnx.ModelProto:
        raise AssertionError("quantised a second time")

    monkeypatch.setitem(recipes.RECIPES, "cpu", (replace(PLAIN, run=again),))
    monkeypatch.setitem(recipes.RECIPES, "tensorrt", (replace(PLAIN, run=again),))
    optimize_bundle(bundle, data, options)
    assert Bundle.open(bundle.path).precisions == ("fp32", "fp16", "int8")
    assert list((tmp_path / "work").glob("*.onnx")), "the folder that was named is kept"


@pytest.mark.slow
def test_the_cache_holds_nothing_of_what_is_done_and_nothing_for_ever(tmp_path: Path, plain: None) -> None:
    pieces = tmp_path / "cache/optimize"
    pieces.mkdir(parents=True)
    for name, age_days in (("forgotten.onnx", 31), ("interrupted.onnx", 3)):
        (pieces / name).write_bytes(b"of another bundle")
        then_s = time.time() - 86400 * age_days
        os.utime(pieces / name, (then_s, then_s))
    bundle = make_bundle(tmp_path / "tiny.edge")
    optimize_bundle(bundle, as_fp32_answers(bundle, 120), OptimizeOptions(max_drop=0.5, calibration_pictures=60))
    assert [path.name for path in pieces.iterdir()] == ["interrupted.onnx"]


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_a_model_that_cannot_be_quantised_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> onnx.ModelProto:
        raise RuntimeError("unsupported\nby the library")

    monkeypatch.setitem(recipes.RECIPES, "cpu", (replace(PLAIN, run=fail),))
    bundle = make_bundle(tmp_path / "tiny.edge")
    options = OptimizeOptions(precisions=("int8",), calibration_pictures=60)
    with pytest.raises(InputError, match="no recipe can quantise this model") as caught:
        optimize_bundle(bundle, labelled(120), options)
    assert "RuntimeError: unsupported" in str(caught.value)


@pytest.mark.slow
def test_resnet20_in_int8(cifar10_resnet20: Path, tmp_path: Path, data_dir: Path) -> None:
    """Real weights on some of CIFAR-10: both shapes of int8, by the recipes that people get."""
    pytest.importorskip("nncf")
    pytest.importorskip("openvino")
    bundle = Bundle.open(shutil.copytree(cifar10_resnet20, tmp_path / "resnet20.edge"))
    arrays = np.load(data_dir / "cifar10/cifar10.npz")
    data, other = (
        LabelledData.from_arrays(arrays[f"x_{part}"][:n], arrays[f"y_{part}"][:n], classes=10, name=part)
        for part, n in (("test", 500), ("train", 60))
    )
    done = optimize_bundle(bundle, data, OptimizeOptions(max_drop=0.05), calibration=other)
    assert set(done.found) == {"fp16", "int8", "int8-tensorrt"}
    assert done.kept == ()
    for one in done.found.values():
        assert one.points[-1].chosen, one.notes
        assert one.points[-1].paired.changed <= 25
    artifact = done.bundle.artifact("int8", int8_shape="tensorrt")
    found = lint_model(artifact.path, precision="int8", target="tensorrt-rtx")
    assert [finding for finding in found if finding.severity == "error"] == []
    additions = [node for node in onnx.load(artifact.path).graph.node if node.op_type == "Add"]
    dequantized = {n.output[0] for n in onnx.load(artifact.path).graph.node if n.op_type == "DequantizeLinear"}
    assert all(dequantized.issuperset(node.input) for node in additions)


LATE = (np.arange(3_000) >= 2_900).astype(float)


@pytest.mark.parametrize(("lost", "bound", "total", "above"), [
    (np.tile([1.0, 0.0, 0.0, 0.0], 50), 0.01, 1_000, True),  # a quarter lost
    (np.tile([1.0, -1.0, 0.0, 0.0], 50), 0.01, 1_000, False),  # as many gained as lost
    (np.zeros(200), 0.01, 1_000, False),
    (LATE, 0.01, 3_000, True),
    ([], 0.01, 1_000, False),
    ([-1.0] * 10, -1.0, 10, False),
])  # fmt: skip
def test_validation_ends_early_only_where_the_budget_is_surely_missed(
    lost: Any, bound: float, total: int, above: bool
) -> None:
    assert surely_above(lost, bound, total) == above


def test_looking_after_every_image_is_wrong_at_most_as_often_as_it_says() -> None:
    """A drop that is exactly the budget: of 300 orders, at most about alpha may be called above it."""
    rng = np.random.default_rng(0)
    images = np.concatenate([np.ones(20), -np.ones(10), np.zeros(170)])
    wrong = sum(surely_above(rng.permutation(images), images.mean(), len(images), alpha=0.1) for _ in range(300))
    assert wrong / 300 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 300)


def wide_onnx(layers: int = 12, fragile: int = 7) -> onnx.ModelProto:
    """A chain of 1x1 convolutions, one of which has channels of very different sizes."""
    rng = np.random.default_rng(2)
    model = name_nodes(tiny_onnx())
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    channels = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "conv")).shape[0]
    nodes, value = [], "features"
    for number in range(layers):
        weight = np.eye(channels) + rng.normal(0, 0.05, (channels, channels))
        if number in (fragile, fragile + 1):
            weight[0 if number == fragile else slice(None), slice(None) if number == fragile else 0] *= (
                300.0 if number == fragile else 1 / 300.0
            )
        model.graph.initializer.append(
            numpy_helper.from_array(weight.astype(np.float32)[:, :, None, None], f"chain{number}")
        )
        nodes.append(helper.make_node("Conv", [value, f"chain{number}"], [f"value{number}"], f"chain_{number}"))
        value = f"value{number}"
    relu.input[0] = value
    at = list(model.graph.node).index(relu)
    every = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*every[:at], *nodes, *every[at:]])
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("memory", [2**29, 12 * 60_000, 0], ids=["all tails", "the last ones", "no tail"])
def test_tails_of_a_graph_score_as_the_whole_of_it(
    tmp_path: Path, calibration: Inputs, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    source = wide_onnx()
    relu = next(node for node in source.graph.node if node.op_type == "Relu")
    source.graph.node.insert(
        list(source.graph.node).index(relu), helper.make_node("Add", ["value2", relu.input[0]], ["joined"], "join")
    )
    relu.input[0] = "joined"  # a value that enters several tails from far away
    quantized = quantize(source, PLAIN, calibration, quiet)
    monkeypatch.setattr(tails, "_KEPT_BYTES", memory)
    bundle = make_bundle(tmp_path / "wide.edge", model=source)
    stated = judge.Judge(bundle, "onnxruntime", None, tmp_path).by_arithmetic()
    groups = quantized_groups(quantized)
    variants = [(restore(quantized, source, group.nodes), group.nodes) for group in groups]
    found = tails.Tails(stated, quantized, calibration, variants)
    ran: list[Any] = []
    monkeypatch.setattr(judge.Judge, "session", counted(judge.Judge.session, ran))
    np.testing.assert_allclose(found.whole(), stated.scores(quantized, calibration, quiet), rtol=1e-4, atol=1e-4)
    whole = 0
    for other, changed in variants:
        scores = found.scores(other, changed)
        whole += ran[-1][1] is other
        np.testing.assert_allclose(scores, stated.scores(other, calibration, quiet), rtol=1e-4, atol=1e-4)
    # The first begins with the image itself.
    assert whole == {2**29: 0, 0: len(groups) - 1}.get(memory, whole)
    assert memory in (2**29, 0) or 0 < whole < len(groups) - 1


def counted(call: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    """Return the function, which also lists its calls."""

    def listed(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return call(*args, **kwargs)

    return listed


def test_variants_are_ranked_side_by_side_on_a_thread_each(
    tmp_path: Path, calibration: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wide_onnx()
    quantized = quantize(source, PLAIN, calibration, quiet)
    validation = Inputs(labelled(4, seed=9).images, range(4), CONTRACT, None, quiet)
    together = Barrier(3, timeout=60)
    threads: list[int] = []
    session = judge.Judge.session

    def waits(self: judge.Judge, model: onnx.ModelProto, count: int) -> Any:
        if model.graph.input[0].name != source.graph.input[0].name:  # a tail
            threads.append(count)
            if len(threads) <= 3:
                together.wait()
        return session(self, model, count)

    monkeypatch.setattr(judge.Judge, "session", waits)
    bundle = make_bundle(tmp_path / "wide.edge", model=source)
    one, three = (judge.Judge(bundle, "onnxruntime", threads, tmp_path) for threads in (1, 3))
    ranked = {}
    for name, engine in (("three", three), ("one", one)):
        bench = Bench(
            source=source,
            judge=engine,
            fp32=engine,
            split=Split(calibration, validation),
            work=Work(tmp_path / name),
            budget=budget_of(bundle),
            max_drop=0.01,
            tell=quiet,
        )
        ranked[name] = [(found.layer, found.cost) for found, _ in rank_layers(bench, quantized, "int8")]
    assert set(threads) == {1}
    assert [layer for layer, _ in ranked["three"]] == [layer for layer, _ in ranked["one"]]
    np.testing.assert_allclose(*([cost for _, cost in ranked[name]] for name in ("three", "one")), atol=1e-6)


def test_lanes_keep_the_order_and_begin_nothing_after_an_error() -> None:
    begun: list[int] = []

    def halved(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise InputError("five")
        return number // 2

    assert list(in_order(halved, range(5), 2)) == [0, 0, 1, 1, 2]
    with pytest.raises(InputError, match="five"):
        list(in_order(halved, range(100), 2))
    assert max(begun) < 10


@pytest.mark.slow
def test_a_costly_layer_goes_back_although_few_images_hold_the_budget(tmp_path: Path, plain: None) -> None:
    """120 images do not show whether a budget of one point holds; the layer that costs most goes back all the same."""
    bundle = make_bundle(tmp_path / "wide.edge", model=wide_onnx())
    data = as_fp32_answers(bundle, 120)
    options = OptimizeOptions(precisions=("int8",), max_drop=1.0, calibration_pictures=60)
    sure = optimize_bundle(bundle, data, options).found["int8-tensorrt"]
    assert sure.ranking == (), "the budget surely holds"
    base = sure.points[0].paired.drop
    tight = optimize_bundle(bundle, data, replace(options, max_drop=min(base + 0.001, 0.999))).found["int8-tensorrt"]
    first = tight.ranking[0]
    assert first.layer == "chain_8", "it reads the values of very different sizes"
    assert tight.points[-1].chosen
    assert tight.points[-1].restored[0] == first.layer
    assert tight.points[-1].divergence < 0.5 * tight.points[0].divergence


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES["cpu"], ids=lambda recipe: recipe.name)
def test_no_pair_of_products_saturates_on_a_cpu_without_vnni(recipe: recipes.Recipe, calibration: Inputs) -> None:
    pytest.importorskip("nncf")
    quantized = quantize(name_nodes(tiny_onnx()), recipe, calibration, quiet)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    weights = [
        held[node.input[0]].astype(int) - held[node.input[2]].reshape(-1)[0].astype(int)
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in held
    ]
    assert weights
    assert all(2 * 255 * np.abs(weight).max() <= 2**15 - 1 for weight in weights)


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in ({"precisions": ("int4",)}, {"precisions": ()}, {"max_drop": 1.5}, {"engine": "opencv"}):
        with pytest.raises(InputError):
            OptimizeOptions(**wrong)
