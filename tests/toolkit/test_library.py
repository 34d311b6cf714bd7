"""The functions under the command line: they print nothing, and their report is the one that the command writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgeproof
from bundles import LABELS, frames, make_bundle, make_defect_bundle, make_generator_bundle, write_sorted
from edgeproof.cli import main
from edgeproof.library.run import RunObserver
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, SourceError, UnavailableError
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.decision import Decision
from growing_files import predictions_in

# What differs from one run to the next: times, and the hash of a manifest to which evidence was added.
RUN_BY_RUN = {"created", "command", "host", "latency_ms", "distribution_ms", "throughput_fps", "median_ms", "timeline"}
RUN_BY_RUN |= {"manifest_sha256", "since_unix_s", "unix_s", "last_frame_unix_s", "state_age_s"}
RUN_BY_RUN |= {"at_s", "state_s", "silent_s"}

Silent = Callable[[], None]
Command = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def silent(capfd: pytest.CaptureFixture[str]) -> Silent:
    """Fails where anything was printed, by Python or by native code."""

    def check() -> None:
        assert capfd.readouterr() == ("", "")

    return check


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs ``edgeproof ARGUMENTS --json FILE`` and returns the document."""

    def call(*arguments: object, code: int = 0) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["edgeproof", *map(str, arguments), "--json", "command.json"])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        assert int(ended.value.code or 0) == code, captured.err
        assert captured.out
        document: dict[str, Any] = json.loads(Path("command.json").read_text())
        return document

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("library") / "tiny.edge").path


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "tiny.edge")


@pytest.fixture
def data(bundle: Path, tmp_path: Path) -> Path:
    """Class folders whose images lie where the model itself puts them, and one file that is no image."""
    root = write_sorted(tmp_path / "data", bundle)
    (root / "cat" / "broken.png").write_bytes(b"no image")
    return root


def comparable(value: Any) -> Any:
    """A document without what differs from one run to the next."""
    if isinstance(value, dict):
        kept = {key: comparable(item) for key, item in value.items() if key not in RUN_BY_RUN}
        if "warnings" in value and "host" in value:
            about_host = host_warnings(value["host"])
            kept["warnings"] = [text for text in value["warnings"] if text not in about_host]
        return kept
    return [comparable(item) for item in value] if isinstance(value, list) else value


def document_of(report: Report) -> Any:
    return json.loads(json.dumps(report.to_json()))


def assert_same(report: Report, document: dict[str, Any]) -> None:
    ours = document_of(report)
    assert ours.keys() == document.keys()
    assert comparable(ours) == comparable(document)


def test_import_edgeproof_loads_no_function_and_no_terminal() -> None:
    code = (
        "import sys, edgeproof; "
        "print(*(m for m in sys.modules if m.startswith(('edgeproof.', 'edgeproof_export', 'rich', 'typer'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_functions_stay_functions_after_their_modules_were_imported() -> None:
    import edgeproof.library.run
    import edgeproof.library.verify

    for name in ("bench", "compare", "compile", "evaluate", "export", "optimize", "run", "sample", "train", "verify"):
        assert callable(getattr(edgeproof, name))
        assert name in edgeproof.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgeproof.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_verify(bundle: Path, silent: Silent, command: Command) -> None:
    report = edgeproof.verify(bundle)
    silent()
    assert report.passed
    assert_same(report, command("verify", bundle))


def test_verify_says_why_every_engine_was_left_out(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, silent: Silent, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgeproof.library import verify

    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("no such operator")

    monkeypatch.setattr(verify, "load_engine", refuse)
    with pytest.raises(UnavailableError) as failed:
        edgeproof.verify(bundle)
    silent()
    assert "onnxruntime fp32: left out: no such operator" in failed.value.__notes__
    monkeypatch.setattr("sys.argv", ["edgeproof", "verify", str(bundle)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    lines = capfd.readouterr().err.splitlines()
    assert "onnxruntime fp32: left out: no such operator" in lines[:-1]
    assert any(line.startswith("error: ") and "no available engine runs" in line for line in lines)


def test_evaluate(bundle: Path, data: Path, silent: Silent, command: Command) -> None:
    told: list[tuple[str, int, int]] = []
    chosen: dict[str, Any] = {"engine": "onnxruntime", "threads": 1, "min_top1": 0.5, "evidence": False}
    report = edgeproof.evaluate(bundle, data, **chosen, progress=lambda *step: told.append(step))
    silent()
    assert told[-1] == ("evaluating on onnxruntime", 12, 13)
    assert report.passed
    assert report.sections["accuracy"]["top1"] == 1.0
    assert [item.name for item in report.skipped] == ["cat/broken.png"]
    assert Bundle.open(bundle).evidence == ()
    flags = ("--engine", "onnxruntime", "--threads", 1, "--min-top1", 0.5, "--no-evidence")
    assert_same(report, command("evaluate", bundle, "--data", data, *flags))


def test_evaluate_of_a_missed_gate_returns_and_raises_nothing(bundle: Path, data: Path, silent: Silent) -> None:
    named = next(data.glob("*/0*.png"))
    other = next(label for label in LABELS if label != named.parent.name)
    named.rename(data / other / "misplaced.png")
    report = edgeproof.evaluate(bundle, data, engine="onnxruntime", against="opencv", min_top1=1.0)
    silent()
    assert report.passed is False
    assert [gate.name for gate in report.gates if not gate.passed] == ["top-1"]
    assert report.walk is not None
    assert [cost.name for cost in report.walk.costs] == ["opencv fp32", "onnxruntime fp32"]


def test_evaluate_of_defects(tmp_path: Path, silent: Silent, command: Command) -> None:
    bundle = make_defect_bundle(tmp_path / "blur.edge").path
    for kind, seed in (("good", 5), ("hole", 9)):
        (tmp_path / "tiles" / kind).mkdir(parents=True)
        for number, frame in enumerate(frames(4, seed)):
            cv2.imwrite(str(tmp_path / "tiles" / kind / f"{number}.png"), frame)
    report = edgeproof.evaluate(bundle, "tiles", engine="onnxruntime", threads=1, min_auroc=0.0)
    silent()
    assert report.evidence_problem is None
    assert "anomaly" in report.sections
    flags = ("--engine", "onnxruntime", "--threads", 1, "--min-auroc", 0)
    assert_same(report, command("evaluate", bundle, "--data", "tiles", *flags))


def test_evidence_of_one_function_does_not_undo_that_of_another(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Bundle.open(bundle)
    edgeproof.evaluate(opened, data, engine="opencv", threads=1)
    edgeproof.bench(opened, engine="opencv", duration_s=0.1, driver="builtin")
    assert set(Bundle.open(bundle).evidence) == {"evidence/evaluate.json", "evidence/bench.json"}
    edgeproof.compile(opened, "openvino")
    assert set(Bundle.open(bundle).evidence) == {"evidence/evaluate.json", "evidence/bench.json"}
    edgeproof.evaluate(opened, data, engine="opencv", threads=1)
    assert [engine.target for engine in Bundle.open(bundle).engines()] == ["openvino"]


def test_run(bundle: Path, clip: Path, silent: Silent, command: Command) -> None:
    Path("labels.csv").write_text("start,end,label\n0,10,cat|dog\n")
    seen: list[tuple[int, bool]] = []

    class Observer(RunObserver):
        def decided(self, decided: Decided[Decision], *, still: bool) -> None:
            seen.append((decided.frame.index, still))

    chosen: dict[str, Any] = {"engine": "onnxruntime", "threads": 1, "workers": 1, "labels_from": "labels.csv"}
    events = EventSettings(threshold=0.1, stable_frames=2)
    report = edgeproof.run(
        bundle, str(clip), **chosen, sink=["e.csv"], events=events, predictions="p.jsonl", observer=Observer()
    )
    silent()
    assert seen == [(index, False) for index in range(10)]
    assert report.failure is None
    assert sum(report.labels.values()) == report.counts["frames_classified"] == 10
    assert len(predictions_in("p.jsonl")) == 10
    flags = ("--engine", "onnxruntime", "--threads", 1, "--workers", 1, "--labels-from", "labels.csv")
    sinks = ("--sink", "e.csv", "--threshold", 0.1, "--stable", 2, "--predictions", "p.jsonl")
    assert_same(report, command("run", bundle, "--source", clip, *flags, *sinks))


def test_run_reports_the_streams_beside_one_that_failed(bundle: Path, clip: Path, silent: Silent) -> None:
    sources = [str(clip), "http://127.0.0.1:9/nothing.mjpg"]
    report = edgeproof.run(bundle, sources, engine="onnxruntime", workers=1, reconnect="never")
    silent()
    assert isinstance(report.failure, SourceError)
    assert "1 of 2 streams failed" in report.failure.what
    assert report.counts["frames_classified"] == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "newest"}, "--policy: unknown"),
        ({"reconnect": "sometimes"}, "--reconnect: unknown"),
        ({"min_top1": 0.5}, "--labels-from"),
        ({"soak": True}, "--duration"),
        ({"events": EventSettings(threshold=0.1)}, "require --sink"),
        ({"labels_from": "parent"}, "requires images"),
    ],
)
def test_run_refuses_what_the_command_refuses(
    bundle: Path, clip: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        edgeproof.run(bundle, str(clip), engine="opencv", **arguments)


@pytest.mark.slow
def test_bench_and_compare(bundle: Path, silent: Silent, command: Command) -> None:
    report = edgeproof.bench(bundle, engine="opencv", threads=[1], duration_s=0.2, driver="builtin")
    silent()
    assert report.evidence_problem is None
    document = command("bench", bundle, "--engine", "opencv", "--threads", 1, "--duration", 0.2, "--driver", "builtin")
    ours = document_of(report)
    assert ours.keys() == document.keys()
    assert [gate["name"] for gate in ours["gates"]] == [gate["name"] for gate in document["gates"]]
    assert (ours["kind"], ours["passed"]) == (document["kind"], document["passed"])
    assert ours["settings"] == document["settings"]
    assert ours["bench"].keys() == document["bench"].keys()
    assert [one["name"] for one in ours["bench"]["configurations"]] == ["opencv fp32, 1 thread"]
    report.write("old.json")
    Path("new.json").write_text(json.dumps(document))
    found = edgeproof.compare("old.json", "new.json", max_slowdown=50.0, max_drop=0.0)
    silent()
    assert found.passed
    compared = command("compare", "old.json", "new.json", "--max-slowdown", "5000%", "--max-drop", 0)
    assert json.loads(json.dumps(found.to_json())) == compared


def test_compile(bundle: Path, silent: Silent, command: Command) -> None:
    told: list[str] = []
    compiled = edgeproof.compile(bundle, "openvino", on_engine=lambda engine: told.append(engine.precision))
    silent()
    assert told == ["fp32"]
    (engine,) = compiled.engines
    assert engine.path.is_file()
    assert not engine.compiled.cached
    again = edgeproof.compile(bundle, "openvino")
    assert json.loads(json.dumps(again.to_json())) == command("compile", bundle, "--target", "openvino")


def test_the_command_names_the_engines_before_the_one_that_failed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["edgeproof", "compile", str(bundle), "--target", "openvino", "--precision", "fp32,int8"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert out.startswith("built ")
    assert "int8" in err
    assert ended.value.code


@pytest.mark.slow
def test_sample(tmp_path: Path, bundle: Path, silent: Silent, command: Command) -> None:
    generator = make_generator_bundle(tmp_path / "gen.edge").path
    np.savez("gen.npz", x_train=np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8))
    chosen: dict[str, Any] = {"engine": "onnxruntime", "threads": 1, "judge": bundle, "min_per_class": 0}
    sampled = edgeproof.sample(generator, number=5, **chosen, grid="grid.png")
    silent()
    assert len(sampled.images) == 5
    assert Path("grid.png").is_file()
    assert sampled.coverage is not None
    flags = ("--engine", "onnxruntime", "--threads", 1, "--judge", bundle)
    document = command("sample", generator, "--n", 5, *flags)
    again = edgeproof.sample(generator, number=5, engine="onnxruntime", threads=1, judge=bundle)
    assert_same(again.report, document)


def test_optimize(bundle: Path, silent: Silent, command: Command) -> None:
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (120, 20, 20, 3), dtype=np.uint8)
    np.savez("data.npz", x_train=images, y_train=np.arange(120) % 5, x_test=images, y_test=np.arange(120) % 5)
    optimized = edgeproof.optimize(bundle, "data.npz", max_drop=0.0)
    silent()
    assert optimized.bundle.manifest == Bundle.open(bundle).manifest
    assert "evidence/optimize.json" in optimized.bundle.evidence
    assert_same(optimized.report, command("optimize", bundle, "--data", "data.npz", "--max-drop", 0))


@pytest.mark.slow
def test_export(tmp_path: Path, silent: Silent, command: Command) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, frame in enumerate(frames(5)):
        cv2.imwrite(str(images / f"{number}.png"), frame)
    exported = edgeproof.export("factories:tiny", "t.edge", data="images")
    silent()
    assert exported.bundle.manifest == Bundle.open("t.edge").manifest
    assert_same(exported.report, command("export", "factories:tiny", "--data", "images", "--out", "t.edge", "--force"))


def test_train(tmp_path: Path, silent: Silent) -> None:
    rng = np.random.default_rng(0)
    images, targets = rng.integers(0, 256, (60, 16, 16), dtype=np.uint8), np.arange(60) % 2
    images[targets == 1] //= 4
    np.savez("bars.npz", x_train=images, y_train=targets, x_test=images, y_test=targets)
    options = edgeproof.TrainOptions(data="bars.npz", out=tmp_path / "run", epochs=1, steps=2, batch=8)
    trained = edgeproof.train("lenet", options)
    silent()
    assert trained.report is not None
    assert json.loads((tmp_path / "run" / "report.json").read_text())["kind"] == "train"
