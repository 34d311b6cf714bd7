from __future__ import annotations

import time
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import Event, EventDetector, EventSettings, events_by_stream
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sources import Frame, StreamSpec
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.decision import EventValues
from edgeproof_runtime.tasks.reconstruct import Anomaly

LABELS = ("cat", "dog", "fish")
NOW_NS = time.monotonic_ns()


def frame(index: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), index, f"clip#{index}", NOW_NS + index * 10**8, 0.0, 0.0)


def decided(index: int, *probabilities: float) -> Decided[Prediction]:
    return Decided(frame(index), Prediction(np.array(probabilities, np.float32), LABELS), 0, 0, 0, 0, 0)


def run(frames: list[tuple[float, ...]], **chosen: Any) -> list[Event]:
    detector = EventDetector("door", EventSettings(**chosen))
    events = [event for i, p in enumerate(frames) for event in detector.update(decided(i, *p))]
    return events + detector.interrupted()


CAT, DOG, NOTHING = (0.9, 0.05, 0.05), (0.1, 0.8, 0.1), (0.34, 0.33, 0.33)


def test_an_event_begins_when_it_is_stable_and_ends_with_its_last_frame():
    started, ended = run([NOTHING] * 2 + [CAT] * 6 + [NOTHING] * 5, stable_frames=3)
    assert (started.kind, started.stream, started.label, started.quantity) == ("started", "door", "cat", "probability")
    assert (started.start_index, started.end_index, started.frames) == (2, None, 3)
    assert started.peak == pytest.approx(0.9)
    assert (ended.kind, ended.start_index, ended.end_index, ended.frames) == ("ended", 2, 7, 6)
    assert ended.end_unix_s is not None
    assert ended.end_unix_s - ended.start_unix_s == pytest.approx(0.5, abs=0.01)
    assert abs(ended.start_unix_s - time.time()) < 86_400  # a date, no steady clock


def test_a_flicker_neither_begins_nor_ends_anything():
    events = run([CAT, DOG] * 10, stable_frames=2)
    assert events == []
    started, ended = run([CAT] * 4 + [NOTHING] * 2 + [CAT] * 4 + [NOTHING] * 3, stable_frames=3)
    assert (started.start_index, ended.end_index, ended.frames) == (0, 9, 8)


def test_one_label_follows_another():
    events = run([CAT] * 5 + [DOG] * 5, stable_frames=2)
    assert [(e.kind, e.label) for e in events] == [
        ("started", "cat"),
        ("ended", "cat"),
        ("started", "dog"),
        ("ended", "dog"),
    ]


def test_several_labels_at_once():
    both = (0.8, 0.7, 0.1)
    assert {e.label for e in run([both] * 5, stable_frames=2)} == {"cat"}
    assert {e.label for e in run([both] * 5, stable_frames=2, top_k=3)} == {"cat", "dog"}


def test_smoothing_bridges_what_a_single_frame_says():
    frames = ([CAT] * 3 + [DOG]) * 6
    assert run(frames, stable_frames=5) == []
    (started, _ended) = run(frames, stable_frames=5, half_life_frames=4)
    assert started.label == "cat"


def test_an_interruption_ends_what_lasts_and_begins_the_average_anew():
    detector = EventDetector("door", EventSettings(stable_frames=1, half_life_frames=100))
    assert [e.kind for e in detector.update(decided(0, *CAT))] == ["started"]
    assert [e.kind for e in detector.interrupted()] == ["ended"]
    assert detector.interrupted() == []
    assert [e.label for e in detector.update(decided(1, *DOG))] == ["dog"], "the cat is forgotten"


def test_numbers_that_are_none_end_things_and_are_forgotten():
    nan = (float("nan"), 0.5, 0.5)
    events = run([CAT] * 3 + [nan] * 2 + [CAT] * 3, stable_frames=2, half_life_frames=3)
    assert [(e.kind, e.start_index) for e in events] == [("started", 0), ("ended", 0), ("started", 5), ("ended", 5)]


def test_defects():
    def anomaly(index: int, score: float) -> Decided[Anomaly]:
        found = Anomaly(score, 2.0, np.zeros((2, 2), np.float32), np.zeros((1, 2, 2), np.float32), None)  # type: ignore[arg-type]
        return Decided(frame(index), found, 0, 0, 0, 0, 0)

    detector = EventDetector("belt", EventSettings(stable_frames=2))
    events = [
        event
        for i, score in enumerate([1.0, 2.0, 2.5, 3.0, float("inf"), 1.0, 1.0])
        for event in detector.update(anomaly(i, score))
    ]
    started, ended = events
    assert (started.label, started.quantity, started.start_index, started.peak) == ("defect", "score", 2, 3.0)
    assert (ended.end_index, ended.peak) == (4, 4.0)
    assert ended.to_json()["score"] == 4.0
    assert "probability" not in ended.to_json()


class Several(Prediction):
    """A decision of a task of its own: every class may count, each from its own limit on."""

    def event_values(self, threshold: float, top_k: int) -> EventValues:
        values = self.probabilities.astype(np.float64)
        return EventValues(values, np.array([0.9, 0.2, 0.2]), len(values), self.label_of, "probability")


def test_what_counts_is_the_decisions_own_affair():
    frames = [(0.8, 0.3, 0.25), (0.95, 0.3, 0.1)]
    detector = EventDetector("door", EventSettings(threshold=0.5, top_k=1, stable_frames=1))
    found = []
    for i, probabilities in enumerate(frames):
        one = replace(decided(i), decision=Several(np.array(probabilities, np.float32), LABELS))
        found += [(i, e.kind, e.label) for e in detector.update(one)]
    assert set(found) == {(0, "started", "dog"), (0, "started", "fish"), (1, "started", "cat"), (1, "ended", "fish")}


@pytest.mark.parametrize(
    "chosen",
    [
        {"half_life_frames": -1.0},
        {"half_life_frames": float("inf")},
        {"threshold": 1.5},
        {"thresholds": (("cat", -0.1),)},
        {"top_k": 0},
        {"stable_frames": 0},
    ],
)
def test_settings_that_make_no_sense(chosen):
    with pytest.raises(InputError, match="of events: out of range"):
        EventSettings(**chosen)


def test_a_class_may_have_a_threshold_of_its_own():
    both = (0.55, 0.45, 0.0)
    assert [event.label for event in run([both] * 4, stable_frames=2)] == ["cat", "cat"]
    strict = run([both] * 4, stable_frames=2, thresholds=(("cat", 0.6), ("dog", 0.4)), top_k=2)
    assert [event.label for event in strict] == ["dog", "dog"]
    score = run([both] * 4, stable_frames=2, thresholds=(("cat", 0.9),))
    assert score == []
    EventSettings(thresholds=(("cat", 0.6),)).require_labels(LABELS)
    with pytest.raises(InputError, match="unknown label") as found:
        EventSettings(thresholds=(("bird", 0.6),)).require_labels(LABELS)
    assert "cat, dog, fish" in str(found.value)


probabilities = st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), max_size=40)


def reference(frames, half_life, threshold, top_k, stable):
    """(start, end, frames) of every event by label, found with the whole stream at hand."""
    weight = 1 - 2 ** (-1 / half_life) if half_life else 1.0
    averages = []
    for p in frames:
        p = np.array(p, np.float32).astype(float)
        averages.append(p if not averages else averages[-1] + weight * (p - averages[-1]))
    found = set()
    for label in range(3):
        shows = [
            a[label] >= threshold and sum(a[j] > a[label] or (a[j] == a[label] and j < label) for j in range(3)) < top_k
            for a in averages
        ]
        runs = [(on, [i for i, _ in group]) for on, group in groupby(enumerate(shows), key=lambda item: item[1])]
        begun = None
        for on, where in runs:
            if begun is None and on and len(where) >= stable:
                begun = [where[0], where[-1], len(where)]
            elif begun is not None and on:
                begun[1], begun[2] = where[-1], begun[2] + len(where)
            elif begun is not None and len(where) >= stable:
                found.add((LABELS[label], *begun))
                begun = None
        if begun is not None:
            found.add((LABELS[label], *begun))
    return found


@settings(max_examples=150)
@given(
    frames=probabilities,
    half_life=st.sampled_from([0.0, 0.5, 3.0]),
    threshold=st.sampled_from([0.0, 0.3, 0.6]),
    top_k=st.integers(1, 4),
    stable=st.integers(1, 4),
)
def test_events_are_those_that_the_whole_stream_shows(frames, half_life, threshold, top_k, stable):
    events = run(frames, half_life_frames=half_life, threshold=threshold, top_k=top_k, stable_frames=stable)
    ended = [e for e in events if e.kind == "ended"]
    assert {(e.label, e.start_index, e.end_index, e.frames) for e in ended} == reference(
        frames, half_life, threshold, top_k, stable
    )
    started = [(e.label, e.start_index) for e in events if e.kind == "started"]
    assert sorted(started) == sorted((e.label, e.start_index) for e in ended), "each beginning has its ending"
    assert all(e.frames >= stable and e.peak >= threshold for e in events)


def test_a_stream_has_its_own_thresholds_and_smoothing_of_all():
    base = EventSettings(half_life_frames=3, threshold=0.6, thresholds=(("cat", 0.7),))
    streams = [
        StreamSpec(name="door", source="0"),
        StreamSpec(name="belt", source="1", threshold=0.9),
        StreamSpec(name="yard", source="2", thresholds=(("dog", 0.2),)),
    ]
    door, belt, yard = events_by_stream(base, streams, ["cat", "dog"]).values()
    assert door == base
    assert (belt.threshold_of("dog"), belt.threshold_of("cat"), belt.half_life_frames) == (0.9, 0.7, 3)
    assert (yard.threshold_of("dog"), yard.threshold_of("cat")) == (0.2, 0.6)
    with pytest.raises(InputError, match="stream yard: thresholds: unknown label"):
        events_by_stream(EventSettings(), streams, ["cat"])
