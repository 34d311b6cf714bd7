"""`edgeproof run` with several sources at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundles import make_bundle
from command_line import Cli
from edgeproof.cli._shared import seconds_of
from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.errors import InputError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


def test_several_sources_are_counted_one_by_one_and_in_sum(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    sources = ("--source", "synthetic://64x48@200", "--source", "synthetic://32x24@200")
    code, said, _ = cli(
        "run", bundle.path, *sources, "--engine", "null", "--policy", "every-frame", "--max-frames", 30,
        "--predictions", tmp_path / "p.jsonl", "--json", tmp_path / "r.json", "--workers", 2, "--batch", 4,
    )  # fmt: skip
    assert code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["counts"]["frames_in"] == report["counts"]["frames_classified"] == 60
    assert [(s["state"], s["counts"]["decided"]) for s in report["streams"]] == [("ended", 30)] * 2
    assert len({s["name"] for s in report["streams"]}) == 2
    assert {s["width"] for s in report["streams"]} == {64, 32}
    assert (report["settings"]["workers"], report["settings"]["max_batch"]) == (2, 4)
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    for stream in report["streams"]:
        assert [line["index"] for line in lines if line["stream"] == stream["name"]] == list(range(30))
        assert stream["name"] in said


def test_a_camera_that_is_away_is_named_and_the_others_go_on(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, _, told = cli(
        "run", bundle.path, "--source", "rtsp://127.0.0.1:9/away", "--source", "synthetic://64x48@200",
        "--engine", "null", "--max-frames", 20, "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert code == 0
    away, there = json.loads((tmp_path / "r.json").read_text())["streams"]
    assert (away["state"], there["state"]) == ("failed", "ended")
    assert "Connection refused" in away["reason"]
    assert "failed" in told
    assert "Connection refused" in told


def test_a_file_that_is_not_there_is_said_before_anything_runs(cli: Cli, bundle: Bundle) -> None:
    code, _, told = cli("run", bundle.path, "--source", "synthetic://64x48@30", "--source", "nowhere.mp4")
    assert code == 2
    assert "there is no source nowhere.mp4" in told


def test_a_soak_is_a_report_of_its_own(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, said, _ = cli(
        "run", bundle.path, "--source", "synthetic://64x48@100", "--engine", "null", "--soak", "--duration", "1600ms",
        "--json", tmp_path / "r.json", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["kind"] == "soak"
    assert report["soak"]["series"]["memory_mb"]["per_hour"] is None, "two looks tell no slope"
    assert "too few looks" in said
    assert "Did it stay as it began?" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--soak",), "--soak needs to know how long"),
        (("--duration", "soon"), "--duration is no time"),
        (("--stall-timeout", "0"), "--stall-timeout is no time"),
        (("--reconnect", "perhaps"), "unknown --reconnect"),
        (("--batch", "64", "--engine", "null"), "batch"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, bundle: Bundle, arguments: tuple[str, ...], message: str) -> None:
    code, _, told = cli("run", bundle.path, "--source", "synthetic://64x48@30", *arguments)
    assert code == 2
    assert message in told


def test_times() -> None:
    given = ("90", "90s", "250ms", "30m", "1h30m", "8h", "2d", "1.5h")
    assert [seconds_of(text, "--duration") for text in given] == [90, 90, 0.25, 1800, 5400, 28800, 172800, 5400]
    for text in ("", "8 h", "h", "-1", "1x", "nan", "0"):
        with pytest.raises(InputError, match="--duration is no time"):
            seconds_of(text, "--duration")
