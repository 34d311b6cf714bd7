"""A bundle whose writers are killed: 20 SIGKILLs at random moments; `tests/kill_writers.py` kills the commands too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "kill_writers.py"


@pytest.mark.slow
def test_a_killed_writer_leaves_a_working_bundle_and_the_next_one_sweeps(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--rounds", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"killed": {"kills": 20}, "leftovers": []}
