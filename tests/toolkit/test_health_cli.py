"""Frame health on the command line, in the reports and in the metrics."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bundles import make_bundle
from command_line import Cli
from edgeproof.dashboard.gauges import Gauges
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.stream_run import StreamRun
from edgeproof_runtime.sources import Frame, HealthOptions
from reference.drawn import drawn
from scenes import SHARP


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five healthy frames, then five black ones."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for number in range(5):
        writer.write(np.roll(drawn(SHARP), 7 * number, axis=1))
    for _ in range(5):
        writer.write(np.zeros((120, 160, 3), np.uint8))
    writer.release()
    return tmp_path / "clip.avi"


def test_unhealthy_frames_are_in_every_report(cli: Cli, bundle: Bundle, clip: Path, tmp_path: Path) -> None:
    report_file, page, lines = tmp_path / "r.json", tmp_path / "r.html", tmp_path / "p.jsonl"
    written = ("--json", report_file, "--report", page, "--predictions", lines)
    code, said, _ = cli("run", bundle.path, "--source", clip, "--engine", "null", *written)
    assert code == 0
    assert "10 frames in = 5 classified + 0 dropped + 5 unhealthy" in said
    report = json.loads(report_file.read_text())
    assert report["counts"]["frames_unhealthy"] == 5
    assert report["health"]["streams"][0]["left_out"] == {"black": 5}
    assert "clip.avi: 5 black frames left out." in report["warnings"]
    assert report["timeline"]["state"].count("unhealthy") == 5
    html = page.read_text()
    assert "Frame health" in html
    assert "at the end, since" in html


def test_unhealthy_frames_are_classified_where_asked(cli: Cli, bundle: Bundle, clip: Path, tmp_path: Path) -> None:
    lines = tmp_path / "p.jsonl"
    options = ("--classify-unhealthy", "black", "--predictions", lines, "--json", tmp_path / "r.json")
    code, said, _ = cli("run", bundle.path, "--source", clip, "--engine", "null", *options)
    assert (code, " + 5 unhealthy" in said) == (0, False)
    found = [json.loads(line).get("health") for line in lines.read_text().splitlines() if "index" in line]
    assert found == [None] * 5 + ["black"] * 5
    assert json.loads((tmp_path / "r.json").read_text())["health"]["streams"][0]["classified"] == {"black": 5}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--source", "streams.toml", "--health", "off"), "holds the options"),
        (("--source", "0", "--health", "x=1"), "unknown"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], what: str
) -> None:
    (tmp_path / "streams.toml").write_text('[a]\nsource = "synthetic://64x48?frames=2"\n')
    monkeypatch.chdir(tmp_path)
    code, _, said = cli("run", bundle.path, *options)
    assert code == 2
    assert what in said


def test_metrics_say_fault_and_counts() -> None:
    run = StreamRun(Stream("door", lambda: None, health=HealthOptions(classify="overexposed")), 0)  # type: ignore[arg-type,return-value]
    for number, luma in enumerate((255, 0, 0)):
        frame = Frame(np.full((120, 160, 3), luma, np.uint8), number, "f", time.monotonic_ns(), 0.0, 0.0)
        run.arrived(frame, first=number == 0)
        _, leaves_out = run.judge(frame)
        run.count("unhealthy" if leaves_out else "decided")
    live = SimpleNamespace(pipeline=SimpleNamespace(snapshots=lambda: (run.snapshot(),)), outputs=lambda: ())
    registry = CollectorRegistry()
    serving = SimpleNamespace(now=SimpleNamespace(batcher=SimpleNamespace(under_way=0, capacity=1)))
    registry.register(Gauges(serving, live))  # type: ignore[arg-type]
    page = generate_latest(registry).decode()
    assert 'edgeproof_frames_total{cause="black",outcome="unhealthy",stream="door"} 2.0' in page
    assert 'edgeproof_stream_health{fault="black",stream="door"} 1.0' in page
    assert 'edgeproof_stream_health{fault="frozen",stream="door"} 0.0' in page
    assert 'edgeproof_unhealthy_frames_classified_total{fault="overexposed",stream="door"} 1.0' in page
