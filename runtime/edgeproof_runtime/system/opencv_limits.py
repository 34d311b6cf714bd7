"""Limits that OpenCV reads from the environment when it is imported: this module must be imported before ``cv2``."""

from __future__ import annotations

import os

from edgeproof_runtime.system.spec import SPEC

# Larger images are refused by their header, before memory is allocated for them. Unless the user set it otherwise.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(SPEC["bounds"]["image_pixels"]))
