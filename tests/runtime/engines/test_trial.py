"""First loads happen in a child process: what harms it is an error of one engine, found once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import psutil
import pytest

from bundles import make_bundle
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog, trial, trial_process
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.errors import EngineFaultError
from edgeproof_runtime.selection.auto import load_engine
from faulty_engines import entry_of, gelu_onnx
from toy_engine import ENTRY

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known yet, neither in this process nor in the cache, and no child is running."""
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "_known", {})
    monkeypatch.setattr(trial, "_kept_child", [])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of the children that a test starts."""
    found: list[int] = []

    class Counted(trial_process.TrialProcess):
        def __init__(self) -> None:
            super().__init__()
            found.append(self._process.pid)

    monkeypatch.setattr(trial, "TrialProcess", Counted)
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("trial") / "tiny.edge")


@pytest.fixture
def artifact(bundle: Bundle) -> ModelArtifact:
    return bundle.artifact(max_batch=1)


@pytest.fixture
def crash() -> Iterator[CatalogEntry]:
    with catalog.registered(entry_of("crash")):
        yield catalog.find("crash")


def kept() -> list[dict[str, object]]:
    folder = Path(os.environ["EDGEPROOF_CACHE"]) / "trials"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("crash", "crashes on this model (SIGSEGV)"),
        ("abort", "crashes on this model (SIGABRT)"),
        ("divide", "crashes on this model (SIGFPE)"),
        ("leave", "ends the process on this model (exit code 3)"),
        ("hang", "hangs on this model (no result within 2 s)"),
        ("memory", "exhausts the memory on this model (more than 400 MiB)"),
    ],
)
@pytest.mark.slow
def test_what_harms_a_process_is_an_error_that_names_the_engine(
    artifact: ModelArtifact, monkeypatch: pytest.MonkeyPatch, kind: str, fault: str
) -> None:
    monkeypatch.setenv(trial.LIMITS["seconds"], "2" if kind == "hang" else "60")
    monkeypatch.setenv(trial.LIMITS["mib"], "400")
    with catalog.registered(entry_of(kind)), pytest.raises(EngineFaultError) as caught:
        engines.load(kind, artifact)
    assert caught.value.exit_code == 2
    assert caught.value.what.startswith(f"{kind} ")
    assert caught.value.what.endswith(fault)
    assert caught.value.fix is not None
    assert caught.value.fix.startswith("use onnxruntime or openvino")
    assert (trial.LIMITS["seconds"] in caught.value.fix) == (kind == "hang")
    assert not psutil.Process().children()


@pytest.mark.slow
def test_an_outcome_is_found_once_good_or_bad(
    artifact: ModelArtifact, crash: CatalogEntry, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with engines.load("onnxruntime", artifact):
        pass
    with pytest.raises(EngineFaultError):
        engines.load("crash", artifact)
    assert len(started) == 2
    monkeypatch.setattr(trial, "_known", {})  # as a later process begins
    with engines.load("onnxruntime", artifact):
        pass
    with pytest.raises(EngineFaultError, match="SIGSEGV"):
        engines.load("crash", artifact)
    assert len(started) == 2
    assert {(one["engine"], one["fault"] is None) for one in kept()} == {("onnxruntime", True), ("crash", False)}
    # Another version of the engine, or another machine, is another matter.
    changed = replace(crash, distributions=("numpy",))
    with catalog.registered(changed), pytest.raises(EngineFaultError):
        engines.load("crash", artifact)
    assert len(started) == 3


@pytest.mark.slow
def test_engines_share_a_child_and_a_crash_loses_one_of_them(artifact: ModelArtifact, started: list[int]) -> None:
    with catalog.registered(entry_of("crash")):
        engines.try_out(["onnxruntime", "crash", "opencv"], artifact)
        assert len(started) == 3  # the crash is tried again alone, then the third engine
        for name in ("onnxruntime", "opencv"):
            with engines.load(name, artifact):
                pass
        with pytest.raises(EngineFaultError):
            engines.load("crash", artifact)
    assert len(started) == 3


@pytest.mark.slow
def test_a_fault_with_larger_batches_leaves_batches_of_one(bundle: Bundle) -> None:
    with catalog.registered(entry_of("crash-on-two")):
        with pytest.raises(EngineFaultError):
            engines.load("crash-on-two", bundle.artifact())
        with engines.load("crash-on-two", bundle.artifact(max_batch=1)) as engine:
            engine.run(engine.allocate_input(1))


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "\xff", '{"schema": "edgeproof.trial/1"}', '{"schema": "edgeproof.trial/1", "fault": [1, null, 0.0]}'],
)
def test_a_damaged_outcome_counts_for_nothing(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "outcome.json"
    path.write_text(damage, encoding="latin-1")
    assert trial._read(path) is None


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_no_error(
    artifact: ModelArtifact, crash: CatalogEntry, started: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        with pytest.raises(EngineFaultError):
            engines.load("crash", artifact)
    assert len(started) == 1  # this process remembers


@pytest.mark.slow
def test_a_higher_limit_tries_again(
    artifact: ModelArtifact, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with catalog.registered(entry_of("hang")):
        for seconds, children in (("1", 1), ("1", 1), ("2", 2)):
            monkeypatch.setenv(trial.LIMITS["seconds"], seconds)
            monkeypatch.setattr(trial, "_known", {})
            with pytest.raises(EngineFaultError, match=f"within {seconds} s"):
                engines.load("hang", artifact)
            assert len(started) == children


def test_where_no_child_starts_the_engine_is_loaded_all_the_same(
    artifact: ModelArtifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial._say_once.cache_clear()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for _ in range(2):
        with engines.load("onnxruntime", artifact) as engine:
            engine.run(engine.allocate_input(1))
    said = [record.message for record in caplog.records]
    assert said == ["engines are loaded without a trial in a child process: this program has no Python interpreter"]
    assert not kept()


def test_an_engine_that_the_child_cannot_import_is_loaded_here(
    artifact: ModelArtifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial._say_once.cache_clear()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != TESTS])
    with catalog.registered(ENTRY), engines.load("toy", artifact):
        pass
    assert "No module named 'toy_engine'" in caplog.text


def test_engines_that_compute_nothing_need_no_trial(artifact: ModelArtifact, started: list[int]) -> None:
    with engines.load("null", artifact):
        pass
    assert not started


@pytest.mark.slow
def test_the_child_ends_with_its_parent_and_with_ctrl_c(artifact: ModelArtifact, tmp_path: Path) -> None:
    code = (
        "import faulty_engines, sys; from edgeproof_runtime import engines; "
        "from edgeproof_runtime.bundle.reader import Bundle; from edgeproof_runtime.engines import catalog; "
        "catalog.register(faulty_engines.entry_of('hang')); engines.load('hang', Bundle.open(sys.argv[1]).artifact())"
    )
    command = [sys.executable, "-c", code, str(artifact.path.parent)]
    for number in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(TESTS)}, stderr=subprocess.DEVNULL
        ) as parent:
            child = _only_child(psutil.Process(parent.pid))
            parent.send_signal(number)
            parent.wait(timeout=30)
            psutil.wait_procs([child], timeout=30)
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def _only_child(parent: psutil.Process) -> psutil.Process:
    for _ in range(600):
        found = parent.children()
        if found:
            return found[0]
        time.sleep(0.05)
    raise TimeoutError("no child was started")


@pytest.mark.slow
def test_opencvs_crash_on_an_exact_gelu(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "gelu.edge", model=gelu_onnx())
    engines.try_out(["onnxruntime", "openvino", "opencv"], bundle.artifact())
    for name in ("onnxruntime", "openvino"):
        with load_engine(bundle, name, max_batch=None) as engine:
            engine.run(engine.allocate_input(2))
    outcome = {one["engine"]: one["fault"] for one in kept()}
    if outcome["opencv"] is None:  # an OpenCV that takes it
        with load_engine(bundle, "opencv"):
            return
    with pytest.raises(EngineFaultError, match=r"opencv .*crashes on this model \(SIG"):
        load_engine(bundle, "opencv")


def test_a_job_survives_the_way_to_the_child(bundle: Bundle) -> None:
    from edgeproof_runtime.engines.trial_child import job_from_json, job_to_json

    artifact = replace(bundle.artifact(), blob=bundle.path / "labels.txt")
    for entry in (*catalog.entries(), ENTRY):
        job = (entry, artifact, [1, 4])
        assert job_from_json(json.loads(json.dumps(job_to_json(job)))) == job
    assert onnx.load(artifact.path).graph.name == "tiny"
