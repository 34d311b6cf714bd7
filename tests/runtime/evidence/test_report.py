"""The report's JSON: DESIGN's fields, units, no NaN, no password, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeproof_runtime.bundle.manifest import FileEntry, Manifest, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import SCHEMA, BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.live.timeline import Timeline
from edgeproof_runtime.metrics.accuracy import AccuracyMeter
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.system.files import write_atomically


@pytest.fixture(scope="module")
def report() -> Report:
    """A report with every field filled; its figures are fixtures, none is a measurement."""
    recorder = LatencyRecorder()
    recorder.extend("inference", np.linspace(5, 9, 40))
    recorder.extend("end_to_end", np.linspace(8, 20, 40))
    meter = AccuracyMeter(10)
    meter.update(np.eye(10)[[1, 2, 3, 3]], np.array([1, 2, 3, 4]))
    timeline = Timeline()
    timeline.add(0.0, 8.0)
    return Report(
        kind="run",
        command="edgeproof run model.edge --source clip.mp4",
        host=host_facts(),
        bundle=BundleFacts("model", "0" * 64, "rgb 224x224", ({"path": "model.onnx", "sha256": "1" * 64},), {}),
        settings={"engine": "openvino", "source": Path("clip.mp4"), "threads": np.int64(2), "shape": (224, 224)},
        counts={"frames_in": 42, "frames_classified": 40, "frames_dropped": 2},
        **Report.latency(recorder),
        throughput_fps=61.5,
        sections={"accuracy": meter.result().to_json()},
        gates=[Gate.judge("parity openvino", "fixture", {"max_abs_diff": 1e-6}, at_most={"max_abs_diff": 1e-3})],
        engines=[EngineRow("openvino", "2026.4", 7.0, True, chosen=True), EngineRow("opencv", "5.0", None, None, "?")],
        samples=[Thumbnail.of("frame 3", np.full((480, 640, 3), 90, np.uint8), "cat", 0.9, "cat")],
        timeline=timeline.to_json(),
        warnings=["1 file skipped: notes.txt is not an image."],
    )


def test_document_has_the_fields_of_the_design(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "deep" / "report.json")
    document = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert document == report.to_json()
    assert document["schema"] == SCHEMA == "edgeproof.report/1"
    assert document["kind"] == "run"
    assert document["passed"] is True
    assert document["throughput_fps"] == 61.5
    assert list(document["latency_ms"]) == ["inference", "end_to_end"]
    for stage in document["latency_ms"].values():
        assert {"count", "mean", "p50", "p90", "p99", "max"} <= set(stage)
        assert stage["p99"] is None
        assert "needs 299" in stage["unsupported"]["p99"]
    assert {"top1", "top5", "precision", "recall", "f1", "n", "ci95"} <= set(document["accuracy"])
    assert document["settings"] == {"engine": "openvino", "source": "clip.mp4", "threads": 2, "shape": [224, 224]}
    assert document["gates"][0]["bound"] == {"max_abs_diff": {"max": 1e-3}}
    assert document["created"].endswith("+00:00")


def test_bundle_facts_are_the_hashes_of_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model, but a file with a hash")
    manifest = Manifest(
        name="tiny",
        task="classify",
        contract=InputContract(),
        input_name="input",
        outputs=(OutputEntry("logits", (2,)),),
        labels=None,
        class_ids=None,
        provenance={"architecture": "none"},
        models={"fp32": "model.onnx"},
        golden=(),
        files={"model.onnx": FileEntry(sha256_of(tmp_path / "model.onnx"), 35)},
    )
    (tmp_path / "bundle.json").write_text(json.dumps(manifest.to_json()))
    document = Report(kind="verify", command="", host={}, bundle=BundleFacts.of(Bundle.open(tmp_path))).to_json()
    assert document["bundle"] == {
        "name": "tiny",
        "manifest_sha256": hashlib.sha256((tmp_path / "bundle.json").read_bytes()).hexdigest(),
        "contract": InputContract().summary(),
        "artifacts": [
            {
                "path": "model.onnx",
                "sha256": hashlib.sha256(b"not a model, but a file with a hash").hexdigest(),
                "size_bytes": 35,
            }
        ],
        "provenance": {"architecture": "none"},
    }


def test_what_is_not_finite_is_null_and_named(report: Report) -> None:
    odd = Report(kind="verify", command="", host={}, settings={"gain": np.float32("nan"), "list": [1.0, float("inf")]})
    document = odd.to_json()
    assert document["settings"] == {"gain": None, "list": [1.0, None]}
    assert document["warnings"] == ["Not finite, stored as null: settings.gain, settings.list[1]."]
    json.dumps(document, allow_nan=False)


def test_file_names_that_are_not_utf8_do_not_break_the_report(tmp_path: Path) -> None:
    odd = Report(kind="run", command="", host={}, warnings=["1 file skipped: b\udcffd.jpg"])
    odd.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_bytes())["warnings"] == [r"1 file skipped: b\udcffd.jpg"]


def test_secrets_of_a_command_line_are_redacted() -> None:
    arguments = ["/opt/bin/edgeproof", "run", "m.edge", "--source", "rtsp://admin:s3 cret@10.0.0.7:554/main stream"]
    command = command_line(arguments)
    assert command == "edgeproof run m.edge --source 'rtsp://***@10.0.0.7:554/main stream'"
    document = Report(kind="run", command=command, host={}, settings={"source": arguments[-1]}).to_json()
    assert "s3cret" not in json.dumps(document)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["edgeproof", "serve", "m.edge", "--token", "s3cret"], "edgeproof serve m.edge --token '***'"),
        (["edgeproof", "serve", "m.edge", "--token=s3 cret"], "edgeproof serve m.edge '--token=***'"),
        (["edgeproof", "run", "--source=rtsp://u:s3 cret@c/x"], "edgeproof run '--source=rtsp://***@c/x'"),
        (["edgeproof", "run", "--sink", "https://h/s3/cret?s3cret"], "edgeproof run --sink https://h"),
        (["edgeproof", "run", "--sink=mqtt://u:s3cret@h:1/s3cret"], "edgeproof run --sink=mqtt://h:1"),
        (["edgeproof", "run", "--sink", "events.csv"], "edgeproof run --sink events.csv"),
        (["edgeproof", "run", "--source", "u:s3cret@camera"], "edgeproof run --source '***@camera'"),
        (["edgeproof", "verify", "a b.edge", "--engine=opencv"], "edgeproof verify 'a b.edge' --engine=opencv"),
        (["/lib/edgeproof/__main__.py", "verify", "m.edge"], "edgeproof verify m.edge"),
        (["/srv/app.py", "--db", "s3cret"], "app.py ***"),
        (["/srv/my app.py"], "'my app.py'"),
        ([], "''"),
    ],
)
def test_command_line(arguments: list[str], command: str) -> None:
    assert command_line(arguments) == command


def test_gate_decides_by_its_bounds() -> None:
    measured = {"max_abs_diff": 2e-3, "cosine": 0.99999, "top1_agreement": 1.0}
    bounds = {"at_most": {"max_abs_diff": 1e-3}, "at_least": {"cosine": 0.999}}
    failed = Gate.judge("parity", "PyTorch against openvino", measured, **bounds)
    assert not failed.passed
    assert failed.missed() == ["max_abs_diff"]
    assert Gate.judge("parity", "", {**measured, "max_abs_diff": 1e-3}, **bounds).passed
    assert not Gate.judge("parity", "", {**measured, "max_abs_diff": float("nan")}, **bounds).passed
    assert Gate.judge("parity", "", {}, at_most={"max_abs_diff": 1}).missed() == ["max_abs_diff"]
    with pytest.raises(ValueError, match="cannot have passed"):
        Gate("parity", True, "", measured, failed.bound)


def test_passed_needs_every_gate_and_at_least_one() -> None:
    good = Gate("a", True, "", {}, {})
    bad = Gate("b", False, "", {}, {})
    assert Report(kind="verify", command="", host={}).passed is None
    assert Report(kind="verify", command="", host={}, gates=[good]).passed is True
    assert Report(kind="verify", command="", host={}, gates=[good, bad]).passed is False


def test_unknown_kind_and_stage_are_refused() -> None:
    with pytest.raises(ValueError, match="kind: unknown"):
        Report(kind="test", command="", host={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown stages"):
        Report(kind="run", command="", host={}, distribution_ms={"infer": {"ms": [], "share": []}})


@pytest.mark.parametrize("shape", [(480, 640, 3), (640, 480), (1, 900, 3), (40, 30, 3)])
def test_sample_is_a_small_jpeg_of_the_frame(shape: tuple[int, ...]) -> None:
    frame = np.full(shape, 120, np.uint8)
    document = Thumbnail.of("x", frame, "cat").to_json()
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(document["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (document["height"], document["width"])
    assert max(picture.shape) <= 320
    assert abs(int(picture.mean()) - 120) <= 2


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    write_atomically(target, b"old")
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    for impossible in (target / "below-a-file", tmp_path / "folder"):
        with pytest.raises(InputError, match="cannot be written"):
            write_atomically(impossible, b"x")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["folder", "inside", "report.json"]


def test_a_report_shows_itself_in_a_few_lines() -> None:
    recorder = LatencyRecorder()
    recorder.extend("end_to_end", np.linspace(10, 20, 200))
    met, missed = (
        Gate.judge(name, "x", {"d": found}, at_most={"d": 1.0}) for name, found in (("a", 0.5), ("top-1", 2.0))
    )
    gates = (met, missed)
    report = Report(
        kind="run", command="c", host={}, gates=gates, counts={"frames_in": 200}, **Report.latency(recorder)
    )
    first, passed, latency, counts = repr(report).splitlines()
    assert first.startswith("Report(run, 20")
    assert passed == "  1 of 2 gates passed, missed: top-1"
    assert latency.startswith("  end to end: p50 15 ms, ")
    assert latency.endswith("n 200")
    assert counts == "  frames_in 200)"


def test_a_notebook_shows_gates_latencies_and_samples() -> None:
    recorder = LatencyRecorder()
    for ms in range(1, 301):
        recorder.add("inference", float(ms))
    gate = Gate.judge("parity <b>", "one with another", {"relative_diff": 0.5}, at_most={"relative_diff": 0.1})
    sample = Thumbnail.of("a.png", np.zeros((8, 8, 3), np.uint8), "cat", 0.9, "dog")
    page = Report(
        kind="run",
        command="edgeproof run",
        host={},
        gates=[gate],
        samples=[sample],
        warnings=["a & b"],
        counts={"frames_in": 300},
        sections={"accuracy": {"top1": 0.5}},
        **Report.latency(recorder),
    )._repr_html_()
    assert "✗ failed" in page
    assert "parity &lt;b&gt;" in page
    assert '<td style="text-align:left">0.5</td><td style="text-align:left">≤ 0.1</td>' in page
    assert page.count("<rect") == 1
    assert "cat (truth: dog)" in page
    assert "a &amp; b" in page
    assert "300" in page


def test_a_notebook_shows_a_report_of_nothing() -> None:
    page = Report(kind="verify", command="edgeproof verify", host={})._repr_html_()
    assert "no gates" in page
    assert "<table" not in page
    assert "<svg" not in page
