"""Which skips a run may have: those whose reason matches a line of expected_skips.txt, or want of PyTorch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeproof_runtime.errors import UnavailableError

__all__ = ["EXPECTED", "SkipPolicy", "WithoutTorch", "read_patterns"]

EXPECTED = Path(__file__).with_name("expected_skips.txt")

# As an error's text, as pytest shows it, or within a string that pytest shows.
_NO_PACKAGE = re.compile(
    r"No module named '(\w+)|packages (?:are )?not installed(?:\s|E|\\n)+got:\s+(?:no )?(\w+)|requires (NNCF), which is"
)


def read_patterns(path: Path = EXPECTED) -> list[re.Pattern[str]]:
    """Read one regular expression per line; lines that are empty or start with ``#`` are comments."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


@dataclass(eq=False)  # pytest keeps plugins in sets
class SkipPolicy:
    """A pytest plugin that lists unexpected skips and, if ``strict``, fails the run for them.

    Attributes:
        patterns: reasons that are expected; each is searched for anywhere in the reason.
        strict: whether an unexpected skip fails the run.
        unexpected: reason -> ids of the tests.
    """

    patterns: Iterable[re.Pattern[str]]
    strict: bool
    unexpected: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> SkipPolicy:
        """Be strict with ``CI=true``; expect no PyTorch with ``EDGEPROOF_TESTS_WITHOUT_TORCH=1``."""
        patterns = read_patterns()
        if os.environ.get("EDGEPROOF_TESTS_WITHOUT_TORCH") == "1":
            patterns += (WithoutTorch.EXPECTED, WithoutTorch.NO_GPU)
        return cls(patterns, strict=os.environ.get("CI") == "true")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look_at(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look_at(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.strict and self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.unexpected:
            return
        verdict = "they fail this run (CI=true)" if self.strict else "they would fail in CI"
        terminalreporter.section("unexpected skips", red=self.strict, yellow=not self.strict)
        terminalreporter.line(f"{len(self.unexpected)} reasons match no line of {EXPECTED.name}; {verdict}:")
        for reason, names in self.unexpected.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            terminalreporter.line(f"  {reason}\n    {names[0]}{more}")

    def _look_at(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        if not any(pattern.search(reason) for pattern in self.patterns):
            self.unexpected.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)


class WithoutTorch:
    """A pytest plugin for a device's environment: what needs a workstation's package is skipped with its name."""

    PACKAGES = frozenset({"lightning", "nncf", "onnxscript", "safetensors", "timm", "torch", "torchvision"})
    EXPECTED = re.compile(rf"^Skipped: package ({'|'.join(sorted(PACKAGES))}) is not installed$")
    """The reason of these skips."""
    NO_GPU = re.compile("Python (package tensorrt_rtx is|bindings of the CUDA runtime are) not installed")
    """The reason of skips where only a workstation or a device with a GPU has the package."""

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        report = yield
        package = self._package_in(str(report.longrepr)) if report.failed else None
        if package is not None:
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 0, f"Skipped: package {package} is not installed")
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, (ImportError, UnavailableError)):
            package = self._package_in(str(error))
        elif report.failed:  # of a command's exit code, say
            package = self._package_in("\n".join([report.longreprtext, *(text for _, text in report.sections)]))
        else:
            package = None
        if package is not None:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: package {package} is not installed")
        return report

    def _package_in(self, error: str) -> str | None:
        """Return the package that is missing by an import's error, or by that of edgeproof's export or training."""
        found = _NO_PACKAGE.search(error)
        package = None if found is None else str(found[1] or found[2] or found[3]).lower()
        return package if package in self.PACKAGES else None
