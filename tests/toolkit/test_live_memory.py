"""`run` and `serve` take all memory from one heap, whatever threads they start."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundles import make_bundle
from waiting import free_port

AT_EXIT = """
import atexit, ctypes, sys
def heaps():
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(b"heaps.xml", b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
if {"run", "serve"} & set(sys.orig_argv):
    atexit.register(heaps)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library is not glibc")
@pytest.mark.parametrize("command", ["run", "serve"])
def test_all_threads_share_one_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge").path
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(AT_EXIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    words = [command, str(bundle), "--engine", "onnxruntime", "--predictions", "frames.jsonl"]
    words += ["--source", "synthetic://64x48@20", "--source", "synthetic://64x48@10"]
    words += ["--port", str(free_port())] if command == "serve" else []
    with subprocess.Popen([sys.executable, "-m", "edgeproof", *words], cwd=tmp_path) as program:
        end_s = time.monotonic() + 60
        frames = tmp_path / "frames.jsonl"
        while (not frames.exists() or frames.stat().st_size == 0) and time.monotonic() < end_s:
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0
    assert (tmp_path / "heaps.xml").read_text().count("<heap nr=") == 1
