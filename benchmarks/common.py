"""What the benchmarks share: where data lies, a plain table, a report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproof_runtime.host import host_facts, host_warnings

__all__ = ["DATA", "DEMO", "print_table", "write_report"]

DEMO = Path("edgeproof-demo/efficientnet-lite0.edge")  # from `make demo`
DATA = Path(os.environ.get("EDGEPROOF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table: the first column to the left, numbers to the right."""
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def write_report(
    path: Path | None, question: str, settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> None:
    """Say what the figures were taken on, and keep both as JSON where a path is given."""
    host = host_facts()
    for warning in host_warnings(host):
        print(f"note: {warning}")
    if path is not None:
        report = {"question": question, "host": host, "settings": dict(settings), "results": list(results)}
        path.write_text(json.dumps(report, indent=2) + "\n")
