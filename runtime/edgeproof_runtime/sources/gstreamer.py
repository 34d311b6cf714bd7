"""Sources through GStreamer: pipelines as given, a Jetson's CSI cameras, and its hardware decoder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qsl

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import SourceError, UnavailableError
from edgeproof_runtime.sources.options import SourceOptions, parse_resolution
from edgeproof_runtime.sources.video import VideoSource
from edgeproof_runtime.system.host import installed
from edgeproof_runtime.system.opencv import cv2, opencv_places, unhide
from edgeproof_runtime.system.redact import redact_address
from edgeproof_runtime.system.text import whole_number

__all__ = [
    "csi_pipeline",
    "decoder_missing",
    "is_camera_number",
    "mjpeg_pipeline",
    "open_decoded",
    "open_pipeline",
    "rtsp_pipelines",
]

_DEFAULT_CSI = (1280, 720), 30.0
_DIGITS = 4  # of a camera's number, a sensor's mode; as in C++
_FLIPS = 8  # nvvidconv's flip methods: 0 none, 1 to 3 quarter turns counter-clockwise, 4 to 7 mirrored
_CSI_NAMES = {"flip": "flip", "flip-method": "flip", "mode": "mode", "sensor-mode": "mode", "scale": "scale"}
_CSI_EXPECTED = "csi:// and a number, such as csi://0 or csi://0?mode=1&flip=2&scale=640x360"
# The last elements of a pipeline of NVIDIA's; nvvidconv scales and turns in hardware, and has no BGR.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
_ELEMENTS = {"nvv4l2decoder": "nvvideo4linux2", "nvvidconv": "nvvidconv"}  # element: name of its plugin's file


def is_camera_number(text: str) -> bool:
    """Return whether a text is the number of a camera, or of a sensor's mode."""
    return whole_number(text) is not None and len(text) <= _DIGITS


def csi_pipeline(spec: str, options: SourceOptions) -> str:
    """Return the GStreamer pipeline of a Jetson's CSI camera, after NVIDIA's Accelerated GStreamer guide.

    Args:
        spec: ``csi://N``, N the number of the sensor; options of the address are ``mode`` (the sensor's mode),
            ``flip`` (nvvidconv's flip method, 0..7) and ``scale`` (size of the frames, such as ``640x360``).
        options: resolution and rate that the sensor gives; default 1280x720 at 30 frames/s.

    Raises:
        SourceError: N is not a number, or an option is unknown or invalid.
    """
    sensor, _, query = spec.removeprefix("csi://").partition("?")
    sensor = sensor.rstrip("/")
    if not is_camera_number(sensor):
        raise SourceError(f"{spec}: cannot open", got=sensor or "no number", expected=_CSI_EXPECTED)
    asked: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _CSI_NAMES:
            raise SourceError(f"{spec}: unknown option", got=name, expected=", ".join(_CSI_NAMES))
        asked[_CSI_NAMES[name]] = value
    mode, flip = asked.get("mode"), asked.get("flip")
    if mode is not None and not is_camera_number(mode):
        raise SourceError(f"{spec}: mode is invalid", got=mode, expected="a number of the sensor's modes, such as 1")
    if flip is not None and (whole_number(flip) is None or int(flip) >= _FLIPS):
        expected = f"0 to {_FLIPS - 1}, such as 2 for a camera that hangs upside down"
        raise SourceError(f"{spec}: flip is invalid", got=flip, expected=expected)
    size = ""
    if "scale" in asked:
        width, height = replace(options, resolution=parse_resolution(asked["scale"])).resolution or (0, 0)
        size = f"width={width},height={height},"
    given = _caps(options.resolution or _DEFAULT_CSI[0], options.fps or _DEFAULT_CSI[1])
    return (
        f"nvarguscamerasrc sensor-id={sensor}{'' if mode is None else f' sensor-mode={mode}'} ! "
        f"video/x-raw(memory:NVMM),{given} ! "
        f"nvvidconv{'' if flip is None else f' flip-method={flip}'} ! video/x-raw,{size}format=BGRx ! {_SINK}"
    )


def rtsp_pipelines(address: str) -> tuple[str, ...]:
    """Return the pipelines that decode an RTSP stream on a Jetson's decoder: one for H.264, one for H.265."""
    location = address.replace("\\", "\\\\").replace('"', '\\"')
    return tuple(
        f'rtspsrc location="{location}" latency=100 protocols=tcp ! rtp{codec}depay ! {codec}parse ! nvv4l2decoder ! '
        f"nvvidconv ! video/x-raw,format=BGRx ! {_SINK}"
        for codec in ("h264", "h265")
    )


def mjpeg_pipeline(device: str, options: SourceOptions) -> str:
    """Return the pipeline that decodes a USB camera's MJPEG on a Jetson's decoder."""
    caps = _caps(options.resolution, options.fps)
    return (
        f"v4l2src device={device} ! image/jpeg{',' if caps else ''}{caps} ! nvv4l2decoder mjpeg=1 ! "
        f"nvvidconv ! video/x-raw,format=BGRx ! {_SINK}"
    )


def decoder_missing() -> str | None:
    """Return why a Jetson's decoder is not available here; None if it is."""
    if not has_gstreamer():
        return f"OpenCV {cv2.__version__} is built without GStreamer"
    missing = [element for element, plugin in _ELEMENTS.items() if not has_plugin(plugin)]
    return f"no GStreamer element {' or '.join(missing)}" if missing else None


def open_decoded(
    pipelines: tuple[str, ...], name: str, options: SourceOptions, label_of: Callable[[int], str | None], fix: str
) -> VideoSource | str:
    """Open the first pipeline that starts; return why none does, for a source that decodes in software instead."""
    reason = decoder_missing()
    software = replace(options, hardware_decode=False, mjpeg=False)
    for pipeline in pipelines if reason is None else ():
        try:
            source = VideoSource(
                pipeline,
                name,
                backends=[cv2.CAP_GSTREAMER],
                kind="stream",
                options=software,
                label_of=label_of,
                fix=fix,
            )
        except SourceError as error:
            reason = f"nvv4l2decoder: {error.got}"
            continue
        source.notes.append("hardware decoding: granted, nvv4l2decoder")
        return source
    return f"hardware decoding: requested, not granted ({reason}); the CPU decodes"


def open_pipeline(spec: str, name: str, options: SourceOptions, label_of: Callable[[int], str | None]) -> VideoSource:
    """Open a GStreamer pipeline.

    Raises:
        SourceError: it does not end in appsink, or does not start.
        UnavailableError: OpenCV has no GStreamer, or the pipeline requires a Jetson's camera stack.
    """
    if not re.search(r"!\s*appsink\b", spec):
        raise SourceError(
            "GStreamer pipeline: must end in appsink",
            got=redact_address(spec),
            expected="... ! videoconvert ! video/x-raw,format=BGR ! appsink",
        )
    if not has_gstreamer():
        raise UnavailableError(
            f"{name}: requires OpenCV with GStreamer",
            got=f"OpenCV {cv2.__version__} built without GStreamer",
            expected="an OpenCV with GStreamer: YES in cv2.getBuildInformation()",
            fix=_fix(),
        )
    if "nvarguscamerasrc" in spec and not has_plugin("nvarguscamerasrc"):
        raise UnavailableError(
            f"{name}: requires the Jetson camera stack",
            got="no GStreamer element nvarguscamerasrc",
            expected="a Jetson with JetPack's nvidia-l4t-camera",
        )
    return VideoSource(
        spec,
        name,
        backends=[cv2.CAP_GSTREAMER],
        kind="stream" if name.startswith("csi:") else "address",
        options=options,
        label_of=label_of,
        fix="run it with gst-launch-1.0 to see which element fails (autovideosink in place of appsink)",
    )


def _fix() -> str:
    """Return the command that brings an OpenCV with GStreamer: PyPI's may hide that of the system."""
    hiding = installed(catalog.find("opencv").distributions)
    places = [place.parent for place in opencv_places()]
    return (
        unhide(hiding, places)
        or "use the OpenCV of JetPack or of the distribution (python3-opencv), or a camera or URL as source"
    )


def has_gstreamer() -> bool:
    """Return whether this OpenCV was built with GStreamer."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


def has_plugin(plugin: str) -> bool:
    """Return whether the file of a GStreamer plugin is in the distributions' plugin folders."""
    folders = [*Path("/usr/lib").glob("*/gstreamer-1.0"), Path("/usr/lib/gstreamer-1.0")]
    folders += [Path(folder) for folder in os.environ.get("GST_PLUGIN_PATH", "").split(os.pathsep) if folder]
    return any((folder / f"libgst{plugin}.so").exists() for folder in folders)


def _caps(resolution: tuple[int, int] | None, fps: float | None) -> str:
    size = [] if resolution is None else [f"width={resolution[0]}", f"height={resolution[1]}"]
    if fps is None:
        return ",".join(size)
    rate = Fraction(fps).limit_denominator(1001)
    return ",".join([*size, f"framerate={rate.numerator}/{rate.denominator}"])
