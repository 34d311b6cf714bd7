"""Hostile inputs on every surface: refused or survived, never a traceback, a crash, a hang, a changed input or a leak.

All of them: `python -m hostile` in this folder's parent. Here every kind is tried; of kinds with many inputs some.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import BUILT, WORKERS
from edgeproof_runtime.system.host import usable_cores
from hostile.base import BASE_VARIABLE
from hostile.runner import Runner, running
from hostile.serve import requests, serving
from hostile.table import Table
from run_wide import once

PARTS = 8
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sound artifacts; a process makes them, because this one must not import PyTorch."""

    def make(out: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(TESTS), "EDGEPROOF_CACHE": str(out.with_suffix(".cache"))}
        script = "import sys, pathlib; from hostile.base import make_base; make_base(pathlib.Path(sys.argv[1]))"
        done = subprocess.run(
            [sys.executable, "-c", script, str(out)], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BASE_VARIABLE, str(once("hostile-base", make)))
        yield Path(os.environ[BASE_VARIABLE])


@pytest.fixture(scope="module")
def runner(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    program = Path(os.environ.get("EDGEPROOF_RUN", BUILT))
    lanes = max(1, usable_cores() // WORKERS)
    folder = tmp_path_factory.mktemp("hostile")
    folder.chmod(0o755)
    with running(folder, program if program.is_file() else None, lanes) as runner:
        yield runner


def record(table: Table, record_property: Any) -> None:
    record_property("hostile", [(kind, surface, tried, passed) for (kind, surface), (tried, passed) in table.rows()])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_hostile_inputs_do_no_harm(part: int, runner: Runner, record_property: Any) -> None:
    from hostile.catalog import sample

    table, found = Table(), []
    probes = [p for p in sample() if p.surface != "edgeproof-run" or runner.has_device_program]
    for probe, faults, _ in runner.run(probes[part::PARTS]):
        table.add(probe.kind, probe.surface, passed=not faults)
        found += [f"{probe.id}: {fault}" for fault in faults]
    record(table, record_property)
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_hostile_clients_do_the_server_no_harm(base: Path, tmp_path: Path, record_property: Any) -> None:
    table, found = Table(), []
    with serving(tmp_path) as server:
        for request in requests():
            faults = server.faults(request)
            table.add(request.kind, "serve", passed=not faults)
            found += [f"{request.kind}/{request.name}: {fault}" for fault in faults]
        faults = server.end()
        table.add("the server's log and end", "serve", passed=not faults)
    record(table, record_property)
    assert not [*found, *faults], "\n".join([*found, *faults])
