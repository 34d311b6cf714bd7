"""Bounds of what people ask for, checked before anything is allocated."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import make_bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.data.forms.record import Found
from edgeproof_runtime.data.images import decode_image, find_images, read_image
from edgeproof_runtime.data.store import FileStore, load_npz
from edgeproof_runtime.errors import InputError, SourceError
from edgeproof_runtime.live.workers import crew
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.system import bounds
from edgeproof_runtime.system.bounds import bound, require_duration, require_parallel, require_texts
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.system.regular import real_path


@given(st.integers())
def test_threads_are_bound_by_the_cores(count: int) -> None:
    if 1 <= count <= 8 * usable_cores():
        require_parallel(count, "threads")
    else:
        with pytest.raises(InputError, match="threads: out of range"):
            require_parallel(count, "threads")


@given(st.floats())
def test_durations_end_within_ten_years(seconds: float) -> None:
    if 0 < seconds <= 315_360_000:
        require_duration(seconds, "--duration")
    else:
        with pytest.raises(InputError, match="--duration: out of range"):
            require_duration(seconds, "--duration")


def test_nothing_asked_is_in_every_bound() -> None:
    require_parallel(None, "threads")
    require_duration(None, "--duration")


def test_long_names_are_shown_by_their_begin() -> None:
    require_texts(["n" * 256], "label")
    with pytest.raises(InputError, match="label: too long") as caught:
        require_texts(["a", "n" * 257], "label")
    assert len(str(caught.value)) < 200


def test_engines_and_workers_take_bounded_threads(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b.edge")
    for threads in (0, -1, 10**6):
        with pytest.raises(InputError, match="threads: out of range"):
            Classifier(bundle, "onnxruntime", threads=threads)
    with pytest.raises(InputError, match="--workers: out of range"), crew(bundle, lambda _: None, workers=10**6):
        pass


def test_labels_of_a_dataset_have_a_bounded_length(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="labels of the dataset: too long"):
        Found(FileStore(tmp_path, []), ["cat", "n" * 300])


def header(width: int, height: int) -> bytes:
    """A PNG of one bit per pixel that declares a size, and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["png", "ppm"])
def test_images_are_refused_by_their_header(name: str) -> None:
    side = 30_000  # 900 megapixels: OpenCV's own limit is 1,074
    data = header(side, side) if name == "png" else b"P6\n30000 30000\n255\n"
    with pytest.raises(SourceError, match="huge: too large"):
        decode_image(data, "huge", apply_orientation=True)


def test_the_user_may_allow_larger_images() -> None:
    script = "import os, edgeproof_runtime; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    for given_, found in ((None, str(bound("image_pixels"))), ("7", "7")):
        env = {k: v for k, v in os.environ.items() if k != "OPENCV_IO_MAX_IMAGE_PIXELS"}
        env |= {} if given_ is None else {"OPENCV_IO_MAX_IMAGE_PIXELS": given_}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == found


def test_image_files_have_a_bounded_size_and_are_regular(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.png"
    sparse.touch()
    os.truncate(sparse, 40 << 30)
    os.mkfifo(tmp_path / "fifo.png")
    for path in (sparse, tmp_path / "fifo.png"):
        with pytest.raises(SourceError, match="cannot be read"):
            read_image(path, apply_orientation=True)


def test_folders_that_lead_to_themselves_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(header(1, 1))
    for name in ("one", "two", "three"):  # each doubles the paths at every depth
        (tmp_path / "a" / name).symlink_to("..")
    images, others = find_images(tmp_path)
    assert [path.name for path in images] == ["1.png"]
    assert others == []


def test_files_of_a_source_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "bound", lambda _: 2)
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(header(1, 1))
    with pytest.raises(InputError, match="files: too many"):
        find_images(tmp_path)


def test_a_link_to_itself_is_an_error_of_the_system(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to("loop.png")
    assert real_path(loop) == real_path(tmp_path) / "loop.png"
    bundle = make_bundle(tmp_path / "b.edge")
    (bundle.path / "model.onnx").unlink()
    (bundle.path / "model.onnx").symlink_to("model.onnx")
    with pytest.raises(InputError):
        Classifier(bundle.path, "onnxruntime")
    with pytest.raises(InputError):
        open_source(str(loop))


@pytest.mark.parametrize("flag", [0x01, 0x20])  # encrypted; patched data
def test_archives_that_zipfile_cannot_read(tmp_path: Path, flag: int) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x_test=np.zeros((2, 4, 4, 3), np.uint8), y_test=np.array([0, 1]))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] |= flag
            place = data.find(signature, place + 1)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        load_npz(path, "x_test")
