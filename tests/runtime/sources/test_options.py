from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof_runtime import _native
from edgeproof_runtime.errors import InputError, SourceError
from edgeproof_runtime.live.pace import Pace
from edgeproof_runtime.sources import Frame, Source, SourceOptions, open_source, parse_crop, parse_resolution
from edgeproof_runtime.sources.adapted import adapted
from edgeproof_runtime.sources.gstreamer import csi_pipeline, rtsp_pipelines
from edgeproof_runtime.sources.streams_file import read_streams

CARD = "synthetic://64x48?frames=5"


class Ticking(Source):
    """A live source that captured frame ``i`` at ``stamps[i]`` seconds."""

    def __init__(self, stamps: list[float]) -> None:
        super().__init__("ticking", live=True, fps=None, frame_count=None)
        self.stamps = stamps
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for i, stamp in enumerate(self.stamps):
            yield Frame(np.zeros((4, 4, 3), np.uint8), i, f"f{i}", round((100 + stamp) * 1e9), 0.0, 0.0)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_frames_are_rotated_clockwise_and_then_cropped(rotate):
    with open_source(CARD) as source:
        plain = [frame.image for frame in source]
    options = SourceOptions(rotate=rotate, crop=(8, 4, 16, 20))
    with open_source(CARD, options=options) as source:
        frames = list(source)
    for before, frame in zip(plain, frames, strict=True):
        turned = np.rot90(before, -rotate // 90)
        np.testing.assert_array_equal(frame.image, turned[4:24, 8:24])
        assert frame.image.flags.c_contiguous


def test_a_crop_beyond_the_frame_is_named():
    with (
        open_source(CARD, options=SourceOptions(crop=(60, 0, 16, 20))) as source,
        pytest.raises(SourceError, match=r"60,0,16,20 of 64x48"),
    ):
        list(source)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rotate": 45}, "rotate"),
        ({"crop": (0, 0, 0, 4)}, "no pixel"),
        ({"crop": (-1, 0, 4, 4)}, "no pixel"),
        ({"resolution": (0, 4)}, "resolution: invalid"),
        ({"fps": 0.0}, "fps"),
        ({"rate_limit_fps": float("nan")}, "rate_limit_fps"),
        ({"read_timeout_s": float("inf")}, "read_timeout_s"),
        ({"decode_threads": 0}, "decode_threads"),
    ],
)
def test_options_that_make_no_sense(values, message):
    with pytest.raises(InputError, match=message):
        SourceOptions(**values)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (CARD, SourceOptions(mjpeg=True), "a synthetic source: does not support mjpeg"),
        ("clip.mp4", SourceOptions(resolution=(640, 480), fps=10), "a file: does not support resolution, fps"),
        ("synthetic://64x48@30", SourceOptions(loop=True), r"\(live\): does not support loop"),
        ("0", SourceOptions(hardware_decode=True), "a camera: does not support hardware_decode"),
        ("rtsp://host/x", SourceOptions(fps=5), "a stream: does not support fps"),
        ("csi://0", SourceOptions(mjpeg=True), "a CSI camera: does not support mjpeg"),
        ("videotestsrc ! appsink", SourceOptions(fps=5), "a GStreamer pipeline: does not support fps"),
    ],
)
def test_what_a_source_cannot_be_asked_is_refused(spec, options, message):
    with pytest.raises(InputError, match=message):
        open_source(spec, options=options)


def test_parsing():
    assert parse_resolution("1280x720") == (1280, 720)
    assert parse_crop("1, 2,3,4") == (1, 2, 3, 4)
    for parse, text in (
        (parse_resolution, "1280"),
        (parse_resolution, "ax1"),
        (parse_resolution, "1x2x3"),
        (parse_resolution, "²x1"),
        (parse_resolution, f"{'9' * 5000}x1"),
        (parse_crop, f"{'9' * 5000},0,1,1"),
        (parse_crop, "1,2,3"),
        (parse_crop, "-1,2,3,4"),
    ):
        with pytest.raises(InputError):
            parse(text)


def test_a_video_loops_until_it_is_closed(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(4):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    with open_source(str(path), options=SourceOptions(loop=True)) as source:
        assert source.frame_count is None
        assert not source.live
        frames = list(itertools.islice(source, 10))
    assert [f.index for f in frames] == list(range(10))
    assert [round(f.image.mean() / 40) for f in frames] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len({f.name for f in frames}) == 10
    assert [round(f.media_ns / 1e6) for f in frames] == [100 * i for i in range(10)]


def test_an_interval_goes_on_in_the_next_pass(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(4):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    pace = Pace(every_s=0.3)
    with open_source(str(path), options=SourceOptions(loop=True)) as source:
        frames = list(itertools.islice(source, 10))
    assert [f.index for f in frames if pace.leaves_out(f, source.fps, live=False) is None] == [0, 3, 6, 9]


def test_a_loop_over_nothing_ends(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with open_source(str(tmp_path), options=SourceOptions(loop=True)) as source:
        assert list(source) == []
        assert len(source.skipped) == 1


@settings(max_examples=50)
@given(
    gaps=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60),
    rate=st.floats(2, 40),
)
def test_a_rate_limit_leaves_out_and_counts(gaps, rate):
    stamps = list(itertools.accumulate(gaps))
    source = adapted(Ticking(stamps), SourceOptions(rate_limit_fps=rate))
    given_s = [frame.captured_ns / 1e9 for frame in source]
    assert len(given_s) + source.left_out["rate limit"] == len(stamps)
    assert given_s[0] == pytest.approx(100 + stamps[0])
    for start in range(len(given_s)):
        for end in range(start, len(given_s)):
            # Over any span, one frame per interval and at most one more for the jitter of its ends.
            assert end - start <= (given_s[end] - given_s[start]) * rate + 1 + 1e-6


def test_a_rate_limit_keeps_the_rate_of_a_jittering_camera():
    rng = np.random.default_rng(0)
    stamps = [i / 30 + rng.uniform(-0.004, 0.004) for i in range(300)]
    source = adapted(Ticking(stamps), SourceOptions(rate_limit_fps=10))
    assert 99 <= len(list(source)) <= 101


def test_pictures_and_files_are_read_at_the_rate_and_none_is_left_out():
    with open_source(CARD, options=SourceOptions(rate_limit_fps=50)) as source:
        begin = time.monotonic()
        frames = list(source)
        assert time.monotonic() - begin >= 4 / 50
    assert len(frames) == 5
    assert source.left_out == {}


def test_closing_ends_the_wait_of_a_slow_rate():
    with open_source(CARD, options=SourceOptions(rate_limit_fps=0.01)) as source:
        frames = iter(source)
        next(frames)
        threading.Timer(0.05, source.close).start()
        begin = time.monotonic()
        assert next(frames, None) is None
        assert time.monotonic() - begin < 10


def test_the_stamp_of_a_v4l2_buffer_is_believed_where_it_can_be():
    assert _native.stamped_ns(1000.5, 1_030_000_000) == 1_000_500_000
    for stamp_ms in (0.0, -5.0, 1_700_000_000_000.0):
        assert _native.stamped_ns(stamp_ms, 50_000_000_000) == 50_000_000_000


def test_csi_pipeline():
    pipeline = csi_pipeline("csi://1", SourceOptions(resolution=(1920, 1080), fps=29.97))
    assert "nvarguscamerasrc sensor-id=1 !" in pipeline
    assert "width=1920,height=1080,framerate=2997/100" in pipeline
    with pytest.raises(SourceError, match="csi://0"):
        csi_pipeline("csi://front", SourceOptions())


def test_a_csi_camera_is_turned_and_scaled_in_hardware():
    pipeline = csi_pipeline("csi://0?mode=3&flip=2&scale=640x360", SourceOptions(resolution=(1920, 1080)))
    assert "nvarguscamerasrc sensor-id=0 sensor-mode=3 ! video/x-raw(memory:NVMM),width=1920,height=1080" in pipeline
    assert "nvvidconv flip-method=2 ! video/x-raw,width=640,height=360,format=BGRx ! videoconvert" in pipeline
    assert pipeline == csi_pipeline(
        "csi://0?sensor-mode=3&flip-method=2&scale=640x360", SourceOptions(resolution=(1920, 1080))
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("rotate=90", "flip-method"),
        ("flip=8", "0 to 7"),
        ("flip=2 ! fakesink", "0 to 7"),
        ("mode=fast", "number"),
        ("mode=-1", "number"),
        ("scale=big", "1280x720"),
        ("scale=0x5", "1280x720"),
    ],
)
def test_csi_options_that_are_none_are_refused(query: str, said: str):
    with pytest.raises((SourceError, InputError), match=said):
        csi_pipeline(f"csi://0?{query}", SourceOptions())


def test_an_address_cannot_add_elements_to_its_pipeline():
    h264, h265 = rtsp_pipelines('rtsp://camera/a" ! filesink location="x\\')
    assert h264.startswith(r'rtspsrc location="rtsp://camera/a\" ! filesink location=\"x\\" latency=100')
    assert "rtph265depay ! h265parse ! nvv4l2decoder" in h265


def streams(folder: Path, text: str) -> Path:
    path = folder / "streams.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_streams_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DOOR_PASSWORD", "secret")
    (tmp_path / "labels.csv").write_text("0,5,circle\n")
    specs = read_streams(
        streams(
            tmp_path,
            """
            [door]
            source = "rtsp://admin:${DOOR_PASSWORD}@10.0.0.9/live"
            rotate = 90
            crop = "0,0,640,480"
            read_timeout_s = 3

            [card]
            source = "synthetic://64x48?frames=3"
            labels_from = "labels.csv"

            [clip]
            source = "clips/a.mp4"
            loop = true
            """,
        )
    )
    assert [s.name for s in specs] == ["door", "card", "clip"]
    door, card, clip = specs
    assert door.source == "rtsp://admin:secret@10.0.0.9/live"
    assert door.options == SourceOptions(rotate=90, crop=(0, 0, 640, 480), read_timeout_s=3)
    assert clip.source == str(tmp_path / "clips/a.mp4")
    with card.open(known=["circle"]) as source:
        frames = list(source)
    assert source.name == "card"
    assert [(f.name, f.label) for f in frames] == [(f"card#{i}", "circle") for i in range(3)]
    with pytest.raises(InputError, match="unknown label 'circle'"):
        card.open(known=["cat"])


def test_the_streams_file_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.setenv("DOOR_PASSWORD", "secret")
    page = (Path(__file__).resolve().parents[3] / "docs" / "live.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    door, belt, card = read_streams(streams(tmp_path, text))
    assert door.options.crop == (0, 0, 640, 480)
    assert belt.options.resolution == (1280, 720)
    with card.open() as source:
        assert next(iter(source)).label == "circle"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no stream"),
        ("[a", "not TOML"),
        ("a = 3", "stream a: not a table"),
        ("[a]\nrotate = 90", "stream a: source is missing"),
        ("[a]\nsource = 3", "source must be a string"),
        ('[a]\nsource = "0"\nturn = 90', "stream a: unknown option"),
        ('[a]\nsource = "0"\nrotate = "90"', "stream a: rotate is invalid"),
        ('[a]\nsource = "0"\nrotate = 45', "rotate: unsupported angle"),
        ('[a]\nsource = "0"\ncrop = "1,2"', "crop: invalid"),
        ('[a]\nsource = "0"\nloop = 1', "stream a: loop is invalid"),
        ('[a]\nsource = "0"\nfps = true', "stream a: fps is invalid"),
        ('[a]\nsource = "0"\nfps = nan', "stream a: fps: out of range"),
        (f'[a]\nsource = "0"\nfps = 1{"0" * 400}', "stream a: fps: out of range"),
        ('["a/b"]\nsource = "0"', "stream name: invalid"),
        ('[a]\nsource = "0"\nthreshold = 2', "stream a: threshold is invalid"),
        ('[a]\nsource = "0"\nthreshold = true', "stream a: threshold is invalid"),
        ('[a]\nsource = "0"\nthresholds = 0.5', "stream a: thresholds is invalid"),
        ('[a]\nsource = "0"\nthresholds = { cat = "x" }', "stream a: thresholds of cat is invalid"),
        ('[a]\nsource = "rtsp://u:${EDGEPROOF_NOT_SET}@h/x"', "environment variable EDGEPROOF_NOT_SET: not set"),
    ],
)
def test_a_streams_file_that_makes_no_sense_is_refused_by_table(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_streams(streams(tmp_path, text))


def test_a_streams_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_streams(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_streams(tmp_path / "binary.toml")
