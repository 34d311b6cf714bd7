"""Options of a source in the device program: the frames that Python classifies of the same source, and what it says."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from bundles import make_bundle, transposed_onnx
from edgeproof.library.run import run
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available
from edgeproof_runtime.sources import HealthOptions, SourceOptions
from reference.drawn import drawn

SCENE = {"width": 160, "height": 120, "base": 60, "amplitude": 60, "period": 12} | {
    "ramp": False,
    "noise": 4,
    "lights": [],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge", model=transposed_onnx())


@pytest.fixture(scope="module")
def engine(device_program: Path) -> str:
    usage = subprocess.run([device_program, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    for name in ("openvino", "opencv"):
        if f"{name}|" in usage and name in available("fp32"):
            return name
    pytest.skip("the program was built with no engine that Python has here too")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a still scene; between 4.0 and 4.2 s a bright square moves through it."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for index in range(80):
        image = drawn(SCENE)
        if index in (40, 41):
            at = 7 * (index % 15)
            image[at : at + 30, at : at + 60] = 240
        writer.write(image)
    writer.release()
    return path


def on_the_device(
    program: Path, bundle: Bundle, source: object, folder: Path, *options: object
) -> tuple[Any, list[Any], str]:
    report, lines = folder / "device.json", folder / "device.jsonl"
    command = [program, bundle.path, "--source", source, "--json", report, "--predictions", lines, *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text()), predicted(lines), done.stderr


def predicted(file: Path) -> list[Any]:
    return [line for line in map(json.loads, file.read_text().splitlines()) if "index" in line]


@pytest.mark.parametrize(
    ("arguments", "options", "frames"),
    [
        (("--every", "1s"), SourceOptions(every_s=1), 8),
        (("--every", "250ms"), SourceOptions(every_s=0.25), 27),
        (("--on-motion", "0.01"), SourceOptions(on_motion=0.01), 42),
        (("--on-motion", "0.01", "--every", "1"), SourceOptions(on_motion=0.01, every_s=1), 45),
        (("--rotate", "90"), SourceOptions(rotate=90), 80),
        (("--rotate", "180"), SourceOptions(rotate=180), 80),
        (("--rotate", "270", "--crop", "20,40,64,48"), SourceOptions(rotate=270, crop=(20, 40, 64, 48)), 80),
        (("--loop", "--max-frames", "100"), SourceOptions(loop=True), 100),
        (("--loop", "--every", "3s", "--max-frames", "7"), SourceOptions(loop=True, every_s=3), 7),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else None,
)
def test_both_programs_classify_the_same_frames(
    device_program: Path,
    engine: str,
    bundle: Bundle,
    clip: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    options: SourceOptions,
    frames: int,
) -> None:
    device, lines, _ = on_the_device(
        device_program, bundle, clip, tmp_path, "--engine", engine, "--health", "off", *arguments
    )
    limit = int(arguments[-1]) if "--max-frames" in arguments else None
    python = run(
        bundle,
        str(clip),
        engine=engine,
        source_options=options,
        max_frames=limit,
        predictions=tmp_path / "python.jsonl",
        workers=1,
        health=HealthOptions(limits="off"),
    ).to_json()
    expected = predicted(tmp_path / "python.jsonl")
    assert len(lines) == frames
    assert [line["index"] for line in lines] == [line["index"] for line in expected]
    for found, line in zip(lines, expected, strict=True):
        assert [entry["label"] for entry in found["top"]] == [entry["label"] for entry in line["top"]]
        probabilities = [entry["probability"] for entry in line["top"]]
        assert [entry["probability"] for entry in found["top"]] == pytest.approx(probabilities, abs=0.02)
    ours, theirs = device["streams"][0], python["streams"][0]
    assert (ours["width"], ours["height"]) == (theirs["width"], theirs["height"])
    assert ours["counts"]["frames_in"] == theirs["counts"]["frames_in"] == frames
    if limit is None:  # Python reads ahead of the last frame
        assert ours["left_out"] == theirs["left_out"]
    for cause, number in ours["left_out"].items():
        assert any(f"{number} frames left out: {cause}." in warning for warning in device["warnings"])


def test_a_file_is_read_at_a_rate(
    device_program: Path, engine: str, bundle: Bundle, clip: Path, tmp_path: Path
) -> None:
    begin = time.monotonic()
    report, lines, _ = on_the_device(
        device_program, bundle, clip, tmp_path, "--engine", engine, "--rate-limit", "40", "--max-frames", "21"
    )
    assert time.monotonic() - begin > 20 / 40
    assert len(lines) == 21
    assert report["streams"][0]["left_out"] == {}


def test_hardware_decoding_says_what_became_of_it(
    device_program: Path, engine: str, bundle: Bundle, clip: Path, tmp_path: Path
) -> None:
    report, lines, err = on_the_device(
        device_program, bundle, clip, tmp_path, "--engine", engine, "--hardware-decode", "--max-frames", "3"
    )
    assert len(lines) == 3
    assert "note: hardware decoding: " in err
    (note,) = [warning for warning in report["warnings"] if warning.startswith("hardware decoding: ")]
    assert note == "hardware decoding: requested, not granted; the CPU decodes." or ": granted, " in note


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rotate", "45"), "--rotate: unsupported angle"),
        (("--crop", "a,b"), "--crop: invalid"),
        (("--crop", "0,0,0,4"), "--crop: invalid"),
        (("--crop", "0,0,4,4,4"), "--crop: invalid"),
        (("--crop", "-1,0,4,4"), "--crop: invalid"),
        (("--crop", "150,0,20,20"), "150,0,20,20 of 160x120"),
        (("--crop", "2147483647,0,2147483647,20"), "of 160x120"),
        (("--rate-limit", "0"), "--rate-limit: out of range"),
        (("--rate-limit", "nan"), "--rate-limit: out of range"),
        (("--every", "0s"), "--every: not a duration"),
        (("--every", "soon"), "--every: not a duration"),
        (("--on-motion", "1.5"), "--on-motion: out of range"),
        (("--source", "0", "--hardware-decode"), "a camera: does not support --hardware-decode"),
        (("--source", "/dev/video0", "--decode-threads", "2"), "a camera: does not support --decode-threads"),
        (
            ("--source", "x ! appsink", "--decode-threads", "2"),
            "a GStreamer pipeline: does not support --decode-threads",
        ),
    ],
)
def test_invalid_options(
    device_program: Path, bundle: Bundle, clip: Path, arguments: tuple[str, ...], message: str
) -> None:
    command = [str(device_program), str(bundle.path), "--source", str(clip), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
