"""Errors of usage say what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Cli
from edgeproof.cli import _COMMANDS, _hints


@pytest.mark.parametrize(
    ("typed", "fix"),
    [
        (("classify", "m.edge", "a.jpg"), "edgeproof run BUNDLE --source SOURCE"),
        (("quantize", "m.edge"), "edgeproof optimize BUNDLE --data DATA"),
        (("run", "m.edge"), "--source 0 (a camera)"),
        (("run", "m.edge", "a b.jpg"), "--source"),
        (("run", "m.edge", "--source", "a.jpg", "b.jpg"), "--source b.jpg"),
        (("run", "m.edge", "--source", "a.jpg", "b.jpg", "c.jpg"), "a pattern in quotes: --source 'FOLDER/*.jpg'"),
        (("evaluate", "m.edge", "photos"), "--data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_command_or_option_that_does_it_is_named(cli: Cli, typed: tuple[str, ...], fix: str) -> None:
    code, _, err = cli(*typed)
    assert code == 2
    assert fix in err.partition("fix:")[2]


def test_a_name_that_nobody_knows_gets_no_fix(cli: Cli) -> None:
    code, _, err = cli("frobnicate")
    assert code == 2
    assert "No such command 'frobnicate'" in err
    assert "fix:" not in err


def test_each_hint_is_a_command_and_no_command_is_taken_for_a_guess() -> None:
    guesses = [name for names in _hints._MEANT.values() for name in names]
    assert len(guesses) == len(set(guesses))
    assert not set(guesses) & {command.split()[0] for command in _COMMANDS}
    for meant in _hints._MEANT:
        assert meant.split()[1] in {*_COMMANDS, "--help", "--version"}


def test_a_file_that_is_no_bundle_is_called_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"x")
    code, _, err = cli("inspect", tmp_path / "mine.pth")
    assert (code, "got:      a file" in err) == (2, True)
