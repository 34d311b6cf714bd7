"""Pages of freed blocks are kept, and threads share a heap."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref

import pytest

from edgeproof_runtime.system import heap
from waiting import until

FRAMES = """
import resource, numpy as np
from edgeproof_runtime.system import heap
def faults():
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        [np.ones(2 << 20, np.uint8) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin
given = faults()
heap.keep_freed(); faults()
print(given, faults())
"""

HEAPS = """
import ctypes, os, tempfile, threading
from edgeproof_runtime.system import heap
if {shared}:
    heap.share()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
all_here = threading.Barrier(5)
def hold():
    libc.malloc(1000)
    all_here.wait()
    all_here.wait()
threads = [threading.Thread(target=hold) for _ in range(4)]
for thread in threads:
    thread.start()
all_here.wait()
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(file.read().count(b"<heap nr="))
all_here.wait()
"""


def printed_by(program: str) -> list[float]:
    if not hasattr(ctypes.CDLL(None), "malloc_info"):
        pytest.skip("this C library is not glibc")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return [float(word) for word in done.stdout.split()]


def test_pages_of_frames_are_kept_and_not_cleared_anew() -> None:
    """Faults of pages for 20 frames of 512 pages."""
    given_back, kept = printed_by(FRAMES)
    assert given_back > 20 * 256
    assert kept < 200


def test_threads_share_one_heap() -> None:
    assert printed_by(HEAPS.format(shared=False)) == [5]
    assert printed_by(HEAPS.format(shared=True)) == [1]


def test_another_c_library_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap._glibc.cache_clear()
    try:
        assert heap._glibc() is None
        heap.keep_freed()
        heap.share()
    finally:
        heap._glibc.cache_clear()


def test_cycles_are_collected_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.one = self

    monkeypatch.setattr(heap, "_COLLECT_EVERY_S", 0.01)
    gc.disable()
    try:
        with heap.settled():
            gone = weakref.ref(Cycle())
            until(lambda: gone() is None)
    finally:
        gc.enable()


def test_the_collector_looks_only_at_what_came_since() -> None:
    before = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    with heap.settled():
        assert gc.get_freeze_count() > len(before)
        assert not any(one is before for one in gc.get_objects())
    assert gc.get_freeze_count() == 0
    assert any(one is before for one in gc.get_objects())
