"""What holds for all commands: groups of the help, variables, quiet and plain output, completion."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bundles import make_bundle, write_sorted
from command_line import Cli
from edgeproof import cli as commands
from edgeproof.cli import app
from edgeproof.cli._console import set_output
from edgeproof_runtime.bundle.reader import Bundle


@pytest.fixture(autouse=True)
def _as_before() -> object:
    yield
    set_output(quiet=False, color=True)


def test_every_command_is_in_one_group_of_the_help(cli: Cli) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    grouped = [name for names in commands._PANELS.values() for name in names]
    assert sorted(grouped) == sorted(known)
    code, out, _ = cli("--help")
    assert code == 0
    for panel in commands._PANELS:
        assert panel in out
    assert "env var" not in out
    assert "env var" not in cli("run", "--help")[1]
    assert cli("serve", "--help")[1].count("env var") == 1  # EDGEPROOF_TOKEN


def test_a_variable_stands_for_an_option(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    monkeypatch.setenv("EDGEPROOF_VERIFY_ENGINE", "unheard-of")
    code, _, err = cli("verify", bundle)
    assert (code, "unknown engine" in err) == (2, True)
    code, out, _ = cli("verify", bundle, "--engine", "onnxruntime")  # what is typed wins
    assert code == 0
    assert "verified on onnxruntime" in out


def test_a_variable_is_named_after_its_option(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    monkeypatch.setenv("EDGEPROOF_VERIFY_JSON", str(tmp_path / "verify.json"))
    code, _, _ = cli("verify", bundle, "--engine", "onnxruntime")
    assert code == 0
    assert (tmp_path / "verify.json").is_file()
    found = {
        f"{name} {option}": variables
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
        if not hasattr(command, "commands")
        for option, variables in _variables(name, command)
    }
    assert found["verify --json"] == "EDGEPROOF_VERIFY_JSON"
    assert found["serve --token"] == "EDGEPROOF_TOKEN"
    wrong = {key for key, variable in found.items() if variable not in (_named(key), "EDGEPROOF_TOKEN")}
    assert not wrong


def _named(key: str) -> str:
    return "EDGEPROOF_" + key.replace(" --", "_").replace("-", "_").upper()


def _variables(name: str, command: Any) -> Iterator[tuple[str, str]]:
    with command.make_context(name, [], resilient_parsing=True, auto_envvar_prefix=f"EDGEPROOF_{name.upper()}"):
        for param in command.params:
            if param.opts[0].startswith("-"):
                yield max(param.opts, key=len), param.envvar


def test_quiet_prints_results_and_errors(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    command = ("verify", bundle, "--engine", "onnxruntime", "--json", tmp_path / "r.json")
    code, loud_out, loud_err = cli(*command)
    assert (code, "r.json" in loud_err) == (0, True)
    code, out, err = cli("--quiet", *command)
    assert (code, out, "r.json" in err) == (0, loud_out, False)
    code, _, err = cli("-q", "verify", tmp_path / "none.edge")
    assert (code, "error: " in err) == (2, True)
    monkeypatch.setenv("EDGEPROOF_QUIET", "1")
    assert "r.json" not in cli(*command)[2]


_STEP = re.compile(r" *[0-9]+\.[0-9]{3} s  (?P<what>.*?)(: (?P<took>[0-9.]+) s)?")


def test_verbose_prints_the_steps_with_their_durations(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    write_sorted(tmp_path / "sorted", bundle)
    command = ("evaluate", "B.edge", "--data", "sorted", "--engine", "onnxruntime", "--json", "r.json")
    code, plain_out, plain_err = cli(*command)
    code, out, err = cli("--verbose", *command)
    assert (code, plain_err.strip(), out) == (0, "report r.json", plain_out)
    found = [match for match in map(_STEP.fullmatch, err.splitlines()) if match]
    steps = [match["what"] for match in found if match["took"] is not None]
    assert steps == [
        "open bundle B.edge",
        "open dataset sorted",
        "load onnxruntime, fp32",
        "replay 6 golden cases on onnxruntime, fp32",
        "evaluating on onnxruntime, 12 steps",
        "store the evaluate report in B.edge",
        "write r.json",
    ]
    assert found[0]["what"].startswith("edgeproof ")
    assert "evaluate B.edge --data sorted" in found[0]["what"]
    assert found[-1]["what"] == "exit code 0"
    monkeypatch.setenv("EDGEPROOF_VERBOSE", "1")
    code, _, err = cli("verify", "none.edge")
    assert (code, "open bundle none.edge: failed after" in err, "exit code 2" in err) == (2, True, True)
    code, _, err = cli("-q", "verify", "B.edge")
    assert (code, "--quiet and --verbose: mutually exclusive" in err) == (2, True)


def test_verbose_shows_no_secret_and_no_control_character(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    source = "rtsp://admin:hunter2@127.0.0.1:9/a?token=s3cret"
    code, _, err = cli("-v", "run", bundle.path, "--source", source, "--engine", "null", "--reconnect", "never")
    assert code == 2
    assert "open source" in err
    assert not re.search("hunter2|s3cret", err)
    code, _, err = cli("-v", "verify", "\x1b[31m.edge")
    assert (code, "\x1b" in err) == (2, False)


def test_the_library_logs_steps_where_its_user_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    with caplog.at_level(logging.NOTSET, "edgeproof.steps"):
        Bundle.open(bundle)
    assert not caplog.records
    with caplog.at_level(logging.INFO, "edgeproof.steps"):
        Bundle.open(bundle)
    assert [record.getMessage().startswith(f"open bundle {bundle}: ") for record in caplog.records] == [True]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "coloured"), [((), True), (("--no-color",), False)])
def test_colours_are_left_out_where_asked(tmp_path: Path, words: tuple[str, ...], coloured: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm", "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "edgeproof", *words, "verify", "none.edge"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert (b"\x1b[1;31m" in done.stderr) is coloured


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(cli: Cli, shell: str, tmp_path: Path) -> None:
    code, script, _ = cli("completion", shell)
    assert code == 0
    assert "_EDGEPROOF_COMPLETE" in script
    if shell == "bash":
        asked = {
            **os.environ,
            "COMP_WORDS": "edgeproof run --so",
            "COMP_CWORD": "2",
            "_EDGEPROOF_COMPLETE": "complete_bash",
        }
        named = "import sys; sys.argv[0] = 'edgeproof'; from edgeproof.cli import main; main()"
        command = [sys.executable, "-c", named]
        done = subprocess.run(command, capture_output=True, check=False, env=asked, text=True)
        assert "--source" in done.stdout.split()
    assert cli("completion", "tcsh")[0] == 2
