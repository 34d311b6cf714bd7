"""One process per camera: `serve` writes what `run` writes, and a run that lost all of an output says so."""

from __future__ import annotations

import inspect
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker, listening
from bundles import make_bundle
from command_line import Cli
from edgeproof.cli import _COMMANDS
from edgeproof.library.live_sinks import SinkOptions
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.sinks import Recording
from edgeproof_runtime.sources import StreamSpec, read_streams
from growing_files import events_in, predictions_in
from serving import serving
from waiting import free_port, until

CARD = "synthetic://64x48@30"
AT_ONCE = EventSettings(threshold=0.0, stable_frames=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("outputs") / "tiny.edge")


def test_serve_takes_the_outputs_of_run() -> None:
    """One definition of each option: the same annotation and the same default."""

    def options(command: str) -> dict[str, Any]:
        return dict(inspect.signature(_COMMANDS[command], eval_str=True).parameters)

    run, serve = options("run"), options("serve")
    outputs = {"save", "predictions", "rotate_files", "top_k", "sink", "home_assistant"}
    events = {"smooth", "threshold", "stable", "at_once"}
    for name in outputs | events:
        assert serve[name].annotation == run[name].annotation, name
        assert serve[name].default == run[name].default, name


def test_a_server_writes_events_and_predictions_of_its_streams(bundle: Bundle, tmp_path: Path) -> None:
    options = SinkOptions(
        predictions=tmp_path / "p.jsonl",
        sinks=(str(tmp_path / "events.csv"),),
        events=AT_ONCE,
        recording=Recording.of(save=tmp_path / "v.avi"),
    )
    with serving(bundle, [StreamSpec(name="card", source=CARD)], engine="null", outputs=options) as served:
        until(lambda: len((tmp_path / "p.jsonl").read_bytes()) > 0 if (tmp_path / "p.jsonl").exists() else False)
        shown = {one["name"]: one for one in served.get("/api/state").json()["outputs"]}
        assert shown[str(tmp_path / "p.jsonl")]["problem"] is None
        metrics = served.get("/metrics").text
        assert f'edgeproof_output_items_total{{outcome="written",output="{tmp_path / "events.csv"}"}}' in metrics
        assert f'edgeproof_output_connected{{output="{tmp_path / "events.csv"}"}} 1.0' in metrics
    assert {line["stream"] for line in predictions_in(tmp_path / "p.jsonl")} == {"card"}
    assert {row["stream"] for row in events_in(tmp_path / "events.csv")} == {"card"}
    assert list(tmp_path.glob("v*.avi"))


def test_a_guess_is_held_against_the_threshold_of_its_class(bundle: Bundle) -> None:
    card = [StreamSpec(name="card", source=CARD)]

    def sure(events: EventSettings) -> bool:
        with serving(bundle, card, engine="null", outputs=SinkOptions(events=events, shown=True)) as served:
            until(lambda: served.get("/api/state").json()["streams"][0]["rows"])
            found = served.get("/api/state").json()["streams"][0]
            assert found["rows"][0][0] == "cat"
            return bool(found["sure"])

    assert not sure(EventSettings())  # five classes of 20 %
    assert sure(EventSettings(thresholds=(("cat", 0.1),)))
    assert not sure(EventSettings(threshold=0.1, thresholds=(("cat", 0.9),)))


def test_a_stream_has_a_threshold_of_its_own_on_the_page_and_in_events(bundle: Bundle, tmp_path: Path) -> None:
    streams = [
        StreamSpec(name="low", source=CARD, threshold=0.1),
        StreamSpec(name="high", source=CARD, threshold=0.1, thresholds=(("cat", 0.9),)),
    ]
    events = EventSettings(stable_frames=1)
    options = SinkOptions(events=events, sinks=(str(tmp_path / "events.csv"),), shown=True)
    with serving(bundle, streams, engine="null", outputs=options) as served:  # five classes of 20 %, the first is cat
        until(lambda: all(one["rows"] for one in served.get("/api/state").json()["streams"]))
        assert [one["sure"] for one in served.get("/api/state").json()["streams"]] == [True, False]
        until(lambda: all(one["frames"]["decided"] > 3 for one in served.get("/api/state").json()["streams"]))
    found = {(row["stream"], row["label"]) for row in events_in(tmp_path / "events.csv")}
    assert found == {("low", "cat")}


def test_the_regions_of_one_source_are_cards_of_the_page(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "streams.toml"
    file.write_text(f'[belt]\nsource = "{CARD}"\n[belt.regions.all]\n[belt.regions.top]\ncrop = "0,0,32,16"\n')
    with serving(bundle, read_streams(file), engine="null") as served:
        until(lambda: all(one["rows"] for one in served.get("/api/state").json()["streams"]))
        found = served.get("/api/state").json()["streams"]
        sizes = [(one["name"], one["width"], one["height"]) for one in found]
        assert sizes == [("belt/all", 64, 48), ("belt/top", 32, 16)]
        assert [served.get(f"/streams/{one['id']}.jpg").status_code for one in found] == [200, 200]
        assert 'stream="belt/top"' in served.get("/metrics").text


def test_two_outputs_on_one_host_are_told_apart(bundle: Bundle) -> None:
    """Their addresses hold secrets, so that they are shown by host; Prometheus refuses a metric that is there twice."""
    host = f"http://127.0.0.1:{free_port()}"
    options = SinkOptions(sinks=(f"{host}/a/token", f"{host}/b/token", f"{host}/c"), events=AT_ONCE)
    with serving(bundle, [StreamSpec(name="card", source=CARD)], engine="null", outputs=options) as served:
        names = [one["name"] for one in served.get("/api/state").json()["outputs"]]
        assert names == [host, f"{host} (2)", f"{host} (3)"]
        samples = [line.rpartition(" ")[0] for line in served.get("/metrics").text.splitlines() if line[0] != "#"]
        assert len(set(samples)) == len(samples)


def test_an_output_that_cannot_be_written_does_not_end_the_page(bundle: Bundle, tmp_path: Path) -> None:
    options = SinkOptions(recording=Recording.of(save=tmp_path / "no" / "folder" / "v.mp4"))
    with serving(bundle, [StreamSpec(name="card", source=CARD)], engine="null", outputs=options) as served:
        until(lambda: served.get("/api/state").json()["streams"][0]["frames"]["decided"] > 3)
        assert served.get("/api/state").json()["streams_error"] is None


@pytest.mark.slow
def test_serve_on_the_command_line_with_a_broker(bundle: Bundle, tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.start()
    port = free_port()
    words = [
        sys.executable, "-m", "edgeproof", "serve", str(bundle.path), "--source", CARD, "--engine", "null",
        "--port", str(port), "--sink", f"mqtt://127.0.0.1:{broker.port}/site", "--home-assistant",
        "--threshold", "0", "--stable", "1", "--json", str(tmp_path / "r.json"),
    ]  # fmt: skip
    try:
        with listening(broker, "#") as got, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                until(lambda: any(topic.endswith("/snapshot") for topic, _ in got), 60)
                until(lambda: any(topic.endswith("/event") for topic, _ in got))
                with socket.create_connection(("127.0.0.1", port)):
                    pass  # the page is there too
            finally:
                process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[0]
            assert process.returncode == 0
            until(lambda: dict(got)["site/status"] == "offline")
    finally:
        broker.kill()
    assert f"mqtt://127.0.0.1:{broker.port}: " in said
    (sink,) = json.loads((tmp_path / "r.json").read_text())["sinks"]
    assert sink["written"] == sum(topic.endswith("/event") for topic, _ in got)
    assert any(topic.startswith("homeassistant/device/edgeproof_site_") for topic, _ in got)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "mqtt"])
def test_a_run_whose_events_are_all_lost_is_not_fine(cli: Cli, bundle: Bundle, tmp_path: Path, scheme: str) -> None:
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    code, _, told = cli(
        "run", bundle.path, "--source", CARD, "--engine", "null", "--max-frames", 5, "--threshold", 0, "--stable", 1,
        "--sink", f"{scheme}://127.0.0.1:{free_port()}/hook", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert code == 2, told
    assert "error: output: every item was lost" in told
    assert "refused" in told
    report = json.loads((tmp_path / "r.json").read_text())
    (sink,) = report["sinks"]
    events = 2 * report["counts"]["events"]  # each starts and ends
    assert (sink["written"], sink["dropped"] + sink["failed"]) == (0, events)


@pytest.mark.slow
def test_no_run_erases_what_an_earlier_one_wrote(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    events, lines = tmp_path / "events.csv", tmp_path / "p.jsonl"
    words = (
        "run", bundle.path, "--engine", "null", "--max-frames", 3, "--threshold", 0, "--stable", 1,
        "--sink", events, "--predictions", lines,
    )  # fmt: skip
    for source, code in ((CARD, 0), (CARD, 0), (f"rtsp://127.0.0.1:{free_port()}/away", 2)):
        before = [path.read_bytes() if path.exists() else b"" for path in (events, lines)]
        assert cli(*words, "--source", source)[0] == code
        for path, content in zip((events, lines), before, strict=True):
            assert path.read_bytes().startswith(content)
    options = SinkOptions(predictions=lines, sinks=(str(events),), events=AT_ONCE)
    before = [path.read_bytes() for path in (events, lines)]
    with serving(bundle, [StreamSpec(name="card", source=CARD)], engine="null", outputs=options):
        until(lambda: len(lines.read_bytes()) > len(before[1]))
    for path, content in zip((events, lines), before, strict=True):
        assert path.read_bytes().startswith(content)
    assert len(predictions_in(lines)) > 6
    assert len(events_in(events)) >= 3


def test_a_run_that_lost_no_event_of_a_broker_that_is_away_is_fine(
    cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt._CONNECT_TIMEOUT_S", 0.2)
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    code, _, told = cli(
        "run", bundle.path, "--source", CARD, "--engine", "null", "--max-frames", 2, "--stable", 50,
        "--sink", f"mqtt://127.0.0.1:{free_port()}/site",
    )  # fmt: skip
    assert code == 0, told
    assert "refused the connection" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sink", "e.csv"], "require --source"),
        (["--predictions", "p.jsonl"], "require --source"),
        (["--source", CARD, "--home-assistant"], "requires an MQTT broker"),
        (["--source", CARD, "--home-assistant", "--sink", "e.csv"], "requires an MQTT broker"),
        (["--source", CARD, "--stable", "3"], "event options: require --sink"),
        (["--source", CARD, "--rotate-files", "3"], "not a size or day"),
    ],
)
def test_outputs_that_do_not_fit(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = cli("serve", bundle.path, "--port", 0, *options)
    assert code == 2
    assert message in told
    assert not list(tmp_path.iterdir())


def test_the_keys_of_a_broker_are_inputs(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    key = tmp_path / "client.key"
    key.write_text("precious")
    code, _, told = cli(
        "run", bundle.path, "--source", CARD, "--json", key, "--sink", f"mqtts://127.0.0.1/site?cert={key}&key={key}"
    )
    assert code == 2
    assert "would be overwritten" in told
    assert key.read_text() == "precious"
