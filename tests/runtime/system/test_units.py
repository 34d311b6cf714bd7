"""Durations as people write them: golden cases, which the C++ suite reads too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeproof_runtime.system.units import seconds_of

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "durations.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["text"] or "empty")
def test_durations(case: dict[str, object]) -> None:
    assert seconds_of(str(case["text"])) == (None if case["seconds"] is None else pytest.approx(case["seconds"]))
