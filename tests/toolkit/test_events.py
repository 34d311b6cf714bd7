"""Events of real cameras that are killed, on their way to a file."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from cameras import Camera, missing_rtsp_server, write_numbered
from edgeproof.library.live_events import Events
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.decision import Decision
from growing_files import events_in
from waiting import until


class Nothing:
    """An engine that answers with its input."""

    def allocate_input(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return (batch.copy(),)


def always_cat(_outputs: tuple[np.ndarray, ...]) -> Decision:
    return Prediction(np.array([0.9, 0.1], np.float32), ("cat", "dog"))


def ignore(frame: np.ndarray, out: np.ndarray | None = None) -> None:
    pass


@pytest.mark.slow
def test_an_event_ends_when_its_camera_dies_and_not_when_it_comes_back(tmp_path: Path) -> None:
    missing = missing_rtsp_server()
    if missing is not None:
        pytest.skip(missing)
    pictures = (np.full((180, 320, 3), index % 250, np.uint8) for index in range(600))
    camera = Camera(write_numbered(tmp_path / "clip.mp4", pictures, 30))
    path = tmp_path / "events.csv"

    def rows() -> list[dict[str, str]]:
        return events_in(path)

    stream = Stream("door", lambda: open_source(camera.url))
    pipeline = Pipeline([stream], [Worker(ignore, Nothing(), always_cat)], duration_s=60)
    events = Events([str(path)], {"door": EventSettings(stable_frames=5)}, pipeline)

    def go_on() -> None:
        with events, pipeline:
            for decided in pipeline:
                events.write(decided)

    running = threading.Thread(target=go_on)
    running.start()
    try:
        until(lambda: events.count == 1)
        assert rows() == []
        camera.kill()
        until(lambda: len(rows()) == 1)
        assert pipeline.snapshots()[0].state in ("stalled", "reconnecting")
        camera.start()
        until(lambda: events.count == 2)
    finally:
        pipeline.stop()
        running.join()
        camera.kill()
    first, second = rows()
    assert first["label"] == second["label"] == "cat"
    assert int(first["end_index"]) < int(second["start_index"])
    assert first["end"] < second["start"]
    assert events.counts[0].written == 2
