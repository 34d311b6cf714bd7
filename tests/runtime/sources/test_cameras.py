"""Cameras: what is asked of them, and when they captured. RTSP and UDP are real; V4L2 is made up, as there is none."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import av
import cv2
import numpy as np
import pytest

from cameras import Camera, missing_rtsp_server, write_numbered
from edgeproof_runtime.errors import InputError, SourceError, UnavailableError
from edgeproof_runtime.sources import SourceOptions, open_source
from edgeproof_runtime.sources.camera_clock import CameraClock
from edgeproof_runtime.sources.media_times import MediaClock
from edgeproof_runtime.sources.synthetic import Card, draw_card

_SENDER = """
import sys
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
pipeline = Gst.parse_launch(
    "videotestsrc is-live=true num-buffers=90 ! video/x-raw,width=320,height=240,framerate=30/1 "
    "! avenc_mpeg4 gop-size=10 ! mpeg4videoparse config-interval=1 ! mpegtsmux alignment=7 "
    f"! udpsink host=127.0.0.1 port={sys.argv[1]}"
)
pipeline.set_state(Gst.State.PLAYING)
pipeline.get_bus().timed_pop_filtered(30 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
pipeline.set_state(Gst.State.NULL)
"""


needs_pyav_18 = pytest.mark.skipif(
    not hasattr(av.container.InputContainer, "start_time_realtime"),
    reason="PyAV 17 (Python 3.10) does not tell a camera's clock",
)


class Driver:
    """A V4L2 driver that knows 640x480 at 30 frames/s only, and stamps its buffers 12 ms before it hands them over."""

    last: Driver

    def __init__(self, target: int | str, backend: int, parameters: list[int]) -> None:
        assert parameters == [] or backend != cv2.CAP_V4L2
        self.target = target
        self.asked: dict[int, float] = {}
        self.given = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0, cv2.CAP_PROP_FPS: 30.0}
        self.mjpeg = True
        Driver.last = self

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def getBackendName(self) -> str:  # noqa: N802
        return "V4L2"

    def set(self, name: int, value: float) -> bool:
        self.asked[name] = value
        if name == cv2.CAP_PROP_FOURCC and self.mjpeg:
            self.given[name] = value
        return True

    def get(self, name: int) -> float:
        if name == cv2.CAP_PROP_POS_MSEC:
            return self.grabbed_ms - 12
        return self.given.get(name, 0.0)

    def grab(self) -> bool:
        time.sleep(0.02)
        self.grabbed_ms = time.monotonic_ns() / 1e6
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.005)
        return True, np.zeros((480, 640, 3), np.uint8)

    def release(self) -> None:
        pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> type[Driver]:
    monkeypatch.setattr(cv2, "VideoCapture", Driver)
    return Driver


def test_a_camera_is_asked_and_says_what_it_gives_instead(driver):
    options = SourceOptions(resolution=(1280, 720), fps=60, mjpeg=True)
    with open_source("0", options=options) as source:
        assert source.live
        assert (source.fps, source.frame_count) == (30.0, None)
        assert source.notes == [
            "resolution: 1280x720 requested, the camera gives 640x480",
            "frame rate: 60 frames/s requested, the camera reports 30",
        ]
    assert list(driver.last.asked) == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ], "the format first: drivers have other sizes and rates in each"
    with open_source("/dev/video3", options=SourceOptions(resolution=(640, 480))) as source:
        assert source.notes == []
    assert driver.last.target == "/dev/video3"


@pytest.mark.serial
def test_a_frame_is_as_old_as_its_driver_says(driver):
    with open_source("0") as source:
        frame = next(iter(source))
    assert round(driver.last.grabbed_ms * 1e6) - frame.captured_ns == pytest.approx(12e6, abs=1e4)
    assert frame.decode_ms >= 5
    assert 0 <= frame.capture_ms < 20, "not the time that the frame had waited in the driver"


def test_csi_needs_a_jetson_and_a_pipeline_that_never_begins_is_given_up(monkeypatch):
    monkeypatch.setattr("edgeproof_runtime.sources.gstreamer.has_gstreamer", lambda: True)
    with pytest.raises(UnavailableError, match="nvarguscamerasrc"):
        open_source("csi://0")
    over = threading.Event()

    def never(*_: object) -> None:
        over.wait(30)

    monkeypatch.setattr(cv2, "VideoCapture", never)
    begin = time.monotonic()
    with pytest.raises(SourceError, match=r"within 0\.2 s"):
        open_source("rtspsrc location=rtsp://u:secret@host/x ! appsink", options=SourceOptions(open_timeout_s=0.2))
    assert time.monotonic() - begin < 10
    over.set()


def test_hardware_decoding_says_whether_it_was_granted(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for index in range(5):
        writer.write(draw_card(Card(index, 0, 0), 320, 240))
    writer.release()
    with open_source(str(path), options=SourceOptions(hardware_decode=True, decode_threads=2)) as source:
        (note,) = source.notes
        assert sum(1 for _ in source) == 5
    assert note.startswith("hardware decoding: ")


class Jetson(Driver):
    """As `Driver`, with GStreamer pipelines of which only those with a word of `starts` start."""

    starts = ""
    tried: ClassVar[list[str]] = []

    def __init__(self, target: int | str, backend: int, parameters: list[int]) -> None:
        super().__init__(target, backend, parameters)
        if backend == cv2.CAP_GSTREAMER:
            self.tried.append(str(target))

    def isOpened(self) -> bool:  # noqa: N802
        return " ! " not in str(self.target) or self.starts in str(self.target)

    def getBackendName(self) -> str:  # noqa: N802
        return "GSTREAMER"


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> type[Jetson]:
    monkeypatch.setattr(cv2, "VideoCapture", Jetson)
    monkeypatch.setattr(Jetson, "tried", [])
    monkeypatch.setattr("edgeproof_runtime.sources.gstreamer.has_gstreamer", lambda: True)
    monkeypatch.setattr("edgeproof_runtime.sources.gstreamer.has_plugin", lambda _plugin: True)
    return Jetson


def test_a_jetson_decodes_a_stream_in_hardware_whatever_its_codec(jetson, monkeypatch):
    monkeypatch.setattr(jetson, "starts", "h265")
    with open_source("rtsp://u:secret@camera/x", options=SourceOptions(hardware_decode=True)) as source:
        assert source.live
        assert source.notes == ["hardware decoding: granted, nvv4l2decoder"]
        assert "secret" not in source.name
    assert ["h264" in pipeline for pipeline in jetson.tried] == [True, False]
    assert 'location="rtsp://u:secret@camera/x"' in jetson.tried[-1]


def test_a_jetson_decodes_a_usb_cameras_mjpeg_in_hardware(jetson):
    options = SourceOptions(hardware_decode=True, mjpeg=True, resolution=(1280, 720), fps=30)
    with open_source("2", options=options) as source:
        assert source.notes == ["hardware decoding: granted, nvv4l2decoder"]
    (pipeline,) = jetson.tried
    assert pipeline.startswith(
        "v4l2src device=/dev/video2 ! image/jpeg,width=1280,height=720,framerate=30/1 ! nvv4l2decoder mjpeg=1 !"
    )
    with pytest.raises(InputError, match="hardware_decode"):
        open_source("2", options=SourceOptions(hardware_decode=True))


def test_a_decoder_that_does_not_start_is_said_and_the_cpu_decodes(jetson, monkeypatch):
    monkeypatch.setattr(jetson, "starts", "nothing")
    with open_source("0", options=SourceOptions(hardware_decode=True, mjpeg=True)) as source:
        assert "hardware decoding: requested, not granted (nvv4l2decoder: refused" in source.notes[-1]
        assert source.notes[-1].endswith("the CPU decodes")
    monkeypatch.setattr("edgeproof_runtime.sources.gstreamer.has_plugin", lambda plugin: plugin == "nvvidconv")
    with open_source("0", options=SourceOptions(hardware_decode=True, mjpeg=True)) as source:
        assert "(no GStreamer element nvv4l2decoder)" in source.notes[-1]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    missing = missing_rtsp_server()
    if missing is not None:
        pytest.skip(missing)
    pictures = (np.full((180, 320, 3), index % 250, np.uint8) for index in range(300))
    camera = Camera(write_numbered(tmp_path_factory.mktemp("camera") / "clip.mp4", pictures, 30))
    yield camera
    camera.kill()


def ages_ms(camera: Camera, *, camera_clock: bool, enough: int) -> list[float]:
    with open_source(camera.url, options=SourceOptions(camera_clock=camera_clock)) as source:
        ages = []
        for frame in source:
            ages.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
            if len(ages) == 240 or sum(age > 15 for age in ages) == enough:
                break
        assert source.notes == []
    return ages


@needs_pyav_18
@pytest.mark.serial
def test_an_rtsp_camera_says_when_it_captured(camera):
    """A frame is handed over when the next one begins, 33 ms later, which the arrival does not show."""
    told = ages_ms(camera, camera_clock=True, enough=30)
    assert np.median(told[:10]) < 15, "the arrival, until the camera's first report"
    assert 20 < np.median(told[-15:]) < 2000


@pytest.mark.slow
def test_a_pyav_that_does_not_tell_the_camera_s_clock_is_a_note(camera, monkeypatch):
    monkeypatch.setattr(MediaClock, "reads_camera_clock", False)
    with open_source(camera.url, options=SourceOptions(camera_clock=True)) as source:
        next(iter(source))
        assert source.notes == ["camera clock: requires PyAV 18 (Python 3.11 or later); using the arrival time"]


@needs_pyav_18
@pytest.mark.slow
@pytest.mark.serial
def test_a_camera_whose_clock_is_wrong_is_not_believed(camera, monkeypatch):
    real = time.time_ns
    monkeypatch.setattr("edgeproof_runtime.sources.video.time.time_ns", lambda: real() - 3_600_000_000_000)
    with open_source(camera.url, options=SourceOptions(camera_clock=True)) as source:
        for frame in source:
            assert 0 <= time.monotonic_ns() - frame.captured_ns < 15e9
            if source.notes or frame.index == 240:
                break
        (note,) = source.notes
    assert "-3600.0 s old" in note
    assert "using the arrival time" in note


@pytest.mark.slow
def test_a_stream_over_udp(tmp_path: Path):
    missing = missing_rtsp_server()
    if missing is not None:
        pytest.skip(missing)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = subprocess.Popen(
        ["/usr/bin/python3", "-c", _SENDER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        options = SourceOptions(open_timeout_s=20, read_timeout_s=0.5)
        with open_source(f"udp://127.0.0.1:{port}", options=options) as source:
            assert (source.live, source.frame_count) == (True, None)
            frames = list(source)
            (skipped,) = source.skipped
    finally:
        sender.kill()
        sender.wait()
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    assert len(frames) > 10
    assert "stopped giving frames" in skipped.reason


def test_the_clock_of_a_camera_is_used_while_it_is_plausible() -> None:
    notes: list[str] = []
    clock = CameraClock(notes)
    second_ns = 10**9
    assert clock.captured_ns(None, 7 * second_ns) == 7 * second_ns
    assert clock.captured_ns(second_ns, 7 * second_ns) == 6 * second_ns
    assert clock.captured_ns(-49_000_000, 7 * second_ns) == 7 * second_ns, "two clocks that are set well"
    assert notes == []
    for _ in range(2):
        assert clock.captured_ns(-51_000_000, 7 * second_ns) == 7 * second_ns
        assert clock.captured_ns(3600 * second_ns, 7 * second_ns) == 7 * second_ns
    assert notes == ["camera clock: implausible (frames -0.1 s old); using the arrival time"]
