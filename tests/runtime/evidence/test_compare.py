"""Two reports side by side: what is comparable, what is a regression and what is noise."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.library.compare import compare
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.compare import Bounds, compare_reports

BLOCKS = 100


def report(seed: int, *, slower: float = 1.0, other_cores: float = 0.05, top1: float | None = None) -> dict[str, Any]:
    """A bench report as a shared machine gives it.

    The whole run is faster or slower than another by 10 %, drifts by 8 % in phases of seconds, and one block in five is
    disturbed; engine and yardstick share that, and differ by 1.5 % from block to block and 1 % from run to run.
    """
    rng = np.random.default_rng(seed)
    drift = np.empty(BLOCKS)
    state = 0.0
    for i in range(BLOCKS):
        state = 0.95 * state + rng.normal(0, 0.08 * np.sqrt(1 - 0.95**2))
        drift[i] = np.exp(state)
    machine = np.exp(rng.normal(0, 0.1)) * drift

    def times(ms: float) -> Any:
        spikes = np.where(rng.random(BLOCKS) < 0.2, rng.exponential(0.3, BLOCKS), 0)
        return (ms * machine * np.exp(rng.normal(0, 0.015, BLOCKS)) * (1 + spikes)).tolist()

    fastest = times(6.0 * slower * float(np.exp(rng.normal(0, 0.01))))
    one = {
        "name": "openvino fp32",
        "engine": "openvino",
        "device": "CPU",
        "latency_ms": {"p50": float(np.median(fastest)), "p99": None},
        "throughput_fps": 1e3 / float(np.mean(fastest)),
        "accuracy": None if top1 is None else {"top1": top1, "ci95": [top1 - 0.02, top1 + 0.02], "n": 500},
        "blocks": {"fastest_ms": fastest, "median_ms": fastest, "throughput_fps": [1e3 / ms for ms in fastest]},
    }
    return {
        "kind": "bench",
        "host": {
            "cpu": {"model": "X", "cores_usable": 2, "governors": []},
            "gpu": [],
            "os": {"arch": "x86_64", "virtualized": True},
        },
        "bundle": {"artifacts": [{"path": "model.onnx", "sha256": "0"}]},
        "bench": {
            "scenario": "single-stream",
            "driver": "builtin",
            "configurations": [one],
            "yardsticks": [
                {"engine": name, "version": "1", "threads": 2, "model_sha256": "0", "blocks": {"median_ms": times(ms)}}
                for name, ms in (("onnxruntime", 7.0), ("openvino", 6.0))
            ],
            "conditions": {"cores": 2, "other_cores": [other_cores] * BLOCKS},
        },
    }


def verdict(old: dict[str, Any], new: dict[str, Any], **named: Any) -> str:
    (pair,) = compare_reports(old, new, Bounds(), **named).pairs
    return pair.verdict


def test_a_tenth_slower_is_caught_and_noise_is_not() -> None:
    caught = [verdict(report(2 * i), report(2 * i + 1, slower=1.1)) == "slower" for i in range(40)]
    alarms = [verdict(report(1000 + 2 * i), report(1001 + 2 * i)) == "slower" for i in range(60)]
    assert sum(caught) >= 39
    assert sum(alarms) <= 1


def test_without_yardsticks_the_same_noise_would_be_taken_for_the_engine() -> None:
    def bare(one: dict[str, Any]) -> dict[str, Any]:
        one["bench"]["yardsticks"] = []
        one["host"]["os"]["virtualized"] = False
        return one

    alarms = [verdict(bare(report(1000 + 2 * i)), bare(report(1001 + 2 * i))) == "slower" for i in range(30)]
    assert sum(alarms) >= 5


def yardsticks(document: dict[str, Any], engine: str) -> dict[str, Any]:
    return next(one for one in document["bench"]["yardsticks"] if one["engine"] == engine)


def test_an_engine_is_no_measure_of_itself() -> None:
    old, new = report(1), report(2, slower=1.3)
    blocks = yardsticks(new, "openvino")["blocks"]
    blocks["median_ms"] = [1.3 * ms for ms in blocks["median_ms"]]
    assert verdict(old, new) == "slower"


@pytest.mark.parametrize(("key", "value"), [("version", "2"), ("threads", 1), ("model_sha256", "1")])
def test_on_a_virtual_machine_nothing_is_judged_without_a_yardstick_in_common(key: str, value: object) -> None:
    old, new = report(1), report(2, slower=1.5)
    yardsticks(new, "onnxruntime")[key] = value
    comparison = compare_reports(old, new, Bounds())
    assert comparison.pairs[0].verdict == "cannot tell"
    assert any("No common reference engine for openvino fp32" in note for note in comparison.notes)
    for one in (old, new):
        one["host"]["os"]["virtualized"] = False
    (pair,) = compare_reports(old, new, Bounds()).pairs
    assert (pair.in_yardsticks, pair.verdict) == (False, "slower")


def test_a_gpu_is_not_measured_by_what_the_cpu_does() -> None:
    old, new = report(1), report(1, slower=1.5)
    for one in (old, new):
        (configuration,) = one["bench"]["configurations"]
        configuration |= {"engine": "tensorrt", "device": "NVIDIA Orin"}
    (pair,) = compare_reports(old, new, Bounds()).pairs
    assert (pair.in_yardsticks, pair.verdict) == (False, "slower")


def test_faster_is_said_too() -> None:
    assert verdict(report(1), report(2, slower=0.8)) == "faster"


def test_a_disturbed_report_judges_nothing() -> None:
    comparison = compare_reports(report(1), report(2, slower=2, other_cores=1.6), Bounds())
    assert comparison.pairs[0].verdict == "cannot tell"
    assert any("used 1.6 of 2 cores" in note for note in comparison.notes)


def test_lost_accuracy_is_a_regression() -> None:
    comparison = compare_reports(report(1, top1=0.90), report(2, top1=0.89), Bounds(max_drop=0.5))
    (pair,) = comparison.pairs
    assert pair.verdict == "less accurate"
    assert pair.drop_points is not None
    assert pair.drop_points.estimate == pytest.approx(1.0)
    assert pair.drop_points.low < 0 < pair.drop_points.high
    assert compare_reports(report(1, top1=0.90), report(2, top1=0.899), Bounds(max_drop=0.5)).pairs[0].verdict == "same"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("host", "cpu", "model"), "Y", "CPU X and Y"),
        (("host", "cpu", "governors"), ["powersave"], "governor"),
        (("host", "jetson"), {"power_mode": "15W"}, "power mode"),
        (("host", "gpu"), [{"name": "RTX"}], "GPUs"),
        (("bench", "scenario"), "offline", "scenario"),
        (("kind",), "evaluate", "kind"),
    ],
)
def test_what_is_not_comparable_is_refused_unless_forced(path: tuple[str, ...], value: Any, named: str) -> None:
    new = copy.deepcopy(report(2))
    where = new
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    with pytest.raises(InputError, match=named):
        compare_reports(report(1), new, Bounds())
    notes = compare_reports(report(1), new, Bounds(), force=True).notes
    assert any(named in note for note in notes)


def test_what_was_changed_is_said() -> None:
    old, new = report(1), report(2)
    old["host"]["packages"], new["host"]["packages"] = {"openvino": "2026.3"}, {"openvino": "2026.4"}
    new["bundle"]["artifacts"][0]["sha256"] = "1"
    (note,) = compare_reports(old, new, Bounds()).notes
    assert note == "Changed: openvino 2026.3 → 2026.4, model.onnx differs."


def test_configurations_without_a_partner_are_listed() -> None:
    old, new = report(1), report(2)
    new["bench"]["configurations"].append({**new["bench"]["configurations"][0], "name": "opencv fp32"})
    comparison = compare_reports(old, new, Bounds())
    assert comparison.only_new == ["opencv fp32"]
    assert "| opencv fp32 | only in the new report" in comparison.markdown()
    assert "Time is divided by the reference engines' time" in comparison.markdown()
    new["bench"]["configurations"] = new["bench"]["configurations"][1:]
    with pytest.raises(InputError, match="no configuration in common"):
        compare_reports(old, new, Bounds())


def test_a_damaged_report_is_one_message() -> None:
    broken = report(2)
    del broken["bench"]["configurations"][0]["blocks"]["median_ms"]
    with pytest.raises(InputError, match="a key that the comparison requires"):
        compare_reports(report(1), broken, Bounds())


def test_a_report_without_a_median_is_compared_as_valid_json() -> None:
    old, new = report(1), report(2)
    for one in (old, new):
        (configuration,) = one["bench"]["configurations"]
        configuration["latency_ms"]["p50"] = None
        del configuration["blocks"]
    comparison = compare_reports(old, new, Bounds())
    (pair,) = json.loads(json.dumps(comparison.to_json(), allow_nan=False))["pairs"]
    assert (pair["slowdown"]["estimate"], pair["verdict"]) == (None, "cannot tell")


def test_evaluations_are_compared_by_accuracy() -> None:
    def evaluation(top1: float) -> dict[str, Any]:
        return {
            "kind": "evaluate",
            "host": {},
            "settings": {"engine": "openvino", "precision": "fp32"},
            "accuracy": {"top1": top1, "ci95": [top1 - 0.01, top1 + 0.01]},
            "latency_ms": {"inference": {"p50": 6.0, "p99": 8.0}},
            "throughput_fps": 100.0,
        }

    assert verdict(evaluation(0.9), evaluation(0.9)) == "same"
    assert verdict(evaluation(0.9), evaluation(0.8)) == "less accurate"


def configuration(document: dict[str, Any]) -> Any:
    (found,) = document["bench"]["configurations"]
    return found


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INFINITE, -INFINITE, -1, 0, "6", True, [1.0], 10**400])
@pytest.mark.parametrize("where", ["p50", "p99", "fps", "block", "reference"])
@pytest.mark.parametrize("which", [0, 1])
def test_an_invalid_time_is_an_error_and_never_passes(bad: Any, where: str, which: int) -> None:
    reports = [report(1), report(2)]
    one = configuration(reports[which])
    if where in ("p50", "p99"):
        one["latency_ms"][where] = bad
    elif where == "fps":
        one["throughput_fps"] = bad
    elif where == "block":
        one["blocks"]["median_ms"][3] = bad
    else:
        yardsticks(reports[which], "onnxruntime")["blocks"]["median_ms"][3] = bad
    with pytest.raises(InputError, match="report"):
        compare_reports(reports[0], reports[1], Bounds())


@pytest.mark.parametrize("bad", [NAN, INFINITE, -0.1, 1.1, "0.9", False])
@pytest.mark.parametrize("which", [0, 1])
def test_an_invalid_accuracy_is_an_error_and_never_passes(bad: Any, which: int) -> None:
    for key in ("top1", "ci95"):
        reports = [report(1, top1=0.9), report(2, top1=0.9)]
        configuration(reports[which])["accuracy"][key] = bad if key == "top1" else [bad, 0.95]
        with pytest.raises(InputError, match="top-1"):
            compare_reports(reports[0], reports[1], Bounds())


def test_an_empty_series_is_an_error() -> None:
    broken = report(2)
    configuration(broken)["blocks"]["median_ms"] = []
    with pytest.raises(InputError, match="not a list of figures"):
        compare_reports(report(1), broken, Bounds())


@pytest.mark.parametrize("bound", [NAN, INFINITE, -1.0])
def test_a_bound_that_nothing_exceeds_is_refused(bound: float) -> None:
    for named in ({"max_slowdown": bound}, {"max_drop": bound}):
        with pytest.raises(InputError, match="not a bound"):
            Bounds(**named)


@pytest.mark.parametrize(("before", "after"), [(0.9, None), (None, 0.9)])
def test_accuracy_in_one_report_only_passes_nothing(before: float | None, after: float | None) -> None:
    comparison = compare_reports(report(1, top1=before), report(2, top1=after), Bounds())
    assert comparison.pairs[0].verdict == "cannot tell"
    assert any("No common figure of labelled data for openvino fp32" in note for note in comparison.notes)
    assert verdict(report(1, top1=before), report(2, top1=after, slower=1.5)) == "slower"
    assert verdict(report(1), report(2)) == "same", "times alone were measured"


def evaluated(**sections: Any) -> dict[str, Any]:
    return {
        "kind": "evaluate",
        "host": {},
        "settings": {"engine": "openvino", "precision": "fp32"},
        "accuracy": None,
        "latency_ms": {"inference": {"p50": 6.0, "p99": 8.0}},
        "throughput_fps": 100.0,
        **sections,
    }


def test_evaluations_without_a_figure_pass_nothing() -> None:
    assert verdict(evaluated(), evaluated()) == "cannot tell"
    tags = {"mean_average_precision": 0.8, "ci95": None}
    assert verdict(evaluated(multilabel=tags), evaluated(anomaly={"mean_auroc": 0.9})) == "cannot tell"
    assert verdict(evaluated(anomaly={"mean_auroc": None}), evaluated(anomaly={"mean_auroc": 0.9})) == "cannot tell"
    without_time = evaluated(anomaly={"mean_auroc": 0.9}) | {"latency_ms": {}, "throughput_fps": None}
    assert verdict(without_time, without_time) == "cannot tell"


@pytest.mark.parametrize(
    ("section", "key", "metric"),
    [
        ("multilabel", "mean_average_precision", "mAP"),
        ("anomaly", "mean_auroc", "AUROC"),
        ("accuracy", "top1", "top-1"),
    ],
)
def test_every_tasks_figure_is_compared(section: str, key: str, metric: str) -> None:
    old, new = (evaluated(**{section: {key: value, "ci95": [0.5, 1.0]}}) for value in (0.9, 0.8))
    (pair,) = compare_reports(old, new, Bounds()).pairs
    assert (pair.verdict, pair.metric) == ("less accurate", metric)
    assert verdict(old, old) == "same"


def test_a_configuration_that_is_gone_fails_a_strict_comparison(tmp_path: Path) -> None:
    old, new = report(1), report(1)
    old["bench"]["configurations"].append({**configuration(new), "name": "opencv fp32"})
    for name, document in (("old", old), ("new", new)):
        (tmp_path / name).write_text(json.dumps({"schema": "edgeproof.report/1", **document}))
    assert compare(tmp_path / "old", tmp_path / "new").passed
    assert not compare(tmp_path / "old", tmp_path / "new", strict=True).passed
