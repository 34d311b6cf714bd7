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
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.sinks import PredictionsFile, Window
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.sinks.lettering import Lettering, drawable
from edgeproof_runtime.sources import Frame
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


@settings(max_examples=15)
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


def test_stream_and_time_are_drawn(monkeypatch):
    lines = []
    put = Lettering.put
    monkeypatch.setattr(Lettering, "put", lambda *given: lines.append(given[2]) or put(*given))
    seconds = 1_700_000_000.25
    monkeypatch.setattr(Frame, "captured_unix_s", property(lambda _: seconds))
    Annotator(480, 640, live=True).draw(decided())
    assert lines[:2] == ["door", "2023-11-14 22:13:20 UTC"]
    lines.clear()
    Annotator(240, 320, live=True).draw(replace(decided(), stream="door-of-the-yard"))
    assert lines[:2] == ["door-of-the-yard", "22:13:20 UTC"], "the stream is worth more than the date"
    lines.clear()
    made = decided()
    Annotator(480, 640).draw(replace(made, frame=replace(made.frame, media_ns=3_723_500_000_000)))
    assert lines[:2] == ["door", "01:02:03.500"]
    lines.clear()
    Annotator(480, 640).draw(made)
    assert lines[:2] == ["door", "clip#0"]


def test_an_unsure_prediction_is_grey_and_says_so(monkeypatch):
    lines = []
    put = Lettering.put
    monkeypatch.setattr(Lettering, "put", lambda *given: lines.append((given[2], given[5])) or put(*given))
    sure = Annotator(480, 640, events=EventSettings(threshold=0.75)).draw(decided())
    assert lines[2][0] == "tabby, tabby cat"
    lines.clear()
    unsure = Annotator(480, 640, events=EventSettings(threshold=0.76)).draw(decided())
    assert lines[2][0] == "unsure: tabby, tabby cat"
    assert lines[2][1] == lines[4][1], "in the ink of the others"
    own = (("tabby, tabby cat", 0.7),)
    assert (Annotator(480, 640, events=EventSettings(threshold=0.76, thresholds=own)).draw(decided()) == sure).all()
    row = 480 + 28 + 14
    assert np.ptp(unsure[row, 2].astype(int)) < 20 < np.ptp(sure[row, 2].astype(int))


def test_a_long_label_ends_with_an_ellipsis():
    lettering = Lettering(20)
    for width in (60, 100, 300):
        text = lettering.fit("a label that is longer than the row that it is in", width)
        assert text.endswith(("…", "..."))
        assert lettering.width(text) <= width
    assert lettering.fit("short", 300) == "short"


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("Ägyptische Katze", "Agyptische Katze"),
        ("Straße, Łódź, œuvre", "Strasse, Lodz, oeuvre"),
        ("Кошка", "Koshka"),
        ("γάτα", "gata"),
        ("猫", "?"),
        ("a\x00b\nc\ud800d\u202ee", "a b c?de"),
        ("😀!", "[grinning face]!"),
        ("5 °C — ½", "5 degC - 1/2"),
    ],
)
def test_any_text_can_be_drawn(text, ascii_text):
    assert drawable(text, unicode=False).replace("\u2044", "/") == ascii_text
    shown = drawable(text, unicode=True)
    assert not any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in shown)
    canvas = np.zeros((40, 400, 3), np.uint8)
    Lettering(36).put(canvas, shown, 0, 0, (255, 255, 255))
    assert canvas.any()


def test_text_from_right_to_left_is_seen_from_right_to_left():
    assert drawable("שלום dog", unicode=True) == "םולש dog"


def test_a_gap_is_readable_on_small_and_large_frames():
    for height, width in ((240, 320), (2160, 3840), (64, 48), (1080, 480)):
        annotator = Annotator(height, width)
        card = annotator.draw_gap("door", "no signal", 8 * 3600 + 12.3)
        assert card.shape[1::-1] == annotator.size
        lit = np.argwhere((card > 200).all(axis=2))
        spread = np.ptp(lit[:, 1]) / annotator.size[0]
        assert 0.4 < spread < 1.0
