from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof_runtime.data.clip_labels import LabelRange
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources import ClipLabels, open_source
from edgeproof_runtime.sources.synthetic import SHAPES, Card, draw_card, read_card


@settings(max_examples=60)
@given(
    card=st.builds(Card, st.integers(0, 2**24 - 1), st.integers(0, 5), st.integers(0, 255)),
    width=st.integers(56, 700),
    height=st.integers(48, 500),
)
def test_what_a_card_says_can_be_read_from_it(card, width, height):
    assert read_card(draw_card(card, width, height)) == card


@given(width=st.integers(1, 120), height=st.integers(1, 120))
@settings(max_examples=40)
def test_any_size_can_be_drawn(width, height):
    image = draw_card(Card(7, 3, 1), width, height)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("quality", [95, 50, 20])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5])
def test_a_card_survives_compression_and_scaling(quality, scale):
    for index in (0, 1, 12345, 2**24 - 1):
        card = Card(index, index % 6, 9)
        image = cv2.resize(draw_card(card, 640, 360), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert read_card(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)) == card


def test_what_is_no_card_is_none(data_dir):
    for value in (0, 16, 128, 235, 255):
        assert read_card(np.full((360, 640, 3), value, np.uint8)) is None
    assert read_card(np.zeros((1, 1, 3), np.uint8)) is None
    with open_source(str(data_dir / "videos" / "bottle-detection.mp4")) as source:
        assert all(read_card(frame.image) is None for frame in itertools.islice(source, 100))


def test_frames_are_the_same_every_time_and_say_what_they_are():
    spec = "synthetic://320x240?frames=20&seed=3&hold=4&labels=shapes"
    with open_source(spec) as first, open_source(spec) as second:
        assert (first.live, first.fps, first.frame_count) == (False, None, 20)
        pairs = list(zip(first, second, strict=True))
    assert len(pairs) == 20
    for i, (a, b) in enumerate(pairs):
        np.testing.assert_array_equal(a.image, b.image)
        kind = (i // 4 + 3) % 6
        assert read_card(a.image) == Card(i, kind, 3)
        assert a.label == SHAPES[kind]
        assert a.name == f"synthetic://320x240#{i}"
    with open_source("synthetic://320x240?frames=20&seed=4") as other:
        frames = list(other)
    assert {f.label for f in frames} == {None}
    assert not np.array_equal(frames[0].image[:100], pairs[0][0].image[:100])


def test_the_picture_moves():
    with open_source("synthetic://320x240?frames=3&hold=100") as source:
        pictures = [frame.image[:200] for frame in source]
    for a, b in itertools.pairwise(pictures):
        assert (a != b).mean() > 0.3


def test_labels_of_ones_own():
    with open_source("synthetic://8x8?frames=6&hold=1&labels=cat,dog,%20a%20b") as source:
        assert [f.label for f in source] == ["cat", "dog", "a b"] * 2
    labels = ClipLabels([LabelRange(1, 3, "cat", "here")])
    with open_source("synthetic://8x8?frames=4&labels=shapes", labels=labels) as source:
        assert [f.label for f in source] == [None, "cat", "cat", None]


def test_with_a_rate_it_is_a_camera():
    with open_source("synthetic://64x48@100") as source:
        assert (source.live, source.fps, source.frame_count) == (True, 100.0, None)
        begin = time.monotonic()
        frames = list(itertools.islice(source, 11))
        assert time.monotonic() - begin >= 0.1
        now = time.monotonic_ns()
    assert all(a.captured_ns < b.captured_ns <= now for a, b in itertools.pairwise(frames))
    assert list(source) == [], "closed"


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("synthetic://", "test card: invalid address"),
        ("synthetic://64", "test card: invalid address"),
        ("synthetic://0x48", "invalid size"),
        ("synthetic://64x48@0", "invalid frame rate"),
        ("synthetic://64x48@99999", "invalid frame rate"),
        ("synthetic://99999x99999", "invalid size"),
        (f"synthetic://{'9' * 5000}x48", "invalid size"),
        (f"synthetic://64x48?frames={'9' * 5000}", "invalid frames"),
        ("synthetic://64x48?frames=0", "invalid frames"),
        ("synthetic://64x48?seed=256", "invalid seed"),
        ("synthetic://64x48?hold=x", "invalid hold"),
        ("synthetic://64x48?speed=3", "unknown option"),
        ("synthetic://64x48?labels=a,b,c,d,e,f,g", "too many labels"),
    ],
)
def test_test_cards_that_make_no_sense(spec, what):
    with pytest.raises(SourceError, match=what):
        open_source(spec)
