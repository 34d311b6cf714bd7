"""The boundary for errors: messages and exit codes on bad input, odd terminals, users and machines."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import typer

from bundles import make_bundle
from command_line import Cli
from edgeproof.cli._boundary import guarded
from edgeproof.cli._console import err as console
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.system.spec import SPEC

EDGEPROOF = (sys.executable, "-m", "edgeproof")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("boundary") / "B.edge"
    make_bundle(path)
    return path


def raiser(error: BaseException) -> Callable[[], Any]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x: wrong"), 2, "error: x: wrong\n"),
        (GateError("missed"), 1, "error: missed\n"),
        (UnavailableError("no GPU"), 3, "error: no GPU\n"),
        (OSError(errno.EACCES, "Permission denied", "/x/y"), 2, "error: /x/y: Permission denied\n"),
        (MemoryError(), 2, "error: out of memory\n"),
        (RecursionError("maximum recursion depth"), 2, "error: an input is nested too deeply\n"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), 2, "error: an input cannot be read\n"),
        (zipfile.BadZipFile("not a zip"), 2, "BadZipFile: not a zip"),
        (cv2.error("bad image"), 2, "error: bad image"),
        (RuntimeError("can't start new thread"), 2, "error: no more threads can be started\n"),
        (typer.BadParameter("x is not y"), 2, "error: Invalid value: x is not y\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
        (SystemExit(), 0, ""),
        (TypeError("no"), 70, "error: internal error: TypeError: no\n  fix:      please report it"),
        (KeyError("k"), 70, "error: internal error: KeyError: 'k'\n"),
        (InputError("\x1b[31mred \u202e"), 2, "error: \\x1b[31mred \\u202e\n"),
        (OSError(errno.ENOENT, "No such file", "\x1b]0;x\x07"), 2, "error: \\x1b]0;x\\x07: No such file\n"),
        (InputError("rtsp://user:secret@host/x"), 2, "***"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_error_is_a_message_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert guarded(raiser(error)) == code
    finally:
        signal.signal(signal.SIGTERM, before)
    shown = capsys.readouterr().err
    assert shown.startswith(said) or said in shown
    assert "Traceback" not in shown
    assert "secret" not in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}


def test_the_codes_are_those_of_the_spec() -> None:
    assert SPEC["exit_codes"] == {"ok": 0, "gate_failed": 1, "bad_input": 2, "unavailable": 3, "internal": 70}


def test_no_arguments_are_answered_by_the_help(cli: Cli) -> None:
    code, out, err = cli()
    assert (code, err) == (2, "")
    assert "Usage: " in out


def test_a_traceback_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_TRACEBACK", "1")
    assert guarded(raiser(TypeError("no"))) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_error_in_a_thread_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        thread = threading.Thread(target=raiser(ValueError("odd")), name="reader")
        thread.start()
        thread.join()

    assert guarded(work) == 0
    shown = capsys.readouterr().err
    assert shown == "error: internal error in thread reader: ValueError('odd')\n"


def test_control_characters_of_tables_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("label\x1b[2J")
    table.add_column("\x9b31m")
    table.add_row("a\x07b", Text("\u202etxt with room", style="red"))
    console.print(table)
    console.print(Text("\x1b[1A"))
    shown = capsys.readouterr().err
    for text in ("\\x1b[2J", "\\x9b31m", "\\u202etxt", "\\x1b[1A"):
        assert text in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}


def shell(command: str, folder: Path, **environment: str | None) -> subprocess.CompletedProcess[bytes]:
    """Run a shell line in which ``edgeproof`` is this checkout's."""
    names: dict[str, str | None] = {**os.environ, "EDGEPROOF_CACHE": str(folder / "cache"), **environment}
    line = f'edgeproof() {{ "{sys.executable}" -m edgeproof "$@"; }}; {command}'
    return subprocess.run(
        [shutil.which("bash") or "/bin/bash", "-c", line],
        capture_output=True,
        cwd=folder,
        check=False,
        timeout=120,
        env={name: value for name, value in names.items() if value is not None},
    )


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "in_ascii"),
    [
        ("edgeproof train --help | head -1; exit ${PIPESTATUS[0]}", 141, True),
        ("edgeproof inspect {B} | true; exit ${PIPESTATUS[0]}", 141, False),
        ("edgeproof inspect {B} >&-", 0, True),
        ("edgeproof inspect {B} >/dev/full", 2, True),
        ("edgeproof --help >/dev/full", 2, False),
        ("edgeproof inspect {B} 2>&-", 0, False),
        ("edgeproof inspect {B} 2>/dev/full", 0, False),
        ("edgeproof inspect {B} <&- >&- 2>&-", 0, False),
        ("edgeproof inspect none.edge >&-", 2, True),
        ("edgeproof inspect none.edge 2>&-", 2, False),
        ("edgeproof inspect none.edge 2>/dev/full >/dev/full", 2, False),
        ("edgeproof inspect {B} --json - >/dev/full", 2, False),
        ("edgeproof inspect {B} --json - | true; exit ${PIPESTATUS[0]}", 141, False),
        ("edgeproof nonsense", 2, False),
        ("edgeproof inspect $'a\\x1b[31m' $'b\\x1b[31m'", 2, False),
        ("edgeproof inspect $'\\xff\\x1b.edge'", 2, True),
        ("edgeproof verify {B} --engine opencv --json $'\\xe2\\x82\\xac.json'", 0, True),
    ],
)
def test_standard_streams_of_every_kind(bundle: Path, tmp_path: Path, command: str, code: int, in_ascii: bool) -> None:
    for environment in ({}, ASCII) if in_ascii else ({},):
        done = shell(command.replace("{B}", str(bundle)), tmp_path, **environment)
        said = done.stdout + done.stderr
        assert done.returncode == code, (environment, said)
        for never in (b"Traceback", b"Exception ignored", b"\x1b["):
            assert never not in said
        if "/dev/full" in command and code == 2 and "none" not in command:
            assert b"No space left" in done.stderr
    assert not list(tmp_path.glob("*.json")) or "--json $" in command


@pytest.mark.slow
def test_a_file_on_standard_output_is_not_mixed_with_tables(bundle: Path, tmp_path: Path) -> None:
    for name in ("-", "/dev/stdout", "/dev/fd/1"):
        done = shell(f"edgeproof verify {bundle} --engine opencv --json {name} > out.json", tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "out.json").read_bytes())["kind"] == "verify"
        assert b"gates passed" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_an_unknown_user_without_a_home(bundle: Path, tmp_path: Path, home: str | None) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("not root: cannot become an unknown user")
    # It may read everything: this checkout and its Python may lie in a private folder.
    become = (setpriv, "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=+dac_read_search")
    with tempfile.TemporaryDirectory() as folder:  # pytest's are private
        Path(folder).chmod(0o755)
        shutil.copytree(bundle, Path(folder, "B.edge"))
        _run_unknown(become, Path(folder, "B.edge"), home)


def _run_unknown(become: tuple[str, ...], bundle: Path, home: str | None) -> None:
    names = {n: v for n, v in os.environ.items() if n not in ("HOME", "USER", "LOGNAME", "EDGEPROOF_CACHE")}
    names |= {} if home is None else {"HOME": home}
    for command, expected in ((("verify", str(bundle), "--engine", "opencv"), 0), (("inspect", "none"), 2)):
        done = subprocess.run(
            [*become, "--ambient-caps=+dac_read_search", *EDGEPROOF, *command],
            capture_output=True,
            text=True,
            env=names,
            check=False,
            cwd="/",
        )
        assert done.returncode == expected, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_codes_of_their_own(bundle: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    os.mkfifo(tmp_path / "never")
    script = (
        "import time, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgeproof.cli._boundary import guarded\n"
        "def work():\n  print('ready', flush=True); time.sleep(60)\n"
        "raise SystemExit(guarded(work))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(20) == code
        assert process.stderr.read() == b""
