"""What holds for all commands: groups of the help, variables, quiet and plain output, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from bundles import make_bundle
from command_line import Cli
from edgeproof import cli as commands
from edgeproof.cli import app
from edgeproof.cli._console import set_output


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


def test_a_variable_stands_for_an_option(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    monkeypatch.setenv("EDGEPROOF_VERIFY_ENGINE", "unheard-of")
    code, _, err = cli("verify", bundle)
    assert (code, "unknown engine" in err) == (2, True)
    code, out, _ = cli("verify", bundle, "--engine", "onnxruntime")  # what is typed wins
    assert code == 0
    assert "verified on onnxruntime" in out


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
