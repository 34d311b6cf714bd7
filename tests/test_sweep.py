"""`make sweep`: the outcome of an export is a row, whatever it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import sweep  # type: ignore[import-not-found]

    return sweep


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash", "signal 11"),
        ("raise KeyError('a layer')", "traceback", "KeyError: 'a layer'"),
        ("import time; time.sleep(60)", "hang", "no end within 3 s"),
        ("import sys; sys.exit('error: graph: has\\n a cycle')", "refused", "graph: has a cycle"),
    ],
)
def test_every_end_of_an_export_is_a_row(sweep: ModuleType, code: str, outcome: str, reason: str) -> None:
    found = sweep.exported("any", 3.0 if outcome == "hang" else 60.0, (sys.executable, "-c", code))
    assert (found["outcome"], found["reason"]) == (outcome, reason)


@pytest.mark.slow
def test_results_add_up_and_are_not_measured_again(sweep: ModuleType, tmp_path: Path) -> None:
    base = {"versions": sweep._versions(), "seconds": 1.0, "parameters": "1.0 M"}
    rows = {
        "vgg": {**base, "model": "vgg11", "outcome": "exported", "left_out": {"opencv": "opencv 5 crashes"}},
        "xcit": {**base, "model": "xcit_nano", "outcome": "traceback", "reason": "KeyError"},
        "hieradet_sam2": {**base, "model": None, "outcome": "not a classifier", "reason": "no member"},
        "dla": {**base, "versions": {}, "model": "dla34", "outcome": "crash", "reason": "old"},
    }
    for family, row in rows.items():
        (tmp_path / f"{family}.json").write_text(json.dumps({"family": family, **row}))
    command = [sys.executable, str(ROOT / "benchmarks/sweep.py"), "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--only", "vgg,xcit"], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 1, done.stderr  # a traceback
    assert "vgg: vgg11: exported, without opencv 5 crashes" in done.stdout
    assert "1 of 2 families with a classifier exported (50.0%; the target is 95%)" in done.stdout
    assert "1 families have no classifier" in done.stdout
    assert "old" not in done.stdout
