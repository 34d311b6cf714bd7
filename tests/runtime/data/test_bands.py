"""Files of many channels become frames in the file's order, or are refused by name."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data import band_files
from edgeproof_runtime.data.band_files import decode_bands
from edgeproof_runtime.data.bands import Bands, bands_in_force, bands_of, reading, visible, visible_notes
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.images import find_images
from edgeproof_runtime.data.store import ArrayStore
from edgeproof_runtime.errors import InputError, SourceError
from edgeproof_runtime.sources import SourceOptions, open_source

FOUR = Bands(4, "uint8")


def noise(*shape: int, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(7).integers(0, 256, shape).astype(dtype)


def npy(array: NDArray[Any], **more: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **more)
    return stream.getvalue()


def tiff(array: NDArray[Any], **more: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **{"photometric": "minisblack", **more})
    return stream.getvalue()


def test_npy_is_channels_last_or_first() -> None:
    frame = noise(5, 6, 4)
    assert np.array_equal(decode_bands(npy(frame), "a", FOUR), frame)
    assert np.array_equal(decode_bands(npy(np.ascontiguousarray(np.moveaxis(frame, 2, 0))), "a", FOUR), frame)
    cube = noise(4, 4, 4)
    assert np.array_equal(decode_bands(npy(cube), "a", FOUR), cube)  # channels last where both would fit
    single = noise(5, 6, dtype="uint16")
    assert np.array_equal(decode_bands(npy(single), "a", Bands(1, "uint16")), single[:, :, None])
    wide = noise(3, 4, 13, dtype="float32")
    assert np.array_equal(decode_bands(npy(wide), "a", Bands(13, "float32")), wide)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (npy(noise(5, 6, 3)), "wrong shape"),
        (npy(noise(5, 6)), "wrong shape"),
        (npy(noise(2, 5, 6, 4)), "wrong shape"),
        (npy(noise(0, 6, 4)), "wrong shape"),
        (npy(noise(5, 6, 4, dtype="uint16")), "--frame-dtype"),
        (npy(noise(5, 6, 4, dtype="float64")), "unsupported dtype"),
        (npy(noise(5, 6, 4, dtype=">u2")), "unsupported dtype"),
        (npy(noise(5, 6, 4, dtype="int16")), "unsupported dtype"),
        (npy(np.asfortranarray(noise(5, 6, 4))), "Fortran"),
        (npy(np.array([{"a": 1}], object), allow_pickle=True), "unsupported dtype"),
        (npy(noise(5, 6, 4))[:-1], "truncated"),
        (npy(noise(5, 6, 4)) + b"x", "damaged"),
        (npy(noise(5, 6, 4)).replace(b"(5, 6, 4)", b"(9999999999999, 6, 4)"), "damaged|truncated"),
        (npy(noise(5, 6, 4))[:9], "damaged"),
        (b"\x93NUMPY\x09\x00" + b"\x00" * 40, "damaged"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')", "damaged"),
        (b"II*\x00 no directory here", "cannot be decoded"),
        (b"GIF89a is not an image", "not a supported image"),
        (cv2.imencode(".png", noise(5, 6, 4))[1].tobytes()[:-12], "truncated"),
    ],
)
def test_what_is_no_such_frame_is_refused_with_its_name(data: bytes, words: str) -> None:
    if data.startswith(b"II"):
        pytest.importorskip("tifffile")
    with pytest.raises(SourceError, match=words) as caught:
        decode_bands(data, "field/a.npy", FOUR)
    assert str(caught.value).startswith("field/a.npy")


@settings(max_examples=100)
@given(
    st.binary(max_size=80),
    st.sampled_from(
        [b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00", b"II*\x00", b"MM\x00*", b"II+\x00", b"\x89PNG\r\n\x1a\n"]
    ),
)
def test_any_bytes_are_a_frame_or_a_named_error(rest: bytes, begin: bytes) -> None:
    with pytest.raises(SourceError, match=r"^name: "):
        decode_bands(begin + rest, "name", FOUR)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
def test_tiff_of_any_number_of_bands(channels: int, dtype: Any) -> None:
    """OpenCV gives one band of each, without a word."""
    frame = noise(9, 11, channels, dtype=dtype)
    bands = Bands(channels, dtype)
    planes = np.ascontiguousarray(np.moveaxis(frame, 2, 0))
    files = {"pages": tiff(planes, metadata=None), "big endian": tiff(planes, byteorder=">", metadata=None)}
    if channels > 1:
        files["interleaved"] = tiff(frame, planarconfig="contig", compression="zlib", predictor=dtype != "float32")
        files["planes"] = tiff(planes, planarconfig="separate")
        files["tiles"] = tiff(frame, planarconfig="contig", tile=(16, 16))
    for form, data in files.items():
        assert np.array_equal(decode_bands(data, "a.tif", bands), frame), form


def test_colour_tiff_and_rgba_png_keep_the_files_order() -> None:
    frame = noise(9, 11, 4)
    assert np.array_equal(decode_bands(tiff(frame, photometric="rgb", extrasamples=["unassalpha"]), "a", FOUR), frame)
    turned = np.ascontiguousarray(frame[:, :, [2, 1, 0, 3]])
    assert np.array_equal(decode_bands(cv2.imencode(".png", turned)[1].tobytes(), "a", FOUR), frame)
    deep = noise(9, 11, 3, dtype="uint16") * np.uint16(257)
    png = cv2.imencode(".png", np.ascontiguousarray(deep[:, :, ::-1]))[1].tobytes()
    assert np.array_equal(decode_bands(png, "a", Bands(3, "uint16")), deep)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd"])
def test_compressed_tiff(compression: str) -> None:
    pytest.importorskip("imagecodecs")
    frame = noise(40, 33, 5, dtype="uint16")
    data = tiff(frame, planarconfig="contig", compression=compression)
    assert np.array_equal(decode_bands(data, "a", Bands(5, "uint16")), frame)
    with pytest.raises(SourceError, match=r"^a: cannot be decoded"):
        decode_bands(data[:-200], "a", Bands(5, "uint16"))


def test_tiff_without_tifffile_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(noise(5, 6, 4), planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(SourceError, match=r"edgeproof\[multispectral\]"):
        decode_bands(data, "a.tif", FOUR)


def test_a_tiff_that_would_decode_to_too_much_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(band_files, "_MAX_TIFF_BYTES", 16 * 16 * 4 - 1)
    with pytest.raises(SourceError, match=r"^a\.tif: too large"):
        decode_bands(tiff(noise(16, 16, 4), planarconfig="contig"), "a.tif", FOUR)


def test_class_folders_and_arrays_hold_such_frames_where_they_are_read(tmp_path: Path) -> None:
    frames = [noise(5, 6, 4) // (k + 1) for k in range(3)]
    for k, frame in enumerate(frames):
        (tmp_path / f"class{k}").mkdir()
        np.save(tmp_path / f"class{k}" / "a.npy", frame)
    cv2.imwrite(str(tmp_path / "class0" / "preview.png"), noise(5, 6, 3))
    np.savez(tmp_path / "set.npz", x_test=np.stack(frames), y_test=np.arange(3))
    labels = [f"class{k}" for k in range(3)]
    with reading(FOUR):
        folders = LabelledData.open(tmp_path, labels)
        arrays = LabelledData.open(tmp_path / "set.npz", labels)
        planes = ImageList(ArrayStore(np.moveaxis(np.stack(frames), 3, 1), "planes"))
    assert bands_in_force() is None
    assert [s.target for s in folders] == [0, 1, 2]
    for sample, frame in zip(folders, frames, strict=True):
        assert np.array_equal(sample.frame, frame)
    assert [s.reason for s in folders.skipped if s.name.endswith("preview.png")] == ["wrong shape (uint8 5x6x3)"]
    for found in (arrays.images, planes):
        assert all(np.array_equal(picture.frame, frame) for picture, frame in zip(found, frames, strict=True))
    with reading(Bands(3, "uint8")), pytest.raises(InputError, match="x_test: wrong shape"):
        LabelledData.open(tmp_path / "set.npz", labels)
    assert [p.suffix for p in find_images(tmp_path)[0]] == [".png"]  # elsewhere .npy files are no images


def test_sources_of_such_frames_and_what_gives_three_channels(tmp_path: Path) -> None:
    frame = noise(5, 7, 4)
    np.save(tmp_path / "a.npy", frame)
    with open_source(str(tmp_path), bands=FOUR, options=SourceOptions(rotate=90, crop=(1, 2, 3, 4))) as source:
        (found,) = list(source)
    assert np.array_equal(found.image, np.rot90(frame, -1)[2:6, 1:4])
    with open_source(str(tmp_path / "a.npy"), bands=FOUR) as source:
        assert [f.name for f in source] == ["a.npy"]
    for spec in ("0", "rtsp://user:secret@camera/1", "synthetic://64x64@5", "videotestsrc ! appsink"):
        with pytest.raises(InputError, match="frames of 4 channels of uint8") as caught:
            open_source(spec, bands=FOUR)
        assert "secret" not in str(caught.value)
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 64)
    with pytest.raises((InputError, SourceError)):
        open_source(str(tmp_path / "clip.mp4"), bands=FOUR)


def test_colour_contracts_read_colour_images() -> None:
    assert bands_of(None) is None
    assert bands_of(InputContract()) is None


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_frame_has_a_visible_picture_and_reports_say_how(channels: int, dtype: Any) -> None:
    frame = noise(9, 8, channels, dtype=dtype)
    picture = visible(frame)
    assert picture.dtype == np.uint8
    assert picture.shape == (9, 8, 3)
    contract = InputContract(
        color="channels", frame_dtype=dtype, fill=(0,) * channels, mean=(0.0,) * channels, std=(1.0,) * channels
    )
    (note,) = visible_notes(contract)
    assert f"{channels} channels of {dtype}" in note
    assert visible_notes(InputContract()) == []
    if dtype == "uint8" and channels >= 3:
        assert np.array_equal(picture, frame[:, :, 2::-1])


def test_values_that_are_not_finite_have_a_picture_and_colour_stays_as_it_is() -> None:
    frame = np.full((4, 5, 3), np.nan, np.float32)
    frame[0, 0] = np.inf
    assert visible(frame).shape == (4, 5, 3)
    colour, gray = noise(4, 5, 3), noise(4, 5)
    assert visible(colour) is colour
    assert visible(gray) is gray
