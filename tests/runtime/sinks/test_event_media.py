from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from decisions import CAT, decided
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks import AnnotatedVideo, EventMedia, QueuedSink, Recording
from edgeproof_runtime.sinks.clips import Clips
from edgeproof_runtime.sinks.encoding import Packet
from edgeproof_runtime.tasks.decision import Decision
from recordings import times_of

SMALL = cv2.resize(CAT, (320, 240))
FPS = 10


def at(index: int) -> Decided[Decision]:
    return decided(SMALL, index, captured_ns=10**9 + index * 10**9 // FPS)


def event(kind: str, start: int, label: str = "cat", end: int | None = None) -> Event:
    return Event(
        kind=kind,  # type: ignore[arg-type]
        stream="door", label=label, quantity="probability", peak=0.9, start_unix_s=start / FPS, start_index=start,
        frames=5, end_index=end, end_unix_s=None if end is None else end / FPS,
    )  # fmt: skip


@contextmanager
def recorded(recording: Recording) -> Iterator[tuple[EventMedia, QueuedSink[Decided[Decision]]]]:
    media = EventMedia(recording)
    video = AnnotatedVideo(recording.save, FPS, stream="door", live=True, pre_s=recording.pre_s)
    queue = QueuedSink(video, "door", capacity=1000, close_timeout_s=300)
    media.watch("door", queue, video, FPS, live=True)
    yield media, queue
    queue.close()
    assert queue.counts.last_error is None, queue.counts


def play(
    media: EventMedia, queue: QueuedSink[Decided[Decision]], frames: range, events: dict[int, list[Event]]
) -> list[Event]:
    seen = []
    for index in frames:
        queue.write(at(index))
        media.advance(at(index))
        seen += [media.attach(e, at(index) if e.kind == "started" else None) for e in events.get(index, ())]
    return seen


def test_a_clip_begins_before_its_event_and_ends_after_it(tmp_path: Path) -> None:
    recording = Recording.of(clips=tmp_path / "c", snapshots=tmp_path / "s", pre_s=2, post_s=1, save=tmp_path / "v.mp4")
    with recorded(recording) as (media, queue):
        started, ended = play(
            media, queue, range(150), {54: [event("started", 50)], 84: [event("ended", 50, end=79)]}
        )  # fmt: skip
    assert started.clip == ended.clip
    assert started.snapshot == ended.snapshot
    assert started.clip is not None
    assert started.snapshot is not None
    # From frame 30, or up to a second before it, to a second after the end was known.
    assert 6.4 <= times_of(Path(started.clip))[-1] + 1 / FPS <= 7.6
    assert cv2.imread(started.snapshot).shape[:2] == (320, 320)
    assert len(times_of(tmp_path / "v.mp4")) == 150
    assert list((tmp_path / "c").iterdir()) == [Path(started.clip)]
    assert "clip" in started.to_json()


def test_events_that_overlap_share_a_clip_and_later_ones_do_not(tmp_path: Path) -> None:
    recording = Recording.of(clips=tmp_path, pre_s=0, post_s=1)
    events = {
        20: [event("started", 16)],
        30: [event("started", 26, "dog"), event("ended", 16, end=25)],
        40: [event("ended", 26, "dog", end=35)],
        45: [event("started", 41)],  # within the second after
        60: [event("ended", 41, end=55)],
        100: [event("started", 96)],
    }
    with recorded(recording) as (media, queue):
        first, dog, first_end, dog_end, second, second_end, later = play(media, queue, range(120), events)
        media.interrupted("door")
    assert first.clip == dog.clip == first_end.clip == dog_end.clip == second.clip == second_end.clip
    assert later.clip != first.clip
    assert len(list(tmp_path.iterdir())) == 2
    assert 5.0 <= times_of(Path(str(first.clip)))[-1] <= 6.5


def test_a_stream_that_breaks_off_ends_its_clip(tmp_path: Path) -> None:
    recording = Recording.of(clips=tmp_path, pre_s=0, post_s=60)
    with recorded(recording) as (media, queue):
        (started,) = play(media, queue, range(30), {20: [event("started", 16)]})
        media.attach(event("ended", 16, end=29), None)
        media.interrupted("door")
        play(media, queue, range(30, 60), {})
    assert times_of(Path(str(started.clip)))[-1] <= 2.9


def test_a_clip_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproof_runtime.sinks.recording._MOST_CLIP_S", 2.0)
    with recorded(Recording.of(clips=tmp_path, pre_s=0, post_s=1)) as (media, queue):
        (started,) = play(media, queue, range(80), {10: [event("started", 10)]})
    assert times_of(Path(str(started.clip)))[-1] <= 3.2


def test_the_ring_is_bounded_by_time_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Clips(2.0)
    for index in range(1000):
        clips.add(Packet(b"x" * 1000, index * 10**8, 10**8, key=index % 10 == 0), index)
    assert 120 <= len(clips._ring) <= 122
    monkeypatch.setattr("edgeproof_runtime.sinks.clips._RING_BYTES", 10_000)
    clips.add(Packet(b"x" * 1000, 1000 * 10**8, 10**8, key=True), 1000)
    assert len(clips._ring) == 10
    clips.add(Packet(b"x" * 100_000, 1001 * 10**8, 10**8, key=True), 1001)
    assert clips._bytes == sum(kept.packet.size for kept in clips._ring) <= 10_000


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        EventMedia(Recording.of(snapshots=tmp_path / "file" / "s"))


def test_a_snapshot_that_fails_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    sink = AnnotatedVideo(None, FPS)
    path = tmp_path / "x.jpg"
    path.touch()
    with pytest.raises(InputError, match=r"x\.jpg"):
        sink.snapshot(path, at(0))
    with suppress(InputError):
        sink.snapshot(tmp_path / "none" / "y.jpg", at(0))
    assert [p.name for p in tmp_path.iterdir()] == ["x.jpg"]
    sink.write(replace(at(0), stream="door"))  # neither video nor clips: nothing to do
    sink.close()
