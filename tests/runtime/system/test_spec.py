"""spec.json against what Python says by itself: the types, exit codes and keys that cannot be read from a file."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from edgeproof_runtime.bundle import manifest, task_settings
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.contract import contract, yuv
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.evidence import report
from edgeproof_runtime.evidence.read import read_report
from edgeproof_runtime.live import outcomes, stream, timeline
from edgeproof_runtime.metrics.latency import PERCENTILES, LatencySummary
from edgeproof_runtime.metrics.parity import BOUNDS
from edgeproof_runtime.sources import health
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.tasks.registry import TASKS

LITERALS: dict[str, Any] = {
    "precision": manifest.Precision,
    "activation": manifest.Activation,
    "color": contract.Color,
    "resize": contract.ResizeMode,
    "filter": contract.Filter,
    "resampler": contract.Resampler,
    "layout": contract.Layout,
    "dtype": contract.DType,
    "frame_dtype": contract.FrameDtype,
    "pixel_format": yuv.PixelFormat,
    "yuv_matrix": yuv.YuvMatrix,
    "yuv_range": yuv.YuvRange,
    "normal": task_settings.Normal,
    "policy": stream.Policy,
    "stream_state": stream.StreamState,
    "loss_cause": outcomes.Cause,
    "frame_state": timeline.FrameState,
    "frame_health": health.FrameHealth,
    "report_kind": report.Kind,
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_literal_type_has_the_values_of_the_spec(name: str) -> None:
    assert list(get_args(LITERALS[name])) == SPEC["enums"][name]


def test_the_tasks_are_those_of_the_spec() -> None:
    assert list(SHAPES) == list(TASKS) == SPEC["enums"]["task"]


def test_every_enum_of_the_spec_is_compared() -> None:
    assert set(SPEC["enums"]) == {*LITERALS, "task", "stage"}  # the stages are read from the spec


def test_exit_codes() -> None:
    codes = SPEC["exit_codes"]
    assert (GateError.exit_code, InputError.exit_code, UnavailableError.exit_code) == (
        codes["gate_failed"],
        codes["bad_input"],
        codes["unavailable"],
    )
    assert codes["ok"] == 0


def test_a_report_has_the_keys_of_the_spec() -> None:
    document = report.Report(kind="run", command="x", host={}).to_json()
    assert list(document) == SPEC["report_keys"]


def test_every_precision_has_bounds_and_every_percentile_a_field() -> None:
    assert sorted(BOUNDS) == sorted(SPEC["enums"]["precision"])
    assert {f"{name}_ms" for name in PERCENTILES} <= set(LatencySummary.__dataclass_fields__)


def test_a_key_that_a_report_lacks_is_null(tmp_path: Any) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema": "edgeproof.report/1", "kind": "run"}')
    found = read_report(path)
    assert set(found) == set(SPEC["report_keys"])
    assert found["accuracy"] is None
    assert found["kind"] == "run"
