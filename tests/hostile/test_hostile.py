"""Hostile inputs on every surface: refused or survived, never a traceback, a crash, a hang, a changed input or a leak.

All of them: `make hostile`. Here every kind is tried; of kinds with many inputs some.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import BUILT, WORKERS
from edgeproof_runtime.system.host import usable_cores
from hostile import zygote
from hostile.base import BASE_VARIABLE
from hostile.probe import Probe
from hostile.runner import Runner, running
from hostile.serve import requests, serving
from hostile.table import Table
from run_wide import once

FEWEST = 400
"""Inputs of both tests together."""


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    program = Path(os.environ.get("EDGEPROOF_RUN", BUILT))
    lanes = max(1, usable_cores() // WORKERS)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o755)  # pytest's are private, and another user takes part
        with running(Path(folder), program if program.is_file() else None, lanes) as runner:
            patch.setenv(BASE_VARIABLE, str(once("hostile-base", runner.make_base)))
            yield runner


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_hostile_inputs_do_no_harm(runner: Runner, record_property: Any) -> None:
    from hostile.catalog import sample

    table, found = Table(), []
    probes = [probe for probe in sample() if probe.surface != "edgeproof-run" or runner.has_device_program]
    for probe, faults, took_s in runner.run(probes):
        table.add(probe.kind, probe.surface, passed=not faults, seconds=took_s)
        found += [f"{probe.id}: {fault}" for fault in faults]
    record_property("hostile", table.rows())
    assert not found, "\n".join(found)
    assert table.tried + sum(1 for _ in requests()) >= FEWEST or not runner.has_device_program


@pytest.mark.slow
def test_hostile_clients_do_the_server_no_harm(runner: Runner, tmp_path: Path, record_property: Any) -> None:
    table, found = Table(), []
    with serving(tmp_path) as server:
        for request in requests():
            begin = time.monotonic()
            faults = server.faults(request)
            table.add(request.kind, "serve", passed=not faults, seconds=time.monotonic() - begin)
            found += [f"{request.kind}/{request.name}: {fault}" for fault in faults]
        faults = server.end()
        table.add("the server's log and end", "serve", passed=not faults, seconds=0.0)
    record_property("hostile", table.rows())
    assert not [*found, *faults], "\n".join([*found, *faults])


def test_memory_of_the_caller_is_not_counted(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child begins with ``ru_maxrss`` of the process that forked it."""
    ballast = bytearray(b"1") * (512 << 20)
    monkeypatch.setattr(zygote, "RSS_LIMIT", len(ballast))
    probe = Probe(kind="", surface="process", name="", argv=("--version",), codes=frozenset({0}))
    [(_, faults, _)] = runner.run([probe])
    assert faults == []
    assert zygote.peak_bytes(os.getpid()) > len(ballast)


def test_memory_of_a_process_is_limited(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote, "RSS_LIMIT", 1 << 20)
    probe = Probe(kind="", surface="process", name="", argv=("--version",), codes=frozenset({0}))
    [(_, faults, _)] = runner.run([probe])
    assert faults[0].startswith("stopped: memory: ")
