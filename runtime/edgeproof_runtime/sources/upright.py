"""Turn decoded frames into BGR images: deinterlaced, upright, with the flagged colour matrix and range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.system import heap
from edgeproof_runtime.system.opencv import cv2

if TYPE_CHECKING:
    import av
    import av.filter
    import av.video

__all__ = ["Converter", "Deinterlacer", "orientation", "orientation_of", "rotated", "turned"]

_MATRIX = "DISPLAYMATRIX"


class Deinterlacer:
    """Deinterlace frames that are flagged as interlaced (FFmpeg's bwdif); others pass unchanged.

    One frame comes out for each that goes in, one frame later once an interlaced one was seen.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[int, int, str] | None = None

    def push(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take a frame; yield those that are ready."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and shape != self._shape:
            yield from self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph = _deinterlacing(frame)
            self._shape = shape
        self._graph.vpush(frame)
        yield from _ready(self._graph)

    def flush(self) -> Iterator[av.VideoFrame]:
        """Yield what is left; the next frame begins anew."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from _ready(self._graph)
            self._graph = None


def _ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    import av

    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _deinterlacing(frame: av.VideoFrame) -> av.filter.Graph:
    import av.filter

    graph = av.filter.Graph()
    begin = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(begin, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


class Converter:
    """Convert frames to BGR images; a matrix or range that is not flagged means BT.601 and limited range."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        heap.keep_freed()

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        converted = self._reformatter.reformat(frame, format="bgr24", threads=1)
        return np.ascontiguousarray(converted.to_ndarray(), dtype=np.uint8)


def orientation_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return the clockwise rotation in degrees that makes a frame upright, and whether it is mirrored before that."""
    side_data: Any = cast(Any, frame.side_data).get(_MATRIX)  # PyAV 19 iterates over types, 18 over the data
    if side_data is None:
        return 0, False
    return orientation(np.frombuffer(bytes(side_data), np.int32))


def orientation(matrix: NDArray[np.int32]) -> tuple[int, bool]:
    """Return rotation and mirroring of a display matrix (ISO/IEC 14496-12, 8.3.2); others than 90° steps are none.

    Returns:
        Degrees clockwise: 0, 90, 180 or 270; whether the image is mirrored left to right first.
    """
    a, b, c, d = (int(np.sign(int(matrix[i]))) for i in (0, 1, 3, 4))
    found = {
        (1, 0, 0, 1): (0, False),
        (0, 1, -1, 0): (90, False),
        (-1, 0, 0, -1): (180, False),
        (0, -1, 1, 0): (270, False),
        (-1, 0, 0, 1): (0, True),
        (1, 0, 0, -1): (180, True),
        (0, 1, 1, 0): (270, True),
        (0, -1, -1, 0): (90, True),
    }
    return found.get((a, b, c, d), (0, False))


_TURNS: dict[int, Any] = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def turned(image: NDArray[np.uint8], degrees: int, mirrored: bool) -> NDArray[np.uint8]:
    """Return an image mirrored and rotated clockwise."""
    if mirrored:
        image = cv2.flip(image, 1).astype(np.uint8, copy=False)
    return rotated(image, degrees)


def rotated(image: NDArray[Any], degrees: int) -> NDArray[Any]:
    """Return an image of any number of channels rotated clockwise by 0, 90, 180 or 270 degrees."""
    if not degrees:
        return image
    if image.ndim == 3 and image.shape[2] > 3:  # OpenCV rotates pixels of at most 32 bytes
        return np.ascontiguousarray(np.rot90(image, -degrees // 90))
    return cv2.rotate(image, _TURNS[degrees])
