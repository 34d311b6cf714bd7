"""`edgeproof doctor`: what this machine supports, what is missing, and how to fix it."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from edgeproof.cli._shared import JsonFile, count, out
from edgeproof.doctor import Machine, document, findings
from edgeproof_runtime.system.files import write_json

__all__ = ["doctor"]

_STYLES = {"ok": "green", "missing": "yellow", "problem": "bold red"}


def doctor(json_file: JsonFile = None) -> None:
    """Check this machine: system, GPU, OpenCV build, engines, extras, conflicts, cameras, clocks. Installs nothing.

    Examples:

      edgeproof doctor

      edgeproof doctor --json doctor.json
    """
    machine = Machine.look()
    found = list(findings(machine))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "", "found", "fix"):
        table.add_column(column, overflow="fold")
    for finding in found:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(finding.subject, state, finding.detail, finding.fix or "")
    out.print(table)
    problems = sum(finding.state == "problem" for finding in found)
    out.print(f"{count(problems, 'problem')}, {sum(f.state == 'missing' for f in found)} missing")
    if json_file is not None:
        write_json(json_file, document(machine))
