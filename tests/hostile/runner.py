"""Runs probes and judges what came of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from hostile import zygote
from hostile.places import PLACES
from hostile.probe import Probe, Result

__all__ = ["Runner", "running"]

_HERE = Path(__file__).resolve().parent
_TRACES = (b"Traceback (most recent call last)", b"AddressSanitizer", b"runtime error:", b"terminate called")
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x0A, 0x0D, 0x09})
_HASHED_BYTES = 1 << 28
_TELEMETRY = re.compile(r"DeveloperTools|\.onnxruntime|^intel/|telemetry", re.IGNORECASE)
_TORCH_CACHE = "torchinductor_"  # an empty folder: PyTorch makes it when its compiler is imported
_PLAIN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Runner:
    """Runs probes of every surface but ``serve``, as many at a time as there are lanes."""

    def __init__(self, folder: Path, device_program: Path | None, lanes: int) -> None:
        self._folder = folder
        self._device_program = device_program
        # AddressSanitizer keeps what is freed, and a shadow of all.
        self._sanitized = device_program is not None and b"__asan_init" in device_program.read_bytes()
        self._plain: dict[str, str | None] = {**_PLAIN}
        if sys.dont_write_bytecode:  # a cold start would be a compilation of PyTorch
            self._plain |= {"PYTHONDONTWRITEBYTECODE": None, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        self._zygote, self._all_lanes = _start(lanes, _environment(self._plain))
        self._lanes: SimpleQueue[_Lane] = SimpleQueue()
        for lane in self._all_lanes:
            self._lanes.put(lane)

    @property
    def has_device_program(self) -> bool:
        """Whether edgeproof-run is built."""
        return self._device_program is not None

    def close(self) -> None:
        """End the processes that fork."""
        for lane in self._all_lanes:
            lane.close()
        self._zygote.wait(20)

    def make_base(self, root: Path) -> None:
        """Write the sound artifacts that probes are made from (`hostile.base`).

        Raises:
            AssertionError: it fails; the message has what it printed.
        """
        folder = Path(tempfile.mkdtemp(prefix="base", dir=self._folder))
        (folder / "in.fed").touch()
        env = {"EDGEPROOF_CACHE": str(self._folder / "cache" / "0")}
        lane = self._all_lanes[0]
        answer = lane.ask({"surface": "api", "argv": ["hostile.base:make_base", str(root)], "env": env, "folder": str(folder), "uid": None, "place": None}, )  # fmt: skip
        assert answer["code"] == 0, (folder / "stderr").read_text(errors="replace")

    def run(self, probes: Sequence[Probe]) -> Iterator[tuple[Probe, list[str], float]]:
        """Yield each probe with what was wrong, which is nothing where all is well, and the seconds that it took."""
        for lane in self._all_lanes:
            lane.wait_until_ready()
        with ThreadPoolExecutor(len(self._all_lanes)) as pool:
            for probe, (faults, took_s) in zip(probes, pool.map(self._judged, probes), strict=True):
                yield probe, faults, took_s

    def _judged(self, probe: Probe) -> tuple[list[str], float]:
        folder = Path(tempfile.mkdtemp(prefix="p", dir=self._folder))
        begin = time.monotonic()
        try:
            return self._judge(probe, folder), time.monotonic() - begin
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _judge(self, probe: Probe, folder: Path) -> list[str]:
        for name in ("in", "out", "home", "tmp"):
            (folder / name).mkdir()
        (folder / "in.fed").write_bytes(probe.fed)
        probe.plant(folder / "in")
        if probe.uid is not None:
            folder.chmod(0o755)
            for name in ("out", "home", "tmp"):
                os.chown(folder / name, probe.uid, probe.uid)
            folder.chmod(0o777)
        before = _tree(folder / "in")
        result = self._result(probe, folder)
        return [*_faults(probe, result), *_traces(probe, result, folder, before)]

    def _result(self, probe: Probe, folder: Path) -> Result:
        env: dict[str, str | None] = {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "EDGEPROOF_CACHE": str(self._folder / "cache" / str(probe.uid or 0)) if probe.uid is None else None,
            "XDG_CACHE_HOME": None,
            **probe.env,
        }
        argv = [str(a).replace("{}", str(folder)) if isinstance(a, str) else a for a in probe.argv]
        if probe.surface in ("api", "command"):
            lane = self._lanes.get()
            try:
                answer = lane.ask(
                    {
                        "surface": probe.surface,
                        "argv": argv,
                        "env": env,
                        "folder": str(folder),
                        "uid": probe.uid,
                        "place": probe.place,
                    }
                )
            finally:
                self._lanes.put(lane)
            out, err = (
                (folder / name).read_bytes() if (folder / name).exists() else b"" for name in ("stdout", "stderr")
            )
            return Result(**{"cpu_s": 0.0, "orphans": 0, **answer}, out=out, err=err)
        return self._process(probe, argv, env, folder)

    def _process(self, probe: Probe, argv: list[str], env: dict[str, str | None], folder: Path) -> Result:
        program = (
            [str(self._device_program)] if probe.surface == "edgeproof-run" else [sys.executable, "-m", "edgeproof"]
        )
        if probe.uid is not None:
            # It may read everything: the checkout and its Python may lie in a private folder.
            become = ("--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
            program = ["setpriv", f"--reuid={probe.uid}", f"--regid={probe.uid}", *become, *program]
        surrounding = _environment(self._plain | env)
        read = None
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            target: int = out.fileno()
            if probe.stdout == "full":
                target = os.open("/dev/full", os.O_WRONLY)
            elif probe.stdout == "pipe":
                read, target = os.pipe()
            elif probe.stdout == "closed":
                target = os.open(os.devnull, os.O_RDONLY)  # its place is closed by the shell
                program = ["sh", "-c", 'exec "$@" >&-', "sh", *program]
            child = subprocess.Popen(
                [*program, *argv], cwd=folder, env=surrounding, stdin=subprocess.DEVNULL if not probe.fed else (folder / "in.fed").open("rb"),
                stdout=target, stderr=err, start_new_session=True, preexec_fn=None if probe.place is None else PLACES[probe.place],
            )  # fmt: skip
            if read is not None:
                os.close(target)
                os.read(read, 1)
                os.close(read)
            limited = not (self._sanitized and probe.surface == "edgeproof-run")
            stopped = _wait(child.pid, zygote.WALL_LIMIT_S, zygote.RSS_LIMIT if limited else None)
            if stopped is not None:
                os.killpg(child.pid, signal.SIGKILL)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        if stopped is None and cpu > zygote.CPU_LIMIT_S:
            stopped = f"CPU time: {cpu:.0f} s"
        out_bytes, err_bytes = (folder / "stdout").read_bytes(), (folder / "stderr").read_bytes()
        code = None if stopped else child.returncode
        return Result(code, stopped, cpu, _session_left(child.pid), out_bytes, err_bytes)


@contextmanager
def running(folder: Path, device_program: Path | None, lanes: int) -> Iterator[Runner]:
    """Run a `Runner`."""
    runner = Runner(folder, device_program, lanes)
    try:
        yield runner
    finally:
        runner.close()


class _Lane:
    """One of the processes that fork."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._answers = channel.makefile("r")
        self._ready = False

    def wait_until_ready(self) -> None:
        if not self._ready:
            assert self._answers.readline() == "ready\n", "the process that forks did not start"
            self._ready = True

    def ask(self, request: dict[str, object]) -> dict[str, object]:
        self.wait_until_ready()
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._answers.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        self._answers.close()
        self._channel.close()


def _environment(changes: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**os.environ, **changes}.items() if value is not None}


def _start(lanes: int, env: dict[str, str]) -> tuple[subprocess.Popen[bytes], list[_Lane]]:
    """Start the process that imports everything and becomes the lanes."""
    pairs = [socket.socketpair() for _ in range(lanes)]
    theirs = [other.fileno() for _, other in pairs]
    child = subprocess.Popen(
        [sys.executable, "-m", "hostile.zygote", *map(str, theirs)],
        cwd=_HERE.parent,
        pass_fds=theirs,
        env={**env, "PYTHONPATH": str(_HERE.parent)},
        stdin=subprocess.DEVNULL,
    )
    for _, other in pairs:
        other.close()
    return child, [_Lane(ours) for ours, _ in pairs]


def _wait(pid: int, limit_s: float, limit_bytes: int | None) -> str | None:
    """Wait until a child ends; return why it has to be stopped, or None."""
    handle = os.pidfd_open(pid)
    end_s = time.monotonic() + limit_s
    try:
        while not select.select([handle], [], [], 0.02)[0]:
            peak = max(map(zygote.peak_bytes, [pid, *zygote.family(pid)]))
            if limit_bytes is not None and peak > limit_bytes:
                return f"memory: {peak >> 20} MiB"
            if time.monotonic() > end_s:
                return f"time: {limit_s:.0f} s"
        return None
    finally:
        os.close(handle)


def _session_left(session: int) -> int:
    left = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            parts = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parts[3]) == session and parts[0] != "Z":
            left += 1
            os.kill(int(folder.name), signal.SIGKILL)
    return left


def _faults(probe: Probe, result: Result) -> Iterator[str]:
    both = result.out + result.err
    tail = both[-400:].decode(errors="backslashreplace")
    if result.stopped is not None:
        yield f"stopped: {result.stopped}; {tail}"
    elif result.code is not None and result.code < 0:
        yield f"crash: {signal.Signals(-result.code).name}; {tail}"
    elif result.code not in probe.codes:
        yield f"exit code {result.code}, expected {sorted(probe.codes)}; {tail}"
    if result.orphans:
        yield f"{result.orphans} processes left behind"
    for trace in _TRACES:
        if trace in both:
            yield f"traceback: {both[-700:].decode(errors='backslashreplace')}"
    if (
        result.stopped is None
        and result.code in (2, 3)
        and not both.strip()
        and probe.stdout == "file"
        and not probe.silent
    ):
        yield "refused without a message"
    if probe.surface != "api":  # an exception's text is the program's, which knows where it shows it
        if found := sorted(set(both) & set(_CONTROLS)):
            yield f"control characters {found} on the terminal"
        for char in ("\u202e", "\u2066", "\x9b", "\x85"):
            if char.encode() in both:
                yield f"U+{ord(char):04X} on the terminal"
    if probe.says is not None and probe.says.encode() not in both:
        yield f"does not say {probe.says!r}: {tail}"
    for text in (*probe.never, *([probe.secret] if probe.secret else [])):
        if text.encode() in both:
            yield f"says {text!r}: {tail}"


def _traces(probe: Probe, result: Result, folder: Path, before: dict[str, str]) -> Iterator[str]:
    after = _tree(folder / "in")
    if before != after and not (probe.writes and (probe.keeps or result.code in (0, 1))):
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        yield f"inputs changed: {changed[:4]}"
    outputs = sorted(_tree(folder / "out"))
    if result.code not in (0, 1) and outputs and not probe.keeps:
        yield f"left by a refused command: {outputs[:4]}"
    if partial := [name for name in {*outputs, *after} if ".partial" in name or name.endswith(".tmp")]:
        yield f"half-written: {sorted(partial)[:4]}"
    if left := sorted(name for name in _tree(folder / "tmp") if not name.startswith(_TORCH_CACHE)):
        yield f"temporary files: {left[:4]}"
    if beside := sorted(
        {p.name for p in folder.iterdir()} - {"in", "out", "home", "tmp", "in.fed", "stdout", "stderr"}
    ):
        yield f"files beside the outputs: {beside[:4]}"
    if reports := sorted(name for name in _tree(folder / "home") if _TELEMETRY.search(name)):
        yield f"telemetry: {reports[:4]}"
    if probe.secret is not None:
        for place in ("out", "home"):
            for path in (folder / place).rglob("*"):
                if path.is_file() and probe.secret.encode() in path.read_bytes():
                    yield f"secret in {path.relative_to(folder)}"
                elif probe.secret in path.name:
                    yield f"secret in the name {path.relative_to(folder)}"


def _tree(root: Path) -> dict[str, str]:
    """Return kind, mode and contents of everything below a folder, without following links or opening special files."""
    found = {}
    for parent, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.lstat()
            content = ""
            if stat.S_ISREG(status.st_mode) and status.st_size > _HASHED_BYTES:  # sparse ones, of many gigabytes
                content = f"{status.st_size} {status.st_mtime_ns}"
            elif stat.S_ISREG(status.st_mode):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = str(path.readlink())
            found[str(path.relative_to(root))] = f"{status.st_mode:o} {content}"
    return found
