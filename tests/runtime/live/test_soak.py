from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.live.outcomes import Counts
from edgeproof_runtime.live.soak import SERIES, Soak, SoakRecord, slope


@given(
    per_hour=st.floats(-50, 50),
    start=st.floats(0, 1000),
    outliers=st.sets(st.integers(0, 99), max_size=10),
    noise=st.floats(0, 0.1),
)
def test_the_slope_is_found_in_noise_and_past_outliers(per_hour, start, outliers, noise):
    hours = np.arange(100) / 100
    rng = np.random.default_rng(0)
    values = start + per_hour * hours + rng.normal(0, noise, 100)
    values[list(outliers)] += 500
    found = slope(hours, values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.estimate <= found.high
    assert found.estimate == pytest.approx(
        per_hour, abs=0.05 + 10 * noise + (40 if outliers else 0) * len(outliers) / 50
    )


def test_the_interval_holds_the_true_slope_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    hours = np.arange(60) / 60
    held = 0
    for _ in range(400):
        found = slope(hours, 3.0 * hours + rng.normal(0, 1, 60))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 3.0 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_nothing_is_said_of_a_few_looks():
    assert slope(np.arange(19.0), np.arange(19.0)) is None


def test_the_warm_up_takes_no_part():
    time_s = np.arange(0.0, 3600.0, 36.0)
    series = {name: np.full(100, np.nan) for name in SERIES}
    series["memory_mb"] = np.where(time_s < 1200, time_s, 1200.0)
    record = SoakRecord(time_s, series, 1200.0, {"temperature_c": "this machine shows none"})
    per_hour = record.per_hour("memory_mb")
    assert per_hour is not None
    assert (per_hour.estimate, per_hour.low, per_hour.high) == (0.0, 0.0, 0.0)
    document = record.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert "temperature_c" not in document["series"]
    assert document["series"]["frame_age_ms"]["per_hour"] is None
    assert document["series"]["frame_age_ms"]["values"] == [None] * 100


@pytest.mark.serial
def test_a_soak_looks_at_this_process_and_at_the_frames():
    decided = 0

    def counts() -> Counts:
        return Counts(frames_in=2 * decided, decided=decided, overtaken=decided)

    with Soak(counts, duration_s=1.6) as soak:
        end_s = time.monotonic() + 1.6
        while time.monotonic() < end_s:
            decided += 1
            soak.decided(5.0 if decided % 10 else 50.0)
            time.sleep(0.002)
    record = soak.record()
    assert 2 <= len(record.time_s) <= 4
    assert (record.series["memory_mb"] > 20).all()
    assert (record.series["threads"] >= 2).all()
    assert (record.series["descriptors"] >= 3).all()
    assert record.series["frame_age_ms"].tolist() == [5.0] * len(record.time_s)
    assert record.series["frame_age_max_ms"].tolist() == [50.0] * len(record.time_s)
    np.testing.assert_allclose(record.series["decided_fps"], record.series["dropped_fps"])
    assert (record.series["decided_fps"] > 1).all()
