"""What a Motion JPEG camera of a test sends."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np

__all__ = ["send_jpegs"]


def send_jpegs(to: BaseHTTPRequestHandler, width: int, height: int, frames: int) -> bool:
    """Answer with frames, 20 a second, each with one column more in green; return whether all were taken."""
    to.send_response(200)
    to.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    to.end_headers()
    image = np.full((height, width, 3), 90, np.uint8)
    for number in range(frames):
        image[:, number % width] = (0, 255, 0)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        try:
            to.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
            to.wfile.write(jpeg + b"\r\n")
        except OSError:
            return False
        time.sleep(0.05)
    return True
