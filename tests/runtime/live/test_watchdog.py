"""systemd's watchdog on a fake notify socket: fed while a run gets on or its cameras are away, not while it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.watchdog import Watchdog
from edgeproof_runtime.sources import Frame, Source
from edgeproof_runtime.system.notify import SystemdSocket
from notified import Manager

LIMIT_S = 0.4


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", str(round(LIMIT_S * 1e6)))
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    manager = Manager(address)
    yield manager
    manager.socket.close()


class _Camera(Source):
    """A live source of a frame each 10 ms; ``hang`` stops it after three without an end."""

    def __init__(self, hang: threading.Event | None = None) -> None:
        super().__init__("camera", live=True, fps=None, frame_count=None)
        self.hang = hang

    def __iter__(self) -> Iterator[Frame]:
        for index in range(100_000):
            if self.hang is not None and index == 3:
                self.hang.wait()
                return
            time.sleep(0.01)
            yield Frame(np.zeros((4, 4, 3), np.uint8), index, f"camera {index}", time.monotonic_ns(), 0.0, 0.0)

    def close(self) -> None:
        pass


class _Engine:
    def __init__(self, hang: threading.Event | None = None) -> None:
        self.hang, self.runs = hang, 0

    def allocate_input(self, batch: int) -> np.ndarray[Any, Any]:
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        self.runs += 1
        if self.hang is not None and self.runs > 3:
            self.hang.wait()
        return (batch,)


def _pipeline(opener: Callable[[], Source], engine: _Engine) -> Pipeline[Any]:
    worker = Worker(lambda frame, out=None: out, engine, lambda outputs: outputs)  # noqa: ARG005
    return Pipeline([Stream("camera", opener, reconnect="always", stall_timeout_s=0.1)], [worker])


def _watched(pipeline: Pipeline[Any], manager: Manager) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What the manager hears in the first part of a run, and in its second after it settled."""
    done = threading.Event()

    def consume() -> None:
        for _ in pipeline:
            if done.is_set():
                return

    with pipeline, Watchdog(pipeline.snapshots):
        consumer = threading.Thread(target=consume, daemon=True)
        consumer.start()
        first = manager.heard(2.0)
        then = manager.heard(2 * LIMIT_S)
        done.set()
        pipeline.stop()
    return first, then


def test_a_run_that_gets_on_says_ready_and_feeds(manager: Manager) -> None:
    first, then = _watched(_pipeline(_Camera, _Engine()), manager)
    assert first[0] == {"READY": "1"}
    assert [m for m in then if m.get("WATCHDOG") == "1"]
    assert "1 of 1 streams live" in then[-1]["STATUS"]
    assert manager.heard(0.2)[-1]["STOPPING"] == "1"


def test_an_engine_that_hangs_misses_the_watchdog(manager: Manager) -> None:
    hang = threading.Event()
    try:
        _, then = _watched(_pipeline(_Camera, _Engine(hang)), manager)
    finally:
        hang.set()
    assert then
    assert not [m for m in then if "WATCHDOG" in m]


def test_a_source_that_hangs_misses_the_watchdog(manager: Manager) -> None:
    hang = threading.Event()
    try:
        _, then = _watched(_pipeline(lambda: _Camera(hang), _Engine()), manager)
    finally:
        hang.set()
    assert then
    assert not all("WATCHDOG" in m for m in then)


def test_a_camera_that_is_unplugged_keeps_feeding(manager: Manager) -> None:
    def unplugged() -> Source:
        raise SourceError("camera 0: cannot open", got="no such device")

    first, then = _watched(_pipeline(unplugged, _Engine()), manager)
    assert [m for m in first if "WATCHDOG" in m]
    assert [m for m in then if "WATCHDOG" in m]
    assert "no such device" in then[-1]["STATUS"]


def test_ready_waits_for_the_server(manager: Manager) -> None:
    listening = threading.Event()
    with Watchdog(lambda: (), ready=listening.is_set):
        assert manager.heard(0.3) == []
        listening.set()
        heard = manager.heard(0.6)
    assert heard[0] == {"READY": "1"}
    assert {"STATUS": "serving", "WATCHDOG": "1"} in heard


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    before = threading.active_count()
    with Watchdog(lambda: ()):
        assert threading.active_count() == before
    SystemdSocket().send(READY=1)


@pytest.mark.parametrize(("usec", "pid", "expected"), [("0", None, None), ("x", None, None), ("2000000", "1", None)])
def test_a_watchdog_of_another_process_is_not_fed(
    usec: str, pid: str | None, expected: float | None, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert SystemdSocket().watchdog_s == expected
    SystemdSocket().send(STATUS="two\nlines")
    assert manager.heard(0.1) == [{"STATUS": "two lines"}]


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"edgeproof-test-{time.monotonic_ns()}"
    listener = Manager(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    SystemdSocket().send(READY=1)
    assert listener.heard(0.1) == [{"READY": "1"}]
    listener.socket.close()


def test_nothing_is_said_after_stopping(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end may come between the watchdog's look at it and its message."""
    looked, send = threading.Event(), SystemdSocket.send

    def slowly(self: SystemdSocket, **fields: Any) -> None:
        if "WATCHDOG" in fields:
            looked.set()
            time.sleep(0.3)
        send(self, **fields)

    monkeypatch.setattr(SystemdSocket, "send", slowly)
    with _pipeline(_Camera, _Engine()) as pipeline, Watchdog(pipeline.snapshots):
        threading.Thread(target=lambda: list(pipeline), daemon=True).start()
        assert looked.wait(10)
    assert manager.heard(0.6)[-1]["STOPPING"] == "1"
