"""Choices of `auto` in milliseconds: which engine is the fastest is for benchmarks/auto.py to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproof_runtime.measure import Plan
from edgeproof_runtime.selection import auto


def choose_quickly(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Measure a few runs of each candidate, and remember the choice in the folder ``cache``."""
    monkeypatch.setenv("EDGEPROOF_CACHE", str(cache))
    plan = Plan(turns=2, block_ms=1.0, min_runs=2, warm_up_s=0.01)
    for name in ("_QUALIFYING", "_FINAL"):
        monkeypatch.setattr(auto, name, plan)
    monkeypatch.setattr(auto, "_UNTIMED_MS", 0.0)
