from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from decisions import CAT, decided
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks import AnnotatedVideo, encoding
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.sinks.shelf import Keep, Segment, Shelf
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.tasks.decision import Decision
from recordings import pictures_of, seconds_of, times_of

SUFFIXES = [".mp4", ".mov", ".mkv", ".avi"]
SMALL = cv2.resize(CAT, (320, 240))
RNG = np.random.default_rng(0)


def at(seconds: float, index: int = 0, *, away: float = 0.0, image: np.ndarray = SMALL) -> Decided[Decision]:
    """A live frame, captured at a time."""
    made = decided(image, index, captured_ns=10**9 + round(seconds * 1e9))
    return replace(made, frame=replace(made.frame, away_ns=round(away * 1e9)))


def of_file(seconds: float, index: int = 0) -> Decided[Decision]:
    made = decided(SMALL, index)
    return replace(made, frame=replace(made.frame, media_ns=round(seconds * 1e9)))


def noise() -> np.ndarray:
    return RNG.integers(0, 256, (240, 320, 3), np.uint8)


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """Let files grow no larger than this: a write fails as on a full disk."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_video_holds_every_frame(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    sink = AnnotatedVideo(path, 12.5)
    for i in range(10):
        sink.write(decided(index=i))
    sink.close()
    sink.close()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with open_source(str(path)) as source:
        frames = list(source)
        assert source.fps == pytest.approx(12.5)
    assert len(frames) == 10
    expected = Annotator(*CAT.shape[:2]).draw(decided())
    assert frames[0].image.shape == expected.shape
    assert cv2.PSNR(frames[0].image[:300], expected[:300]) > 25
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 10, "closed in order, it is a plain file with an index"
    capture.release()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_plays_at_any_moment_after_a_crash(tmp_path, suffix):
    sink = AnnotatedVideo(tmp_path / f"out{suffix}", 25, live=True)
    for i in range(76):
        sink.write(at(i / 25, i))
    copy = tmp_path / f"killed{suffix}"
    shutil.copy(tmp_path / f"out{suffix}", copy)
    assert times_of(copy)[-1] > 3.0 - 1.0
    sink.close()
    assert len(times_of(tmp_path / f"out{suffix}")) == 76


def test_an_outage_is_a_card_of_two_seconds_and_two_encodes(tmp_path, monkeypatch):
    drawn = []
    draw = Annotator.draw_gap
    monkeypatch.setattr(Annotator, "draw_gap", lambda *given: drawn.append(given[2:]) or draw(*given))
    sink = AnnotatedVideo(tmp_path / "live.mp4", 25, stream="door", live=True)
    for i in range(26):
        sink.write(at(i / 25, i))
    eight_hours = 8 * 3600.0
    for i in range(26):
        sink.write(at(1 + eight_hours + i / 25, 26 + i, away=eight_hours))
    for i in range(25):  # too short an outage to be marked
        sink.write(at(2.5 + eight_hours + i / 25, 52 + i, away=eight_hours + 0.5))
    sink.close()
    times = times_of(tmp_path / "live.mp4")
    assert len(times) == 26 + 1 + 26 + 25
    assert drawn == [("no signal", eight_hours)]
    assert times[26] == pytest.approx(1.04, abs=0.002)
    assert times[27] == pytest.approx(3.04, abs=0.002)
    assert times[53] - times[52] == pytest.approx(0.5, abs=0.002)
    assert seconds_of(tmp_path / "live.mp4") == pytest.approx(1.04 + 2 + 1 + 0.5 + 1.0, abs=0.05)


def test_hours_without_classified_frames_are_marked_too(tmp_path, monkeypatch):
    """A covered camera, whose frames are all left out, is not an outage."""
    drawn = []
    draw = Annotator.draw_gap
    monkeypatch.setattr(Annotator, "draw_gap", lambda *given: drawn.append(given[2]) or draw(*given))
    sink = AnnotatedVideo(tmp_path / "live.mp4", 25, live=True)
    for seconds in (0, 0.04, 0.08, 3600, 3600.04):
        sink.write(at(seconds))
    sink.close()
    assert len(times_of(tmp_path / "live.mp4")) == 6
    assert seconds_of(tmp_path / "live.mp4") < 3
    assert drawn == ["not classified"]


def test_a_slow_engine_is_no_outage(tmp_path):
    sink = AnnotatedVideo(tmp_path / "live.mp4", 25, live=True)
    for i in range(6):
        sink.write(at(12.0 * i, 300 * i))
    sink.close()
    assert times_of(tmp_path / "live.mp4") == pytest.approx([12.0 * i for i in range(6)], abs=0.002)


def test_a_file_of_variable_frame_rate_keeps_its_times(tmp_path):
    times = [i / 30 for i in range(20)] + [20 / 30 + i * 7 / 30 for i in range(10)]
    for suffix in (".mp4", ".mkv"):
        sink = AnnotatedVideo(tmp_path / f"out{suffix}", 1000.0)  # as the WebM of a browser declares
        for i, seconds in enumerate(times):
            sink.write(of_file(seconds, i))
        sink.close()
        assert times_of(tmp_path / f"out{suffix}") == pytest.approx(times, abs=0.002)
        assert seconds_of(tmp_path / f"out{suffix}") == pytest.approx(times[-1] + 7 / 30, abs=0.15)


def test_a_file_that_begins_again_goes_on(tmp_path):
    sink = AnnotatedVideo(tmp_path / "out.mp4", 10)
    for lap in range(3):
        for i in range(5):
            sink.write(of_file(i / 10, 5 * lap + i))
    sink.close()
    assert times_of(tmp_path / "out.mp4") == pytest.approx([i / 10 for i in range(15)], abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_without_x264_videos_are_mpeg_4(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 2.0]
    sink = AnnotatedVideo(tmp_path / f"out{suffix}", 25)
    for i, seconds in enumerate(times):
        sink.write(of_file(seconds, i))
    sink.close()
    with av.open(str(tmp_path / f"out{suffix}")) as video:
        assert video.streams.video[0].codec_context.name == "mpeg4"
    assert times_of(tmp_path / f"out{suffix}") == pytest.approx(times, abs=0.002)


# In a process of its own: the memory of other tests comes and goes. Prints the growth of each quarter of an hour.
_HOURS = """
import sys
from pathlib import Path
import numpy as np, psutil
from edgeproof_runtime.sinks import encoding

path, quarter = sys.argv[1], 27_000
encoder = encoding.open_encoder(path[-4:], (320, 240), 30)
image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
first, *_ = (encoder.encode(image, i * 33_333_333, 33_333_333, key=i == 0) for i in range(2))
file, sizes = encoder.create(Path(path), endless=True), []
for i in range(8 * quarter):
    if i % quarter == 0:
        sizes.append(psutil.Process().memory_info().rss)
    file.write(encoding.Packet(first.content[:50], i * 33_333_333, 33_333_333, key=i % 30 == 0))
file.close()
print(*np.diff(sizes))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_recording_of_hours_holds_no_index_in_memory(tmp_path, suffix):
    command = [sys.executable, "-c", _HOURS, tmp_path / f"out{suffix}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert min(int(grown) for grown in done.stdout.split()[1:]) < 250_000, done.stdout


def test_frames_of_the_same_time_delay_no_others(tmp_path):
    sink = AnnotatedVideo(tmp_path / "out.mp4", 10)
    for i in range(20):
        sink.write(of_file(i // 2 / 5, i))
    sink.close()
    times = times_of(tmp_path / "out.mp4")
    assert len(times) == 20
    assert times == pytest.approx([i // 2 / 5 for i in range(20)], abs=0.002)


def test_earlier_videos_are_never_overwritten(tmp_path):
    for _ in range(2):
        first, second = (AnnotatedVideo(tmp_path / "out.mp4", 10) for _ in range(2))
        for sink in (first, second):
            sink.write(decided())
        first.close()
        second.close(failed=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out-2.mp4", "out-3.mp4", "out-4.mp4", "out.mp4"]
    assert all(len(times_of(p)) == 1 for p in tmp_path.iterdir())


def test_a_video_of_no_frames_is_no_file(tmp_path):
    AnnotatedVideo(tmp_path / "out.mp4", 10).close()
    assert list(tmp_path.iterdir()) == []


def test_videos_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"\.gif"):
        AnnotatedVideo(tmp_path / "out.gif", 10)
    with pytest.raises(InputError, match="No such file or directory"):
        AnnotatedVideo(tmp_path / "none" / "out.mp4", 10)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_keeps_what_was_written_and_goes_on_when_there_is_room(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    sink = AnnotatedVideo(path, 25, live=True)
    written = 0
    with full_disk(3_000_000):
        with suppress(InputError):
            while written < 500:
                sink.write(at(written / 25, written, image=noise()))
                written += 1
        with pytest.raises(InputError, match=r"the video ends here\n.*File too large"):
            sink.write(at(written / 25, written, image=noise()))
    assert 3_000_000 - 600_000 < path.stat().st_size <= 3_000_000
    times = times_of(path)
    assert written / 25 - times[-1] < 1.0
    assert list(tmp_path.iterdir()) == [path], "not tried again at once"
    sink._segments._retry_s = 0.0  # type: ignore[union-attr]  # as if ten seconds had passed
    for i in range(50):
        sink.write(at(100 + i / 25, 1000 + i))
    sink.close()
    assert len(times_of(tmp_path / f"out-2{suffix}")) >= 49
    assert times_of(path) == times


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_full_at_the_end_leaves_a_video_that_plays(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    sink = AnnotatedVideo(path, 25)
    for i in range(100):
        sink.write(of_file(i / 25, i))
    with full_disk(path.stat().st_size + 100), pytest.raises(InputError, match="the video ends here"):
        sink.close()
    assert times_of(path)[-1] > 3.0


def test_a_disk_that_is_full_from_the_beginning_leaves_no_file(tmp_path):
    for suffix in SUFFIXES:
        sink = AnnotatedVideo(tmp_path / f"out{suffix}", 25, live=True)
        with full_disk(20):
            with suppress(InputError):
                for i in range(50):
                    sink.write(at(i / 25, i))
            with pytest.raises(InputError, match="the video ends here"):
                sink.write(at(2))
            sink.close()
        assert list(tmp_path.iterdir()) == [], suffix


def test_segments_by_time_are_named_by_their_start(tmp_path):
    sink = AnnotatedVideo(tmp_path / "live.mp4", 25, live=True, segment=Segment(seconds=2))
    for i in range(125):
        sink.write(at(i / 25, i))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [len(times_of(p)) for p in files] == [50, 50, 25]
    assert all(times_of(p)[0] == 0 for p in files)
    assert all(len(p.name) == len("live.20260101T000000Z.mp4") for p in files)


def test_segments_by_size_are_no_larger(tmp_path):
    sink = AnnotatedVideo(tmp_path / "live.mkv", 25, live=True, segment=Segment(max_bytes=10**6))
    for i in range(60):
        sink.write(at(i / 25, i, image=noise()))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    assert all(p.stat().st_size <= 10**6 for p in files)
    assert sum(len(times_of(p)) for p in files) == 60


def test_the_oldest_segments_are_removed_and_nothing_else(tmp_path):
    for name in ("live.mp4", "live.notes.mp4", "livelier.20200101T000000Z.mp4", "live.20200101T000000Z.txt"):
        (tmp_path / name).write_bytes(b"x" * 10**6)
    (tmp_path / "live.20200101T000000Z.mp4").write_bytes(b"x" * 10**6)
    (tmp_path / "live.20200102T000000Z.mp4").symlink_to(tmp_path / "live.mp4")
    shelf = Shelf(tmp_path, Keep(max_bytes=2 * 10**6))
    sink = AnnotatedVideo(tmp_path / "live.mp4", 25, live=True, segment=Segment(max_bytes=10**6), shelf=shelf)
    for i in range(120):
        sink.write(at(i / 25, i, image=noise()))
    sink.close()
    left = sorted(p.name for p in tmp_path.iterdir())
    ours = [name for name in left if name.startswith("live.2") and name.endswith(".mp4")]
    assert "live.20200101T000000Z.mp4" not in left
    assert "live.20200102T000000Z.mp4" in left
    assert {"live.mp4", "live.notes.mp4", "livelier.20200101T000000Z.mp4", "live.20200101T000000Z.txt"} < set(left)
    assert 2 <= len(ours) <= 4
    assert sum((tmp_path / n).stat().st_size for n in ours if not (tmp_path / n).is_symlink()) <= 2 * 10**6


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_pyav_frames_are_repeated_to_keep_their_times(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(encoding, "has_pyav", lambda: False)
    sink = AnnotatedVideo(tmp_path / f"out{suffix}", 10, live=True)
    # 10 frames/s: the second comes 0.5 s late, the third too early for a frame of its own.
    for seconds in (0.0, 0.5, 0.52, 0.9):
        sink.write(at(seconds))
    sink.write(at(0.9 + 3600, away=3600))
    sink.close()
    frames = pictures_of(tmp_path / f"out{suffix}")
    assert 30 <= len(frames) <= 40


def test_without_pyav_a_video_that_loses_frames_is_said_incomplete(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "has_pyav", lambda: False)
    sink = AnnotatedVideo(tmp_path / "out.avi", 10)
    sink.write(decided())
    sink._segments._file._written += 5  # type: ignore[union-attr]  # as if the disk had been full
    with pytest.raises(InputError, match="fewer frames than written"):
        sink.close()


def test_without_pyav_a_codec_that_opencv_lacks_is_an_error(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(encoding, "has_pyav", lambda: False)
    monkeypatch.setattr("edgeproof_runtime.sinks.encoding_opencv._CODECS", {".mp4": ("ZZZZ", "avc9")})
    sink = AnnotatedVideo(tmp_path / "out.mp4", 10)
    with pytest.raises(InputError, match="ZZZZ or avc9 at 452x"):
        sink.write(decided())
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err
