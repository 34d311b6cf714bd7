"""What tests read of recordings."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def times_of(path: Path) -> list[float]:
    """Return the presentation times of a video's decodable frames, seconds."""
    with av.open(str(path)) as video:
        return [float(frame.time) for frame in video.decode(video=0) if frame.time is not None]


def pictures_of(path: Path) -> list[np.ndarray]:
    """Return a video's frames, BGR."""
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]


def seconds_of(path: Path) -> float:
    """Return the declared duration of a video, seconds."""
    with av.open(str(path)) as video:
        assert video.duration is not None
        return video.duration / 1e6
