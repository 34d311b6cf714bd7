"""An engine that is registered in one place is seen by every command, the export gate and the conformance suite."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import pytest

from bundles import frames, make_bundle
from command_line import Cli
from edgeproof_export.gate import gated_engines
from edgeproof_export.pipeline import export_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.machine import machine_key
from toy_engine import ENTRY

TESTS = Path(__file__).resolve().parents[1]
REGISTER = "import sys, toy_engine; from edgeproof_runtime.engines import catalog; catalog.register(toy_engine.ENTRY); "


@pytest.fixture
def toy() -> Iterator[None]:
    with catalog.registered(ENTRY):
        yield


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge")


@pytest.fixture
def pictures(tmp_path: Path, bundle: Bundle) -> Path:
    """Two pictures of each class."""
    for number, frame in enumerate(frames(2 * len(bundle.labels))):
        folder = tmp_path / "pictures" / bundle.labels[number % len(bundle.labels)]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return tmp_path / "pictures"


def in_a_process_with_the_toy(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REGISTER + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS), "COLUMNS": "160"},
    )


def test_help_names_it() -> None:
    done = in_a_process_with_the_toy("from edgeproof.cli import main; main()", "run", "--help")
    assert done.returncode == 0, done.stderr
    assert re.search(r"openvino:auto,\W+toy\.", done.stdout), done.stdout


@pytest.mark.slow
def test_the_conformance_suite_runs_on_it(tmp_path: Path) -> None:
    suite = TESTS / "runtime/engines/test_conformance.py"
    options = ("-q", "-k", "toy", "-p", "no:cacheprovider", "--basetemp", tmp_path / "toy")
    done = in_a_process_with_the_toy("import pytest; sys.exit(pytest.main(sys.argv[1:]))", suite, *options)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 15
    assert "skipped" not in done.stdout


@pytest.mark.usefixtures("toy")
def test_doctor_has_a_line_for_it(cli: Cli, tmp_path: Path) -> None:
    assert cli("doctor", "--json", tmp_path / "doctor.json")[0] == 0
    document = json.loads((tmp_path / "doctor.json").read_text())
    said = {finding["subject"]: finding["state"] for finding in document["findings"]}
    assert said["engine toy"] == "ok"


@pytest.mark.usefixtures("toy")
def test_errors_name_it(cli: Cli, bundle: Bundle) -> None:
    code, _, err = cli("verify", bundle.path, "--engine", "abacus")
    assert code == 2
    assert re.search("expected: .*, toy", err)
    code, _, err = cli("compile", bundle.path, "--target", "toy")
    assert code == 2
    assert "toy compiles the model when loading it" in err


@pytest.mark.usefixtures("toy")
@pytest.mark.slow
def test_the_export_is_gated_on_it(pictures: Path, tmp_path: Path) -> None:
    assert "toy" in gated_engines()
    done = export_bundle("factories:tiny", tmp_path / "out.edge", data=str(pictures), gate_images=2, golden_images=1)
    gates = {gate.name: gate.passed for gate in done.report.gates}
    assert gates["parity toy fp32"]
    assert {row.name: row.passed for row in done.report.engines}["toy"]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    "arguments",
    [
        ("verify",),
        ("evaluate", "--data", "pictures"),
        ("run", "--source", "pictures"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_runs_on_it_and_reports_it(
    cli: Cli, bundle: Bundle, pictures: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command, *more = arguments
    code, _, err = cli(command, bundle.path, *more, "--engine", "toy", "--json", tmp_path / "report.json")
    assert code == 0, err
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    version = metadata.version("pytest")
    assert [(row["name"], row["version"]) for row in report["engines"]] == [("toy", version)]
    assert report["host"]["packages"]["pytest"] == version


def test_its_version_is_part_of_the_machines_key() -> None:
    before = machine_key()
    with catalog.registered(ENTRY):
        assert machine_key() != before
