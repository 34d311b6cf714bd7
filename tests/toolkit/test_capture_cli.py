"""What `run` says of videos and streams: the cause, what was left out, and every frame of a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import make_bundle
from clips import make_clip
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rtsp://admin:pa/ss@127.0.0.1:8554/live", "write / as %2F"),
        ("rtsp://admin:pa#ss@127.0.0.1:8554/live", "# as %23"),
        ("rtsp://admin:pa?ss@127.0.0.1:8554/live", "? as %3F"),
        ("rtsp://admin:pa%2Fss@127.0.0.1:9/live", "connection refused"),
        ("http://admin:pass@no.such.host.invalid/live", "host no.such.host.invalid not found"),
    ],
)
def test_why_a_stream_cannot_be_opened(cli: Cli, bundle: Bundle, source: str, said: str) -> None:
    code, out, told = cli("run", bundle.path, "--source", source, "--engine", "null")
    assert code == 2
    assert said in told
    assert "fix:" in told
    assert "ss@" not in out + told
    assert "admin" not in out + told


@pytest.mark.parametrize("name", ["page.mp4", "no-moov.mp4", "sound.m4a", "unknown-codec.mov"])
def test_why_a_file_cannot_be_opened(cli: Cli, bundle: Bundle, clips: Path, name: str) -> None:
    code, _, told = cli("run", bundle.path, "--source", make_clip(clips, name), "--engine", "null")
    assert code == 2
    assert f"{name}: cannot open" in told
    assert "fix:" in told


def test_damaged_frames_are_left_out_and_counted(cli: Cli, bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    lossy = make_clip(clips, "lossy.ts")
    options = ("--engine", "null", "--json", tmp_path / "r.json")
    assert cli("run", bundle.path, "--source", lossy, *options)[0] == 0
    counts = json.loads((tmp_path / "r.json").read_text())["counts"]
    assert counts["frames_unhealthy"] >= 10
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_unhealthy"]
    assert cli("run", bundle.path, "--source", lossy, "--classify-unhealthy", "damaged", *options)[0] == 0
    again = json.loads((tmp_path / "r.json").read_text())["counts"]
    assert again["frames_in"] == again["frames_classified"] == counts["frames_in"]


@pytest.mark.parametrize(("name", "frames"), [("vfr.mkv", 40), ("interlaced-h264.ts", 60), ("animated.webp", 30)])
def test_whole_videos_are_whole(cli: Cli, bundle: Bundle, clips: Path, tmp_path: Path, name: str, frames: int) -> None:
    options = ("--engine", "null", "--health", "off", "--json", tmp_path / "r.json")
    code, _, told = cli("run", bundle.path, "--source", make_clip(clips, name), *options)
    assert code == 0
    assert json.loads((tmp_path / "r.json").read_text())["counts"]["frames_classified"] == frames
    assert "cut off" not in told


def test_a_glob_of_clips(cli: Cli, bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    (folder / "bird").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4"):
        (folder / "bird" / name).write_bytes(make_clip(clips, "plain.mp4").read_bytes())
    cv2.imwrite(str(folder / "bird" / "c.png"), np.zeros((96, 128, 3), np.uint8))
    options = ("--engine", "null", "--health", "off", "--json", tmp_path / "r.json")
    assert cli("run", bundle.path, "--source", folder / "bird" / "*.mp4", *options)[0] == 0
    assert json.loads((tmp_path / "r.json").read_text())["counts"]["frames_classified"] == 60
    assert cli("run", bundle.path, "--source", folder, "--labels-from", "parent", *options)[0] == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["counts"]["frames_classified"] == report["accuracy"]["n"] == 61


def test_standard_input(bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    clip = make_clip(clips, "plain.mp4")
    command = [sys.executable, "-m", "edgeproof", "run", str(bundle.path), "--source", "-", "--engine", "null"]
    sender = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(clip), "-c", "copy", "-f", "mpegts", "-"]
    with subprocess.Popen(sender, stdout=subprocess.PIPE) as writing:
        done = subprocess.run(
            [*command, "--json", str(tmp_path / "r.json")],
            stdin=writing.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["counts"]["frames_in"] == 30
    assert report["streams"][0]["name"] == "stdin"
