"""Capture times by a camera's clock."""

from __future__ import annotations

from edgeproof_runtime.system.spec import SPEC

__all__ = ["CameraClock"]

_SLACK_NS = 50_000_000  # two clocks that are set well differ by less


class CameraClock:
    """Date frames by the age that a camera's clock gives them, while it is plausible.

    Args:
        notes: notes of the source; get one when an age is not plausible.
    """

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._differs = False

    def captured_ns(self, age_ns: int | None, arrived_ns: int) -> int:
        """Return when a frame was captured, ns of the monotonic clock.

        Args:
            age_ns: age at its arrival; None before the camera's first sender report.
            arrived_ns: its arrival, which is returned where the age is unknown or not plausible.
        """
        if age_ns is None:
            return arrived_ns
        if -_SLACK_NS < age_ns < SPEC["video"]["max_stamp_age_ns"]:
            return arrived_ns - max(0, age_ns)
        if not self._differs:
            self._differs = True
            age = f"frames {age_ns / 1e9:.1f} s old"
            self._notes.append(f"camera clock: implausible ({age}); using the arrival time")
        return arrived_ns
