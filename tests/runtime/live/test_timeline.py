"""The timeline: every frame accounted for, the slowest kept, never more points than asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.live.timeline import FrameState, Timeline

FRAMES = st.lists(
    st.one_of(
        st.tuples(st.floats(0, 1e4), st.sampled_from(["classified", "stale"])),
        st.tuples(st.none(), st.sampled_from(["dropped", "failed"])),
    ),
    max_size=300,
)


@given(FRAMES, st.integers(2, 20))
def test_no_frame_is_lost_and_the_slowest_survives(
    frames: list[tuple[float | None, FrameState]], max_points: int
) -> None:
    timeline = Timeline(max_points)
    for i, (ms, state) in enumerate(frames):
        timeline.add(float(i), ms, state)
    document = timeline.to_json()
    assert len(document["time_s"]) <= max_points
    assert sum(document["frames"]) == len(frames)
    measured = [ms for ms, _ in frames if ms is not None]
    kept = [ms for ms in document["end_to_end_ms"] if ms is not None]
    assert max(kept, default=None) == max(measured, default=None)
    severity = ["classified", "stale", "dropped", "failed"]
    worst = max((severity.index(state) for _, state in frames), default=-1)
    assert max((severity.index(state) for state in document["state"]), default=-1) == worst
    assert document["time_s"] == sorted(document["time_s"])


def test_a_short_run_is_kept_frame_by_frame() -> None:
    timeline = Timeline()
    timeline.add(0.0, 12.5)
    timeline.add(0.1, None, "dropped")
    assert timeline.to_json() == {
        "frames_per_point": 1,
        "time_s": [0.0, 0.1],
        "end_to_end_ms": [12.5, None],
        "state": ["classified", "dropped"],
        "frames": [1, 1],
    }


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="dropped contradicts latency"):
        Timeline().add(0.0, 3.0, "dropped")
    with pytest.raises(ValueError, match="classified contradicts latency None"):
        Timeline().add(0.0, None)
    with pytest.raises(ValueError, match="state: unknown"):
        Timeline().add(0.0, 1.0, "lost")  # type: ignore[arg-type]
