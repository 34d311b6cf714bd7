"""Files that grow: appended to, rotated, followed; and new names for what must not be replaced."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.sinks import Rotation, open_sink
from edgeproof_runtime.sinks.events_csv import EventsFile
from edgeproof_runtime.sinks.growing import GrowingFile, free_name, place_new
from edgeproof_runtime.system.text import csv_value

ENDED = Event(
    kind="ended", stream="door", label="cat", quantity="probability", peak=0.5, start_unix_s=1.7e9, start_index=1,
    frames=2, end_unix_s=1.7e9, end_index=3,
)  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class SmallDisk(io.FileIO):
    """A file on a disk that takes so many bytes more."""

    left = 0

    def write(self, content: Any) -> int:
        taken = bytes(content)[: SmallDisk.left]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        SmallDisk.left -= len(taken)
        return super().write(taken)


def test_a_full_disk_is_named_each_time_and_lines_go_on_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproof_runtime.sinks.growing.io.FileIO", SmallDisk)
    monkeypatch.setattr(SmallDisk, "left", 12)
    path = tmp_path / "lines.txt"
    file = GrowingFile(path)
    file.write("first")
    for _ in range(3):
        with pytest.raises(OSError, match="No space left on device"):
            file.write("a line that is too long")
    monkeypatch.setattr(SmallDisk, "left", 1000)
    file.write("last")
    file.close()
    assert path.read_text().splitlines() == ["first", "a line", "last"]


def test_the_first_loss_of_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproof_runtime.sinks.growing.io.FileIO", SmallDisk)
    monkeypatch.setattr(SmallDisk, "left", 200)
    sink = open_sink(str(tmp_path / "events.csv"))
    for _ in range(4):
        sink.write(ENDED)
    sink.close()
    said = sink.news() or ""
    assert "cannot write events (No space left on device); free space on the disk" in said
    assert sink.counts.failed == 4 - sink.counts.written > 0


def test_a_second_run_appends(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    for _ in range(2):
        sink = EventsFile(path)
        sink.write(ENDED)
        sink.close()
    labels = [row["label"] for row in rows(path)]
    assert labels == ["run began", "cat", "run began", "cat"]
    assert path.read_text().count("stream,label") == 1
    began = rows(path)[0]
    assert abs(datetime.fromisoformat(began["start"]).timestamp() - datetime.now(timezone.utc).timestamp()) < 60
    assert (began["stream"], began["quantity"], began["end"]) == ("", "", "")


def test_a_file_with_other_columns_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="begins with other columns"):
        open_sink(str(path))
    assert path.read_text() == "a,b\n1,2\n"


def test_a_line_that_was_cut_off_is_ended(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b'{"a": 1}\n{"b"')
    file = GrowingFile(tmp_path / "lines")
    file.write("next")
    file.close()
    assert (tmp_path / "lines").read_bytes() == b'{"a": 1}\n{"b"\nnext\n'


@pytest.mark.parametrize("how", ["renamed", "removed", "emptied"])
def test_logrotate_is_followed(tmp_path: Path, how: str) -> None:
    path = tmp_path / "f.csv"
    file = GrowingFile(path, header="head")
    file.write("1")
    {
        "renamed": lambda: path.rename(tmp_path / "f.csv.1"),
        "removed": path.unlink,
        "emptied": lambda: os.truncate(path, 0),
    }[how]()
    file.write("2")
    file.write("3")
    file.close()
    assert path.read_text() == "head\n2\n3\n"
    if how == "renamed":
        assert (tmp_path / "f.csv.1").read_text() == "head\n1\n"


def test_a_file_is_set_aside_at_a_size_and_nothing_is_lost(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "f.csv", header="head", rotation=Rotation(max_bytes=1000))
    for number in range(500):
        file.write(f"line {number}")
    file.close()
    files = list(tmp_path.iterdir())
    assert 5 <= len(files) <= 10
    assert all(f.stat().st_size <= 1000 and f.read_text().startswith("head\n") and f.suffix == ".csv" for f in files)
    lines = [line for f in files for line in f.read_text().splitlines()[1:]]
    assert sorted(lines) == sorted(f"line {number}" for number in range(500))


def test_a_line_longer_than_the_size_does_not_rotate_for_ever(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "f.csv", header="head", rotation=Rotation(max_bytes=1000))
    for _ in range(3):
        file.write("x" * 2000)
    file.close()
    assert len(list(tmp_path.iterdir())) == 3


def test_each_day_has_its_file(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("yesterday\n")
    os.utime(path, (1.7e9, 1.7e9))
    file = GrowingFile(path, rotation=Rotation(daily=True))
    for line in ("today", "again"):
        file.write(line)
    file.close()
    (aside,) = set(tmp_path.iterdir()) - {path}
    assert (path.read_text(), aside.read_text()) == ("today\nagain\n", "yesterday\n")


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    def write(name: str) -> None:
        file = GrowingFile(tmp_path / "f", header="head", rotation=Rotation(max_bytes=3000))
        for number in range(300):
            file.write(f"{name}{number}")
        file.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for f in tmp_path.iterdir() for line in f.read_text().splitlines() if line != "head"]
    assert sorted(lines) == sorted(f"{name}{number}" for name in "ab" for number in range(300))


def test_a_link_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    file = GrowingFile(tmp_path / "link", rotation=Rotation(max_bytes=1000))
    for _ in range(3):
        file.write("x" * 600)
    file.close()
    assert (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.glob("file*"))) == 3


def test_a_fifo_is_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_text()))
    reader.start()
    sink = EventsFile(tmp_path / "fifo", Rotation(max_bytes=1000))
    sink.write(ENDED)
    sink.close()
    reader.join(20)
    assert [line.split(",")[1] for line in got[0].splitlines()] == ["label", "run began", "cat"]
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_standard_output_is_a_stream() -> None:
    code = "from edgeproof_runtime.sinks.growing import *; f = GrowingFile('-', header='h'); f.write('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"h\nx\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("day", Rotation(daily=True)),
        ("100MB", Rotation(max_bytes=100_000_000)),
        ("1GiB", Rotation(max_bytes=1 << 30)),
        ("5 kB", Rotation(max_bytes=5000)),
    ],
)
def test_rotations(text: str, expected: Rotation) -> None:
    assert Rotation.parse(text) == expected


@pytest.mark.parametrize("text", ["", "0MB", "-1MB", "100", "week", "9999999999999GB", "1e3MB", "999999999999GB"])
def test_what_is_no_rotation(text: str) -> None:
    with pytest.raises(InputError, match="--rotate-files"):
        Rotation.parse(text)


def test_new_names(tmp_path: Path) -> None:
    made = []
    for number in range(3):
        partial = tmp_path / "partial"
        partial.write_text(str(number))
        made.append(place_new(partial, tmp_path / "out.mp4").name)
    assert made == ["out.mp4", "out-2.mp4", "out-3.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "0"
    (tmp_path / "dangling").symlink_to("none")
    assert free_name(tmp_path / "dangling").name == "dangling-2"


@example(label="a\0b")
@given(label=st.text(min_size=1).filter(lambda text: "\r" not in text and "\n" not in text))
def test_any_label_is_a_safe_cell_and_reads_back(tmp_path_factory: pytest.TempPathFactory, label: str) -> None:
    path = tmp_path_factory.mktemp("cells") / "events.csv"
    sink = EventsFile(path)
    sink.write(replace(ENDED, label=label))
    sink.close()
    if any(0xD800 <= ord(c) < 0xE000 for c in label):
        return  # no UTF-8: it is written escaped
    cell = rows(path)[-1]["label"]
    assert csv_value(cell) == label.replace("\0", r"\x00")
    assert cell[0] not in "=+-@\t" or cell.replace(".", "").lstrip("+-").replace("e", "").isdigit() or float(cell)


def test_predictions_append_and_say_when_a_run_began(tmp_path: Path) -> None:
    from edgeproof_runtime.live.outcomes import Decided
    from edgeproof_runtime.sinks import PredictionsFile
    from edgeproof_runtime.sources.base import Frame
    from edgeproof_runtime.tasks.classify import Prediction

    frame = Frame(np.zeros((4, 4, 3), np.uint8), 0, "clip#0", 1, 0.5, 0.25, None)
    decided = Decided(frame, Prediction(np.array([1.0, 2.0], np.float32)), 1.0, 2.0, 0.125, 3.875, 3.375, "door")
    for _ in range(2):
        sink = PredictionsFile(tmp_path / "p.jsonl")
        sink.write(decided)
        sink.close()
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["run_began_unix_s", "stream"] * 2
