"""Sources broken in all the ways that cameras and files are, beside one that is not: each is named, and none hangs."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import CONTRACT
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream, StreamSnapshot
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.sources.options import SourceOptions
from senders import talking


class Nothing:
    def allocate_input(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 3, 16, 16), np.float32)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return (batch[:, 0, 0, :1].copy(),)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height))


def clip(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (160, 120))
    for number in range(frames):
        writer.write(picture(160, 120, number))
    writer.release()
    return path


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.fixture
def mute() -> Iterator[tuple[str, threading.Event]]:
    """The address of somebody who takes connections and sends nothing for ever, and whether one was taken."""
    taken = threading.Event()

    def silent(_connection: socket.socket, over: threading.Event) -> None:
        taken.set()
        over.wait()

    with talking(silent) as address:
        yield address, taken


@pytest.mark.slow
def test_each_is_named_and_none_disturbs_the_others(tmp_path, mute):
    damaged = clip(tmp_path / "damaged.mp4", 120)
    content = bytearray(damaged.read_bytes())
    rng = np.random.default_rng(0)
    # Packets in the middle; the index at the end stays whole.
    middle = slice(len(content) // 3, len(content) // 3 + 4000)
    content[middle] = rng.integers(0, 256, middle.stop - middle.start, dtype=np.uint8).tobytes()
    damaged.write_bytes(content)
    cut_off = tmp_path / "cut-off.avi"
    writer = cv2.VideoWriter(str(cut_off), cv2.VideoWriter.fourcc(*"MJPG"), 30, (160, 120))
    for number in range(60):
        writer.write(picture(160, 120, number))
    writer.release()
    cut_off.write_bytes(cut_off.read_bytes()[: cut_off.stat().st_size // 2])
    growing = tmp_path / "growing.mjpeg"
    growing.write_bytes(b"".join(jpeg(picture(*size, n)) for n, size in enumerate([(64, 48)] * 5 + [(128, 96)] * 5)))
    (tmp_path / "dot.png").write_bytes(cv2.imencode(".png", picture(1, 1))[1].tobytes())
    (tmp_path / "huge.jpg").write_bytes(jpeg(picture(10_000, 10_000)))
    specs = {
        "whole": str(clip(tmp_path / "whole.mp4", 100)),
        "no-frames": str(clip(tmp_path / "no-frames.mp4", 0)),
        "damaged": str(damaged),
        "cut-off": str(cut_off),
        "growing": str(growing),
        "dot": str(tmp_path / "dot.png"),
        "huge": str(tmp_path / "huge.jpg"),
        "mute": mute[0],
        "nobody": "rtsp://127.0.0.1:9/camera",
    }
    options = SourceOptions(open_timeout_s=1.0, read_timeout_s=1.0)
    streams = [Stream(name, lambda s=spec: open_source(s, options=options)) for name, spec in specs.items()]
    workers = [Worker(Preprocessor(CONTRACT), Nothing(), lambda outputs: float(outputs[0][0, 0])) for _ in range(2)]
    decided: Counter[str] = Counter()
    with Pipeline(streams, workers, duration_s=150) as pipeline:
        for decision in pipeline:
            decided[decision.stream] += 1
    found: dict[str, StreamSnapshot] = {s.name: s for s in pipeline.snapshots()}
    assert {name: s.state for name, s in found.items() if s.state != "ended"} == {
        "no-frames": "failed",
        "mute": "failed",
        "nobody": "failed",
    }
    assert all(s.reason != "stopped" for s in found.values()), "none ran into the end of the run"
    assert {name: decided[name] for name in ("whole", "dot", "huge", "growing")} == {
        "whole": 100,
        "dot": 1,
        "huge": 1,
        "growing": 10,
    }
    assert (found["growing"].width, found["growing"].height) == (128, 96)
    assert (found["huge"].width, found["huge"].height) == (10_000, 10_000)
    assert 60 <= decided["damaged"] <= 120
    assert 20 <= decided["cut-off"] <= 35
    assert "cut-off" in found["cut-off"].skipped[0]
    for name in ("no-frames", "mute", "nobody"):
        assert decided[name] == 0
        assert found[name].reason
    for s in found.values():
        assert s.counts.frames_in == s.counts.decided + s.counts.dropped + s.counts.unhealthy + s.counts.failed


def test_a_mute_address_does_not_keep_others_from_opening(tmp_path, mute):
    address, taken = mute
    whole = clip(tmp_path / "whole.mp4", 5)

    def open_mute() -> None:
        with pytest.raises(SourceError, match="cannot open"):
            open_source(address, options=SourceOptions(open_timeout_s=20.0))

    opening = threading.Thread(target=open_mute)
    opening.start()
    assert taken.wait(10)
    with open_source(str(whole)) as source:
        assert sum(1 for _ in source) == 5
    assert opening.is_alive(), "OpenCV's lock was held"
