"""When a video is at its end, and when a frame was captured, in plain Python: the oracle of ``capture.cpp``."""

from __future__ import annotations

from typing import NamedTuple

BROKEN_IN_A_ROW = 100
BROKEN_IN_A_ROW_LIVE = 10
STAMP_PLAUSIBLE_NS = 10_000_000_000


class Counted(NamedTuple):
    """Indices of the frames that decoded, and what was lost."""

    indices: list[int]
    losses: list[str]


def count(grabs: str, frame_count: int | None, *, live: bool) -> Counted:
    """Walk a video until its end.

    Args:
        grabs: one letter per grab: ``o`` a frame, ``d`` a frame that does not decode, ``x`` no frame, ``w`` no frame
            after waiting for the time limit.
        frame_count: frames that the video claims.
        live: whether it is a stream.
    """
    index = broken = in_a_row = 0
    indices = []
    for grab in grabs:
        if grab in "xw":
            in_a_row += 1
            limit = BROKEN_IN_A_ROW_LIVE if frame_count is None else BROKEN_IN_A_ROW
            if grab == "w" or in_a_row > limit or (frame_count is not None and index + in_a_row > frame_count):
                break
            continue
        index, broken, in_a_row = index + in_a_row, broken + in_a_row, 0
        if grab == "o":
            indices.append(index)
        else:
            broken += 1
        index += 1
    losses = [f"{broken} of {index} frames could not be decoded"] if broken else []
    if live:
        return Counted(indices, [*losses, f"stopped giving frames after {index}"])
    missing = (frame_count or index) - index
    if missing > max(2, (index + missing) * 0.01):
        losses.append(f"gave {index} of {index + missing} frames; it is cut off or damaged")
    return Counted(indices, losses)


def stamped_ns(stamp_ms: float, arrived_ns: int) -> int:
    """A V4L2 driver's stamp where it lies in the 10 s before the arrival, else the arrival."""
    stamp_ns = round(stamp_ms * 1e6)
    return stamp_ns if stamp_ns > 0 and 0 <= arrived_ns - stamp_ns < STAMP_PLAUSIBLE_NS else arrived_ns
