"""Real RTSP cameras whose every frame says which one it is."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "missing_rtsp_server", "number_of", "write_numbered"]

_PYTHON = "/usr/bin/python3"  # the one that Debian's bindings belong to
_SERVER = Path(__file__).with_name("rtsp_server.py")
_BITS = 16
_BAND = 32  # pixels at the top that hold the number
_WIDTH, _HEIGHT = 320, 180


def missing_rtsp_server() -> str | None:
    """Why no RTSP server can be started here; None if one can."""
    trial = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        done = subprocess.run([_PYTHON, "-c", trial], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no RTSP server: {error}"
    return None if done.returncode == 0 else f"no RTSP server: {done.stderr.strip().splitlines()[-1]}"


def write_numbered(out: Path, pictures: Iterable[NDArray[np.uint8]], fps: float) -> Path:
    """A clip of the pictures, each with its number in a band of black and white bars."""
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), fps, (_WIDTH, _HEIGHT))
    for number, picture in enumerate(pictures):
        frame = cv2.resize(picture, (_WIDTH, _HEIGHT))
        bits = [number >> bit & 1 for bit in range(_BITS)]
        frame[:_BAND] = np.repeat(np.array(bits, np.uint8) * 255, _WIDTH // _BITS)[None, :, None]
        writer.write(frame)
    writer.release()
    return out


def number_of(frame: NDArray[np.uint8]) -> int:
    """Which frame of the clip this is.

    Raises:
        ValueError: it is none of them.
    """
    bars = frame[4 : _BAND - 8].reshape(_BAND - 12, _BITS, -1, 3)[:, :, 4:-4].mean(axis=(0, 2, 3))
    if ((bars > 60) & (bars < 195)).any() or frame.shape != (_HEIGHT, _WIDTH, 3):
        raise ValueError(f"no frame of the camera: bars {bars.round()} in {frame.shape}")
    return sum(1 << bit for bit, bright in enumerate(bars > 128) if bright)


class Camera:
    """An RTSP server process on a port of its own, which can be killed and started again.

    Options are those of ``rtsp_server.py``.
    """

    def __init__(self, clip: Path, *options: str) -> None:
        self.clip = clip
        self.options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    @property
    def killed(self) -> bool:
        return self._process is None

    def start(self) -> None:
        """Return once it takes connections."""
        command = [_PYTHON, str(_SERVER), str(self.clip), str(self.port), *self.options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def kill(self) -> None:
        """As a power cut would, where the network still answers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
