"""Prints the table of kinds at the end of a run that had hostile inputs."""

from __future__ import annotations

from typing import Any

from hostile.table import Row, Table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows: list[Row] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "hostile" and report.when == "call":
                    rows += value
    if rows:
        terminalreporter.write_sep("=", "hostile inputs: passed of tried")
        terminalreporter.write_line(Table(rows).text())
