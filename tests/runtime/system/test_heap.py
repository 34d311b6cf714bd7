"""How long pages of freed blocks are kept."""

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


FRAMES = """
import resource, numpy as np
from edgeproof_runtime.system import heap
def faults():
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin
heap.keep_freed(); faults(); kept = faults()
heap.give_back(); given = faults()
heap.keep_freed(); faults()
print(kept, given, faults())
"""


def printed_by(program: str) -> list[float]:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library is not glibc")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return [float(word) for word in done.stdout.split()]


def test_free_pages_between_used_ones_go_back() -> None:
    assert printed_by(HELD)[0] > 30


def test_pages_of_frames_are_kept_and_not_cleared_anew() -> None:
    """Faults of pages for 20 frames of 512 pages."""
    kept, given_back, kept_again = printed_by(FRAMES)
    assert kept < 200
    assert given_back > 20 * 256
    assert kept_again < 200


def test_another_c_library_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap._glibc.cache_clear()
    try:
        assert heap._glibc() is None
        heap.keep_freed()
        heap.give_back()
    finally:
        heap._glibc.cache_clear()
