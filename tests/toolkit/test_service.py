"""`edgeproof service`: units that systemd accepts, and a service manager's stand-in that is told what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bundles import make_bundle
from command_line import Cli
from edgeproof import systemd
from edgeproof.cli import _console, service
from edgeproof_runtime.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden"
STREAMS = '[door]\nsource = "0"\n'


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "model.edge")
    return tmp_path / "model.edge"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down how it is called; returns its record."""
    units, record, programs = tmp_path / "units", tmp_path / "called", tmp_path / "programs"
    units.mkdir()
    programs.mkdir()
    (programs / "systemctl").write_text(
        f'#!/bin/sh\necho "$@" >> {record}\n'
        '[ "$1" = show ] && printf "ActiveState=active\\nSubState=running\\nStatusText=2 of 3 streams live\\n'
        'Result=success\\nNRestarts=4\\nMemoryCurrent=104857600\\n"\nexit 0\n'
    )
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "UNITS", units)
    monkeypatch.setattr(service, "_RUNNING", units)
    return record


def settings(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))


def test_systemd_accepts_the_unit_and_starts_what_was_asked_for(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    (tmp_path / "streams.toml").write_text(STREAMS)
    unit = tmp_path / "edgeproof.service"
    given = ("--source", "streams.toml", "--watchdog", "90s", "--memory-max", "1500M", "--output", unit)
    code, _, messages = cli("service", "install", bundle, *given, "--", "--predictions", "/srv/a b/100%$.jsonl")
    assert code == 0, messages
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--generators=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert unit.name not in done.stderr
    assert done.returncode == 0
    found = settings(unit.read_text())
    assert found["Type"] == "notify"
    assert (found["WatchdogSec"], found["MemoryMax"], found["Restart"]) == ("90", "1500M", "on-failure")
    assert found["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert found["DynamicUser"] == "yes"
    assert found["ReadWritePaths"] == '"/srv/a b"'
    assert f"run {bundle} --source {tmp_path}/streams.toml" in found["ExecStart"]
    assert '--predictions "/srv/a b/100%%$$.jsonl" --reconnect always' in found["ExecStart"]


def test_a_dry_run_prints_the_unit_and_serves_without_the_options_of_run(cli: Cli, bundle: Path) -> None:
    code, printed, _ = cli(
        "service", "install", bundle, "--source", "0", "--command", "serve", "--user", "cam", "--dry-run"
    )
    assert code == 0
    assert printed.startswith(systemd.MARK)
    found = settings(printed)
    assert found["User"] == "cam"
    assert "DynamicUser" not in found
    assert "ExecReload" not in found, "a camera has nothing to reload"
    assert "--reconnect" not in found["ExecStart"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "0", "--", "--no-such-option"], "No such option"),
        (["--source", "0", "--", "--labels-from", "truth.csv"], "must be an absolute path"),
        (["--source", "csi://0"], "requires --user"),
        (["--source", "0", "--command", "train"], "run or serve"),
        (["--source", "0", "--memory-max", "lots"], "not a size"),
        (["--source", "0", "--watchdog", "soon"], "not a duration"),
        (["--source", "0", "--name", "../x"], "--name: invalid"),
        (["--source", "0", "--user", "a\nExecStartPre=/bin/true"], "control character"),
    ],
)
def test_what_would_not_start_is_refused(
    arguments: list[str], said: str, cli: Cli, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "truth.csv").write_text("0,1,a\n")
    before = sorted(tmp_path.iterdir())
    code, printed, messages = cli("service", "install", bundle, *arguments[:2], "--dry-run", *arguments[2:])
    assert code == 2
    assert said in messages
    assert printed == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_password_in_the_unit_and_files_that_the_user_cannot_read_are_said(cli: Cli, bundle: Path) -> None:
    _, _, messages = cli("service", "install", bundle, "--source", "rtsp://me:secret@camera/1", "--dry-run")
    assert "--environment-file" in messages
    assert f"{bundle}: a DynamicUser" in messages
    assert "secret" not in messages
    _, printed, messages = cli(
        "service", "install", bundle, "--source", "rtsp://${CAMERA}/1", "--dry-run", "--user", "me"
    )
    assert "note:" not in messages
    assert "rtsp://$${CAMERA}/1" in printed


def test_what_other_users_cannot_read_is_named(tmp_path: Path) -> None:
    unit = systemd.Unit(name="x", command=["/bin/true"], description="x")
    assert list(unit.problems([Path("/usr/bin/env")])) == []
    assert "a /tmp of its own" in next(iter(unit.problems([Path("/tmp/model.edge")])))  # noqa: S108
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    (closed / "file").touch(0o644)
    assert systemd._closed_to_others(closed / "file") == closed
    assert systemd._closed_to_others(tmp_path / "absent") == tmp_path / "absent"


def test_a_service_is_installed_shown_and_removed(cli: Cli, bundle: Path, manager: Path) -> None:
    assert cli("service", "status", "--name", "door")[0] == 3
    code, printed, messages = cli("service", "install", bundle, "--source", "0", "--name", "door")
    assert code == 0, messages
    unit = systemd.UNITS / "door.service"
    assert "journalctl -u door" in printed
    assert f"run {bundle} --source 0" in settings(unit.read_text())["ExecStart"]
    assert manager.read_text().splitlines() == [
        "daemon-reload",
        "enable --quiet door.service",
        "restart --no-block door.service",
    ]
    code, printed, _ = cli("service", "status", "--name", "door")
    assert code == 0
    assert "door: active (running)\nstreams: 2 of 3 streams live\n" in printed
    assert "restarts: 4\nmemory: 100 MiB\n" in printed
    code, _, messages = cli("service", "uninstall", "--name", "door")
    assert code == 0, messages
    assert not unit.exists()
    assert manager.read_text().splitlines()[-2:] == ["disable --now --quiet door.service", "daemon-reload"]


def test_a_unit_of_others_is_neither_replaced_nor_removed(cli: Cli, bundle: Path, manager: Path) -> None:
    unit = systemd.UNITS / "edgeproof.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    for arguments in (("install", bundle, "--source", "0"), ("uninstall",)):
        code, _, messages = cli("service", *arguments)
        assert code == 2
        assert "a unit that edgeproof did not write" in messages
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert not manager.exists()


def test_without_systemd_it_says_what_to_do(cli: Cli, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_RUNNING", bundle / "absent")
    for arguments in (("install", bundle, "--source", "0"), ("status",), ("uninstall",)):
        code, _, messages = cli("service", *arguments)
        assert code == 3
        assert "requires systemd" in messages


@pytest.mark.slow
def test_lines_in_the_journal_have_priorities(bundle: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    facts = os.fstat(write)
    known = os.environ | {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
    script = (
        "from edgeproof.cli import main\nfrom edgeproof.cli._console import err\n"
        "err.print('one\\ntwo')\nerr.print('three', style='yellow')\nmain()"
    )
    command = [sys.executable, "-c", script, "inspect", str(tmp_path / "absent.edge")]
    with os.fdopen(read) as said:
        done = subprocess.run(command, env=known, stderr=write, stdout=subprocess.DEVNULL, check=False)
        os.close(write)
        lines = said.read().splitlines()
    assert done.returncode == 2
    assert lines[:3] == ["<6>one", "<6>two", "<4>three"]
    assert lines[3].startswith("<3>error: ")
    assert len(lines) > 4
    assert all(line.startswith("<3>  ") for line in lines[4:])
    # Another stream than the journal's, such as a redirected one, gets plain lines.
    plain = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    assert plain.stderr.startswith("one\ntwo\nthree\nerror: ")


@pytest.mark.parametrize("case", json.loads((GOLDEN / "journal.json").read_text())["cases"])
def test_lines_for_the_journal_are_what_the_golden_says(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        monkeypatch.setattr(_console, "_is_journal", lambda _descriptor: True)
        console = _console._Messages(file=journal, highlight=False, soft_wrap=True, markup=False)
        for part in case["printed"]:
            with console.errors() if part["as"] == "error" else nullcontext():
                console.print(part["text"], end="", style="yellow" if part["as"] == "warning" else None)
        journal.seek(0)
        assert journal.read() == case["written"]


def test_a_jetsons_camera_daemon_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_UNIT_FOLDERS", (tmp_path,))
    unit = systemd.Unit(name="x", command=["/bin/true"], description="x")
    assert "nvargus" not in unit.text
    (tmp_path / "nvargus-daemon.service").touch()
    assert "After=network-online.target nvargus-daemon.service\n" in unit.text
    with pytest.raises(InputError, match="--name"):
        systemd.Unit(name="a b", command=["/bin/true"], description="x")
