"""What `edgeproof demo` offers at its end. The demo itself takes a minute: `make demo`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from bundles import make_bundle, write_clip
from command_line import Cli
from edgeproof.cli.demo import next_commands
from growing_files import events_in


def test_the_next_commands_work_when_they_are_pasted(cli: Cli, tmp_path: Path) -> None:
    folder = Path("a folder; $(touch pwned)")
    folder.mkdir()
    bundle = make_bundle(folder / "efficientnet-lite0.edge")
    clip = write_clip(folder / "clip.mp4")
    for _ in range(2):  # and of a demo that runs again
        commands = [shlex.split(line) for line in next_commands(bundle.path, clip)]
        assert len(commands) == 3
        assert [words[0] for words in commands] == ["edgeproof"] * 3
        for words in commands:
            code, out, err = cli(*words[1:])
            assert code == 0, (words, err)
        assert "10 frames in" in out
        # Without a cache where an earlier test has tried this model's engines.
        assert {str(folder)} <= set(os.listdir()) <= {str(folder), "cache"}  # noqa: PTH208
    assert (folder / "events.csv").is_file()
    assert {row["stream"] for row in events_in(folder / "events.csv")} <= {"clip.mp4", ""}
