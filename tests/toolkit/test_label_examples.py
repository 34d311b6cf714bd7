"""The examples of docs/scale.md: the predictor in pipelines of Spark and of Ray Data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import edgeproof
from bundles import make_bundle, write_sorted

pq = pytest.importorskip("pyarrow.parquet")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.serial]  # both take every core


@pytest.mark.parametrize("kind", ["ray", "spark"])
def test_the_examples_label_what_edgeproof_labels(kind: str, tmp_path: Path) -> None:
    if kind == "spark" and shutil.which("java") is None:
        pytest.skip("Java is not installed")
    if find_spec("ray" if kind == "ray" else "pyspark") is None:
        pytest.skip(f"{kind} is not installed")
    bundle = make_bundle(tmp_path / "B.edge")
    write_sorted(tmp_path / "sorted", bundle)
    (tmp_path / "sorted/cat/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    edgeproof.label(bundle, tmp_path / "sorted", tmp_path / "own", engine="onnxruntime")
    expected = {row["path"]: row for row in pq.read_table(tmp_path / "own").to_pylist()}
    command = [sys.executable, "-W", "ignore", EXAMPLES / f"{kind}_label.py", bundle.path]
    done = subprocess.run(
        [*map(str, command), str(tmp_path / "sorted"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYSPARK_PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "out").to_pylist()
    assert len(rows) == 13
    for row in rows:
        own = expected.pop("/".join(Path(row["path"]).parts[-2:]))
        assert (row["label"], row["sha256"], row["error"]) == (own["label"], own["sha256"], own["error"])
        assert row["probability"] == own["probability"] or own["error"]
        assert row["bundle"] == bundle.manifest_sha256
