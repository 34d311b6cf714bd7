"""Several regions of one decode: one source, a stream for each part of its frames."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgeproof_runtime.live.supervisor as supervision
from clips import make_clip
from edgeproof_runtime.errors import InputError, SourceError
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import Frame, Source, StreamSpec, open_source, read_streams
from senders import talking

TABLE = """
[belt]
source = "0"
threshold = 0.7

[belt.regions.left]
crop = "0,0,128,96"
threshold = 0.8

[belt.regions.right]
crop = "128,0,128,96"
thresholds = { cat = 0.9 }
"""


def streams(folder: Path, text: str = TABLE) -> tuple[StreamSpec, ...]:
    (folder / "streams.toml").write_text(text, encoding="utf-8")
    return read_streams(folder / "streams.toml")


class Halves(Source):
    """Frames of 256x96 of noise; ``change`` may change them."""

    def __init__(
        self, frames: int = 6, *, live: bool = True, change: Callable[[Any, int], Any] = lambda f, _: f
    ) -> None:
        super().__init__("belt", live=live, fps=10.0, frame_count=None if live else frames)
        self.frames, self.change, self.closed = frames, change, False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            image = np.random.default_rng(index).integers(0, 256, (96, 256, 3), np.uint8)
            frame = Frame(image, index, f"belt#{index}", time.monotonic_ns(), 0.0, 0.0, f"all {index}")
            yield self.change(frame, index)

    def close(self) -> None:
        self.closed = True


class Sums:
    def __init__(self, wait_s: float = 0.0) -> None:
        self.wait_s = wait_s

    def allocate_input(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 1), np.float64)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        time.sleep(self.wait_s)
        return (batch.copy(),)


def total(frame: np.ndarray, out: np.ndarray | None = None) -> None:
    assert out is not None
    out[0] = frame.sum()


def worker(wait_s: float = 0.0) -> Worker[float]:
    return Worker(total, Sums(wait_s), lambda outputs: float(outputs[0][0, 0]))


def pipeline_of(
    specs: tuple[StreamSpec, ...], opened: Callable[[], Source], wait_s: float = 0.0, **chosen: Any
) -> Pipeline[float]:
    chosen = {"policy": "every-frame", "reconnect": "never", **chosen}
    lost: list[Any] = []
    return Pipeline([Stream.of_spec(s, opened, **chosen) for s in specs], [worker(wait_s)], on_lost=lost.append)


def counts_add_up(pipeline: Pipeline[float]) -> bool:
    each = [s.counts for s in pipeline.snapshots()]
    return all(c.frames_in == c.decided + c.dropped + c.unhealthy + c.failed for c in [*each, pipeline.counts])


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(supervision, "_TICK_S", 0.01)


def test_one_source_is_read_once_for_all_regions(tmp_path: Path) -> None:
    opened: list[Halves] = []

    def open_it() -> Source:
        opened.append(Halves())
        return opened[-1]

    found: dict[str, list[tuple[int, str, float]]] = defaultdict(list)
    with pipeline_of(streams(tmp_path), open_it) as pipeline:
        for decided in pipeline:
            found[decided.stream].append((decided.frame.index, decided.frame.name, decided.decision))
    whole = [frame.image for frame in Halves()]
    assert found["belt/left"] == [(i, f"belt/left#{i}", float(f[:, :128].sum())) for i, f in enumerate(whole)]
    assert found["belt/right"] == [(i, f"belt/right#{i}", float(f[:, 128:].sum())) for i, f in enumerate(whole)]
    assert [source.closed for source in opened] == [True]
    left, right = pipeline.snapshots()
    assert (left.name, right.name, left.width, right.height) == ("belt/left", "belt/right", 128, 96)
    assert (left.state, left.counts.decided, right.counts.decided) == ("ended", 6, 6)
    assert counts_add_up(pipeline)


def motion_jpeg(pictures: int) -> bytes:
    """An HTTP answer of images of 128x96 of noise, with a first part that the decoder's probe may lose."""
    text = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=123456\r\n\r\n"
    for seed in range(pictures):
        noise = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
        data = cv2.imencode(".jpg", noise)[1].tobytes()
        text += b"--123456\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(data), data)
    return text + b"--123456--\r\n"


@pytest.mark.parametrize("kind", ["clip", "http"])
def test_regions_of_decoded_video_are_parts_of_its_frames(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        if kind == "clip":
            address = str(make_clip(tmp_path, "plain.mp4"))
        else:
            address = stack.enter_context(talking(motion_jpeg(12)))
        with open_source(address) as source:
            whole = [frame.image for frame in source]
        height, width = whole[0].shape[:2]
        half = width // 2
        text = f"[belt]\nsource = {json.dumps(address)}\nhealth = false\n"
        text += f'[belt.regions.left]\ncrop = "0,0,{half},{height}"\n'
        text += f'[belt.regions.right]\ncrop = "{half},0,{half},{height}"\n'
        found: dict[str, list[float]] = defaultdict(list)
        with pipeline_of(streams(tmp_path, text), lambda: open_source(address)) as pipeline:
            for decided in pipeline:
                found[decided.stream].append(decided.decision)
    assert found["belt/left"] == [float(image[:, :half].sum()) for image in whole]
    assert found["belt/right"] == [float(image[:, half:].sum()) for image in whole]
    assert len(whole) == (30 if kind == "clip" else 12)


def test_a_camera_that_comes_back_is_one_connection_of_both_regions(tmp_path: Path) -> None:
    opened: list[Source] = []

    def open_it() -> Source:
        opened.append(Halves(5))
        return opened[-1]

    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    with pipeline_of(streams(tmp_path), open_it, reconnect="auto", max_frames=12) as pipeline:
        for decided in pipeline:
            found[decided.stream].append((decided.frame.index, decided.frame.name))
    assert len(opened) == 3
    for name in ("belt/left", "belt/right"):
        assert found[name] == [(index, f"{name}#{index}") for index in range(12)]
    for shot in pipeline.snapshots():
        expected = ["connecting", "live", "reconnecting", "live", "reconnecting", "live", "ended"]
        assert [change.state for change in shot.history] == expected
        assert shot.reconnections == 2


def test_the_whole_frame_is_judged_once_and_each_region_by_what_it_shows(tmp_path: Path) -> None:
    def change(frame: Frame, index: int) -> Frame:
        if index == 2:
            return Frame(frame.image, index, frame.name, frame.captured_ns, 0.0, 0.0, damage="corrupt")
        if index == 3:
            frame.image[:, :128] = 0  # the left half only
        frame.image[:, 128:] = np.random.default_rng(99).integers(0, 256, (96, 128, 3), np.uint8)  # never changes
        return frame

    text = TABLE.replace("threshold = 0.7", "threshold = 0.7\nhealth = { frozen = 3 }")
    with pipeline_of(streams(tmp_path, text), lambda: Halves(8, change=change)) as pipeline:
        list(pipeline)
    left, right = pipeline.snapshots()
    assert left.unhealthy == {"damaged": 1, "black": 1}
    assert right.unhealthy == {"damaged": 1}, "what does not change in a region is not a frozen camera"
    assert (left.health_limits or {})["frozen"] == (right.health_limits or {})["frozen"] == 3
    assert counts_add_up(pipeline)


def test_a_frozen_camera_is_frozen_in_every_region(tmp_path: Path) -> None:
    def freeze(frame: Frame, index: int) -> Frame:
        frame.image[:] = np.random.default_rng(99).integers(0, 256, frame.image.shape, np.uint8)
        return frame

    text = TABLE.replace("threshold = 0.7", "health = { frozen = 3 }") + 'health = { classify = ["frozen"] }\n'
    seen = []
    with pipeline_of(streams(tmp_path, text), lambda: Halves(6, change=freeze)) as pipeline:
        seen = [(decided.stream, decided.frame.health) for decided in pipeline]
    left, right = pipeline.snapshots()
    assert left.unhealthy == {"frozen": 4}
    assert right.unhealthy_classified == {"frozen": 4}, "each region says what becomes of its frames"
    assert seen.count(("belt/right", "frozen")) == 4
    assert counts_add_up(pipeline)


def test_regions_have_their_own_pace_and_bound(tmp_path: Path) -> None:
    text = TABLE.replace('crop = "128,0,128,96"', 'crop = "128,0,128,96"\nevery_s = 0.5')
    with pipeline_of(streams(tmp_path, text), lambda: Halves(20, live=False), max_frames=4) as pipeline:
        found = [decided.stream for decided in pipeline]
    left, right = pipeline.snapshots()
    assert (found.count("belt/left"), found.count("belt/right")) == (4, 4)
    assert (left.left_out, right.left_out) == ({}, {"interval": 12})  # of a file of 10 frames/s, by its own time
    assert counts_add_up(pipeline)


def test_a_region_that_is_overtaken_is_counted_by_itself(tmp_path: Path) -> None:
    def wait(frame: Frame, _index: int) -> Frame:
        time.sleep(0.002)
        return frame

    specs, source = streams(tmp_path), Halves(40, change=wait)
    with pipeline_of(specs, lambda: source, 0.01, policy="latest-frame") as pipeline:
        list(pipeline)
    for shot in pipeline.snapshots():
        assert shot.counts.frames_in == 40
        assert shot.counts.overtaken > 0
    assert counts_add_up(pipeline)


def test_a_region_outside_of_the_frame_is_named_with_both_sizes(tmp_path: Path) -> None:
    specs = streams(tmp_path, TABLE.replace("128,0,128,96", "200,0,128,96"))
    said = "belt/right: the crop exceeds the frame.*200,0,128,96 of 256x96"
    with pipeline_of(specs, Halves) as pipeline, pytest.raises(SourceError, match=re.compile(said, re.DOTALL)):
        list(pipeline)
    assert [shot.state for shot in pipeline.snapshots()] == ["failed", "failed"]
    assert pipeline.counts.frames_in == 0


def test_a_region_has_its_own_labels(tmp_path: Path) -> None:
    (tmp_path / "right.csv").write_text("0,3,cat\n", encoding="utf-8")
    specs = streams(tmp_path, TABLE + 'labels_from = "right.csv"\n')
    labels: dict[str, list[str | None]] = defaultdict(list)
    with pipeline_of(specs, lambda: Halves(4)) as pipeline:
        for decided in pipeline:
            labels[decided.stream].append(decided.frame.label)
    assert labels["belt/left"] == ["all 0", "all 1", "all 2", "all 3"]
    assert labels["belt/right"] == ["cat", "cat", "cat", None]
    with pytest.raises(InputError, match="unknown label 'cat'"):
        Stream.of_spec(specs[1], Halves, known=["dog"])


def test_a_region_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    text = TABLE.replace('source = "0"', 'source = "0"\nfps = 15\non_motion = 0.1\nhealth = { black = 20 }')
    text = text.replace(
        "threshold = 0.8", "threshold = 0.8\nrotate = 90\non_motion = 0.2\nhealth = { blurred = false }"
    )
    left, right = streams(tmp_path, text)
    assert (left.name, left.threshold, left.thresholds) == ("belt/left", 0.8, None)
    assert (right.name, right.threshold, right.thresholds) == ("belt/right", 0.7, (("cat", 0.9),))
    assert (left.options.fps, left.options.crop, left.pace.rotate, right.pace.rotate) == (15, None, 90, 0)
    assert (left.pace.on_motion, right.pace.on_motion) == (0.2, 0.1)
    limits = [spec.health.monitor().settings() for spec in (left, right)]
    assert [(one["black"], one["blurred"] > 0, one["frozen"]) for one in limits] == [(20, False, 0), (20, True, 0)]
    assert left.capture == right.capture != "belt"
    off = streams(tmp_path, text.replace("health = { black = 20 }", "health = false"))
    assert off[1].health.monitor().settings()["black"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[belt.regions.left]", "[belt.regions.left.more]"), "stream belt/left: unknown option"),
        (("threshold = 0.8", "fps = 5"), "stream belt/left: an option of the whole stream"),
        (("threshold = 0.8", 'source = "1"'), "stream belt/left: an option of the whole stream"),
        (("threshold = 0.8", "threshold = 8"), "stream belt/left: threshold is invalid"),
        (("threshold = 0.8", "health = { frozen = 9 }"), "stream belt/left: health.frozen is of the whole frame"),
        (("threshold = 0.8", "health = { black = 900 }"), "stream belt/left: health: black"),
        (('crop = "0,0,128,96"', 'crop = "0,0"'), "stream belt/left: crop: invalid"),
        (("regions.left", 'regions."a/b"'), "stream name: invalid"),
        (("threshold = 0.8", "labels_from = 3"), "stream belt/left: labels_from must be a string"),
    ],
)
def test_an_invalid_region_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        streams(tmp_path, TABLE.replace(*change))


def test_regions_must_be_tables_and_count_as_streams(tmp_path: Path) -> None:
    for regions in ("3", "{}", "{ left = 3 }"):
        with pytest.raises(InputError, match=r"regions is invalid|belt/left: not a table"):
            streams(tmp_path, f'[belt]\nsource = "0"\nregions = {regions}')
    many = "\n".join(f"[belt.regions.r{i}]" for i in range(2000))
    with pytest.raises(InputError, match="streams"):
        streams(tmp_path, f'[belt]\nsource = "0"\n{many}\n')
    looped = TABLE.replace('source = "0"', 'source = "a.mp4"\nloop = true') + 'labels_from = "a.csv"'
    with pytest.raises(InputError, match="belt/right: labels_from requires a source without loop"):
        streams(tmp_path, looped)
