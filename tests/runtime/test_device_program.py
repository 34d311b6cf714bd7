"""edgeproof-run, the device program without Python, against the Python runtime. Builds nothing, tests what is there."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import (
    LABELS,
    frames,
    make_bundle,
    make_defect_bundle,
    make_generator_bundle,
    make_multilabel_bundle,
    transposed_onnx,
)
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.images import find_images, read_image
from edgeproof_runtime.engines import available
from edgeproof_runtime.evidence.read import read_report
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.timeline import Timeline
from edgeproof_runtime.metrics.latency import STAGES, distribution
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.sources.synthetic import Card, draw_card, read_card
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.tasks.generate import contact_sheet
from edgeproof_runtime.tasks.registry import TASKS, head_of, judge_of
from edgeproof_runtime.verify.golden import frame_gates, output_gate
from edgeproof_runtime.verify.sampling import sample_pictures
from growing_files import predictions_in
from manifests import WRONG, edit

TASKSET = shutil.which("taskset")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(device_program: Path) -> Run:
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [device_program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode in (0, 1, 2, 3), done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def engine(device_program: Path) -> str:
    """An engine that the program and Python have both; OpenVINO first, which reads every bundle."""
    usage = subprocess.run([device_program, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    for name in ("openvino", "opencv"):
        if f"{name}|" in usage and name in available("fp32"):
            return name
    pytest.skip("the program was built with no engine that Python has here too")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge", model=transposed_onnx())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(frames(12, seed=5)):
        cv2.imwrite(str(folder / f"frame{number}.png"), frame)
    (folder / "damaged.png").write_bytes((folder / "frame0.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no picture")
    return folder


def _lines(path: Path) -> list[dict[str, Any]]:
    return predictions_in(path)


@pytest.mark.parametrize("name", ["openvino", "opencv"])
def test_verify_replays_the_golden_cases(run: Run, bundle: Bundle, tmp_path: Path, name: str) -> None:
    done = run(bundle.path, "--verify", "--engine", name, "--json", tmp_path / "verify.json")
    if done.returncode == 3 or "build with a newer one" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "verify.json").read_text(encoding="utf-8"))
    assert (report["schema"], report["kind"], report["passed"]) == ("edgeproof.report/1", "verify", True)
    assert [gate["name"] for gate in report["gates"]] == ["preprocessing", "labels", f"parity {name} fp32"]
    assert report["gates"][0]["measured"] == {"n": 6, "differing_rows": 0, "wrong_shape": 0, "max_abs_diff": 0}


def test_verify_fails_on_another_answer(run: Run, bundle: Bundle, engine: str) -> None:
    manifest = json.loads((bundle.path / "bundle.json").read_text(encoding="utf-8"))
    name = manifest["golden"][2]["outputs"][0]
    wrong = bundle.path / "wrong"
    wrong.mkdir()
    np.save(wrong / "a.npy", np.load(bundle.path / name)[::-1].copy())
    (wrong / "a.npy").replace(bundle.path / name)
    wrong.rmdir()
    _relist(bundle.path, name)
    done = run(bundle.path, "--verify", "--engine", engine)
    assert done.returncode == 1
    assert "FAIL  parity" in done.stdout
    assert "ok    preprocessing" in done.stdout


def test_pictures_as_python(run: Run, bundle: Bundle, pictures: Path, tmp_path: Path, engine: str) -> None:
    out, report_file = tmp_path / "out.jsonl", tmp_path / "report.json"
    done = run(bundle.path, "--source", pictures, "--engine", engine, "--predictions", out, "--json", report_file)
    assert done.returncode == 0, done.stderr
    assert "skipped damaged.png" in done.stderr
    assert "skipped notes.txt: is not an image" in done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("frame") and ".png: " in line]) == 12
    lines = _lines(out)
    assert [line["name"] for line in lines] == [f"frame{n}.png" for n in range(12)]
    with Classifier(bundle, engine=engine) as classifier:
        for line in lines:
            expected = classifier(read_image(pictures / line["name"], apply_orientation=True)).top(5)
            assert [entry["label"] for entry in line["top"]] == [label for label, _ in expected]
            found = [entry["probability"] for entry in line["top"]]
            assert found == pytest.approx([probability for _, probability in expected], abs=1e-5)
    assert set(lines[0]) == {"stream", "index", "name", "captured_unix_s", "label", "top", "stages_ms"}
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert report["counts"] == {
        "frames_in": 12,
        "frames_classified": 12,
        "frames_dropped": 0,
        "frames_overtaken": 0,
        "frames_unhealthy": 0,
        "frames_failed": 0,
        "files_skipped": 2,
    }
    assert report["latency_ms"]["inference"]["unsupported"] == {
        "p90": "12 frames measured, p90 needs 29",
        "p99": "12 frames measured, p99 needs 299",
    }


def _exif(orientation: int, order: str) -> bytes:
    """A JPEG's APP1 segment that says nothing but how the camera was held (Exif 2.32, 4.6)."""
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(tiff)) + b"Exif\0\0" + tiff


def test_jpegs_as_python_however_the_camera_was_held(run: Run, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    folder, out = tmp_path / "jpegs", tmp_path / "out.jsonl"
    folder.mkdir()
    frame = frames(1, seed=7)[0]
    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
    for number in range(1, 9):
        order = "<>"[number % 2]
        (folder / f"turned{number}.jpg").write_bytes(jpeg[:2] + _exif(number, order) + jpeg[2:])
    (folder / "nonsense.jpg").write_bytes(jpeg[:2] + _exif(77, "<")[:12] + b"\xff" * 20 + jpeg[2:])
    cv2.imwrite(str(folder / "gray.jpg"), frame[..., 0])
    cv2.imwrite(str(folder / "progressive.jpg"), frame, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    done = run(bundle.path, "--source", folder, "--engine", engine, "--predictions", out)
    assert done.returncode == 0, done.stderr
    lines = _lines(out)
    assert len(lines) >= 10
    with Classifier(bundle, engine=engine) as classifier:
        for line in lines:
            expected = classifier(read_image(folder / line["name"], apply_orientation=True)).top(5)
            found = [entry["probability"] for entry in line["top"]]
            assert found == pytest.approx([probability for _, probability in expected], abs=1e-6), line["name"]
    answers = {tuple(entry["probability"] for entry in line["top"]) for line in lines if "turned" in line["name"]}
    assert len(answers) == 8  # a network that does not see how a picture is turned would prove nothing


@pytest.mark.parametrize("reconstructs", [True, False])
def test_defects_as_python(run: Run, pictures: Path, tmp_path: Path, engine: str, reconstructs: bool) -> None:
    bundle = make_defect_bundle(tmp_path / "blur.edge", threshold=0.45, reconstructs=reconstructs)
    out = tmp_path / "out.jsonl"
    done = run(bundle.path, "--source", pictures, "--engine", engine, "--predictions", out)
    assert done.returncode == 0, done.stderr
    head, preprocess = head_of(bundle), Preprocessor(bundle.contract)
    defects = 0
    with load_engine(bundle, engine, "fp32") as loaded:
        for line in _lines(out):
            tensor = preprocess(read_image(pictures / line["name"], apply_orientation=True))
            expected = head(loaded.run(tensor[None])).to_json(1)["anomaly"]
            assert line["anomaly"]["score"] == pytest.approx(expected["score"], abs=1e-6)
            assert line["anomaly"]["threshold"] == expected["threshold"]
            assert line["anomaly"]["defect"] == expected["defect"]
            assert "top" not in line
            defects += expected["defect"]
    assert 0 < defects < 12  # both answers occur
    assert f"{defects} defects, {12 - defects} good" in done.stdout


def test_a_seed_makes_the_pictures_that_python_makes(run: Run, tmp_path: Path, engine: str) -> None:
    bundle = make_generator_bundle(tmp_path / "linear.edge")
    grid = tmp_path / "grid.png"
    done = run(bundle.path, "--sample", "7", "--seed", str(2**63 + 5), "--grid", grid, "--engine", engine)
    assert done.returncode == 0, done.stderr
    with load_engine(bundle, engine, "fp32") as loaded:
        expected = contact_sheet(list(sample_pictures(bundle, loaded, seed=2**63 + 5, count=7)), columns=3)
    found = cv2.imread(str(grid), cv2.IMREAD_UNCHANGED)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("make", [make_multilabel_bundle, make_defect_bundle, make_generator_bundle])
def test_verify_replays_other_tasks(run: Run, tmp_path: Path, engine: str, make: Callable[[Path], Bundle]) -> None:
    bundle = make(tmp_path / "other.edge")
    report_file = tmp_path / "verify.json"
    done = run(bundle.path, "--verify", "--engine", engine, "--json", report_file)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = load_golden(bundle)
    with load_engine(bundle, engine, "fp32") as loaded:
        expected = [*frame_gates(bundle, cases), output_gate(bundle, loaded, cases)]
    found = json.loads(report_file.read_text(encoding="utf-8"))["gates"]
    assert [gate["name"] for gate in found] == [gate.name for gate in expected]
    for gate, same in zip(found, expected, strict=True):
        assert set(gate["measured"]) == set(same.measured)
        assert gate["bound"] == same.bound
    name = bundle.manifest.golden[0].outputs[-1]
    np.save(bundle.path / name, np.load(bundle.path / name) + 0.5)
    _relist(bundle.path, name)
    assert run(bundle.path, "--verify", "--engine", engine).returncode == 1


def test_report_has_the_keys_of_pythons(run: Run, bundle: Bundle, pictures: Path, tmp_path: Path, engine: str) -> None:
    from edgeproof_runtime.engines.machine import host_facts
    from edgeproof_runtime.engines.row import EngineRow
    from edgeproof_runtime.evidence.report import BundleFacts, Report

    path = tmp_path / "report.json"
    assert run(bundle.path, "--source", pictures, "--engine", engine, "--json", path).returncode == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    row = EngineRow(engine, "1", None, None, chosen=True)
    expected = Report(kind="run", command="x", host=host_facts(), bundle=BundleFacts.of(bundle), engines=[row])
    document = expected.to_json()
    # An absent key means null, so the program leaves out what it does not measure.
    sections = {task.metric.section for task in TASKS.values() if task.metric is not None}
    unmeasured = {"health", "unknown", "training", "generation", "soak", "hops", "optimization", "bench", "layers"}
    assert set(found) | unmeasured | {"passed", *sections} == set(SPEC["report_keys"]) == set(document)
    assert set(read_report(path)) == set(document)
    assert list(found) == [key for key in SPEC["report_keys"] if key in found]
    assert set(found["host"]) | {"python", "machine_key"} == set(document["host"])
    assert set(found["bundle"]) == set(document["bundle"])
    assert set(found["host"]["cpu"]) == set(document["host"]["cpu"])
    for name in ("features", "cores_usable"):
        assert found["host"]["cpu"][name] == document["host"]["cpu"][name]
    assert found["bundle"] == document["bundle"]
    assert set(found["engines"][0]) | {"reason"} == set(document["engines"][0])
    with Pipeline(open_source(str(pictures)), [Worker(lambda *_, **__: None, _Mute(), len)]) as pipeline:
        assert len(list(pipeline)) == 12
    (snapshot,) = pipeline.snapshots()
    expected_stream, (stream,) = snapshot.to_json(), found["streams"]
    assert set(stream) == set(expected_stream)
    for name in ("state", "reason", "policy", "live", "fps", "frame_count", "width", "height", "counts", "left_out"):
        assert stream[name] == expected_stream[name], name
    assert [change["state"] for change in stream["history"]] == [change.state for change in snapshot.history]
    assert len(stream["skipped"]) == len(snapshot.skipped)


class _Mute:
    def allocate_input(self, batch: int) -> np.ndarray[Any, Any]:
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        return (batch,)


def _close(found: Any, expected: Any) -> None:
    """The same JSON, but for the last digits of numbers."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            _close(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    else:
        assert found == expected


def _check_judged(run: Run, bundle: Bundle, engine: str, truths: list[str], tmp_path: Path) -> dict[str, Any]:
    """Pictures in folders named after what they show, judged by both; returns the program's report."""
    root, report_file, out = tmp_path / "data", tmp_path / "report.json", tmp_path / "out.jsonl"
    for number, frame in enumerate(frames(40, seed=9)):
        folder = root / truths[number % len(truths)]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    arguments = ["--source", root, "--labels-from", "parent", "--json", report_file, "--predictions", out]
    done = run(bundle.path, *arguments, "--engine", engine)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(report_file.read_text(encoding="utf-8"))
    head, preprocess, judge = head_of(bundle), Preprocessor(bundle.contract), judge_of(bundle)
    shown = {sample["name"]: sample for sample in report["samples"]}
    assert 6 <= len(shown) <= 12
    lines = _lines(out)
    with load_engine(bundle, engine, "fp32") as loaded, open_source(str(root), label_by_folder=True) as source:
        for line, given in zip(lines, source, strict=True):
            assert (line["name"], line["label"]) == (given.name, given.label)
            decision = head(loaded.run(preprocess(given.image)[None]))
            truth = judge.add(decision, str(given.label), given.name)
            if given.name in shown:
                found = shown[given.name]
                picture = decision.over(given.image)
                expected = Thumbnail.of(given.name, picture, decision.label, decision.probability, truth)
                for name in ("label", "width", "height", "truth"):
                    assert found[name] == getattr(expected, name)
                assert found["probability"] == pytest.approx(expected.probability, abs=1e-6)
                thumbnails = (base64.b64decode(found["jpeg"]), expected.jpeg)
                one, other = (np.asarray(cv2.imdecode(np.frombuffer(t, np.uint8), 1), np.int64) for t in thumbnails)
                assert np.abs(one - other).mean() < 3  # two builds of libjpeg
    expected_sections = json.loads(json.dumps(judge.sections()))
    assert expected_sections
    for section in (task.metric.section for task in TASKS.values() if task.metric is not None):
        found, expected_section = report.get(section), expected_sections.get(section)
        if expected_section is not None and "scores" in expected_section:  # two builds of an engine
            for kind, scores in expected_section.pop("scores").items():
                assert found["scores"].pop(kind) == pytest.approx(scores, abs=1e-6)
            assert not found.pop("scores")
        _close(found, expected_section)
    return report


@pytest.mark.parametrize("classes", [5, 8])
def test_labelled_pictures_are_judged_as_in_python(run: Run, tmp_path: Path, engine: str, classes: int) -> None:
    labels = (*LABELS, "owl", "newt", "ant")[:classes]
    bundle = make_bundle(tmp_path / "judged.edge", labels=labels, model=transposed_onnx(classes))
    report = _check_judged(run, bundle, engine, [*labels[:4], "dog|moth"], tmp_path)
    assert report["accuracy"]["n"] == 40
    assert (report["accuracy"]["top5"] is None) == (classes == 5)
    assert report["accuracy"]["confused"]


def test_labelled_defects_are_judged_as_in_python(run: Run, tmp_path: Path, engine: str) -> None:
    bundle = make_defect_bundle(tmp_path / "blur.edge", threshold=0.45)
    report = _check_judged(run, bundle, engine, ["good", "scratch", "dent"], tmp_path)
    assert [kind["kind"] for kind in report["anomaly"]["kinds"]] == ["dent", "scratch"]
    assert report["anomaly"]["good_n"] == 14


def test_labelled_sets_are_judged_as_in_python(run: Run, tmp_path: Path, engine: str) -> None:
    bundle = make_multilabel_bundle(tmp_path / "sets.edge")
    report = _check_judged(run, bundle, engine, ["cat|dog", "dog", "none", "moth|bird|fish"], tmp_path)
    section = report["multilabel"]
    assert section["n"] == 40
    assert 0 < section["mean_average_precision"] < 1
    assert section["ci95"][0] < section["mean_average_precision"] < section["ci95"][1]
    done = run(bundle.path, "--source", tmp_path / "data", "--labels-from", "parent", "--engine", engine)
    assert f"mAP {section['mean_average_precision']:.4f}, F1" in done.stdout


def test_sets_of_labels_as_python(run: Run, pictures: Path, tmp_path: Path, engine: str) -> None:
    bundle = make_multilabel_bundle(tmp_path / "sets.edge")
    out = tmp_path / "out.jsonl"
    done = run(bundle.path, "--source", pictures, "--predictions", out, "--engine", engine)
    assert done.returncode == 0, done.stderr
    head, preprocess = head_of(bundle), Preprocessor(bundle.contract)
    several = 0
    with load_engine(bundle, engine, "fp32") as loaded, open_source(str(pictures)) as source:
        for line, given in zip(_lines(out), source, strict=True):
            expected = head(loaded.run(preprocess(given.image)[None])).to_json(5)
            for key in ("labels", "top"):
                assert [one["label"] for one in line[key]] == [one["label"] for one in expected[key]]
                assert [one["probability"] for one in line[key]] == pytest.approx(
                    [one["probability"] for one in expected[key]], abs=1e-6
                )
            several += len(line["labels"]) > 1
    assert several


def test_a_label_that_the_model_lacks(run: Run, bundle: Bundle, pictures: Path, tmp_path: Path, engine: str) -> None:
    done = run(bundle.path, "--source", pictures, "--labels-from", "parent", "--engine", engine)
    assert done.returncode == 2
    assert "the model does not know this label" in done.stderr


def test_what_a_long_run_keeps_is_what_python_keeps(run: Run, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    clip, out, report_file = tmp_path / "clip.avi", tmp_path / "out.jsonl", tmp_path / "report.json"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (32, 24))
    count = 2300
    for number in range(count):
        writer.write(np.full((24, 32, 3), number % 256, np.uint8))
    writer.release()
    done = run(bundle.path, "--source", clip, "--engine", engine, "--predictions", out, "--json", report_file)
    assert done.returncode == 0, done.stderr
    report, lines = json.loads(report_file.read_text(encoding="utf-8")), _lines(out)
    assert len(lines) == count
    timeline = Timeline()
    for line in lines:
        timeline.add(line["captured_unix_s"] - lines[0]["captured_unix_s"], line["stages_ms"]["end_to_end"])
    expected = timeline.to_json()
    assert report["timeline"].pop("time_s") == pytest.approx(expected.pop("time_s"), abs=0.1)  # two clocks
    assert report["timeline"] == expected
    assert expected["frames_per_point"] == 2
    for stage in STAGES:
        assert report["distribution_ms"][stage] == distribution([line["stages_ms"][stage] for line in lines])
    sink = {"name": str(out), "written": count, "dropped": 0, "failed": 0, "waiting": 0}
    assert report["sinks"] == [sink]
    assert report["engines"][0]["median_ms"] == report["latency_ms"]["inference"]["p50"]


def test_pictures_come_in_pythons_order(run: Run, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    root, out = tmp_path / "order", tmp_path / "out.jsonl"
    names = [
        "frame-2",
        "frame2",
        "frame10",
        "frame02",
        "img",
        "img1",
        "a/2",
        "a/10",
        "a-b/1",
        "a1/x",
        "Z",
        "z",
        "007",
        "7a",
        "07b",
    ]
    picture = cv2.imencode(".png", frames(1)[0])[1].tobytes()
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.png").write_bytes(picture)
    done = run(bundle.path, "--source", root, "--engine", engine, "--predictions", out)
    assert done.returncode == 0, done.stderr
    expected = [path.relative_to(root).as_posix() for path in find_images(root)[0]]
    assert [line["name"] for line in _lines(out)] == expected


def test_files_that_only_look_odd(run: Run, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    picture = frames(1)[0]
    jpeg, png = (cv2.imencode(kind, picture)[1].tobytes() for kind in (".jpg", ".png"))
    (tmp_path / "motion.mjpeg").write_bytes(jpeg * 30)  # claims no number of frames, and begins like a picture
    (tmp_path / "appended.png").write_bytes(png + bytes(100))
    out, report_file = tmp_path / "out.jsonl", tmp_path / "report.json"
    for name, count in (("motion.mjpeg", 30), ("appended.png", 1)):
        source = tmp_path / name
        done = run(bundle.path, "--source", source, "--engine", engine, "--predictions", out, "--json", report_file)
        if "cannot open" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        report = json.loads(report_file.read_text(encoding="utf-8"))
        assert report["settings"]["policy"] == "every-frame"
        assert len(_lines(out)) == report["counts"]["frames_classified"] == count
        out.unlink()  # the next run would append
        assert report["counts"]["files_skipped"] == 0


class _Stalling(StreamRequestHandler):
    """Sends a stream of pictures that stops giving frames without ending."""

    def handle(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        picture = cv2.imencode(".jpg", noise)[1].tobytes()
        with suppress(OSError):
            self.wfile.write(picture * (8_000_000 // len(picture)))  # FFmpeg looks at 5 MB before it begins
            self.server.stalled.wait(60)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("hangs", "second"), [(False, None), (True, None), (True, signal.SIGTERM)])
@pytest.mark.slow
def test_a_source_that_stalls_ends_or_is_left_there(
    device_program: Path, bundle: Bundle, tmp_path: Path, engine: str, hangs: bool, second: signal.Signals | None
) -> None:
    """FFmpeg's wait can be ended, that of a GStreamer pipeline cannot."""
    report_file, out = tmp_path / "report.json", tmp_path / "out.jsonl"
    with ThreadingTCPServer(("127.0.0.1", 0), _Stalling) as server:
        server.daemon_threads = True
        server.stalled = Event()  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        source = f"tcp://127.0.0.1:{port}"
        if hangs:
            source = f"tcpclientsrc host=127.0.0.1 port={port} ! jpegparse ! jpegdec ! videoconvert ! appsink"
        outputs = ["--json", str(report_file), "--predictions", str(out)]
        command = [str(device_program), str(bundle.path), "--source", source, "--engine", engine, *outputs]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            before, size = -1, 0
            while process.poll() is None and (size == 0 or size > before):  # until it has taken what the server gave
                time.sleep(1.0)
                before, size = size, out.stat().st_size if out.is_file() else 0
            process.send_signal(signal.SIGINT)
            if second is not None:
                time.sleep(0.2)
                process.send_signal(second)
            _, err = process.communicate(timeout=60)
        server.stalled.set()  # type: ignore[attr-defined]
        server.shutdown()
    if "cannot open" in err:
        pytest.skip(err)
    if second is not None:
        assert process.returncode == -second
        assert not report_file.exists()
        return
    assert process.returncode == 0, err
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert ("hangs in its driver" in err + " ".join(report["warnings"])) == hangs
    counts = report["counts"]
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_dropped"] > 0
    assert len(_lines(out)) == counts["frames_classified"]
    assert sum(report["timeline"]["frames"]) == counts["frames_in"]
    assert report["streams"][0]["reason"] == "stopped"


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.slow
def test_a_hang_up_ends_in_order_unless_it_is_ignored(
    device_program: Path, bundle: Bundle, tmp_path: Path, engine: str, ignored: bool
) -> None:
    clip, report_file, out = tmp_path / "clip.avi", tmp_path / "report.json", tmp_path / "out.jsonl"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for number in range(2000 if not ignored else 200):
        writer.write(np.full((480, 640, 3), number % 256, np.uint8))
    writer.release()
    command = ["nohup"] if ignored else []
    command += [str(device_program), str(bundle.path), "--source", str(clip), "--engine", engine]
    command += ["--json", str(report_file), "--predictions", str(out), "--health", "off"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out.is_file() and out.stat().st_size):
            time.sleep(0.01)
        for _ in range(2):  # a shell repeats it
            process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    counts = read_report(report_file)["counts"]
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_dropped"] > 0
    assert (counts["frames_in"] == 200) == ignored
    assert len(_lines(out)) == counts["frames_classified"]


def test_outputs_are_judged_before_the_work(run: Run, bundle: Bundle, pictures: Path, tmp_path: Path) -> None:
    for option, place in (("--json", "missing/x.json"), ("--json", "."), ("--predictions", "missing/x.jsonl")):
        done = run(bundle.path, "--source", pictures, option, tmp_path / place)
        assert done.returncode == 2
        assert done.stdout == ""
    same = tmp_path / "same"
    assert run(bundle.path, "--source", pictures, "--json", same, "--predictions", same).returncode == 2
    assert not same.exists()
    picture = pictures / "frame0.png"
    content = picture.read_bytes()
    assert run(bundle.path, "--source", picture, "--predictions", picture).returncode == 2
    assert picture.read_bytes() == content


def test_no_password_reaches_message_or_report(
    run: Run, bundle: Bundle, pictures: Path, tmp_path: Path, engine: str
) -> None:
    folder, report_file = tmp_path / "token=secret", tmp_path / "report.json"
    pictures.rename(folder)
    assert run(bundle.path, "--source", folder, "--engine", engine, "--json", report_file).returncode == 0
    document = json.loads(report_file.read_text(encoding="utf-8"))
    assert document["settings"]["source"] == redact(str(folder))
    assert redact(str(folder)) in document["command"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        pass


class _Endless(_Quiet):
    """Does not say how long the file is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")  # FFmpeg takes an end without a length for a failure
        self.end_headers()
        content = Path(self.translate_path(self.path)).read_bytes()
        with suppress(OSError):
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))


def test_the_newest_frame_of_a_live_source(run: Run, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    # A bare sequence of JPEGs claims no number of frames, which is how a stream looks.
    stream = tmp_path / "stream.mjpeg"
    stream.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in [frames(1)[0]] * 60))
    report_file = tmp_path / "report.json"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Endless, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/stream.mjpeg"
        done = run(bundle.path, "--source", address, "--engine", engine, "--json", report_file)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text(encoding="utf-8"))
    counts = report["counts"]
    assert report["settings"]["policy"] == "latest-frame"
    assert counts["frames_classified"] >= 1
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_dropped"]


def test_a_clip_as_python(run: Run, bundle: Bundle, tmp_path: Path, data_dir: Path, engine: str) -> None:
    clip = data_dir / "videos" / "bottle-detection.mp4"
    if not clip.is_file():
        pytest.skip(f"no {clip}")
    out = tmp_path / "out.jsonl"
    done = run(bundle.path, "--source", clip, "--engine", engine, "--predictions", out, "--max-frames", 40)
    assert done.returncode == 0, done.stderr
    lines = _lines(out)
    assert [line["index"] for line in lines] == list(range(40))
    with Classifier(bundle, engine=engine) as classifier, open_source(str(clip)) as source:
        for line, frame in zip(lines, source, strict=False):
            assert line["top"][0]["label"] == classifier(frame.image).label


@pytest.mark.parametrize(("codec", "suffix"), [("mp4v", "mp4"), ("mp4v", "mkv"), ("MJPG", "avi")])
def test_broken_packets_in_the_middle_as_python(
    run: Run, bundle: Bundle, tmp_path: Path, engine: str, codec: str, suffix: str
) -> None:
    clip, out, report_file = tmp_path / f"clip.{suffix}", tmp_path / "out.jsonl", tmp_path / "report.json"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*codec), 10, (320, 240))
    for index in range(60):
        writer.write(draw_card(Card(index, 0, 1), 320, 240))
    writer.release()
    data = bytearray(clip.read_bytes())
    begin, length = len(data) // 2, len(data) // 10
    data[begin : begin + length] = bytes(length)
    clip.write_bytes(data)
    with open_source(str(clip)) as source:
        given = list(source)
    last = read_card(given[-1].image)
    assert last is not None
    assert last.index == 59, "the rest is read"
    assert 40 < len(given) < 60
    done = run(bundle.path, "--source", clip, "--engine", engine, "--predictions", out, "--json", report_file)
    assert done.returncode == 0, done.stderr
    assert [line["index"] for line in _lines(out)] == [frame.index for frame in given if frame.damage is None]
    (stream,) = json.loads(report_file.read_text(encoding="utf-8"))["streams"]
    assert stream["skipped"] == [f"{skipped.name}: {skipped.reason}" for skipped in source.skipped]


@pytest.mark.skipif(TASKSET is None, reason="no taskset")
def test_usable_cores_follow_the_affinity(device_program: Path, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    report_file = tmp_path / "report.json"
    core = str(min(os.sched_getaffinity(0)))
    verify = [str(device_program), str(bundle.path), "--verify", "--engine", engine, "--json", str(report_file)]
    subprocess.run([str(TASKSET), "-c", core, *verify], check=True, capture_output=True, timeout=120)
    assert json.loads(report_file.read_text(encoding="utf-8"))["host"]["cpu"]["cores_usable"] == 1
    code = "from edgeproof_runtime.system.host import usable_cores; print(usable_cores())"
    limited = [str(TASKSET), "-c", core, sys.executable, "-c", code]
    python = subprocess.run(limited, check=True, capture_output=True, text=True, timeout=60)
    assert python.stdout.strip() == "1"


def test_an_interrupt_ends_in_good_order(
    device_program: Path, bundle: Bundle, tmp_path: Path, data_dir: Path, engine: str
) -> None:
    clip = data_dir / "videos" / "bottle-detection.mp4"
    if not clip.is_file():
        pytest.skip(f"no {clip}")
    report_file, out = tmp_path / "report.json", tmp_path / "out.jsonl"
    outputs = ["--json", str(report_file), "--predictions", str(out)]
    command = [str(device_program), str(bundle.path), "--source", str(clip), "--engine", engine, *outputs]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (out.is_file() and out.stat().st_size):
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    counts = json.loads(report_file.read_text(encoding="utf-8"))["counts"]
    assert counts["frames_in"] == counts["frames_classified"] == len(_lines(out))


def _relist(folder: Path, name: str) -> None:
    """Write a changed file's hash into the manifest, as whoever made the bundle could."""
    from edgeproof_runtime.bundle.reader import sha256_of

    path = folder / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    size = (folder / name).stat().st_size
    manifest["files"][name] = {"sha256": sha256_of(folder / name), "size_bytes": size}
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.timeout(60)
def test_a_fifo_in_a_folder_is_not_waited_for(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "a.png"), np.zeros((8, 8, 3), np.uint8))
    os.mkfifo(pictures / "b.png")
    done = run(bundle.path, "--source", pictures)
    assert done.returncode == 0
    assert "b.png: is not a regular file" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "BUNDLE: required"),
        (["BUNDLE"], 2, "--source: required"),
        (["missing.edge", "--verify"], 2, "not a bundle"),
        (["BUNDLE", "--verify", "--source", "0"], 2, "takes no source"),
        (["BUNDLE", "--frobnicate", "1"], 2, "unknown option"),
        (["BUNDLE", "--source", "missing.mp4"], 2, "missing.mp4: source not found"),
        (["BUNDLE", "--source", "pics/%03d.png"], 2, "write a glob: 'pics/*.png'"),
        (["BUNDLE", "--source", "a ! b"], 2, "appsink"),
        (["BUNDLE", "--verify", "--threads", "-1"], 2, f"1..{8 * usable_cores()}"),
        (["BUNDLE", "--verify", "--threads", "99999999999999999999"], 2, f"1..{8 * usable_cores()}"),
        (["BUNDLE", "--verify", "--engine", "abacus"], 2, "unknown engine"),
        (["BUNDLE", "--verify", "--precision", "fp16", "--engine", "openvino"], 2, ": no fp16 model"),
        (["BUNDLE", "--verify", "--precision", "fp16"], 2, ": no fp16 model"),
        (["BUNDLE", "--source", "0", "--labels-from", "labels.csv"], 2, "--labels-from: unknown value"),
        (["BUNDLE", "--source", "a" * 100_000], 2, ": source not found"),
        (["BUNDLE", "--source", "rtsp://" + "a" * 100_000], 2, ": cannot open"),
        (["BUNDLE", "--source", "rtspsrc location=x user-pw=secret ! fakesink"], 2, "user-pw=***"),
        (["BUNDLE", "--source", "rtsp:/user:secret@127.0.0.1/x"], 2, "rtsp:/***@127.0.0.1"),
        (["BUNDLE", "--source", "rtsp://user:secret@127.0.0.1:9/x"], 2, "rtsp://127.0.0.1:9/x: cannot open"),
        (["BUNDLE", "--source", "rtsp://user:a/secret@127.0.0.1:9/x"], 2, "rtsp://127.0.0.1:9/x: cannot open"),
        (
            ["BUNDLE", "--source", "http://127.0.0.1:9/hooks/secret?x=secret"],
            2,
            "http://127.0.0.1:9/hooks/***: cannot open",
        ),
        (["BUNDLE", "--source", "user:secret@127.0.0.1/x"], 2, "***@127.0.0.1/x: source not found"),
    ],
)
def test_bad_usage(run: Run, bundle: Bundle, arguments: list[str], code: int, says: str) -> None:
    done = run(*(str(bundle.path) if argument == "BUNDLE" else argument for argument in arguments))
    if "not in this build" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": "edgeproof.bundle/2"}',
        '{"schema": "edgeproof.bundle/1", "name": 7}',
        "[" * 200,
        '{"schema": "edgeproof.bundle/1", "name": "a", "task": "classify", "input": {"contract": null}}',
    ],
)
def test_damaged_manifests(run: Run, bundle: Bundle, text: str) -> None:
    (bundle.path / "bundle.json").write_text(text)
    done = run(bundle.path, "--verify")
    assert done.returncode == 2
    assert done.stderr.strip()


@pytest.mark.parametrize("changes", [changes for changes, _ in WRONG])
def test_a_manifest_that_python_refuses_is_refused(run: Run, bundle: Bundle, changes: dict[str, Any]) -> None:
    edit(bundle, **changes)
    done = run(bundle.path, "--verify")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.strip()


@pytest.mark.parametrize("arguments", [["--verify"], ["--source", "missing.png"], ["--sample", "1", "--grid", "g.png"]])
def test_an_unknown_task_is_refused(run: Run, bundle: Bundle, tmp_path: Path, arguments: list[str]) -> None:
    path = bundle.path / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "task": "segment"}), encoding="utf-8")
    done = run(bundle.path, *(str(tmp_path / part) if part == "g.png" else part for part in arguments))
    assert done.returncode == 2
    assert "unknown task" in done.stderr


def test_a_bundle_without_what_its_task_needs_is_refused(run: Run, tmp_path: Path) -> None:
    bundle = make_defect_bundle(tmp_path / "blur.edge", threshold=0.45)
    path = bundle.path / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "anomaly": None}), encoding="utf-8")
    done = run(bundle.path, "--verify")
    assert done.returncode == 2
    assert "no anomaly" in done.stderr


def test_tasks_do_only_what_they_can(run: Run, bundle: Bundle, tmp_path: Path, engine: str) -> None:
    generator = make_generator_bundle(tmp_path / "linear.edge")
    cv2.imwrite(str(tmp_path / "frame.png"), frames(1)[0])
    done = run(generator.path, "--source", tmp_path / "frame.png", "--engine", engine)
    assert (done.returncode, "takes no frames" in done.stderr) == (2, True)
    done = run(bundle.path, "--sample", 1, "--grid", tmp_path / "grid.png", "--engine", engine)
    assert (done.returncode, "generates no images" in done.stderr) == (2, True)


def test_a_text_named_as_a_video_is_refused_without_waiting(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"[" * 100_000)  # GStreamer's typefind would wait for more
    done = run(bundle.path, "--source", tmp_path / "clip.mp4")
    assert done.returncode == 2
    assert "clip.mp4: cannot open" in done.stderr


@pytest.mark.parametrize("part", ["models", "engines"])
def test_a_file_that_is_not_listed(run: Run, bundle: Bundle, part: str) -> None:
    path = bundle.path / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if part == "models":
        manifest["models"]["fp32"] = "other.onnx"
    else:
        entry = {"key": "k", "target": "openvino", "precision": "fp32", "path": "a.blob", "info": "engine.json"}
        manifest |= {"schema": "edgeproof.bundle/1", "engines": [entry], "evidence": []}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    done = run(bundle.path, "--verify")
    assert done.returncode == 2
    assert "refers to an unlisted file" in done.stderr


@pytest.mark.parametrize("change", ["truncated", "flipped", "missing", "outside"])
def test_a_changed_model_is_refused(run: Run, bundle: Bundle, tmp_path: Path, engine: str, change: str) -> None:
    model = bundle.path / "model.onnx"
    content = bytearray(model.read_bytes())
    if change == "truncated":
        model.write_bytes(content[:-1])
    elif change == "flipped":
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
    else:
        model.unlink()
        if change == "outside":
            shutil.copy(bundle.path / "labels.txt", tmp_path / "outside.onnx")
            model.symlink_to(tmp_path / "outside.onnx")
    done = run(bundle.path, "--verify", "--engine", engine)
    assert done.returncode == 2
    assert {"missing": "file missing", "outside": "outside the bundle"}.get(change, ": modified") in done.stderr
