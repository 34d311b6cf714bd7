"""The device program under systemd's watchdog, on a fake notify socket."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import make_bundle, write_clip
from notified import Manager
from senders import sending

LIMIT_S = 0.8
Messages = list[dict[str, str]]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@contextmanager
def running(program: Path, folder: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    make_bundle(folder / "tiny.edge")
    command = [program, folder / "tiny.edge", *options]
    known = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": str(round(LIMIT_S * 1e6))}
    process = subprocess.Popen(
        [str(part) for part in command], env=os.environ | known, text=True, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(manager: Manager, wanted: Callable[[dict[str, str]], bool], process: subprocess.Popen[str]) -> Messages:
    """What the manager hears until a message is one that is wanted."""
    heard: Messages = []
    for _ in range(600):
        heard += manager.heard(0.1)
        if any(map(wanted, heard)):
            return heard
        if process.poll() is not None and process.stderr is not None:
            raise AssertionError(process.stderr.read())
    raise AssertionError(heard)


def test_a_run_that_gets_on_says_ready_feeds_and_stops(
    device_program: Path, manager: Manager, clip: Path, tmp_path: Path
) -> None:
    with running(device_program, tmp_path, "--source", clip, "--loop", "--rate-limit", "25") as process:
        heard = wait_for(manager, lambda message: "WATCHDOG" in message, process)
        assert heard[0] == {"READY": "1"}
        assert heard[-1]["STATUS"].endswith("frames handled")
        process.send_signal(signal.SIGTERM)
        assert wait_for(manager, lambda message: "STOPPING" in message, process)
        assert process.wait(60) == 0


def test_frames_that_are_left_out_on_purpose_feed_too(
    device_program: Path, manager: Manager, clip: Path, tmp_path: Path
) -> None:
    options = ("--source", clip, "--loop", "--rate-limit", "25", "--every", "1h")
    with running(device_program, tmp_path, *options) as process:
        wait_for(manager, lambda message: message == {"READY": "1"}, process)
        manager.heard(2 * LIMIT_S)  # the first frame is classified
        assert wait_for(manager, lambda message: "WATCHDOG" in message, process)


def test_a_source_that_hangs_misses_the_watchdog(
    device_program: Path, manager: Manager, clip: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "stream.ts"
    os.mkfifo(fifo)
    endless = ("-re", "-stream_loop", "-1", "-i", str(clip), "-c:v", "mpeg2video", "-f", "mpegts", str(fifo))
    with (
        sending(*endless) as sender,
        running(device_program, tmp_path, "--source", fifo, "--open-timeout", "2m") as process,
    ):
        wait_for(manager, lambda message: "WATCHDOG" in message, process)
        sender.send_signal(signal.SIGSTOP)
        try:
            manager.heard(3.0)
            then = manager.heard(2 * LIMIT_S)
        finally:
            sender.send_signal(signal.SIGCONT)
        assert then
        assert not [message for message in then if "WATCHDOG" in message]
        assert process.poll() is None


def test_in_the_journal_messages_have_their_priority(device_program: Path, clip: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "tiny.edge")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    (tmp_path / "images" / "good.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())

    def said(source: Path, *, journal: bool) -> list[str]:
        with (tmp_path / "journal").open("w+") as file:
            facts = os.fstat(file.fileno())
            named = f"{facts.st_dev}:{facts.st_ino if journal else 1}"
            command = [device_program, tmp_path / "tiny.edge", "--source", source]
            environment = os.environ | {"JOURNAL_STREAM": named}
            subprocess.run([*map(str, command)], env=environment, stderr=file, stdout=subprocess.DEVNULL, check=False)
            file.seek(0)
            return file.read().splitlines()

    skipped = said(tmp_path / "images", journal=True)
    assert [line for line in skipped if line.startswith("<4>skipped ")]
    errors = said(tmp_path / "absent.mp4", journal=True)
    assert len(errors) > 1
    assert all(line.startswith("<3>") for line in errors)
    assert [line.removeprefix("<3>") for line in errors] == said(tmp_path / "absent.mp4", journal=False)
