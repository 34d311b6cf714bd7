from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sinks import shelf
from edgeproof_runtime.sinks.shelf import Keep, Segment, Shelf

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The wall clock, to be set at will."""
    now = [NOON]

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):  # noqa: ARG003
            return now[0]

    monkeypatch.setattr(shelf, "datetime", Clock)
    return now


def taken(shelf: Shelf, stem: str = "live") -> str:
    path = shelf.take(stem, ".mp4")
    path.touch()
    return path.name


def test_names_are_start_times_and_never_go_back(tmp_path: Path, clock: list[datetime]) -> None:
    shelf = Shelf(tmp_path)
    names = [taken(shelf)]
    clock[0] = NOON.replace(hour=11)  # set back by an hour
    names += [taken(shelf), taken(shelf)]
    clock[0] = NOON.replace(hour=12, minute=30)
    names += [taken(shelf)]
    clock[0] = NOON.replace(hour=8)
    names += [taken(Shelf(tmp_path))]  # a new run
    assert names == [
        f"live.20260301T{at}Z.mp4" for at in ("120000", "120001", "120002", "123000", "123001")
    ]  # fmt: skip
    assert names == sorted(names)


def test_two_runs_never_share_a_file(tmp_path: Path, clock: list[datetime]) -> None:
    first, second = Shelf(tmp_path), Shelf(tmp_path)
    paths = [first.take("live", ".mp4")]
    paths[0].touch()
    for run in (second, first, first):
        paths.append(run.take("live", ".mp4"))
        paths[-1].touch()
    assert len(set(paths)) == 4
    assert paths == sorted(paths)


def test_streams_are_named_apart(tmp_path: Path, clock: list[datetime]) -> None:
    shelf = Shelf(tmp_path)
    assert taken(shelf, "live-a") == "live-a.20260301T120000Z.mp4"
    assert taken(shelf, "live-b") == "live-b.20260301T120000Z.mp4"
    odd = shelf.take("door", ".jpg", "../../Ägyptische Katze, groß/" + "x" * 300)
    assert odd.parent == tmp_path
    assert odd.name.startswith("door.20260301T120000Z.Ägyptische_Katze__groß_xx")
    assert len(odd.name.encode()) < 100
    assert shelf.take("door", ".jpg", "..").name == "door.20260301T120000Z.event.jpg"
    assert shelf.take("door", ".jpg", "..").name == "door.20260301T120000Z.event-2.jpg"


def test_the_age_of_own_files_is_monotonic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, Keep(seconds=3600))
    path = shelf.take("live", ".mp4")
    path.touch()
    shelf.finished(path)
    year = time.time() + 365 * 86400
    monkeypatch.setattr(time, "time", lambda: year)  # set forward
    shelf.prune()
    assert path.exists()
    later = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    shelf.prune()
    assert not path.exists()


def test_what_is_written_is_never_removed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, Keep(seconds=1, max_bytes=10**6))
    path = shelf.take("live", ".mp4")
    path.write_bytes(b"x" * 10**7)
    os.utime(path, (0, 0))
    shelf.prune()
    assert path.exists()
    shelf.finished(path)
    assert not path.exists()


def test_files_of_earlier_runs_count(tmp_path: Path) -> None:
    for day in range(1, 6):
        old = tmp_path / f"live.2026010{day}T000000Z.mp4"
        old.write_bytes(b"x" * 10**6)
        os.utime(old, (0, 0) if day < 3 else None)
    shelf = Shelf(tmp_path, Keep(seconds=86400, max_bytes=2 * 10**6))
    path = shelf.take("live", ".mp4")
    path.touch()
    shelf.finished(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "live.20260104T000000Z.mp4",
        "live.20260105T000000Z.mp4",
        path.name,
    ]


def test_times_and_sizes() -> None:
    assert Segment.parse(()) is None
    assert Segment.parse(["10m", "500MB"]) == Segment(600, 500 * 10**6)
    assert Keep.parse(["20GiB"]) == Keep(None, 20 << 30)
    assert Keep.parse(["7d"]) == Keep(7 * 86400, None)
    for text in ("", "0", "1ms", "999KB", "much", "-1d", "10 m"):
        with pytest.raises(InputError, match="--keep: not a time or size"):
            Keep.parse([text])
