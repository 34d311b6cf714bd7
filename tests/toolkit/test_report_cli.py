"""`edgeproof report`: JSON that somebody else wrote becomes a page, or a named reason why not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import pytest

from bundles import LABELS, frames, make_bundle, make_defect_bundle
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import LatencyRecorder


@pytest.fixture
def document() -> dict[str, Any]:
    recorder = LatencyRecorder()
    recorder.extend("inference", [3.0, 4.0, 5.0])
    return Report(kind="run", command="edgeproof-run b.edge", host={}, **Report.latency(recorder)).to_json()


def test_a_report_becomes_a_page_beside_it(cli: Cli, document: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "device.json"
    file.write_text(json.dumps(document))
    code, _, err = cli("report", file)
    assert code == 0
    assert "device.html" in err
    assert "edgeproof-run b.edge" in (tmp_path / "device.html").read_text("utf-8")
    assert cli("report", file, "--out", tmp_path / "other.html")[0] == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "device.html").read_bytes()


def test_a_report_of_an_older_program_lacks_what_came_later(cli: Cli, document: dict[str, Any], tmp_path: Path) -> None:
    for name in ("bench", "optimization", "streams", "sinks", "timeline", "distribution_ms"):
        del document[name]
    (tmp_path / "old.json").write_text(json.dumps(document))
    assert cli("report", tmp_path / "old.json")[0] == 0


@pytest.mark.parametrize("task", ["classify", "reconstruct"])
@pytest.mark.slow
def test_the_device_programs_report_has_every_section_of_pythons(
    cli: Cli, device_program: Path, tmp_path: Path, task: str
) -> None:
    bundle: Bundle = (make_bundle if task == "classify" else make_defect_bundle)(tmp_path / "b.edge")
    for number, frame in enumerate(frames(10)):
        folder = tmp_path / "data" / (("good", "dent")[number % 2] if task == "reconstruct" else LABELS[number % 5])
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    arguments = [bundle.path, "--source", "data", "--labels-from", "parent", "--predictions", "out.jsonl", "--json"]
    done = subprocess.run(
        [str(a) for a in (device_program, *arguments, "device.json")], cwd=tmp_path, capture_output=True, check=False
    )
    if b"no engine of this program loads" in done.stderr:
        pytest.skip(done.stderr.decode())
    assert done.returncode == 0, done.stderr
    assert cli("run", *arguments, "python.json")[0] == 0
    for name in ("device", "python"):
        assert cli("report", f"{name}.json")[0] == 0
    found, expected = (
        set(re.findall(r'<section[^>]* id="(\w+)"', (tmp_path / f"{name}.html").read_text("utf-8")))
        for name in ("device", "python")
    )
    assert found == expected
    assert {"samples", "timeline", "latency", "sinks", "accuracy" if task == "classify" else "anomaly"} <= found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "edgeproof.bundle/1"}, "not a report"),
        ({"kind": "nonsense"}, "required key"),
        ({"sinks": [-1]}, "required key"),
        ({"engines": "onnxruntime"}, "required key"),
        ({"created": "yesterday"}, "required key"),
        ({"latency_ms": {"inference": {}}}, "required key"),
        ({"timeline": {"time_s": [1.0], "end_to_end_ms": [], "state": [], "frames": []}}, "required key"),
        ({"gates": [{"measured": 7}]}, "required key"),
    ],
)
def test_what_is_no_report_leaves_no_page(
    cli: Cli, document: dict[str, Any], tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    (tmp_path / "bad.json").write_text(json.dumps({**document, **change}))
    code, _, err = cli("report", "bad.json")
    assert code == 2
    assert says in err
    assert not (tmp_path / "bad.html").exists()


def test_a_file_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert cli("report", "broken.json")[0] == 2
    assert cli("report", "missing.json")[0] == 2
    assert cli("report", "broken.json", "--out", "broken.json")[0] == 2


@pytest.fixture
def two(tmp_path: Path, document: dict[str, Any]) -> tuple[Path, Path]:
    """A run, and an evaluation whose texts have the marks of Markdown and HTML, and a missed gate."""
    bad = Gate.judge("parity <b>|x", "a", {"cosine": 0.5}, at_least={"cosine": 0.9})
    good = Gate.judge("labels", "b", {"differing": 0.0}, at_most={"differing": 0.0})
    other = Report(kind="evaluate", command="c", host={}, gates=[bad, good], warnings=["`a` | <script>"]).to_json()
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, one in zip(paths, (document, other), strict=True):
        path.write_text(json.dumps(one))
    return paths


def test_several_reports_side_by_side(cli: Cli, two: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, err = cli("report", *two, "--out", tmp_path / "both.html", "--markdown", tmp_path / "both.md")
    assert code == 0, err
    page = (tmp_path / "both.html").read_text("utf-8")
    assert page.count('<th scope="col">') == 3
    assert "Inference, mean" in page
    assert "1 of 2 gates missed the bound: parity &lt;b&gt;|x." in page
    rows = (tmp_path / "both.md").read_text("utf-8").splitlines()
    assert rows[0] == "|  | Live run | Evaluation |"
    assert "| verdict | ● measured | ✗ failed |" in rows
    assert "| Inference, mean | 4.00 ms |  |" in rows
    assert not any("<details>" in row for row in rows)


def test_a_summary_for_a_pull_request_and_a_badge(cli: Cli, two: tuple[Path, Path], tmp_path: Path) -> None:
    code, out, _ = cli("report", two[1], "--markdown", "-", "--badge", tmp_path / "x.svg")
    assert code == 0
    assert not two[1].with_suffix(".html").exists()
    assert out.startswith("### Evaluation\n\n✗ **Failed.** 1 of 2 gates missed the bound: parity &lt;b&gt;\\|x.\n")
    assert "| parity &lt;b&gt;\\|x | ✗ | Cosine 0.5 | ≥ 0.9 |" in out
    assert "- \\`a\\` \\| &lt;script&gt;" in out
    svg = ElementTree.fromstring((tmp_path / "x.svg").read_text("utf-8"))  # noqa: S314 - our own
    assert svg.get("aria-label") == "edgeproof: failed, gates met 1 of 2"
    assert cli("report", two[0], "--badge", tmp_path / "y.svg")[0] == 0
    assert "measured, inference, mean 4.00 ms" in (tmp_path / "y.svg").read_text("utf-8")


def test_what_does_not_go_together_is_said(cli: Cli, two: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, err = cli("report", *two)
    assert (code, "several reports need a name" in err) == (2, True)
    code, _, err = cli("report", *two, "--badge", tmp_path / "x.svg")
    assert (code, "--badge: requires one report" in err) == (2, True)
    damaged = json.loads(two[0].read_text())
    damaged["kind"] = "unheard of"
    two[0].write_text(json.dumps(damaged))
    code, _, err = cli("report", two[0], "--markdown", tmp_path / "x.md")
    assert (code, "Traceback" in err) == (2, False)
    assert not (tmp_path / "x.md").exists()
