"""Doctor on six Jetsons made up as files; `tests/golden/make.py` writes the golden files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boards import BOARDS
from machines import doctor_on

_GOLDEN = Path(__file__).parents[1] / "golden/doctor"


@pytest.mark.parametrize("board", BOARDS)
def test_doctor_on_each_board(board: str, tmp_path: Path) -> None:
    assert doctor_on(board, tmp_path) == json.loads((_GOLDEN / f"{board}.json").read_text())


@pytest.mark.parametrize("board", BOARDS)
def test_no_advice_lowers_power_or_breaks_packages(board: str, tmp_path: Path) -> None:
    fixes = [finding["fix"] or "" for finding in doctor_on(board, tmp_path)["findings"]]
    modes = [int(fix.split()[3].rstrip(",")) for fix in fixes if "nvpmodel -m" in fix]
    names, now = BOARDS[board].modes, BOARDS[board].mode
    assert all(names[mode].startswith(("MAXN", "20W")) and mode != now for mode in modes)
    assert not any(word in fix for fix in fixes for word in ("onnxruntime-gpu", "cpupower", "nvidia-driver"))


def test_a_board_that_throttles_is_not_told_to_draw_more(tmp_path: Path) -> None:
    found = {finding["subject"]: finding for finding in doctor_on("agx-orin", tmp_path)["findings"]}
    assert found["throttling"]["state"] == "problem"
    assert found["power mode"] == {"subject": "power mode", "state": "ok", "detail": "30W", "fix": None}
