"""Prints the table of kinds at the end of a run that had hostile inputs."""

from __future__ import annotations

from typing import Any

from hostile.table import Table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    table = Table()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "hostile" and report.when == "call":
                    for kind, surface, tried, passed in value:
                        table.add(kind, surface, tried=passed, passed=True)
                        table.add(kind, surface, tried=tried - passed, passed=False)
    if table.tried:
        terminalreporter.write_sep("=", "hostile inputs: passed of tried")
        terminalreporter.write_line(table.text())
