"""`--unknown` of `run`, streams.toml, `serve` and `evaluate`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import LABELS, frames, make_bundle, make_multilabel_bundle
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.sources import StreamSpec, read_streams
from edgeproof_runtime.tasks.unknown import UnknownRule
from growing_files import predictions_in
from serving import serving
from waiting import until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("unknown") / "tiny.edge")


def test_run_says_unknown_in_predictions_and_report(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, said, _ = cli(
        "run", bundle.path, "--source", "synthetic://64x48?frames=8", "--engine", "null", "--unknown",
        "max-probability:0.3", "--predictions", tmp_path / "p.jsonl", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert code == 0
    lines = predictions_in(tmp_path / "p.jsonl")
    assert [line["unknown"]["unknown"] for line in lines] == [True] * 8, "five classes of 20 %"
    assert lines[0]["unknown"]["value"] == pytest.approx(0.2)
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["settings"]["unknown"], report["counts"]["frames_unknown"]) == ("max-probability:0.3", 8)
    assert "unknown" in said


def test_a_stream_and_a_region_have_their_own_rule(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text(
        '[a]\nsource = "synthetic://64x48?frames=4"\nunknown = "max-probability:0.1"\n'
        '[a.regions.left]\n[a.regions.right]\nunknown = "max-probability:0.3"\n'
        '[b]\nsource = "synthetic://64x48?frames=4"\n'
    )
    source = ("--source", tmp_path / "streams.toml", "--engine", "null", "--predictions", tmp_path / "p.jsonl")
    assert cli("run", bundle.path, *source, "--unknown", "max-probability:0.4")[0] == 0
    found = {line["stream"]: line["unknown"] for line in predictions_in(tmp_path / "p.jsonl")}
    limits = {name: (one["unknown"], one["limit"]) for name, one in found.items()}
    assert limits == {"a/left": (False, 0.1), "a/right": (True, 0.3), "b": (True, 0.4)}
    (tmp_path / "streams.toml").write_text('[a]\nsource = "0"\nunknown = "entropy:1"\n')
    with pytest.raises(Exception, match="stream a: unknown is invalid"):
        read_streams(tmp_path / "streams.toml")


def test_an_unknown_frame_is_grey_on_the_page(bundle: Bundle) -> None:
    card = [StreamSpec(name="card", source="synthetic://64x48@30", unknown=UnknownRule.parse("margin:0.5"))]
    with serving(bundle, card, engine="null") as served:
        until(lambda: served.get("/api/state").json()["streams"][0]["rows"])
        (found,) = served.get("/api/state").json()["streams"]
    assert (found["sure"], found["rows"][0][0]) == (False, "unknown")
    assert found["headline"].startswith("unknown (nearest: cat")


@pytest.mark.parametrize("rule", ["max-probability:0.1", None])
def test_serve_counts_unknown_frames_where_a_rule_is_in_force(bundle: Bundle, tmp_path: Path, rule: str | None) -> None:
    words = [
        sys.executable, "-m", "edgeproof", "serve", str(bundle.path), "--source", "synthetic://64x48@30", "--engine",
        "null", "--port", "0", "--predictions", str(tmp_path / "p.jsonl"), "--json", str(tmp_path / "r.json"),
    ]  # fmt: skip
    with subprocess.Popen([*words, *(() if rule is None else ("--unknown", rule))]) as process:
        try:
            until(lambda: (tmp_path / "p.jsonl").exists() and (tmp_path / "p.jsonl").stat().st_size > 0, 60)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["settings"].get("unknown") == rule
    assert report["counts"].get("frames_unknown") == (None if rule is None else 0)


def test_rules_that_do_not_fit_are_refused(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    card = ("--source", "synthetic://64x48?frames=2", "--engine", "null")
    code, _, told = cli("run", bundle.path, *card, "--unknown", "entropy:1")
    assert code == 2
    assert "unknown: invalid rule" in told
    labels = make_multilabel_bundle(tmp_path / "m.edge")
    code, _, told = cli("run", labels.path, *card, "--unknown", "margin:0.1")
    assert code == 2
    assert "--unknown: does not apply to" in told


def pictures(root: Path, folders: tuple[str, ...], seed: int, count: int = 6) -> Path:
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for index, frame in enumerate(frames(count, seed + number)):
            cv2.imwrite(str(root / folder / f"{index}.png"), frame)
    return root


def test_evaluate_chooses_a_rule_that_run_takes(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    known = pictures(tmp_path / "known", LABELS, 1)
    grey = tmp_path / "grey"
    grey.mkdir()
    for index in range(24):
        cv2.imwrite(str(grey / f"{index}.png"), np.full((32, 32, 3), 10 * index, np.uint8))
    (grey / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, said, told = cli(
        "evaluate", bundle.path, "--data", known, "--unknown", grey, "--engine", "onnxruntime", "--json",
        tmp_path / "e.json", "--no-evidence", "--batch", 1,
    )  # fmt: skip
    assert code in (0, 1), told  # folders of random images may fail the check of labels
    report = json.loads((tmp_path / "e.json").read_text())
    found = report["unknown"]
    assert found["chosen_on"] == {"known": 15, "unknown": 12}
    assert found["measured_on"] == {"known": 15, "unknown": 12}
    assert set(found["scores"]) == {"max-probability", "margin", "energy"}
    assert report["counts"]["frames_classified"] == 30
    assert "torn.png" in told
    assert f"--unknown {found['rule']}" in " ".join(said.split())
    source = ("--source", known / "cat", "--engine", "onnxruntime")
    code, _, _ = cli("run", bundle.path, *source, "--unknown", found["rule"], "--json", tmp_path / "r.json")
    assert code == 0
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["unknown"] == found["rule"]


def test_evaluate_refuses_what_has_no_unknown_images(cli: Cli, tmp_path: Path) -> None:
    labels = make_multilabel_bundle(tmp_path / "m.edge")
    code, _, told = cli("evaluate", labels.path, "--data", tmp_path, "--unknown", tmp_path)
    assert code == 2
    assert "--unknown: does not apply to" in told
