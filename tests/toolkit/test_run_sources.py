"""`edgeproof run` with options of sources, streams files, and events on their way to sinks."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from bundles import make_bundle
from command_line import Cli
from edgeproof.library.sources import specs_of
from edgeproof_runtime.bundle.reader import Bundle
from growing_files import events_in, predictions_in

CARDS = "synthetic://64x48?frames=40&hold=10"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny.edge")


def test_events_of_several_streams_in_one_file(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text(
        '[door]\nsource = "synthetic://64x48?frames=40&hold=10"\nrotate = 90\n'
        '[yard]\nsource = "synthetic://80x60?frames=30&seed=2"\n'
    )
    code, out, _ = cli(
        *("run", bundle.path, "--engine", "opencv", "--source", "streams.toml", "--sink", "events.csv"),
        *("--threshold", 0, "--stable", 3, "--smooth", 2, "--predictions", "p.jsonl", "--json", "r.json"),
    )
    assert code == 0
    rows = events_in(tmp_path / "events.csv")
    assert {row["stream"] for row in rows} == {"door", "yard"}
    # With no threshold some class always counts, so that nothing is left between events but the frames to be stable.
    for stream, last in (("door", "39"), ("yard", "29")):
        ends = [row["end_index"] for row in rows if row["stream"] == stream]
        assert last in ends
        assert all(int(row["frames"]) >= 3 for row in rows)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["counts"]["events"] == len(rows)
    written = {sink["name"]: (sink["written"], sink["dropped"], sink["failed"]) for sink in report["sinks"]}
    assert written == {"p.jsonl": (70, 0, 0), "events.csv": (len(rows), 0, 0)}
    assert f"events.csv: {len(rows)} written" in out
    lines = predictions_in(tmp_path / "p.jsonl")
    assert {line["stream"] for line in lines} == {"door", "yard"}
    assert len(lines) == 70


def test_a_dead_webhook_is_named_and_is_not_exit_0(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    code, out, _ = cli(
        *("run", bundle.path, "--engine", "opencv", "--source", CARDS, "--threshold", 0, "--json", "r.json"),
        *("--sink", f"http://user:secret@127.0.0.1:{port}/hook"),
    )
    assert code == 2
    assert "ConnectionRefusedError" in out
    text = (tmp_path / "r.json").read_text()
    report = json.loads(text)
    (sink,) = report["sinks"]
    assert sink["written"] == 0
    assert sink["failed"] >= 2
    assert any("Incomplete output" in warning for warning in report["warnings"])
    assert "secret" not in text


@pytest.mark.slow
def test_options_reach_the_source(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, _, err = cli("run", bundle.path, "--source", CARDS, "--crop", "60,0,16,16")
    assert code == 2
    assert "60,0,16,16 of 64x48" in err
    run = ("run", bundle.path, "--engine", "opencv")
    code, out, _ = cli(*run, "--source", CARDS, "--crop", "0,0,16,16", "--rotate", "270")
    assert code == 0
    assert "40 frames in = 40 classified" in out
    code, out, _ = cli(*run, "--source", CARDS, "--loop", "--max-frames", 100)
    assert code == 0
    assert "100 frames in" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rotate", "45"), "rotate: unsupported angle"),
        (("--crop", "a,b"), "crop: invalid"),
        (("--resolution", "big"), "resolution: invalid"),
        (("--resolution", "64x48"), "does not support resolution"),
        (("--source", "synthetic://"), "test card: invalid address"),
        (("--smooth", "3"), "require --sink"),
        (("--sink", "events.txt"), "--sink: invalid"),
        (("--sink", "events.csv", "--stable", "0"), "stable frames"),
        (("--sink", "events.csv", "--predictions", "events.csv"), "would be overwritten"),
        (("--sink", "mqtt://u:secret@host"), "invalid MQTT address"),
    ],
)
def test_what_makes_no_sense(
    cli: Cli, bundle: Bundle, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = cli("run", bundle.path, "--engine", "opencv", "--source", CARDS, *arguments)
    assert code == 2
    assert message in err
    assert "secret" not in err
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".csv", ".txt")]


def test_the_time_limits_of_addresses_are_options(cli: Cli, bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        code, _, err = cli("run", bundle.path, "--engine", "opencv", "--source", address, "--open-timeout", "400ms")
    assert code == 2
    assert "no video within 0.4 s" in err
    for command in ("run", "serve"):
        for option in ("--open-timeout", "--read-timeout"):
            code, _, err = cli(command, bundle.path, "--source", address, option, "0")
            assert code == 2
            assert f"{option}: not a duration" in err


def test_options_beside_a_streams_file_belong_into_it(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text(f'[a]\nsource = "{CARDS}"\n')
    code, _, err = cli("run", bundle.path, "--source", "streams.toml", "--rotate", "90")
    assert code == 2
    assert "holds the options of its streams" in err


def test_streams_are_named_after_their_sources(tmp_path: Path) -> None:
    sources = {
        "0": "camera0",
        "/dev/video3": "dev-video3",
        "csi://1": "csi-1",
        "synthetic://640x480@30?frames=3": "synthetic-640x480-30",
        "rtsp://10.0.0.9:554/live/main": "10.0.0.9-554-live-main",
        "rtsp://admin:secret@10.0.0.9:554/live/main": "stream",
        "http://10.0.0.9/live?token=x": "stream",
        "rtsp://10.0.0.9/user=admin_password=x": "stream",
        "admin:secret@10.0.0.9": "stream",
        "clips/Front door.mp4": "Front-door.mp4",
        "videotestsrc ! appsink": "pipeline",
    }
    for source, name in sources.items():
        assert [spec.name for spec in specs_of([source])] == [name]
    assert [spec.name for spec in specs_of(["0", "0", "0"])] == ["camera0", "camera0-2", "camera0-3"]


def test_a_file_address_is_a_path_for_every_reader(tmp_path: Path) -> None:
    streams = tmp_path / "streams.toml"
    streams.write_text('[gate]\nsource = "file:///clips/gate.mp4"\n', encoding="utf-8")
    assert [spec.source for spec in specs_of([f"file://{streams}", "FILE:///clips/a%20b.mp4"])] == [
        "/clips/gate.mp4",
        "/clips/a b.mp4",
    ]


@pytest.mark.slow
def test_what_was_written_is_in_the_page(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code, _, _ = cli(
        *("run", bundle.path, "--engine", "opencv", "--source", CARDS, "--threshold", 0),
        *("--sink", "events.csv", "--report", "r.html"),
    )
    assert code == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<h2>Outputs</h2>" in page
    assert "events.csv" in page
