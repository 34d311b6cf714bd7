"""Frames that do not show what the camera saw: found, left out, counted, and classified only where asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof_runtime._native import HealthMonitor, measure_frame
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live import stream_health
from edgeproof_runtime.live.outcomes import Lost
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.stream_health import health_section
from edgeproof_runtime.sources import HealthOptions, Source, read_streams
from edgeproof_runtime.sources.base import Frame as BaseFrame
from reference.drawn import drawn
from scenes import SHARP, Given, worker

Image = NDArray[np.uint8]
GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "golden" / "frame_health.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["what"])
def test_frames_measure_what_the_golden_cases_say(case: dict[str, Any]) -> None:
    image = drawn(case)
    assert measure_frame(image) == pytest.approx(case["measures"])
    assert HealthMonitor().look(image) == case["health"]
    turned = np.ascontiguousarray(image[:, ::-1])[:, ::-1]  # the same pixels, strides of the other sign
    assert measure_frame(turned) == pytest.approx(case["measures"])


def test_what_is_no_8_bit_picture_is_not_judged() -> None:
    for image in (
        np.zeros((200, 200, 3), np.uint16),
        np.zeros((200, 200, 5), np.uint8),
        np.zeros((9, 200, 3), np.uint8),
    ):
        assert measure_frame(image) is None
        assert HealthMonitor().look(image) is None
        assert HealthMonitor().look(image, True) == "damaged"
    assert HealthMonitor().look(np.zeros((200, 200), np.uint8)) == "black"


def moving(count: int) -> list[Image]:
    return [np.roll(drawn(SHARP), 3 * i, axis=1) for i in range(count)]


def run(source: Callable[[], Source], health: HealthOptions) -> tuple[Pipeline[int], list[Any], list[Lost]]:
    lost: list[Lost] = []
    stream = Stream("cam", source, "every-frame", health=health)
    with Pipeline(stream, [worker()], on_lost=lost.append) as pipeline:
        decided = list(pipeline)
    counts = pipeline.counts
    assert counts.frames_in == counts.decided + counts.dropped + counts.unhealthy + counts.failed
    assert counts.unhealthy == sum(one.cause == "unhealthy" for one in lost)
    return pipeline, decided, lost


def faulty() -> list[Image]:
    """Healthy, black, healthy, then the same frame ten times."""
    healthy = moving(6)
    return [*healthy[:3], *[np.zeros_like(healthy[0])] * 2, *healthy[3:5], *[healthy[5]] * 10]


def test_unhealthy_frames_are_left_out_and_counted_by_cause() -> None:
    pipeline, decided, lost = run(lambda: Given(faulty(), damaged=[1]), HealthOptions(limits="frozen=4"))
    shot = pipeline.snapshots()[0]
    assert [d.frame.index for d in decided] == [0, 2, 5, 6, 7, 8, 9]
    assert [(one.index, one.health) for one in lost] == [(1, "damaged"), (3, "black"), (4, "black")] + [
        (i, "frozen") for i in range(10, 17)
    ]
    assert shot.unhealthy == {"damaged": 1, "black": 2, "frozen": 7}
    assert (shot.counts.frames_in, shot.counts.decided, shot.counts.unhealthy) == (17, 7, 10)
    assert shot.health == "frozen"
    assert shot.health_s is not None
    assert shot.health_since_unix_s is not None
    section = health_section([shot])
    assert section is not None
    assert section["streams"][0]["left_out"] == shot.unhealthy
    assert section["streams"][0]["limits"]["frozen"] == 4


def test_unhealthy_frames_are_classified_only_where_asked_and_say_so() -> None:
    pipeline, decided, lost = run(
        lambda: Given(faulty(), damaged=[1]), HealthOptions(limits="frozen=4", classify="black,damaged")
    )
    assert {d.frame.index: d.frame.health for d in decided if d.frame.health} == {1: "damaged", 3: "black", 4: "black"}
    assert {one.health for one in lost} == {"frozen"}
    shot = pipeline.snapshots()[0]
    assert (shot.unhealthy, shot.unhealthy_classified) == ({"frozen": 7}, {"damaged": 1, "black": 2})
    _, decided, lost = run(lambda: Given(faulty()), HealthOptions(limits="off"))
    assert (len(decided), lost) == (17, [])


def test_a_pipeline_leaves_out_damaged_frames_unless_told_otherwise() -> None:
    with Pipeline(Stream("cam", lambda: Given(faulty(), damaged=[1])), [worker()]) as pipeline:
        assert 1 not in [d.frame.index for d in pipeline]
    assert pipeline.snapshots()[0].unhealthy == {"damaged": 1}


def test_image_files_are_data_and_not_judged() -> None:
    pipeline, decided, _ = run(lambda: Given(faulty(), of_pictures=True), HealthOptions(limits="frozen=4"))
    assert len(decided) == 17
    assert health_section(pipeline.snapshots()) is None


def test_a_latest_frame_stream_adds_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_health, "_TOLD_AFTER_S", 0.0)
    stream = Stream("cam", lambda: Given(faulty() * 3, live=True), reconnect="never", health=HealthOptions())
    with Pipeline(stream, [worker()]) as pipeline:
        for _ in pipeline:
            pass
    counts, shot = pipeline.counts, pipeline.snapshots()[0]
    assert counts.frames_in == counts.decided + counts.dropped + counts.unhealthy + counts.failed == 51
    assert counts.unhealthy == sum(shot.unhealthy.values()) >= 6
    assert "black frames" in [change.reason for change in shot.history]
    assert "healthy frames again" in [change.reason for change in shot.history]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"limits": "frozen=1"}, "frozen is out of range"),
        ({"limits": "dark=1"}, "unknown setting"),
        ({"classify": "dark"}, "unknown cause"),
    ],
)
def test_invalid_limits_are_named(options: dict[str, str], what: str) -> None:
    with pytest.raises(InputError, match=what):
        HealthOptions(**options)


def test_limits_in_a_file_of_streams(tmp_path: Path) -> None:
    file = tmp_path / "streams.toml"
    file.write_text(
        '[door]\nsource = "synthetic://64x48"\n[door.health]\nfrozen = 50\nblack = false\ndamaged = true\n'
        'classify = ["frozen"]\n[gate]\nsource = "synthetic://64x48"\nhealth = false\n[yard]\nsource = "synthetic://64x48"\n'
    )
    door, gate, yard = (spec.health.monitor().settings() for spec in read_streams(file))
    assert (door["frozen"], door["black"], door["damaged"]) == (50, 0, True)
    assert read_streams(file)[0].health.monitor().classifies("frozen")
    assert (gate["frozen"], gate["damaged"], yard["frozen"]) == (0, False, 300)
    for bad in ("health = 3", '[a.health]\nfrozen = "x"', "[a.health]\nclassify = 3", "[a.health]\ndark = 1"):
        file.write_text(f'[a]\nsource = "synthetic://64x48"\n{bad}\n')
        with pytest.raises(InputError, match=r"stream a: .*(health|frozen)"):
            read_streams(file)


def noisy(image: NDArray[Any], sigma: float, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_drawn_faults_on_photographs_are_found(data_dir: Path) -> None:
    """The limits of spec.json: what the docs promise of them."""
    photographs = sorted((data_dir / "imagenet-samples").glob("*/*.JPEG"))[::50]
    healthy = HealthMonitor("frozen=off")
    found: dict[str, list[str | None]] = {}
    for number, path in enumerate(photographs):
        image = cv2.resize(cv2.imread(str(path)), (640, 360), interpolation=cv2.INTER_AREA)
        smooth = cv2.GaussianBlur(image, (0, 0), 40) * 0.35 + (10, 10, 40)
        drawn_faults = {
            "": image,
            "black": noisy(image * 0.02, 4, number),
            "covered": noisy(smooth, 4, number),
            "blurred": noisy(cv2.GaussianBlur(image, (0, 0), 9), 2, number),
        }
        for fault, shown in drawn_faults.items():
            found.setdefault(fault, []).append(healthy.look(shown))
    assert set(found[""]) == {None}
    assert set(found["black"]) == {"black"}
    assert set(found["covered"]) <= {"covered", "blurred"}
    assert found["blurred"].count("blurred") >= 9
    assert healthy.look(np.full((360, 640, 3), 255, np.uint8)) == "overexposed"


def test_a_frozen_picture_with_the_noise_of_an_encoder_is_found() -> None:
    image = drawn(SHARP | {"width": 320, "height": 180, "noise": 3})

    def encoded(seed: int) -> Image:
        rng = np.random.default_rng(seed)
        return np.clip(image + rng.choice([-1, 0, 0, 0, 0, 1], image.shape), 0, 255).astype(np.uint8)

    monitor = HealthMonitor("frozen=10")
    seen = [monitor.look(encoded(seed)) for seed in range(12)]
    assert seen == [None] * 9 + ["frozen"] * 3
    scene = HealthMonitor("frozen=10")  # the noise of a sensor is more
    assert {scene.look(noisy(image, 4, seed)) for seed in range(30)} == {None}


def test_frames_have_a_field_for_it() -> None:
    assert BaseFrame(np.zeros((1, 1, 3), np.uint8), 0, "x", 0, 0.0, 0.0).health is None
