"""What runs appended to a file, without the lines that say when a run began."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def predictions_in(path: Path | str) -> list[dict[str, Any]]:
    """The lines of ``--predictions``; the first must say when the run began."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    assert not lines or "run_began_unix_s" in lines[0]
    return [line for line in lines if "run_began_unix_s" not in line]


def events_in(path: Path | str) -> list[dict[str, str]]:
    """The events of a ``--sink FILE.csv``; the first row must say when the run began."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["label"] == "run began"
    return [row for row in rows if row["quantity"]]
