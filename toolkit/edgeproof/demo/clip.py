"""A short labelled "camera" clip: a slow pan and zoom over photographs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof.demo.assets import Photograph
from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.text import csv_cell

__all__ = ["render_clip"]

_WIDTH, _HEIGHT, _FPS = 640, 480, 25.0
_FRAMES_PER_PHOTOGRAPH = 60
_NARROWEST = 0.8  # smallest visible part of the photograph


def render_clip(shown: Sequence[Photograph], labels: Sequence[str], video: Path, truth: Path) -> int:
    """Render a pan and zoom over each photograph into one video.

    Args:
        shown: the photographs.
        labels: label of each class index.
        video: MP4 to write, 640x480, 25 frames/s.
        truth: CSV to write, ``start,end,label`` per photograph, end exclusive.

    Returns:
        Number of frames.

    Raises:
        UnavailableError: this OpenCV cannot write MP4.
    """
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), _FPS, (_WIDTH, _HEIGHT))
    if not writer.isOpened():
        raise UnavailableError("OpenCV: cannot write MP4 videos", fix="pip install opencv-python")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("start", "end", "label"))
    try:
        for number, photograph in enumerate(shown):
            start = number * _FRAMES_PER_PHOTOGRAPH
            label = "|".join(labels[i] for i in photograph.classes)
            rows.writerow((start, start + _FRAMES_PER_PHOTOGRAPH, csv_cell(label)))
            for step in range(_FRAMES_PER_PHOTOGRAPH):
                writer.write(_view(photograph.frame, step / (_FRAMES_PER_PHOTOGRAPH - 1)))
    finally:
        writer.release()
    write_atomically(truth, table.getvalue().encode())
    return len(shown) * _FRAMES_PER_PHOTOGRAPH


def _view(image: NDArray[np.uint8], time: float) -> NDArray[np.uint8]:
    """Return the camera's view at ``time`` 0..1: zooming in, drifting from left to right."""
    height, width = image.shape[:2]
    widest = min(width / _WIDTH, height / _HEIGHT)
    scale = widest * (1.0 - (1.0 - _NARROWEST) * time)
    left = (width - scale * _WIDTH) * time
    top = (height - scale * _HEIGHT) / 2
    matrix = np.array([[scale, 0.0, left], [0.0, scale, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(image, matrix, (_WIDTH, _HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return view.astype(np.uint8, copy=False)
