"""A camera's codec: encodes and decodes a frame, to measure the drop in accuracy that the codec causes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.opencv import cv2

__all__ = ["CODECS", "CompressedCamera"]

_JPEG_QUALITY = 80
_FPS = 30.0
_SMALLEST_SIDE = 16  # a macroblock; codecs with subsampled colour also require even sides

CODECS: dict[str, str] = {
    "mp4v": "the key frame of an MPEG-4 Part 2 video (FFmpeg's encoder at the rate that OpenCV sets), decoded again",
    "h264": "the key frame of an H.264 video (the encoder and the rate of this OpenCV's FFmpeg), decoded again",
    "mjpeg": f"a frame of a Motion JPEG stream (quality {_JPEG_QUALITY}, 4:2:2), decoded again",
}
_FOURCC = {"mp4v": "mp4v", "h264": "avc1"}


class CompressedCamera:
    """Turns frames into those of a camera that compresses. Not thread-safe.

    Args:
        codec: one of `CODECS`.

    Raises:
        InputError: the codec is unknown.
        UnavailableError: this OpenCV has no encoder for it (PyPI's has none for H.264, because of its licence).
    """

    def __init__(self, codec: str) -> None:
        if codec not in CODECS:
            raise InputError("unknown camera codec", got=codec, expected=", ".join(CODECS))
        self.codec = codec
        probe = np.zeros((64, 64, 3), np.uint8)
        if self._coded(probe) is None:
            raise UnavailableError(
                f"codec {codec}: OpenCV {cv2.__version__} has no encoder", fix="choose --camera mp4v or --camera mjpeg"
            )

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Encode and decode a frame.

        Args:
            frame: uint8 ``HxWx3`` BGR or ``HxW`` gray.

        Returns:
            uint8 ``HxWx3`` BGR of the same height and width; a gray frame becomes BGR, too.

        Raises:
            InputError: the codec cannot encode this frame.
        """
        image = frame if frame.ndim == 3 and frame.shape[2] == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        height, width = image.shape[:2]
        bottom, right = (max(_SMALLEST_SIDE, side + side % 2) - side for side in (height, width))
        padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        coded = self._coded(padded.astype(np.uint8, copy=False))
        if coded is None or coded.shape != padded.shape:
            raise InputError(f"codec {self.codec}: cannot encode this frame", got=f"{width}x{height}")
        return np.ascontiguousarray(coded[:height, :width])

    def _coded(self, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        if self.codec == "mjpeg":
            if not hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):
                raise UnavailableError(
                    "codec mjpeg: this OpenCV cannot write JPEG with 4:2:2 sampling",
                    got=f"OpenCV {cv2.__version__}",
                    expected="OpenCV 4.7 or later",
                    fix="choose another codec, or measure on a workstation",
                )
            flags = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
            _, jpeg = cv2.imencode(".jpg", image, flags)
            decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
            return None if decoded is None else decoded.astype(np.uint8, copy=False)
        # FFmpeg's muxers require a file; with one per frame, no frame is predicted from another.
        with tempfile.TemporaryDirectory() as folder, quiet_opencv():
            path = str(Path(folder) / "frame.mp4")
            size = (image.shape[1], image.shape[0])
            writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*_FOURCC[self.codec]), _FPS, size)
            try:
                if not writer.isOpened():
                    return None
                writer.write(image)
            finally:
                writer.release()
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
            try:
                read, decoded = capture.read()
            finally:
                capture.release()
        return decoded.astype(np.uint8, copy=False) if read else None
