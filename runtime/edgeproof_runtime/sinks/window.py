"""Show annotated frames in a window."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Window"]

_QUIT_KEYS = (27, ord("q"))
_TRIAL = "import cv2; cv2.namedWindow('trial'); cv2.destroyAllWindows()"
_TRIAL_TIMEOUT_S = 20


class Window:
    """Window with the latest decision; use it from the main thread, as window systems require.

    Args:
        title: title of the window.
        on_quit: called once when the user presses q or Esc or closes the window.
        live, events: as for `Annotator`.

    Raises:
        UnavailableError: OpenCV has no GUI support, or no display is available.
    """

    def __init__(
        self, title: str, on_quit: Callable[[], None], *, live: bool = False, events: EventSettings | None = None
    ) -> None:
        reason, fix = unavailable_reason()
        if reason is not None:
            raise UnavailableError("window: not available", got=reason, fix=fix)
        self._title = title
        self._on_quit: Callable[[], None] | None = on_quit
        self._live, self._events = live, events
        self._annotator: Annotator | None = None

    def write(self, decided: Decided[Decision]) -> None:
        if self._on_quit is None:
            return
        if self._annotator is None:
            size = decided.frame.image.shape[:2]
            self._annotator = Annotator(*size, live=self._live, events=self._events)
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, *self._annotator.size)
        cv2.imshow(self._title, self._annotator.draw(decided))
        key = cv2.waitKey(1) & 0xFF
        if key in _QUIT_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            on_quit, self._on_quit = self._on_quit, None
            on_quit()

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - a window leaves no output
        if self._annotator is not None:
            self._annotator = None
            cv2.destroyAllWindows()


def unavailable_reason() -> tuple[str | None, str | None]:
    """Return why windows are not available, and the fix; (None, None) if available."""
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()) is not None:
        return (
            "OpenCV was built without a GUI (headless)",
            "pip uninstall opencv-python-headless && pip install --force-reinstall opencv-python",
        )
    # Qt aborts the process if the display is unreachable, so another process tries first.
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=_TRIAL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "the display does not respond", "check DISPLAY, or use --save out.mp4 instead of --show"
    if trial.returncode != 0:
        return (
            next((line.strip() for line in trial.stderr.splitlines() if "display" in line.lower()), "no display"),
            "run on a desktop or with ssh -X, or use --save out.mp4 instead of --show",
        )
    return None, None
