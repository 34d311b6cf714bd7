"""GStreamer pipelines that run for real, where OpenCV has GStreamer, as Debian's. PyPI's has none."""

from __future__ import annotations

from itertools import islice

import cv2
import pytest

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import open_source
from scenes import worker

pytestmark = pytest.mark.skipif(
    "GStreamer:                   YES" not in cv2.getBuildInformation(), reason="this OpenCV has no GStreamer"
)

CARD = "videotestsrc is-live=true pattern=red {} ! video/x-raw,width=64,height=48,framerate=30/1 ! videoconvert"
BGR = "video/x-raw,format=BGR ! appsink"


def test_a_pipeline_gives_the_frames_of_its_source() -> None:
    with open_source(f"{CARD.format('num-buffers=12')} ! {BGR}") as source:
        frames = list(source)
    assert source.live
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert 8 <= len(frames) <= 12, "a slow reader misses frames of a live source"
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.reshape(-1, 3).mean(0) == pytest.approx([0, 0, 254], abs=4)


def test_a_pipeline_that_ends_is_opened_again() -> None:
    spec = f"{CARD.format('num-buffers=5')} ! {BGR}"
    stream = Stream("card", lambda: open_source(spec), "every-frame", reconnect="always")
    with Pipeline([stream], [worker()], duration_s=60) as pipeline:
        for decided in islice(pipeline, 12):
            assert decided.frame.image.shape == (48, 64, 3)
    assert pipeline.snapshots()[0].reconnections >= 1


@pytest.mark.parametrize(
    "spec",
    [f"nosuchsource ! {BGR}", f"filesrc location=/nowhere ! jpegdec ! {BGR}"],
)
def test_what_does_not_start_is_an_error(spec: str) -> None:
    with pytest.raises(SourceError, match="GStreamer pipeline"):
        list(open_source(spec))


def test_pipelines_of_two_cameras_run_side_by_side() -> None:
    spec = f"{CARD.format('')} ! {BGR}"
    streams = [Stream(name, lambda: open_source(spec)) for name in ("left", "right")]
    with Pipeline(streams, [worker()], duration_s=60) as pipeline:
        for _ in pipeline:
            if all(shot.counts.decided >= 5 for shot in pipeline.snapshots()):
                pipeline.stop()
    assert [shot.counts.under_way for shot in pipeline.snapshots()] == [0, 0]
