"""Annotated frames in a window."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import cv2

from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Window"]

_QUIT_KEYS = (27, ord("q"))
_TRIAL = "import cv2; cv2.namedWindow('trial'); cv2.destroyAllWindows()"
_TRIAL_TIMEOUT_S = 20


class Window:
    """Shows the latest decision; to be used from the main thread, as window systems want it.

    Args:
        title: of the window.
        on_quit: called once when a person presses q or Esc or closes the window.

    Raises:
        UnavailableError: this OpenCV has no windows, or there is no display.
    """

    def __init__(self, title: str, on_quit: Callable[[], None]) -> None:
        reason, fix = unavailable_reason()
        if reason is not None:
            raise UnavailableError("cannot open a window", got=reason, fix=fix)
        self._title = title
        self._on_quit: Callable[[], None] | None = on_quit
        self._annotator: Annotator | None = None

    def write(self, decided: Decided[Decision]) -> None:
        if self._on_quit is None:
            return
        if self._annotator is None:
            self._annotator = Annotator(*decided.frame.image.shape[:2])
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, *self._annotator.size)
        cv2.imshow(self._title, self._annotator.draw(decided))
        key = cv2.waitKey(1) & 0xFF
        if key in _QUIT_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            on_quit, self._on_quit = self._on_quit, None
            on_quit()

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - a window leaves nothing behind
        if self._annotator is not None:
            self._annotator = None
            cv2.destroyAllWindows()


def unavailable_reason() -> tuple[str | None, str | None]:
    """Why no window can be opened here, and how to mend it; (None, None) if it can."""
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()) is not None:
        return (
            "an OpenCV built without windows (headless)",
            "pip uninstall opencv-python-headless && pip install --force-reinstall opencv-python",
        )
    # Qt aborts the whole process where the display cannot be reached, so another process tries first.
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=_TRIAL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "a display that does not answer", "check DISPLAY, or leave --show out and use --save out.mp4"
    if trial.returncode != 0:
        return (
            next((line.strip() for line in trial.stderr.splitlines() if "display" in line.lower()), "no display"),
            "run it on a desktop or with ssh -X, or leave --show out and use --save out.mp4",
        )
    return None, None
