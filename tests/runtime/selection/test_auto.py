"""`auto`: what is measured, what is chosen from, what is kept, and what it says of a precision that does not pay."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundles import make_bundle, rewrite, tiny_onnx
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available, catalog
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import BundleError, InputError, NotInBundleError, UnavailableError
from edgeproof_runtime.selection import auto as select
from edgeproof_runtime.selection.auto import choose, load_engine, remembered
from edgeproof_runtime.selection.choices import Choice, Scope, keep_choice, kept_choices, winners
from edgeproof_runtime.selection.probable import Candidate, by_probability
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.host import usable_cores
from faulty_engines import entry_of
from quick_choice import choose_quickly


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge")


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_quickly(monkeypatch, tmp_path / "cache")


def with_second_precision(bundle: Bundle) -> Bundle:
    """The same graph under the name of another precision: what matters here is that there is one."""
    content = (bundle.path / "model.onnx").read_bytes()
    return rewrite(
        bundle,
        {"model.fp16.onnx": content},
        lambda m, files: replace(m, models={**m.models, "fp16": "model.fp16.onnx"}, files=files),
    )


@pytest.mark.slow
def test_a_crashing_engine_is_left_out(bundle: Bundle) -> None:
    with catalog.registered(entry_of("crash")):
        choice = choose(bundle)
        reasons = {row.name: row.reason for row in choice.rows}
        assert reasons["crash"] is not None
        assert reasons["crash"].endswith("crashes on this model (SIGSEGV)")
        assert remembered(bundle) is not None
        with load_engine(bundle) as engine:
            assert engine.name == choice.best.name != "crash"


@pytest.mark.slow
def test_the_fastest_comes_first_and_is_kept(bundle: Bundle) -> None:
    assert remembered(bundle) is None
    choice = choose(bundle)
    assert [row.chosen for row in choice.rows] == [True] + [False] * (len(choice.rows) - 1)
    measured = [row.median_ms for row in choice.rows if row.median_ms is not None]
    assert measured == sorted(measured)
    assert remembered(bundle) == choice
    with load_engine(bundle) as engine:
        assert engine.name == choice.best.name
        assert engine.threads == choice.best.threads


@pytest.mark.slow
def test_candidates_are_engines_times_precisions_times_threads(bundle: Bundle) -> None:
    rows = choose(with_second_precision(bundle), remember=False).rows
    found = {(row.name, row.precision, row.threads) for row in rows}
    for name in {"onnxruntime", "openvino"} & set(available()):
        assert {(name, precision, usable_cores()) for precision in ("fp32", "fp16")} <= found
    # OpenCV runs only fp32, and a slow pair is not tried with other threads.
    assert ("opencv", "fp16", usable_cores()) not in found
    assert (rows[0].name, rows[0].precision, 1) in found


@pytest.mark.parametrize(("engine", "precision"), list(itertools.product(("auto", "onnxruntime"), ("auto", "fp16"))))
@pytest.mark.slow
def test_a_scope_limits_what_is_measured(bundle: Bundle, engine: str, precision: str) -> None:
    scope = Scope(engine, precision, threads=1)
    choice = choose(with_second_precision(bundle), scope)
    assert all(engine in ("auto", row.name) for row in choice.rows)
    assert all(precision in ("auto", row.precision) for row in choice.rows)
    assert {row.threads for row in choice.rows} == {1}
    assert [kept.scope for kept in kept_choices(Bundle.open(bundle.path))] == [scope]


@pytest.mark.slow
def test_threads_that_were_asked_for_are_measured_and_used(bundle: Bundle) -> None:
    with load_engine(bundle, threads=1) as engine:
        assert engine.threads == 1
    with load_engine(bundle, "openvino", threads=1) as engine:
        assert engine.describe().threads == 1


def test_one_engine_and_one_precision_leave_nothing_to_measure(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "choose", None)
    for name in ("onnxruntime", "null"):
        load_engine(bundle, name).close()
    load_engine(with_second_precision(bundle), "onnxruntime", "fp16").close()
    load_engine(bundle, "opencv").close()


@pytest.mark.slow
def test_an_engine_that_answers_wrongly_is_passed_over(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine

    honest = OnnxRuntimeEngine._run
    monkeypatch.setattr(OnnxRuntimeEngine, "_run", lambda self, batch: tuple(-o for o in honest(self, batch)))
    rows = [row for row in choose(bundle, remember=False).rows if row.name == "onnxruntime"]
    assert rows
    for row in rows:
        assert row.passed is False
        assert not row.chosen
        assert "missed its bound" in (row.reason or "")


@pytest.mark.slow
def test_an_engine_whose_compiled_model_is_stale_has_a_row_that_says_so(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = select.artifact_for

    def stale(of: Bundle, name: str, precision: str, *, max_batch: int | None) -> object:
        if name == "openvino":
            raise BundleError("engines/x/model.blob: built from another model")
        return honest(of, name, precision, max_batch=max_batch)

    monkeypatch.setattr(select, "artifact_for", stale)
    row = next(row for row in choose(bundle, remember=False).rows if row.name == "openvino")
    assert (row.passed, row.median_ms, row.chosen) == (None, None, False)
    assert "built from another model" in (row.reason or "")


def test_no_engine_that_passes_is_one_message(bundle: Bundle) -> None:
    model = onnx.load(str(bundle.path / "model.onnx"))
    tensor = next(t for t in model.graph.initializer if t.name == "conv")
    tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), "conv"))
    content = {"model.onnx": model.SerializeToString()}
    with pytest.raises(UnavailableError, match="missed its bound"):
        choose(rewrite(bundle, content, lambda manifest, files: replace(manifest, files=files)))


def test_unknown_names_are_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="unknown engine"):
        load_engine(bundle, "tensorflow")
    with pytest.raises(NotInBundleError, match="no int8 model"):
        load_engine(bundle, precision="int8")


@pytest.mark.slow
def test_a_damaged_memory_is_measured_anew(bundle: Bundle, tmp_path: Path) -> None:
    choose(bundle)
    (memory,) = (tmp_path / "cache" / "engines").rglob("*.json")
    for damage in ('{"nonsense": 1', '{"rows": []}', '{"rows": [{}], "scope": {}}'):
        memory.write_text(damage)
        assert remembered(bundle) is None
        assert kept_choices(bundle) == []
    load_engine(bundle, progress=lambda *_: None).close()
    assert remembered(bundle) is not None


@pytest.mark.slow
def test_another_contract_or_model_is_another_choice(bundle: Bundle) -> None:
    choose(bundle)
    contract = replace(bundle.contract, filter="box")
    assert remembered(with_second_precision(bundle)) is None
    planted = rewrite(bundle, {}, lambda manifest, files: replace(manifest, contract=contract, files=files))
    assert remembered(planted) is None


def test_opencvs_threads_are_its_own_and_are_given_back(bundle: Bundle) -> None:
    before = cv2.getNumThreads()
    try:
        with load_engine(bundle, "opencv", threads=1) as one, load_engine(bundle, "opencv", threads=2) as two:
            for engine, threads in ((one, 1), (two, 2), (one, 1)):
                engine.run(engine.allocate_input(1))
                assert cv2.getNumThreads() == threads == engine.describe().threads
    finally:
        assert cv2.getNumThreads() == before


def test_opencv_refuses_a_gate_that_it_would_answer_wrongly(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(str(bundle.path / "model.onnx"))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "HardSigmoid"
    content = {"model.onnx": model.SerializeToString()}
    gated = rewrite(bundle, content, lambda manifest, files: replace(manifest, files=files))
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    with pytest.raises(InputError, match="wrong outputs where a HardSigmoid gates"):
        load_engine(gated, "opencv")
    monkeypatch.setattr(cv2, "__version__", "4.12.0")
    load_engine(gated, "opencv").close()


def row(precision: str, ms: float | None, name: str = "openvino", passed: bool = True) -> EngineRow:
    return EngineRow(name, "1", ms, passed, precision=precision)


@pytest.mark.parametrize(
    ("rows", "features", "said"),
    [
        ([row("fp32", 6.1), row("int8", 4.0)], [], []),
        ([row("fp32", 6.1), row("int8", 4.0, passed=False)], [], []),
        ([row("int8", 4.0)], [], []),
        ([row("fp32", 6.1), row("fp32", 9.0, "onnxruntime"), row("int8", 7.9, "onnxruntime")], ["avx2"], ["no int8"]),
        ([row("fp32", 6.1), row("int8", 7.9)], ["avx512_vnni"], ["this CPU has avx512_vnni, yet"]),
        ([row("fp32", 6.1), row("fp16", 6.2), row("int8", 7.9)], [], ["no fp16 arithmetic", "no int8 instructions"]),
        ([row("fp32", 6.1), row("int8", 7.9, "tensorrt")], [], ["(tensorrt) against 6.10 ms in fp32 (openvino)."]),
    ],
)
def test_a_precision_that_does_not_pay_is_named_with_both_figures(
    rows: list[EngineRow], features: list[str], said: list[str]
) -> None:
    found = not_worth_it(rows, features)
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence
        assert "6.10 ms" in sentence


@pytest.mark.slow
def test_progress_is_told_to_its_end(bundle: Bundle) -> None:
    told: dict[str, tuple[int, int]] = {}
    tell: Callable[[str, int, int], None] = lambda phase, done, total: told.__setitem__(phase, (done, total))  # noqa: E731
    choose(bundle, remember=False, progress=tell)
    assert told
    assert all(done == total for done, total in told.values())


def test_without_a_choice_and_a_watcher_the_first_answer_comes_unmeasured(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(select, "choose", None)
    for _ in range(2):
        caplog.clear()
        with load_engine(bundle) as engine:
            assert engine.name == available()[0]
        (line,) = caplog.messages
        assert f"auto takes {engine.name} fp32, which passes the golden cases; not measured on this machine" in line
        assert f"`edgeproof tune {bundle.path}`" in line
    assert remembered(bundle) is None


def test_what_was_measured_for_all_thread_counts_answers_for_one(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """`run` gives each worker of a file its share of the cores: after `tune`, or the demo, that is measured too."""
    rows = [
        EngineRow("openvino", "1", 1.0, True, precision="fp32", threads=2, chosen=True),
        EngineRow("opencv", "1", 3.0, True, precision="fp32", threads=1),
        EngineRow("onnxruntime", "1", 2.0, True, precision="fp32", threads=1),
        EngineRow("openvino", "1", None, False, "missed its bound", precision="fp32", threads=1),
    ]
    assert remembered(bundle, Scope(threads=1)) is None
    keep_choice(bundle, Choice.made(Scope(), rows))
    found = remembered(bundle, Scope(threads=1))
    assert found is not None
    assert [(row.name, row.median_ms, row.chosen) for row in found.rows] == [
        ("onnxruntime", 2.0, True), ("opencv", 3.0, False), ("openvino", None, False),
    ]  # fmt: skip
    assert found.scope == Scope(threads=1)
    only = remembered(bundle, Scope("opencv", "auto", 1))
    assert only is not None
    assert only.best.name == "opencv"
    assert remembered(bundle, Scope(threads=3)) is None, "timed with no such number"
    assert remembered(bundle, Scope(precision="int8")) is None
    with load_engine(bundle, threads=1) as engine:
        assert engine.name == "onnxruntime"
    assert not caplog.messages


def test_a_first_answer_comes_from_no_engine_that_answers_wrongly(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine

    honest = OnnxRuntimeEngine._run
    monkeypatch.setattr(OnnxRuntimeEngine, "_run", lambda self, batch: tuple(-o for o in honest(self, batch)))
    with load_engine(bundle) as engine:
        assert engine.name != "onnxruntime"
    with pytest.raises(UnavailableError, match="no engine of this machine") as caught:
        load_engine(with_second_precision(bundle), "onnxruntime")
    assert "onnxruntime fp16: missed its bound" in str(caught.value)


@pytest.mark.slow
def test_a_first_answer_comes_from_the_engine_that_won_for_another_model(bundle: Bundle, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other.edge", model=tiny_onnx(seed=1))
    for won in ("opencv", "openvino"):
        keep_choice(other, Choice.made(Scope(), (replace(row("fp32", 1.0, won), chosen=True),)))
        assert winners() == [won]
        with load_engine(bundle) as engine:
            assert engine.name == won


@pytest.mark.parametrize(
    ("features", "won", "first"),
    [
        ([], [], ["onnxruntime:cuda fp16", "onnxruntime:cuda fp32", "onnxruntime fp32", "openvino fp32"]),
        ([], ["openvino"], ["onnxruntime:cuda fp16", "onnxruntime:cuda fp32", "openvino fp32", "onnxruntime fp32"]),
        (["avx512_fp16"], [], ["onnxruntime:cuda fp16", "onnxruntime:cuda fp32", "onnxruntime fp16", "openvino fp16"]),
    ],
)
def test_the_most_probable_winner_comes_first(features: list[str], won: list[str], first: list[str]) -> None:
    names = ("onnxruntime", "openvino", "onnxruntime:cuda")
    found = [Candidate(name, precision, None) for precision in ("fp32", "fp16") for name in names]
    order = [f"{one.engine} {one.precision}" for one in by_probability(found, won, features)]
    assert order[:4] == first
    assert len(order) == len(found)
