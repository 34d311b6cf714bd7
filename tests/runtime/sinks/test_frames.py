from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions import CAT, decided, ranking
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.sinks import PredictionsFile, Window
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.tasks.classify import Prediction
from growing_files import predictions_in


def test_predictions_are_json_lines(tmp_path):
    path = tmp_path / "p.jsonl"
    sink = PredictionsFile(path, k=2)
    sink.write(decided(label="cat"))
    assert len(predictions_in(path)) == 1, "each line is there as soon as it is written"
    sink.write(decided(index=7))
    sink.close()
    sink.close()
    first, second = predictions_in(path)
    assert abs(first.pop("captured_unix_s") - time.time()) < 60
    assert first == {
        "stream": "door",
        "index": 0,
        "name": "clip#0",
        "label": "cat",
        "top": [
            {"label": "tabby, tabby cat", "probability": 0.75},
            {"label": "Ägyptische Katze", "probability": pytest.approx(0.2)},
        ],
        "stages_ms": {
            "capture": 0.5,
            "decode": 0.25,
            "preprocess": 1.0,
            "inference": 2.0,
            "postprocess": 0.125,
            "end_to_end": 3.875,
            "frame_age": 3.375,
        },
    }
    assert (second["index"], second["label"]) == (7, None)


def test_predictions_of_a_broken_model_or_an_odd_file_name(tmp_path):
    path = tmp_path / "p.jsonl"
    sink = PredictionsFile(path)
    with pytest.raises(InputError, match="clip#0: the model's output is not finite"):
        sink.write(decided(decision=Prediction(np.full(3, np.nan, np.float32))))
    frame = replace(decided().frame, name="caf\udce9.png")
    sink.write(replace(decided(), frame=frame))
    sink.close()
    assert [line["name"] for line in predictions_in(path)] == ["caf\\xe9.png"]  # as text, which every reader takes


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_said_of_predictions_whenever_it_is_noticed():
    sink = PredictionsFile("/dev/full")
    for fails in (lambda: sink.write(decided()),) * 2:
        with pytest.raises(InputError, match="No space left"):
            fails()
    sink.close()


def test_predictions_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        PredictionsFile(tmp_path / "none" / "p.jsonl")


@settings(max_examples=15, deadline=None)
@given(
    first=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    later=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    label=st.text(max_size=60),
    probability=st.floats(0, 1),
)
@pytest.mark.slow
def test_any_resolution_and_label_can_be_drawn(first, later, label, probability):
    annotator = Annotator(*first)
    width, height = annotator.size
    assert width % 2 == height % 2 == 0
    assert width >= 320
    assert max(width, height) < 2400
    for shape in (first, later):
        image = np.full((*shape, 3), 200, np.uint8)
        canvas = annotator.draw(decided(image, decision=ranking((label, probability)), label="x"))
        assert canvas.shape == (height, width, 3)


def test_the_picture_itself_stays_as_it_is():
    canvas = Annotator(*CAT.shape[:2]).draw(decided())
    np.testing.assert_array_equal(canvas[: CAT.shape[0], : CAT.shape[1]], CAT)


def test_the_label_is_green_where_right_and_red_where_wrong():
    annotator = Annotator(*CAT.shape[:2])
    row = annotator.size[1] - 50
    right = annotator.draw(decided(label="tabby, tabby cat"))
    wrong = annotator.draw(decided(label="rocket"))
    blue, green, red = right[row, 1].tolist()
    assert green > max(blue, red)
    blue, green, red = wrong[row, 1].tolist()
    assert red > max(blue, green)


def test_a_window_needs_windows_and_a_display(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    with pytest.raises(UnavailableError, match="window: not available") as caught:
        Window("edgeproof", lambda: None)
    assert caught.value.exit_code == 3
    assert "--save" in str(caught.value)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(UnavailableError, match="headless"):
        Window("edgeproof", lambda: None)


def test_a_window_shows_frames_until_it_is_closed():
    if not os.environ.get("DISPLAY"):
        pytest.skip("no display (DISPLAY is not set)")
    quits: list[bool] = []
    window = Window("edgeproof-test", lambda: quits.append(True))
    window.write(decided())
    assert quits == []
    cv2.destroyWindow("edgeproof-test")
    window.close()
    window.close()
