from __future__ import annotations

import json
import os
import threading
from typing import NamedTuple

import pytest

from edgeproof_runtime.system import host_load as load
from edgeproof_runtime.system.host_load import LoadSampler


def test_a_look_names_what_it_cannot_see(monkeypatch):
    monkeypatch.setattr(load, "gpu_facts", list)
    monkeypatch.setattr(load.psutil, "sensors_temperatures", dict, raising=False)
    seen = LoadSampler().sample()
    assert set(seen.unavailable) == {"gpu", "temperature_c"}
    assert 0 < seen.process_rss_bytes < seen.memory_total_bytes
    assert seen.process_threads >= threading.active_count()
    assert seen.process_descriptors >= 3
    assert len(seen.cpu_percent) == os.cpu_count()
    json.dumps(seen.to_json(), allow_nan=False)


def test_the_hottest_sensor_and_the_gpus_are_shown(monkeypatch):
    sensor = type("Sensor", (), {})
    hot, cool = sensor(), sensor()
    hot.current, cool.current = 71.5, 40.0
    monkeypatch.setattr(load.psutil, "sensors_temperatures", lambda: {"a": [cool], "b": [hot]}, raising=False)
    monkeypatch.setattr(load, "gpu_facts", lambda: [{"name": "Some GPU"}])
    seen = LoadSampler().sample()
    assert seen.temperature_c == 71.5
    assert seen.gpus == ({"name": "Some GPU"},)
    assert seen.unavailable == {}


@pytest.mark.parametrize(("interval_s", "looks"), [(60.0, 1), (0.0, 3)])
def test_looks_are_shared_while_they_are_fresh(monkeypatch, interval_s, looks):
    asked = []
    monkeypatch.setattr(load, "gpu_facts", lambda: asked.append(1) or [])
    sampler = LoadSampler(interval_s)
    for _ in range(3):
        sampler.sample()
    assert len(asked) == looks


class Core(NamedTuple):
    user: float
    system: float
    idle: float
    iowait: float
    guest: float


def test_cores_are_measured_from_one_look_to_the_next_whatever_thread_looks(monkeypatch):
    times = iter([Core(10, 5, 80, 5, 1), Core(14, 6, 84, 6, 2), Core(14, 6, 84, 6, 2)])
    monkeypatch.setattr(load.psutil, "cpu_times", lambda **_: [next(times)])
    monkeypatch.setattr(load, "gpu_facts", list)
    sampler = LoadSampler(0.0)
    seen = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: seen.append(sampler.sample().cpu_percent))
        thread.start()
        thread.join()
    assert seen == [(50.0,), (0.0,)]
