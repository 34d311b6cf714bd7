"""What FFmpeg's own API must give for clips of every kind: tests/golden/captures_media.json."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from clips import make_clip, number_of, recipes
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources import Frame, open_source
from edgeproof_runtime.sources.upright import orientation, turned

CASES = recipes()
PLAYED = [name for name, case in CASES.items() if "cause" not in case]
REFUSED = [name for name, case in CASES.items() if "cause" in case]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def is_red(pixel: NDArray[np.uint8]) -> bool:
    return bool(pixel[2] > 150 and pixel[1] < 100 and pixel[0] < 100)


def is_green(pixel: NDArray[np.uint8]) -> bool:
    return bool(pixel[1] > 150 and pixel[2] < 100 and pixel[0] < 100)


def colour_errors(frame: Frame, case: dict[str, Any]) -> list[float]:
    height, width = frame.image.shape[:2]
    found = {side: frame.image[height // 2, width * part // 4] for side, part in (("left", 1), ("right", 3))}
    return [float(np.abs(found[side] - np.array(case[f"bgr_{side}"], float)).max()) for side in found]


@pytest.mark.parametrize("name", PLAYED)
def test_clips_are_read_as_they_are(name: str, clips: Path) -> None:
    case = CASES[name]
    if name == "animated.webp" and not hasattr(cv2, "imreadanimation"):
        pytest.skip("this OpenCV reads no animated WebP")
    with open_source(str(make_clip(clips, name))) as source:
        frames = list(source)
        reasons = [s.reason for s in source.skipped]
    whole = [f for f in frames if f.damage is None]
    if "count" in case:
        assert len(whole) == case["count"]
    if "numbers" in case and "damaged_at_least" not in case:
        assert [number_of(f.image) for f in whole] == case["numbers"]
        assert [f.index for f in frames] == list(range(len(frames)))
    if "times_ms" in case:
        assert [round((f.media_ns or 0) / 1e6) for f in whole] == pytest.approx(case["times_ms"], abs=2)
    if "size" in case:
        assert {f.image.shape for f in frames} == {(case["size"][1], case["size"][0], 3)}
    if "at" in case:
        for frame in whole:
            assert is_red(frame.image[case["at"]["red"][1], case["at"]["red"][0]])
            assert is_green(frame.image[case["at"]["green"][1], case["at"]["green"][0]])
    if "bgr_left" in case:
        assert max(colour_errors(whole[-1], case)) <= case["tolerance"]
    if "fps" in case:
        assert source.fps == case["fps"]
    if "fps_between" in case:
        assert source.fps is not None
        assert case["fps_between"][0] <= source.fps <= case["fps_between"][1]
    if "damaged_at_least" in case:
        left_out = len(frames) - len(whole) + int(next((r.split()[0] for r in reasons if "decoded" in r), 0))
        assert left_out >= case["damaged_at_least"]
        assert [number_of(f.image) for f in whole] == [round((f.media_ns or 0) / 40e6) for f in whole], "none smeared"
        assert {f.damage for f in frames} > {None}
    elif case.get("cut"):
        assert any("cut off" in reason for reason in reasons)
    else:
        assert reasons == []


def test_an_animated_webp_names_the_opencv_that_it_requires(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "imreadanimation", raising=False)
    path = make_clip(clips, "animated.webp")
    with pytest.raises(SourceError, match=r"cannot open an animated WebP(.|\n)*expected: *OpenCV 4\.11"):
        open_source(str(path))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_video_is_refused_with_its_cause(name: str, clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="cannot open") as caught:
        open_source(str(make_clip(clips, name)))
    assert CASES[name]["says"] in str(caught.value.got)
    assert caught.value.fix
    assert caught.value.exit_code == 2
    assert capfd.readouterr().err == ""


def test_where_pyav_is_missing_opencv_reads(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("paths", "opening"):
        monkeypatch.setattr(f"edgeproof_runtime.sources.{module}.has_pyav", lambda: False)
    with open_source(str(make_clip(clips, "plain.mp4"))) as source:
        assert [number_of(frame.image) for frame in source] == list(range(30))
        assert any("PyAV 17 is not installed" in note for note in source.notes)
    with pytest.raises(SourceError, match=r"rtsp://127\.0\.0\.1:9/x: cannot open"):
        open_source("rtsp://127.0.0.1:9/x")
    with pytest.raises(SourceError, match="cannot open") as caught:
        open_source("-")
    assert caught.value.fix == "pip install 'av>=17'"


def test_a_refresh_column_by_column_heals(clips: Path) -> None:
    """Such an encoder sends no key frame: what is damaged is whole after one more refresh."""
    with open_source(str(make_clip(clips, "refreshed-lossy.ts"))) as source:
        frames = list(source)
    whole = [f for f in frames if f.damage is None]
    assert len(whole) < len(frames)
    assert whole[-1].index > next(f.index for f in frames if f.damage), "it heals"
    assert [number_of(f.image) for f in whole] == [round((f.media_ns or 0) / 40e6) for f in whole]


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), (0, False)),
        ((0, 1, -1, 0), (90, False)),
        ((-1, 0, 0, 1), (0, True)),
        ((1, 0, 0, -1), (180, True)),
        ((0, 1, 1, 0), (270, True)),
        ((0, -1, -1, 0), (90, True)),
    ],
)
def test_display_matrices(matrix: tuple[int, int, int, int], turn: tuple[int, bool]) -> None:
    a, b, c, d = (part * 65536 for part in matrix)
    assert orientation(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)) == turn
    # Where a pixel goes: x' = a x + c y, y' = b x + d y, moved into the picture.
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = {}
    for y in range(2):
        for x in range(3):
            expected[matrix[0] * x + matrix[2] * y, matrix[1] * x + matrix[3] * y] = image[y, x]
    left, top = min(x for x, _ in expected), min(y for _, y in expected)
    shown = turned(image, *turn)
    assert all(shown[y - top, x - left] == value for (x, y), value in expected.items())


def test_frames_do_not_wait_for_the_garbage_collector(clips: Path) -> None:
    """A frame in a cycle keeps its pixels, of a large camera megabytes a second, until a full collection."""
    av = pytest.importorskip("av")
    clip = make_clip(clips, "rotated-90.mov")

    def waiting() -> int:
        return sum(type(one) is av.VideoFrame and one.width > 0 for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = waiting()
        with open_source(str(clip)) as source:
            assert sum(1 for _ in source) == 30
        assert waiting() - before <= 1, "the first frame's orientation is looked at"
    finally:
        gc.enable()
