"""A process that has imported everything once, and forks for each probe: an input costs milliseconds, not seconds.

It must not use threads, sessions or pools itself: a fork copies none of them. The children in which the program tries
parsers and engines are forks too. Probes of the surface ``process`` have all that is left out here.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hostile.forked import Forked
from hostile.places import PLACES

RSS_LIMIT = 2 << 30
CPU_LIMIT_S = 20.0
WALL_LIMIT_S = 90.0  # the machine may be shared
_INTERNAL = 70
_SET_CHILD_SUBREAPER = 36
_WARM = (
    "edgeproof.cli", "edgeproof.library.evaluate", "edgeproof.library.run", "edgeproof.library.bench", "edgeproof.report",
    "edgeproof.dashboard.service", "edgeproof_export.bundle", "edgeproof_export.pipeline", "edgeproof_export.prepared",
    "edgeproof_export.parsing.child", "edgeproof_runtime.engines.trial_child", "torch", "torch.export.pt2_archive", "torch.onnx",
    "timm", "torchvision", "lightning.pytorch", "torchmetrics", "networkx", "onnx.inliner", "onnx.reference", "onnxruntime",
    "onnxscript", "openvino", "tensorrt_rtx", "cv2", "matplotlib.figure", "pyarrow.parquet", "pydantic.type_adapter", "typer._adapters",
)  # fmt: skip


def main() -> None:
    """Import everything, then serve each of the sockets that the arguments name, in a process of its own."""
    channels = [socket.socket(fileno=int(argument)) for argument in sys.argv[1:]]
    _warm()
    for channel in channels:
        if os.fork() == 0:
            for other in channels:
                if other is not channel:
                    other.close()
            _serve(channel)
            os._exit(0)
    for channel in channels:
        channel.close()
    for _ in channels:
        os.wait()


def _serve(channel: socket.socket) -> None:
    """Serve requests, one line of JSON each, until the other side closes."""
    os.set_inheritable(channel.fileno(), False)
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of a probe become this process's children
    # The other side may close before it has asked for anything.
    with suppress(ConnectionError), channel, channel.makefile("r") as requests:
        channel.sendall(b"ready\n")
        for line in requests:
            request = json.loads(line)
            answer = _watch(partial(_run, request))
            channel.sendall(json.dumps(answer).encode() + b"\n")


def _warm() -> None:
    for name in _WARM:
        with suppress(ImportError):
            importlib.import_module(name)
    from edgeproof_runtime.system import child

    child.subprocess = SimpleNamespace(Popen=Forked, PIPE=child.subprocess.PIPE)  # type: ignore[misc]
    gc.freeze()


def _watch(run: Callable[[], int]) -> dict[str, Any]:
    child = os.fork()
    if child == 0:
        code = _INTERNAL
        try:
            os.setsid()
            code = run()
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
            with suppress(BaseException):
                sys.stderr.flush()
            os._exit(code)
    handle = os.pidfd_open(child)
    begin, stopped = time.monotonic(), None
    while not select.select([handle], [], [], 0.05)[0]:
        processes = family()
        rss = max(map(peak_bytes, processes), default=0)
        cpu = sum(map(_cpu, processes))
        if rss > RSS_LIMIT:
            stopped = f"memory: {rss >> 20} MiB"
        elif cpu > CPU_LIMIT_S:
            stopped = f"CPU time: {cpu:.0f} s"
        elif time.monotonic() - begin > WALL_LIMIT_S:
            stopped = f"time: {WALL_LIMIT_S:.0f} s"
        if stopped is not None:
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            break
    _, status, usage = os.wait4(child, 0)
    os.close(handle)
    time.sleep(0.02 if family() else 0)  # a child that was told to end may need a moment
    left = [pid for pid in family() if _state(pid) != "Z"]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return {
        "code": None if stopped else os.waitstatus_to_exitcode(status),
        "stopped": stopped,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "orphans": 0 if stopped else len(left),
    }


def family(root: int | None = None) -> list[int]:
    """Return the descendants of a process, by default of this one."""
    found, open_ = [], [root or os.getpid()]
    while open_:
        pid = open_.pop()
        with suppress(OSError):
            children = [
                int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()
            ]
            found += children
            open_ += children
    return found


def peak_bytes(pid: int) -> int:
    """Return the largest resident memory of a process since its program began, in bytes; 0 if it has ended.

    Not ``ru_maxrss``, which begins with what the process had that forked it.
    """
    with suppress(OSError, IndexError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    return 0


def _cpu(pid: int) -> float:
    with suppress(OSError, IndexError):
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _state(pid: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def _run(request: dict[str, Any]) -> int:
    for name, value in request["env"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.chdir(request["folder"])
    _redirect(0, "in.fed", os.O_RDONLY)
    _redirect(1, "stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _redirect(2, "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if request["place"] is not None:
        PLACES[request["place"]]()
    if request["uid"] is not None:
        os.setgroups([])
        os.setgid(request["uid"])
        os.setuid(request["uid"])
    code = _api(request["argv"]) if request["surface"] == "api" else _command(request["argv"])
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # as an interpreter that ends
    atexit._run_exitfuncs()
    return code


def _redirect(descriptor: int, name: str, flags: int) -> None:
    opened = os.open(name, flags, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


def _command(argv: list[str]) -> int:
    from edgeproof.cli import main as command

    sys.argv = ["edgeproof", *argv]
    try:
        command()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return int(ended.code or 0)
        print(ended.code, file=sys.stderr)
        return 1
    return 0


def _api(argv: list[Any]) -> int:
    from edgeproof_runtime.errors import EdgeproofError

    module, _, name = argv[0].partition(":")
    try:
        getattr(importlib.import_module(module), name)(*argv[1:])
    except EdgeproofError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    main()
