"""`label` and `evaluate` on a Ray cluster of two workers: what one process computes, image for image."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import edgeproof
from bundles import make_bundle, tiny_onnx, write_sorted
from command_line import Cli
from edgeproof.scale.pools import opened_pool
from edgeproof_runtime.errors import BundleError, InputError

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


def workers_of_ray() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
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
