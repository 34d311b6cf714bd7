"""Progress of long commands in a pipe or log file."""

from __future__ import annotations

import time

import pytest

from edgeproof.cli import _shared


def test_a_file_gets_lines_on_stderr_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "_LINE_EVERY_S", 0.02)
    with _shared.progress_bar("model: ") as tell:
        tell("ranking layers", 3, 50)
        time.sleep(0.2)
        tell("timing", 0, 1)
        time.sleep(0.2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "0 s: model: ranking layers 3/50\n" in err
    assert "0 s: model: timing\n" in err


def test_a_short_command_prints_nothing_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with _shared.progress_bar() as tell:
        tell("exporting", 0, 1)
        tell("exporting", 1, 1)
    assert capsys.readouterr() == ("", "")
