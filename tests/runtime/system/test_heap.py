"""Free pages of the C library's heaps go back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from edgeproof_runtime.system import heap

HELD = """
import psutil
from edgeproof_runtime.system import heap
blocks = [bytes(1000) for _ in range(60_000)]
kept = blocks[::1000]
del blocks
before = psutil.Process().memory_info().rss
heap.give_back()
print((before - psutil.Process().memory_info().rss) / 1e6)
"""


def test_free_pages_between_used_ones_go_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library is not glibc")
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) > 30


def test_another_c_library_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap._trim.cache_clear()
    try:
        assert heap._trim() is None
        heap.give_back()
    finally:
        heap._trim.cache_clear()
