"""`edgeproof run` with several sources at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from bundles import make_bundle
from command_line import Cli
from edgeproof.cli._shared import seconds_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, SourceError
from edgeproof_runtime.sources.base import Frame
from edgeproof_runtime.sources.synthetic import SyntheticSource
from growing_files import events_in, predictions_in


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
    lines = predictions_in(tmp_path / "p.jsonl")
    for stream in report["streams"]:
        assert [line["index"] for line in lines if line["stream"] == stream["name"]] == list(range(30))
        assert stream["name"] in said


def test_regions_of_one_source_are_streams_of_every_output(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text(
        '[belt]\nsource = "synthetic://64x48?frames=12&labels=cat,dog"\nthreshold = 0.1\n'
        '[belt.regions.left]\ncrop = "0,0,32,48"\n[belt.regions.right]\ncrop = "32,0,32,24"\nthreshold = 0.9\n'
    )
    code, _, _ = cli(
        "run", bundle.path, "--source", tmp_path / "streams.toml", "--engine", "null", "--json", tmp_path / "r.json",
        "--predictions", tmp_path / "p.jsonl", "--save", tmp_path / "v.avi", "--sink", tmp_path / "e.csv",
        "--snapshots", tmp_path / "snaps", "--stable", 1,
    )  # fmt: skip
    assert code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["counts"]["frames_in"] == report["counts"]["frames_classified"] == 24
    sizes = {s["name"]: (s["width"], s["height"], s["counts"]["decided"]) for s in report["streams"]}
    assert sizes == {"belt/left": (32, 48, 12), "belt/right": (32, 24, 12)}
    assert report["settings"]["source"].count("synthetic") == 1
    assert report["accuracy"]["n"] == 24
    lines = predictions_in(tmp_path / "p.jsonl")
    assert [line["name"] for line in lines if line["stream"] == "belt/right"] == [f"belt/right#{i}" for i in range(12)]
    assert sorted(path.name for path in tmp_path.glob("v*.avi")) == ["v-belt+left.avi", "v-belt+right.avi"]
    assert {row["stream"] for row in events_in(tmp_path / "e.csv")} == {"belt/left"}, "20 % is below 0.9"
    assert [path.name.partition(".")[0] for path in (tmp_path / "snaps").iterdir()] == ["belt+left"]


def test_a_region_outside_of_the_frame_is_said_with_its_size(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text(
        '[belt]\nsource = "synthetic://64x48?frames=12"\n[belt.regions.left]\ncrop = "0,0,128,48"\n'
    )
    code, _, told = cli("run", bundle.path, "--source", tmp_path / "streams.toml", "--engine", "null")
    assert code == 2
    assert "belt/left: the crop exceeds the frame" in told
    assert "0,0,128,48 of 64x48" in told


def test_a_camera_that_is_away_is_named_and_the_others_go_on(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, _, told = cli(
        "run", bundle.path, "--source", "rtsp://127.0.0.1:9/away", "--source", "synthetic://64x48@200",
        "--engine", "null", "--max-frames", 20, "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert code == 2
    away, there = json.loads((tmp_path / "r.json").read_text())["streams"]
    assert (away["state"], there["state"]) == ("failed", "ended")
    assert there["counts"]["decided"] > 0
    assert "connection refused" in away["reason"]
    assert "error: 1 of 2 streams failed" in told
    assert f"{away['name']}: {away['reason']}" in told


def test_what_this_machine_lacks_for_one_of_several_is_exit_3(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproof_runtime.sources.gstreamer.has_gstreamer", lambda: False)
    sources = ("--source", "videotestsrc ! appsink", "--source", "synthetic://64x48@200")
    code, _, told = cli(
        "run", bundle.path, *sources, "--engine", "null", "--max-frames", 20, "--json", tmp_path / "r.json"
    )
    assert code == 3
    assert "1 of 2 streams failed" in told
    assert [s["state"] for s in json.loads((tmp_path / "r.json").read_text())["streams"]] == ["failed", "ended"]


def test_a_stream_that_fails_half_way_is_reported_up_to_there(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Torn(SyntheticSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from islice(super().__iter__(), 5)
            raise SourceError("the tape is torn")

    monkeypatch.setattr("edgeproof_runtime.sources.opening.SyntheticSource", Torn)
    card = "synthetic://64x48?frames=40"
    for sources, error in (((card,), "the stream failed"), ((card, f"{card}&seed=2"), "2 of 2 streams failed")):
        given = [argument for source in sources for argument in ("--source", source)]
        code, _, told = cli("run", bundle.path, *given, "--engine", "null", "--json", tmp_path / "r.json")
        assert code == 2
        assert error in told
        assert "the tape is torn" in told
        assert json.loads((tmp_path / "r.json").read_text())["counts"]["frames_classified"] == 5 * len(sources)


def test_a_file_that_is_not_there_is_said_before_anything_runs(cli: Cli, bundle: Bundle) -> None:
    code, _, told = cli("run", bundle.path, "--source", "synthetic://64x48@30", "--source", "nowhere.mp4")
    assert code == 2
    assert "nowhere.mp4: source not found" in told


@pytest.mark.slow
def test_a_soak_is_a_report_of_its_own(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, said, _ = cli(
        "run", bundle.path, "--source", "synthetic://64x48@100", "--engine", "null", "--soak", "--duration", "1600ms",
        "--json", tmp_path / "r.json", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["kind"] == "soak"
    assert report["soak"]["series"]["memory_mb"]["per_hour"] is None, "two looks tell no slope"
    assert "too few samples" in said
    assert "Stability over time" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--soak",), "--soak: requires --duration"),
        (("--duration", "soon"), "--duration: not a duration"),
        (("--stall-timeout", "0"), "--stall-timeout: not a duration"),
        (("--reconnect", "perhaps"), "--reconnect: unknown"),
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
        with pytest.raises(InputError, match="--duration: not a duration"):
            seconds_of(text, "--duration")
