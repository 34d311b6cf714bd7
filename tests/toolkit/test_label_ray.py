"""`label`, `evaluate` and `optimize` on a Ray cluster of two workers: what one process computes, image for image."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import edgeproof
from bundles import LABELS, make_bundle, tiny_onnx, write_sorted
from command_line import Cli
from edgeproof.scale.answers import _OnRay, answers_on
from edgeproof.scale.pools import Pool, opened_pool
from edgeproof_export.optimize import judge, recipes
from edgeproof_export.optimize.inputs import Inputs
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.errors import BundleError, InputError, UnavailableError
from edgeproof_runtime.measure import Plan

pq = pytest.importorskip("pyarrow.parquet")
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.serial,  # the cluster takes every core
    pytest.mark.filterwarnings("ignore:::ray"),
    # A node of Ray that starts too slowly is left to Python to end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two cores; tests use it, because starting one takes seconds."""
    pytest.importorskip("ray")
    with opened_pool("ray", engine="onnxruntime") as pool:
        yield pool


@pytest.fixture
def place(tmp_path: Path) -> Path:
    bundle = make_bundle(tmp_path / "B.edge")
    write_sorted(tmp_path / "sorted", bundle)
    image = sorted((tmp_path / "sorted").rglob("*.png"))[0]
    (tmp_path / "sorted/cat/cut.png").write_bytes(image.read_bytes()[:60])
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return sorted(pq.read_table(folder).to_pylist(), key=lambda row: row["index"])


def workers_of_ray(name: str = "MapWorker") -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(
    cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproof.library.label._TABLE", 10)
    images = sorted((place / "sorted").rglob("*.png"))
    for number in range(40):
        for image in images:
            (image.parent / f"{number}-{image.name}").write_bytes(image.read_bytes())
    killed: list[int] = []

    def kill_one(phase: str, done: int, total: int) -> None:
        if phase.startswith("labelling") and done and not killed:
            killed.extend(process.pid for process in workers_of_ray()[:1])
            os.kill(killed[0], signal.SIGKILL)

    given = {"engine": "onnxruntime", "shard": 100, "workers": 2}
    report = edgeproof.label(place / "B.edge", place / "sorted", place / "far", on="ray", progress=kill_one, **given)
    assert killed
    near = edgeproof.label(place / "B.edge", place / "sorted", place / "near", **given)
    assert report.counts == near.counts
    assert report.counts["frames_in"] == 13 * 41
    assert report.counts["frames_failed"] == 41
    assert report.settings["workers"] == 2
    assert rows_of(place / "far") == rows_of(place / "near")


def test_evaluate_counts_what_one_process_counts(cli: Cli, cluster: Any, place: Path) -> None:
    found = {}
    for name, extra in (("near", ()), ("far", ("--on", "ray", "--workers", 2))):
        for limit in (("--limit", 7), ()):
            command = (
                "evaluate",
                "B.edge",
                "--data",
                "sorted",
                "--engine",
                "onnxruntime",
                "--batch",
                2,
                *extra,
                *limit,
            )
            code, _, err = cli(*command, "--predictions", "p.jsonl", "--json", "r.json", "--no-evidence")
            assert code == 0, err
            report = json.loads((place / "r.json").read_text())
            kept = {key: report[key] for key in ("counts", "accuracy", "gates", "samples")}
            found[name, limit] = (kept, (place / "p.jsonl").read_text())
    for limit in (("--limit", 7), ()):
        assert found["near", limit] == found["far", limit]
    assert found["far", ()][0]["counts"]["frames_failed"] == 1


def test_several_bundles_on_one_cluster(cli: Cli, cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(place / "C.edge", model=tiny_onnx(seed=1))
    monkeypatch.setattr("edgeproof.scale.pools._connect", None)  # one is there
    found = {}
    for name, extra in (("near", ()), ("far", ("--on", "ray", "--workers", 2))):
        command = ("evaluate", "B.edge", "C.edge", "--data", "sorted", "--engine", "onnxruntime", *extra)
        code, _, err = cli(*command, "--json", "all.json", "--no-evidence")
        assert code == 0, err
        bundles = json.loads((place / "all.json").read_text())["bundles"]
        reports = [one.pop("report") for one in bundles]
        found[name] = [bundles, *({key: one[key] for key in ("counts", "accuracy", "gates")} for one in reports)]
    assert found["near"] == found["far"]
    assert found["far"][0][1]["against_first"]["n"] == 12
    assert found["far"][0][1]["against_first"]["lost"] > 0


def test_what_a_worker_raises_is_an_error_of_edgeproof(cluster: Any, place: Path) -> None:
    from edgeproof.scale.images import list_images

    tables = [list_images(str(place / "sorted")).table(0, 5)]
    given = {"bundle": str(place / "B.edge"), "engine": "onnxruntime"}
    with opened_pool("ray", engine="onnxruntime") as pool:
        with pytest.raises(BundleError, match="another bundle on this worker") as caught:
            list(pool.run({**given, "digest": "0" * 64}, tables))
        assert type(caught.value) is BundleError
        with pytest.raises(BundleError):
            list(pool.run({**given, "bundle": str(place / "gone.edge")}, tables))
        assert sum(table.num_rows for table in pool.run(given, tables)) == 5
    with pytest.raises(InputError, match="--workers and --threads"), opened_pool("ray", engine="opencv", workers=9999):
        pass


def test_what_excludes_a_cluster(cli: Cli, place: Path) -> None:
    command = ("evaluate", "B.edge", "--data", "sorted", "--engine", "onnxruntime", "--on", "ray")
    for more, said in (
        (("--against", "opencv"), "--on: excludes"),
        (("--hops",), "--on: excludes"),
        (("--unknown", "sorted"), "--on: excludes"),
    ):
        code, _, err = cli(*command, *more)
        assert code == 2
        assert said in err
    code, _, err = cli(*command[:-2], "--workers", "2")
    assert code == 2
    assert "requires --on" in err
    code, _, err = cli("optimize", "B.edge", "--data", "sorted", "--workers", "2")
    assert code == 2
    assert "requires --on" in err


def test_optimize_computes_the_same_scores_bit_for_bit(
    cli: Cli, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = (recipes.RECIPES["tensorrt"][0],)  # importing NNCF takes seconds
    monkeypatch.setitem(recipes.RECIPES, "cpu", plain)
    monkeypatch.setitem(recipes.RECIPES, "tensorrt", plain)
    monkeypatch.setattr(judge, "_PLAN", Plan(turns=2, duration_s=0.1, block_ms=1.0, min_runs=1, warm_up_s=0.01))
    rng = np.random.default_rng(5)
    arrays = {f"x_{part}": rng.integers(0, 256, (120, 20, 20, 3), dtype=np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(120) % len(LABELS) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **arrays)
    found, models = {}, {}
    for name, extra in (("near", ()), ("far", ("--on", "ray", "--workers", 2))):
        path = make_bundle(tmp_path / f"{name}.edge").path
        code, _, err = cli(
            "optimize", path, "--data", "data.npz", "--max-drop", "1", "--engine", "onnxruntime", "--threads", 1,
            "--work", name, "--json", "o.json", *extra,
        )  # fmt: skip
        assert code == 0, err
        found[name] = {file.name: np.load(file) for file in (tmp_path / name).glob("*.npy")}
        report = json.loads((tmp_path / "o.json").read_text())
        assert report["settings"].get("on") == (extra[1] if extra else None)
        models[name] = {
            key: [point["paired"] for point in one["points"]] for key, one in report["optimization"]["models"].items()
        }
    assert len(found["near"]) >= 5
    assert found["near"].keys() == found["far"].keys()
    for key, scores in found["near"].items():
        assert scores.dtype == found["far"][key].dtype
        assert scores.tobytes() == found["far"][key].tobytes(), key
    assert models["near"] == models["far"]


def test_a_worker_of_optimize_that_dies_or_differs(cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(place / "O.edge")
    images = ImageList.open(place / "sorted")
    inputs = Inputs(images, range(len(images)), bundle.contract, None, lambda _done, _total: None)
    monkeypatch.setattr(judge, "_BATCH", 1)
    monkeypatch.setattr(judge, "_LOOK", 3)
    here = judge.Judge(bundle, "onnxruntime", 1, place)
    expected = here.scores(tiny_onnx(seed=1), inputs, lambda _done, _total: None)
    killed: list[int] = []

    def kill_one(done: int, _total: int) -> None:
        if not killed:
            killed.extend(process.pid for process in workers_of_ray("ray::_Worker")[:1])
            os.kill(killed[0], signal.SIGKILL)

    with answers_on("ray", workers=2) as answers:
        far = judge.Judge(bundle, "onnxruntime", 1, place, answers=answers)
        assert far.scores(tiny_onnx(seed=1), inputs, kill_one).tobytes() == expected.tobytes()
        assert killed
        stopped = far.scores(tiny_onnx(seed=1), inputs, lambda _done, _total: None, lambda _found: True)
        assert stopped.tobytes() == expected[:3].tobytes()
        stated = here.by_arithmetic().scores(tiny_onnx(), inputs, lambda _done, _total: None)
        assert far.by_arithmetic().scores(tiny_onnx(), inputs, lambda _done, _total: None).tobytes() == stated.tobytes()
        broken = tiny_onnx()
        broken.graph.node[0].op_type = "NoSuchOperator"
        with pytest.raises(InputError) as caught:
            far.scores(broken, inputs, lambda _done, _total: None)
        with pytest.raises(InputError) as near:
            here.scores(broken, inputs, lambda _done, _total: None)
        assert type(caught.value) is type(near.value)
    monkeypatch.setattr("edgeproof.scale.answers.machine_key", lambda: "another")
    with answers_on("ray", workers=1) as answers:
        far = judge.Judge(bundle, "onnxruntime", 1, place, answers=answers)
        with pytest.raises(UnavailableError, match="differs from this one"):
            far.scores(tiny_onnx(), inputs, lambda _done, _total: None)


def test_a_lost_cluster_ends_an_optimisation(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def lost(_self: Any, _result: Any) -> None:
        raise ray.exceptions.RayActorError

    monkeypatch.setattr(_OnRay, "_taken", lost)
    monkeypatch.setattr("edgeproof.scale.answers.connected", lambda _on: nullcontext(FakeRay()))
    monkeypatch.setattr(
        "edgeproof.scale.answers.opened_pool", lambda *_, **__: nullcontext(Pool("here", 2, 1, False, True))
    )
    images = np.random.default_rng(5).integers(0, 256, (120, 20, 20, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x_test=images, y_test=np.arange(120) % len(LABELS))
    bundle = make_bundle(tmp_path / "B.edge")
    before = (bundle.path / "bundle.json").read_bytes()
    given = ("optimize", "B.edge", "--data", "data.npz", "--force", "--engine", "onnxruntime", "--on", "ray")
    code, _, err = cli(*given)
    assert code == 3
    assert "here: the workers failed" in err
    assert (bundle.path / "bundle.json").read_bytes() == before


class FakeRay:
    """Takes everything and gives nothing."""

    def __getattr__(self, _name: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self
