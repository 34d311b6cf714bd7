"""edgeproof-run on bundles and files of many channels, against the Python runtime. Builds nothing."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import band_frames, make_band_bundle
from edgeproof_runtime.classifier import Classifier
from growing_files import predictions_in

tifffile = pytest.importorskip("tifffile")


def call(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def engine(device_program: Path) -> str:
    """An engine of the program that reads `tiny_onnx`."""
    if "openvino|" not in call(device_program, "--help").stdout:
        pytest.skip("the program was built with no engine that reads this model")
    return "openvino"


@pytest.fixture(scope="module")
def tiff_readable(device_program: Path, tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether the program was built with libtiff."""
    root = tmp_path_factory.mktemp("tiff")
    bundle = make_band_bundle(root / "b.edge")
    tifffile.imwrite(root / "a.tif", np.zeros((8, 8, 4), np.uint8), photometric="minisblack", planarconfig="contig")
    return "without libtiff" not in call(device_program, bundle.path, "--source", root / "a.tif").stderr


def write_forms(folder: Path, frame: NDArray[Any]) -> None:
    """Write one frame in every form that holds it."""
    folder.mkdir()
    planes = np.ascontiguousarray(np.moveaxis(frame, 2, 0))
    np.save(folder / "last.npy", frame)
    np.save(folder / "first.npy", planes)
    gray = {"photometric": "minisblack"}
    tifffile.imwrite(folder / "interleaved.tif", frame, planarconfig="contig", compression="zlib", **gray)
    tifffile.imwrite(folder / "tiled.tif", frame, planarconfig="contig", tile=(16, 32), **gray)
    tifffile.imwrite(folder / "planes.tif", planes, planarconfig="separate", **gray)
    tifffile.imwrite(folder / "tiled_planes.tif", planes, planarconfig="separate", tile=(32, 16), **gray)
    tifffile.imwrite(folder / "pages.tif", planes, metadata=None, **gray)
    tifffile.imwrite(folder / "big_endian.tif", frame, planarconfig="contig", byteorder=">", bigtiff=True, **gray)
    if find_spec("imagecodecs") is not None:
        tifffile.imwrite(folder / "lzw.tif", frame, planarconfig="contig", compression="lzw", **gray)
    if frame.dtype != np.float32:
        tifffile.imwrite(
            folder / "predictor.tif", frame, planarconfig="contig", compression="zlib", predictor=2, **gray
        )
    if frame.shape[2] == 4 and frame.dtype != np.float32:
        cv2.imwrite(str(folder / "rgba.png"), frame[:, :, [2, 1, 0, 3]])


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "dtype"), [(4, "uint8"), (13, "uint16"), (2, "float32"), (4, "uint16")])
def test_every_form_of_a_frame_gives_pythons_answer(
    device_program: Path, engine: str, tiff_readable: bool, tmp_path: Path, channels: int, dtype: Any
) -> None:
    bundle = make_band_bundle(tmp_path / "bands.edge", channels, dtype)
    verified = call(device_program, bundle.path, "--verify", "--engine", engine)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (frame,) = band_frames(channels, dtype, 1, seed=9)
    write_forms(tmp_path / "frames", frame)
    (tmp_path / "frames" / "damaged.tif").write_bytes((tmp_path / "frames" / "planes.tif").read_bytes()[:-200])
    (tmp_path / "frames" / "damaged.npy").write_bytes((tmp_path / "frames" / "last.npy").read_bytes()[:-1])
    np.save(tmp_path / "frames" / "other.npy", np.zeros((9, 9, channels + 1), dtype))
    out, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    source = ("--source", tmp_path / "frames", "--engine", engine)
    done = call(device_program, bundle.path, *source, "--predictions", out, "--json", report)
    assert done.returncode == 0, done.stderr
    lines = {line["name"]: line["top"] for line in predictions_in(out)}
    expected = {path.name for path in (tmp_path / "frames").iterdir()} - {"damaged.tif", "damaged.npy", "other.npy"}
    assert set(lines) == {name for name in expected if tiff_readable or not name.endswith(".tif")}
    with Classifier(bundle, engine=engine) as classifier:
        top = classifier(frame).top(3)
    for name, found in lines.items():
        assert [row["label"] for row in found][:3] == [label for label, _ in top], name
        assert found[0]["probability"] == pytest.approx(top[0][1], abs=1e-6), name
    samples = json.loads(report.read_text())["samples"]
    assert len(samples) == len(lines)
    assert json.loads(report.read_text())["bundle"]["contract"] == bundle.contract.summary()


def test_what_gives_three_channels_is_refused(device_program: Path, engine: str, tmp_path: Path) -> None:
    bundle = make_band_bundle(tmp_path / "bands.edge")
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 64)
    for source in ("0", "/dev/video0", "rtsp://user:secret@camera/1", "x ! appsink", tmp_path / "clip.mp4"):
        done = call(device_program, bundle.path, "--source", source, "--engine", engine)
        assert (done.returncode, "frames of 4 channels of uint8" in done.stderr) == (2, True), done.stderr
        assert "secret" not in done.stderr


def test_a_damaged_golden_frame_is_refused(device_program: Path, engine: str, tmp_path: Path) -> None:
    bundle = make_band_bundle(tmp_path / "bands.edge")
    frame = bundle.path / bundle.manifest.golden[0].frame
    frame.write_bytes(frame.read_bytes()[:-1])
    assert call(device_program, bundle.path, "--verify", "--engine", engine).returncode == 2
