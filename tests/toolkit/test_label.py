"""`edgeproof label` in one process: rows, resuming, what it refuses, object stores, large images."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgeproof
from bundles import LABELS, make_bundle, make_defect_bundle, make_multilabel_bundle, write_sorted
from command_line import Cli
from edgeproof.scale import Predictor, fetching, predictor
from edgeproof_runtime.data.store import EncodedStore
from edgeproof_runtime.errors import BundleError, InputError
from signing import make_key

pq = pytest.importorskip("pyarrow.parquet")
ENGINE = ("--engine", "onnxruntime")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    bundle = make_bundle(tmp_path / "B.edge")
    write_sorted(tmp_path / "sorted", bundle)
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return sorted(pq.read_table(folder).to_pylist(), key=lambda row: row["index"])


def label(place: Path, out: str = "labels", **given: Any) -> edgeproof.library.label.LabelReport:
    return edgeproof.label(place / "B.edge", place / "sorted", place / out, engine="onnxruntime", **given)


def test_labels_are_those_of_evaluate(cli: Cli, place: Path) -> None:
    whole = sorted((place / "sorted").rglob("*.png"))[0].read_bytes()
    (place / "sorted/cat/cut.png").write_bytes(whole[:60])
    (place / "sorted/notes.txt").write_text("x")
    assert cli("evaluate", "B.edge", "--data", "sorted", *ENGINE, "--predictions", "p.jsonl")[0] == 0
    code, _, err = cli("label", "B.edge", "--data", "sorted", "--out", "labels", *ENGINE, "--json", "r.json")
    assert code == 0, err
    assert "1 image failed" in err
    assert "note: 1 files are not images" in err
    expected = {row["path"]: row for row in map(json.loads, (place / "p.jsonl").read_text().splitlines())}
    rows = rows_of(place / "labels")
    assert [row["path"] for row in rows if row["error"]] == ["cat/cut.png"]
    assert "truncated" in next(row["error"] for row in rows if row["error"])
    for row in (row for row in rows if not row["error"]):
        one = expected.pop(row["path"])
        assert (row["label"], row["probability"], row["margin"]) == (one["label"], one["probability"], one["margin"])
        assert row["top5_labels"] == [one["label"], *(one[f"label_{rank}"] for rank in range(2, 6))]
        assert row["engine"].startswith("onnxruntime ")
    assert not expected
    report = json.loads((place / "r.json").read_text())
    assert report["kind"] == "label"
    assert report["counts"] == {
        "frames_in": 13,
        "frames_classified": 12,
        "frames_failed": 1,
        "frames_labelled_earlier": 0,
    }
    assert {row["bundle"] for row in rows} == {report["bundle"]["manifest_sha256"]}


def test_an_interrupted_run_goes_on_where_it_stopped(place: Path) -> None:
    class InterruptedRunError(Exception):
        pass

    def interrupt(phase: str, done: int, total: int) -> None:
        if phase.startswith("labelling") and done >= 6:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        label(place, shard=3, workers=1, progress=interrupt)
    first = {path.name: path.stat().st_mtime_ns for path in (place / "labels").glob("part-*")}
    assert len(first) == 2
    (place / "labels/part-000000.parquet").write_bytes(b"PAR1")  # half a file of another program
    report = label(place, shard=3)
    assert report.counts["frames_labelled_earlier"] == 3
    assert label(place, "at-once").labels == report.labels
    assert rows_of(place / "labels") == rows_of(place / "at-once")
    kept = {path.name: path.stat().st_mtime_ns for path in (place / "labels").glob("part-*")}
    assert len(kept) == 4
    assert kept["part-000001.parquet"] == first["part-000001.parquet"]


def test_labels_of_something_else_are_not_mixed(cli: Cli, place: Path) -> None:
    label(place, shard=5)
    make_bundle(place / "C.edge", labels=("a", "b", "c", "d", "e"))
    mine = ("label", "B.edge", "--data", "sorted", "--out", "labels", *ENGINE)
    for changed, said in (
        (("label", "C.edge", *mine[2:], "--shard", "5"), "another bundle"),
        ((*mine, "--shard", "6"), "another --shard"),
        ((*mine, "--shard", "5", "--batch", "2"), "another --batch"),
        ((*mine, "--shard", "5", "--exif"), "another --exif"),
        ((*mine[:-1], "opencv", "--shard", "5"), "another engine"),
        ((*mine[:3], "sorted/moth", *mine[4:], "--shard", "5"), "another dataset"),
        ((*mine[:5], "sorted", *mine[6:]), "lies in a folder that is read"),
        ((*mine[:5], "elsewhere", *mine[6:]), "holds no labels of edgeproof"),
    ):
        (place / "elsewhere").mkdir(exist_ok=True)
        (place / "elsewhere/mine.txt").write_text("x")
        code, _, err = cli(*changed)
        assert code == 2, err
        assert said in err
    assert cli(*mine, "--shard", "5")[0] == 0


def test_bad_usage(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "empty").mkdir()
    mine = ("label", "B.edge", "--out", "labels", *ENGINE, "--data")
    for options, code, said in (
        ((*mine, "empty"), 2, "no images"),
        ((*mine, "nowhere"), 2, "not found"),
        ((*mine, "sorted", "--on", "spark"), 2, "--on: unknown"),
        ((*mine, "sorted", "--workers", "4000"), 2, "--workers and --threads"),
        ((*mine, "nonsense://bucket/x"), 2, "unknown scheme"),
        ((*mine[:3], "s3://bucket/labels", *mine[4:], "sorted"), 2, "a folder of this machine"),
    ):
        found, _, err = cli(*options)
        assert found == code, err
        assert said in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = cli(*mine, "sorted", "--on", "ray")
    assert code == 3
    assert 'pip install "edgeproof[ray]"' in err
    assert not (place / "labels").exists()


def test_a_full_disk_is_said_and_what_is_whole_remains(place: Path) -> None:
    command = (
        "import resource, sys; from edgeproof.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); main()"
    )
    arguments = ["label", "B.edge", "--data", "sorted", "--out", "labels", *ENGINE, "--workers", "1", "--shard"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    whole = subprocess.run(
        [sys.executable, "-c", command, *arguments, "12"],
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
        check=False,
    )
    assert whole.returncode == 2, whole.stderr
    assert "part-000000.parquet: cannot be written" in whole.stderr
    assert [path.name for path in (place / "labels").iterdir()] == ["_labels.json"]
    label(place, shard=12)
    assert len(rows_of(place / "labels")) == 12


def test_parquet_files_of_images_and_names_that_repeat(cli: Cli, place: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    images = sorted((place / "sorted").rglob("*.png"))
    contents = [path.read_bytes() for path in images]
    names = ["same.png", "same.png", *(path.name for path in images[2:])]
    plain = pa.table({"path": names, "content": contents})
    (place / "tables").mkdir()
    pq.write_table(plain, place / "tables/a.parquet", row_group_size=5)
    hugging = [{"bytes": content, "path": path.name} for content, path in zip(contents, images, strict=True)]
    pq.write_table(pa.table({"image": [*hugging[:3], None]}), place / "tables/b.parquet")
    code, _, err = cli("label", "B.edge", "--data", "tables", "--out", "labels", *ENGINE, "--shard", 4)
    assert code == 0, err
    assert "2 images have the name of another one" in err
    expected = {row["sha256"]: row["label"] for row in (label(place, "folder"), *rows_of(place / "folder"))[1:]}
    rows = rows_of(place / "labels")
    assert [row["path"] for row in rows[:12]] == names
    assert [row["path"] for row in rows[12:15]] == [path.name for path in images[:3]]
    assert [row["error"] for row in rows] == [None] * 15 + ["cannot be read (no image in this row)"]
    assert all(row["label"] == expected[row["sha256"]] for row in rows[:15])
    pq.write_table(pa.table({"path": names}), place / "none.parquet")
    code, _, err = cli("label", "B.edge", "--data", "none.parquet", "--out", "other", *ENGINE)
    assert code == 2
    assert "no column of encoded images" in err


class Throttled:
    """What an object store answers: every file is refused so many times, then given."""

    refusals = 2
    asked: dict[str, int]
    root: Path


@pytest.fixture
def store(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Throttled]]:
    """The folder ``sorted`` as an object store that throttles."""
    fsspec = pytest.importorskip("fsspec")
    local = pytest.importorskip("fsspec.implementations.local").LocalFileSystem
    Throttled.refusals, Throttled.asked, Throttled.root = 2, {}, place / "sorted"

    class System(local):  # type: ignore[misc, valid-type]
        protocol = "throttled"

        def _open(self, path: str, *given: Any, **named: Any) -> Any:
            Throttled.asked[path] = Throttled.asked.get(path, 0) + 1
            if Throttled.asked[path] <= Throttled.refusals:
                raise RuntimeError("An error occurred (SlowDown): Please reduce your request rate.")
            return super()._open(path, *given, **named)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return local._strip_protocol(path.replace("throttled://bucket", str(Throttled.root)))

        def unstrip_protocol(self, name: str) -> str:
            return name.replace(str(Throttled.root), "throttled://bucket")

    fsspec.register_implementation("throttled", System, clobber=True)
    monkeypatch.setattr(fetching, "_FIRST_WAIT_S", 0.001)
    yield Throttled
    sys.modules["fsspec.registry"]._registry.pop("throttled")


def test_a_store_that_throttles_is_asked_again(place: Path, store: type[Throttled]) -> None:
    given = {"engine": "onnxruntime", "shard": 4, "workers": 1}
    report = edgeproof.label(place / "B.edge", "throttled://bucket", place / "far", **given)
    assert report.counts["frames_classified"] == 12
    assert set(store.asked.values()) == {3}
    label(place, "near")
    far, near = rows_of(place / "far"), rows_of(place / "near")
    assert far == near


def test_a_store_that_is_gone_leaves_no_false_rows(place: Path, store: type[Throttled]) -> None:
    store.refusals = 1000
    arguments = (place / "B.edge", "throttled://bucket", place / "far")
    with pytest.raises(InputError, match="refused 7 requests in a row"):
        edgeproof.label(*arguments, engine="onnxruntime", shard=4)
    assert not list((place / "far").glob("part-*"))
    store.refusals = 0
    assert edgeproof.label(*arguments, engine="onnxruntime", shard=4).counts["frames_failed"] == 0


def test_a_file_that_vanishes_is_a_row_with_an_error(place: Path, store: type[Throttled]) -> None:
    store.refusals = 0
    opened = Predictor(place / "B.edge", engine="onnxruntime")
    found = opened({"path": ["throttled://bucket/gone.png", str(place / "gone.png")]})
    assert list(found["label"]) == [None, None]
    assert all("No such file" in error or "gone.png" in error for error in found["error"])


def test_large_images_are_decoded_one_at_a_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 megapixels are 300 MB decoded, in every thread; what the bound of the decoder refuses is not decoded."""
    monkeypatch.setattr(predictor, "_LARGE_PIXELS", 1 << 20)
    large = cv2.imencode(".png", np.zeros((1200, 1200), np.uint8))[1].tobytes()
    for number in range(4):
        (place / f"sorted/cat/large-{number}.png").write_bytes(large)
    huge = large[:16] + (20_000).to_bytes(4, "big") * 2 + large[24:]
    (place / "sorted/cat/huge.png").write_bytes(huge)
    inside, most, lock = 0, 0, threading.Lock()
    read = EncodedStore.read

    def counted(store: EncodedStore, index: int) -> Any:
        nonlocal inside, most
        if "large" not in store.name(index):
            return read(store, index)
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return read(store, index)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(EncodedStore, "read", counted)
    monkeypatch.setattr("edgeproof.library.label._TABLE", 1)
    label(place)
    rows = {row["path"]: row for row in rows_of(place / "labels")}
    assert most == 1
    assert "too large (20000x20000 pixels)" in rows["cat/huge.png"]["error"]
    assert all(rows[f"cat/large-{number}.png"]["label"] in LABELS for number in range(4))


def test_other_tasks(tmp_path: Path) -> None:
    defect = make_defect_bundle(tmp_path / "D.edge")
    multi = make_multilabel_bundle(tmp_path / "M.edge")
    content = cv2.imencode(".png", np.full((30, 30, 3), 90, np.uint8))[1].tobytes()
    found = Predictor(defect.path, engine="onnxruntime").predict([content, b""], ["a", "b"])
    assert found["label"][0] in ("good", "defect")
    assert found["score"][0] >= 0
    assert found["error"][1] == "empty (0 bytes)"
    found = Predictor(multi.path, engine="onnxruntime").predict([content])
    assert len(found["top5_labels"][0]) == len(found["top5_probabilities"][0]) > 0
    assert np.isnan(found["probability"][0])


def test_every_worker_checks_the_signature(cli: Cli, place: Path) -> None:
    for name in ("key", "other"):
        make_key(place / f"{name}.pem", place / f"{name}.pub")
    mine = ("label", "B.edge", "--data", "sorted", "--out", "labels", *ENGINE, "--trust")
    code, _, err = cli(*mine, "key.pub")
    assert (code, "no valid signature" in err or "not signed" in err) == (2, True), err
    assert cli("sign", "B.edge", "--key", "key.pem")[0] == 0
    code, _, err = cli(*mine, "key.pub")
    assert (code, "signed by key.pub" in err) == (0, True), err
    Predictor(place / "B.edge", engine="onnxruntime", trust=place / "key.pub").open()
    with pytest.raises(BundleError, match="no valid signature"):
        Predictor(place / "B.edge", engine="onnxruntime", trust=place / "other.pub").open()


def test_a_predictor_is_pickled_without_its_engine_and_without_ray(place: Path) -> None:
    made = Predictor(place / "B.edge", engine="onnxruntime", batch=4)
    content = sorted((place / "sorted").rglob("*.png"))[0].read_bytes()
    before = made.predict([content] * 6)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301 - its own
    assert again._opened is None
    after = again({"path": ["x"] * 6, "bytes": [content] * 6, "id": list(range(6))})
    assert list(after["id"]) == list(range(6))
    assert list(after["probability"]) == list(before["probability"])
    with pytest.raises(BundleError, match="another bundle on this worker"):
        Predictor(place / "B.edge", digest="0" * 64).open()
    code = "import sys, edgeproof.scale; print([m for m in ('ray', 'pyspark', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
