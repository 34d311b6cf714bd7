"""`edgeproof init`, and `run`, `serve` and `service install` with its file."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import pytest
import typer

from bundles import LABELS, make_bundle, make_defect_bundle, make_generator_bundle, make_multilabel_bundle, write_clip
from command_line import Cli
from edgeproof.cli import app
from edgeproof.library.sources import specs_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources import read_streams, read_streams_file
from growing_files import events_in
from serving import PLAIN, started


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a bundle and a clip."""
    make_bundle(tmp_path / "B.edge")
    write_clip(tmp_path / "clip.mp4")
    return tmp_path


def test_run_takes_the_file_as_it_was_written(cli: Cli, place: Path) -> None:
    code, out, err = cli("init", "B.edge", "--source", "clip.mp4")
    assert (code, out) == (0, "")
    assert "edgeproof run edgeproof.toml" in err
    code, _, err = cli("run", "edgeproof.toml", "--engine", "opencv", "--threshold", "0", "--json", "r.json")
    assert code == 0, err
    report = json.loads((place / "r.json").read_text())
    assert [stream["name"] for stream in report["streams"]] == ["clip.mp4"]
    assert report["counts"]["frames_in"] == 10
    assert report["bundle"]["name"] == "B"
    assert len(events_in(place / "events.csv")) == 1, "of threshold 0, which was typed"


def test_serve_takes_the_file_as_it_was_written(cli: Cli, place: Path) -> None:
    assert cli("init", "B.edge", "--source", "synthetic://64x48@30")[0] == 0
    with started("edgeproof.toml", "--port", "0", "--engine", "opencv", cwd=place) as server:
        state = httpx.get(f"{server.url}/api/state", **PLAIN, timeout=60).json()
        code, _, err = server.end(signal.SIGINT)
    assert [stream["name"] for stream in state["streams"]] == ["synthetic-64x48-30"], state
    assert code == 0, err


def test_paths_are_relative_to_the_folder_of_the_file(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "site").mkdir()
    assert cli("init", "B.edge", "--source", "clip.mp4", "--out", "site/line.toml")[0] == 0
    assert f'bundle = "{place / "B.edge"}"' in (place / "site/line.toml").read_text()
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert cli("run", "../site/line.toml", "--engine", "null")[0] == 0
    assert (place / "site/events.csv").is_file()
    assert not list((place / "elsewhere").iterdir())


def test_an_existing_file_is_kept_without_force(cli: Cli, place: Path) -> None:
    (place / "edgeproof.toml").write_text("mine")
    code, _, err = cli("init", "B.edge")
    assert (code, "edgeproof.toml: exists" in err, "--force" in err) == (2, True, True)
    assert (place / "edgeproof.toml").read_text() == "mine"
    assert cli("init", "B.edge", "--force")[0] == 0
    assert read_streams_file(place / "edgeproof.toml").values["bundle"] == "B.edge"


def test_the_thresholds_are_those_of_the_task(cli: Cli, tmp_path: Path) -> None:
    made = {"classify": make_bundle, "multilabel": make_multilabel_bundle, "anomaly": make_defect_bundle}
    texts = {}
    for name, make in made.items():
        make(tmp_path / f"{name}.edge")
        code, texts[name], err = cli("init", f"{name}.edge", "--source", "synthetic://64x48?frames=3", "--out", "-")
        assert code == 0, err
        (tmp_path / "own.toml").write_text(texts[name])
        assert cli("run", "own.toml", "--engine", "onnxruntime")[0] == 0
    assert "threshold = 0.5" in texts["classify"]
    assert f'#threshold_of = ["{LABELS[0]}=0.9"]' in texts["classify"]
    assert "#unknown" in texts["classify"]
    for name in ("multilabel", "anomaly"):
        assert "The bundle has its own thresholds" in texts[name]
        assert "\nthreshold =" not in texts[name]
        assert "unknown" not in texts[name]
    assert "#threshold_of" in texts["multilabel"]
    make_generator_bundle(tmp_path / "G.edge")
    code, _, err = cli("init", "G.edge")
    assert (code, "takes no frames" in err) == (2, True)


def test_every_commented_line_of_the_file_is_valid(cli: Cli, place: Path) -> None:
    assert cli("init", "B.edge", "--source", "synthetic://640x480?frames=4")[0] == 0
    file = place / "edgeproof.toml"
    lines = file.read_text().splitlines()
    opened = [line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in lines]
    left_out = (
        "home_assistant",
        "host",
        "port",
        "\tedgeproof",
        "keep",
    )  # they require a broker, a token, a --save in parts
    opened = [line for line in opened if line.strip() and not line.startswith(left_out)]
    file.write_text("\n".join(opened))
    code, _, err = cli("run", file, "--engine", "null")
    assert code == 0, err
    assert (place / "labelled.mp4").is_file()
    assert len((place / "frames.jsonl").read_text().splitlines()) > 1


def test_a_password_in_a_source_is_noted_and_a_variable_stays(
    cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, err = cli("init", "B.edge", "--source", "rtsp://u:hunter2@door/live")
    assert "holds the password" in err
    assert "hunter2" not in err
    monkeypatch.setenv("DOOR", "hunter2")
    code, out, err = cli("init", "B.edge", "--source", "rtsp://u:${DOOR}@door/live", "--out", "-")
    assert code == 0
    assert "hunter2" not in out + err
    assert "rtsp://u:${DOOR}@door/live" in out


def test_a_name_that_toml_would_misread_is_escaped(cli: Cli, place: Path) -> None:
    odd = 'a"b\\c\x7f#=\u202e.mp4'
    (place / "clip.mp4").rename(place / odd)
    assert cli("init", "B.edge", "--source", odd)[0] == 0
    (stream,) = read_streams_file(place / "edgeproof.toml").streams
    assert stream.source == str(place / odd)
    assert cli("run", "edgeproof.toml", "--engine", "null")[0] == 0


def test_what_cannot_stand_in_the_file_is_refused(cli: Cli, place: Path) -> None:
    (place / "streams.toml").write_text('[a]\nsource = "0"\n')
    (place / os.fsdecode(b"b\xff.mp4")).write_bytes(b"x")
    for source, message in (
        ("streams.toml", "is a file of streams already"),
        ("-", "standard input cannot"),
        (os.fsdecode(b"b\xff.mp4"), "not UTF-8"),
        ("${EDGEPROOF_NOT_SET}/x", "not set"),
    ):
        code, _, err = cli("init", "B.edge", "--source", source)
        assert (code, message in err) == (2, True), err
    code, _, err = cli("init", "B.edge", "--out", "settings.txt")
    assert (code, "not a TOML file name" in err) == (2, True)
    code, _, err = cli("init", "B.edge", "--out", "B.edge/x.toml")
    assert (code, "lies in a bundle" in err) == (2, True)
    assert not (place / "edgeproof.toml").exists()


SOURCE = '\n[a]\nsource = "synthetic://64x48?frames=3"\n'


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (SOURCE, ("bundle is missing", 'bundle = "model.edge"')),
        ('bundle = "B.edge"', ("Missing option '--source'",)),
        ('bundle = ["B.edge"]' + SOURCE, ("bundle: must be a string",)),
        ('bundle = "none.edge"' + SOURCE, ("none.edge",)),
        ('bundle = "B.edge"\nthreshhold = 0.5' + SOURCE, ("threshhold: unknown option", "write threshold")),
        ('bundle = "B.edge"\n"threshold-of" = "cat=1"' + SOURCE, ("unknown option", "write threshold_of")),
        ('bundle = "B.edge"\n"\\u001b[31m" = 1' + SOURCE, ("\\x1b[31m: unknown option",)),
        ('bundle = "B.edge"\nthreshold = "0.5"' + SOURCE, ("threshold: must be a number", "'0.5'")),
        ('bundle = "B.edge"\nthreshold = true' + SOURCE, ("threshold: must be a number",)),
        ('bundle = "B.edge"\nthreshold = nan' + SOURCE, ("threshold: out of range", "a finite number")),
        ('bundle = "B.edge"\nthreshold = 1e400' + SOURCE, ("threshold: out of range",)),
        ('bundle = "B.edge"\nthreshold = 2' + SOURCE, ("threshold of events: out of range",)),
        ('bundle = "B.edge"\nbatch = 0' + SOURCE, ("batch: out of range", "1 or more")),
        ('bundle = "B.edge"\nbatch = 1.0' + SOURCE, ("batch: must be a number", "an integer")),
        (f'bundle = "B.edge"\nbatch = 1{"0" * 400}' + SOURCE, ("batch",)),
        ('bundle = "B.edge"\nport = 99999' + SOURCE, ("port: out of range",)),
        ('bundle = "B.edge"\nshow = "yes"' + SOURCE, ("show: must be true or false",)),
        ('bundle = "B.edge"\nengine = ""' + SOURCE, ("engine: must be a string",)),
        ('bundle = "B.edge"\nengine = "a\\u0000b"' + SOURCE, ("engine: must be a string",)),
        ('bundle = "B.edge"\nsink = [1]' + SOURCE, ("sink: must be a string",)),
        ('bundle = "B.edge"\nsink = ["x.html"]' + SOURCE, ("--sink: invalid",)),
        ('bundle = "B.edge"\nduration = 1979-05-27' + SOURCE, ("duration: must be a string",)),
        ('bundle = "B.edge"\ncrop = "0,0,1,1"' + SOURCE, ("crop is an option of a stream", "a table per stream")),
        ('bundle = "B.edge"\nsource = "0"' + SOURCE, ("source does not belong above the tables",)),
        ('bundle = "B.edge"\ntoken = "s3cret"' + SOURCE, ("token does not belong", "EDGEPROOF_TOKEN")),
        ('bundle = "B.edge"\nsink = "e.csv"\nthreshold_of = "wolf=0.5"' + SOURCE, ("unknown label", "wolf")),
        ('bundle = "B.edge"\nreport = "B.edge/r.html"' + SOURCE, ("lies in a bundle",)),
        ('bundle = "B.edge"\npredictions = "edgeproof.toml"' + SOURCE, ("would be overwritten",)),
        ('bundle = "B.edge"\n[run]\nthreshold = 0.5', ("stream run: source is missing",)),
        ("bundle = ", ("not TOML",)),
        ("x = [" * 5000, ("not TOML",)),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_by_name(cli: Cli, place: Path, text: str, messages: tuple[str, ...]) -> None:
    (place / "edgeproof.toml").write_text(text)
    code, _, err = cli("run", "edgeproof.toml", "--engine", "null")
    assert code == 2, err
    assert all(message in err for message in messages), err
    assert "s3cret" not in err


def test_what_is_typed_and_variables_win_over_the_file(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "edgeproof.toml").write_text('bundle = "B.edge"\nengine = "unheard-of"\nmax_frames = 2' + SOURCE)
    assert "unknown engine" in cli("run", "edgeproof.toml")[2]
    code, _, _ = cli("run", "edgeproof.toml", "--engine", "null", "--json", "r.json")
    assert (code, json.loads((place / "r.json").read_text())["counts"]["frames_in"]) == (0, 2)
    monkeypatch.setenv("EDGEPROOF_RUN_ENGINE", "null")
    monkeypatch.setenv("EDGEPROOF_RUN_MAX_FRAMES", "1")
    code, _, _ = cli("run", "edgeproof.toml", "--json", "r.json")
    assert (code, json.loads((place / "r.json").read_text())["counts"]["frames_in"]) == (0, 1)
    code, _, _ = cli("run", "edgeproof.toml", "--source", "clip.mp4", "--max-frames", 3, "--json", "r.json")
    report = json.loads((place / "r.json").read_text())
    assert (code, report["counts"]["frames_in"], report["streams"][0]["name"]) == (0, 3, "clip.mp4")


def test_options_of_serve_are_left_out_by_run(cli: Cli, place: Path) -> None:
    (place / "edgeproof.toml").write_text('bundle = "B.edge"\nport = 0\nqueue = 4' + SOURCE)
    assert cli("run", "edgeproof.toml", "--engine", "null")[0] == 0


def test_options_above_the_tables_count_only_where_the_file_is_the_bundle(cli: Cli, place: Path) -> None:
    (place / "edgeproof.toml").write_text('bundle = "B.edge"\nthreshold = 0.7' + SOURCE)
    code, _, err = cli("run", "B.edge", "--source", "edgeproof.toml", "--engine", "null")
    assert (code, "edgeproof run edgeproof.toml" in err) == (2, True)
    with pytest.raises(InputError, match="stream bundle: not a table"):
        read_streams(place / "edgeproof.toml")
    code, _, err = cli("run", "edgeproof.toml", "--crop", "0,0,8,8")
    assert (code, "holds the options of its streams" in err) == (2, True)


def test_a_service_is_installed_with_the_file(cli: Cli, place: Path) -> None:
    assert cli("init", "B.edge", "--source", "rtsp://door/live")[0] == 0
    code, unit, err = cli("service", "install", "edgeproof.toml", "--dry-run")
    assert code == 0, err
    assert f"run {place / 'edgeproof.toml'} --reconnect always" in unit
    assert f"ReadWritePaths={place}" in unit.replace('"', "") or str(place) in unit
    assert "ExecReload" in unit
    (place / "edgeproof.toml").write_text('bundle = "B.edge"\nreconnect = "auto"' + SOURCE)
    assert "--reconnect" not in cli("service", "install", "edgeproof.toml", "--dry-run")[1]


def test_a_reload_reads_the_streams_of_the_file_again(place: Path) -> None:
    file = place / "edgeproof.toml"
    for name in ("a", "b"):
        file.write_text(f'bundle = "B.edge"\n[{name}]\nsource = "0"\n')
        assert [spec.name for spec in specs_of([str(file)], settings=str(file))] == [name]
    file.write_text('bundle = "B.edge"')
    with pytest.raises(InputError, match="has no stream"):
        specs_of([str(file)], settings=str(file))


def test_a_shell_completes_options_beside_a_file_that_is_wrong(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "edgeproof.toml").write_text("bundle = ")
    monkeypatch.chdir(place)
    command = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    with command.make_context("run", ["edgeproof.toml"], resilient_parsing=True) as context:
        assert "--source" in [item.value for item in command.shell_complete(context, "--so")]
