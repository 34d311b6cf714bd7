from __future__ import annotations

import io
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps

from edgeproof_runtime.data.images import (
    check_complete,
    decode_image,
    find_images,
    picture_size,
    quiet_opencv,
    read_image,
    reason_of,
)
from edgeproof_runtime.errors import SourceError


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pillow_bgr(data: bytes, *, upright: bool = False) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    if upright:
        picture = ImageOps.exif_transpose(picture)
    return np.asarray(picture.convert("RGB"))[:, :, ::-1]


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return Image.fromarray(skimage.data.chelsea())


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {"quality": 90}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("L", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {}),
        ("1", "PNG", {}),
        ("L", "PNG", {}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"quality": 80}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("RGB", "PPM", {}),
    ],
)
def test_decodes_as_pillow_does_bit_for_bit(cat, mode, kind, options):
    data = encode(cat.convert(mode), kind, **options)
    np.testing.assert_array_equal(decode_image(data, "cat", apply_orientation=False), pillow_bgr(data))


def test_decodes_transparent_pixels_as_pillow_does(cat):
    alpha = Image.fromarray(np.random.default_rng(0).integers(0, 256, cat.size[::-1], dtype=np.uint8))
    cat = cat.copy()
    cat.putalpha(alpha)
    data = encode(cat, "PNG")
    np.testing.assert_array_equal(decode_image(data, "cat", apply_orientation=False), pillow_bgr(data))


def test_cmyk_differs_from_pillow_by_no_more_than_documented(cat):
    data = encode(cat.convert("CMYK"), "JPEG")
    ours = decode_image(data, "cat", apply_orientation=False).astype(int)
    assert np.abs(ours - pillow_bgr(data)).max() <= 2


@pytest.mark.slow
def test_every_real_photograph_decodes_as_pillow_does(data_dir):
    paths = sorted((data_dir / "imagenet-samples").glob("*/*"))
    assert len(paths) == 500
    differing = [
        path.name
        for path in paths
        if not np.array_equal(read_image(path, apply_orientation=False), pillow_bgr(path.read_bytes()))
    ]
    assert differing == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_only_where_asked(cat, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(cat.crop((0, 0, 96, 48)), kind, exif=exif)
    np.testing.assert_array_equal(decode_image(data, "cat", apply_orientation=False), pillow_bgr(data))
    np.testing.assert_array_equal(decode_image(data, "cat", apply_orientation=True), pillow_bgr(data, upright=True))


@pytest.mark.parametrize("kind", ["JPEG", "PROGRESSIVE", "PNG", "BMP", "WEBP", "PPM", "TIFF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.999])
def test_truncated_files_are_refused(cat, kind, part, capfd):
    options = {"progressive": True} if kind == "PROGRESSIVE" else {}
    data = encode(cat, "JPEG" if kind == "PROGRESSIVE" else kind, **options)
    with pytest.raises(SourceError):
        decode_image(data[: int(len(data) * part)], "cat", apply_orientation=True)
    assert capfd.readouterr().err == ""


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused(cat):
    thumbnail = encode(cat.resize((64, 48)), "JPEG")
    data = encode(cat, "JPEG", comment=thumbnail)
    assert decode_image(data, "cat", apply_orientation=True).shape == (300, 451, 3)
    with pytest.raises(SourceError, match="truncated"):
        decode_image(data[: len(data) // 2], "cat", apply_orientation=True)


def test_bytes_after_the_end_marker_are_no_fault(cat):
    data = encode(cat, "JPEG") + b"motion photo trailer"
    np.testing.assert_array_equal(decode_image(data, "cat", apply_orientation=True), pillow_bgr(data))


def test_the_extension_does_not_matter(cat, tmp_path: Path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encode(cat, "PNG"))
    np.testing.assert_array_equal(read_image(path, apply_orientation=True), np.asarray(cat)[:, :, ::-1])


def test_bad_files_are_named_with_the_reason(tmp_path: Path, capfd):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture " * 50)
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("missing.jpg", "No such file"),
        ("empty.jpg", ": empty"),
        ("text.jpg", "not an image"),
        ("phone.jpg", "a HEIC image"),
        ("page.jpg", "an HTML page"),
        ("folder.jpg", "not a regular file"),
    ):
        with pytest.raises(SourceError, match=reason) as caught:
            read_image(tmp_path / name, apply_orientation=True)
        assert name in str(caught.value)
        assert "\n" not in reason_of(caught.value, name)
    assert capfd.readouterr().err == ""


def test_a_picture_too_large_for_opencv_is_refused(cat):
    data = bytearray(encode(cat, "BMP"))
    data[18:26] = (1 << 20).to_bytes(4, "little") * 2  # width, height
    with pytest.raises(SourceError):
        decode_image(bytes(data), "bomb", apply_orientation=True)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_the_size_is_known_before_decoding(cat, kind, options):
    data = encode(cat, kind, **options)
    assert picture_size(data) == cat.size
    assert picture_size(data[:20]) is None


def test_the_size_of_a_thumbnail_is_not_the_pictures(cat):
    exif = Image.Exif()
    data = encode(cat, "JPEG", exif=exif.tobytes() + encode(cat.resize((16, 8)), "JPEG"))
    assert picture_size(data) == cat.size


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_neither_jpeg_nor_png_has_no_size(data):
    assert picture_size(data) is None


def test_find_images_tells_pictures_from_other_files(cat, tmp_path: Path):
    picture = encode(cat.crop((0, 0, 8, 8)), "PNG")
    for name in ("b/frame10.png", "b/frame2.png", "a/no_extension", "a/upper.PNG", ".hidden/x.png", "b/.DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "broken.jpg").write_text("named like one")
    pictures, others = find_images(tmp_path)
    names = [p.relative_to(tmp_path).as_posix() for p in pictures]
    assert names == ["a/no_extension", "a/upper.PNG", "b/frame2.png", "b/frame10.png", "broken.jpg"]
    assert [p.name for p in others] == ["notes.txt"]


def test_the_log_level_is_restored_after_many_threads(monkeypatch):
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    before = cv2.utils.logging.getLogLevel()

    def work() -> None:
        for _ in range(200):
            with quiet_opencv(), quiet_opencv():
                assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cv2.utils.logging.getLogLevel() == before


@pytest.mark.parametrize("progressive", [0, 1])
def test_every_cut_of_a_jpeg_is_truncated(progressive: int) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (24, 40, 3), np.uint8)
    settings = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    data = cv2.imencode(".jpg", noise, settings)[1].tobytes()
    decode_image(data + bytes(7), "padded.jpg", apply_orientation=False)
    for length in range(3, len(data)):
        with pytest.raises(SourceError, match="truncated"):
            check_complete(data[:length], "cut.jpg")
