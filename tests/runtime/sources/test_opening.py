from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from edgeproof_runtime.errors import InputError, SourceError, UnavailableError
from edgeproof_runtime.sources import ClipLabels, Source, open_source
from edgeproof_runtime.system.redact import without_credentials
from unprivileged import held_to_permissions

CAT = cv2.resize(skimage.data.chelsea()[:, :, ::-1], (64, 48))
ROCKET = cv2.resize(skimage.data.rocket()[:, :, ::-1], (64, 48))


def write_video(path: Path, frames: int, codec: str = "MJPG", fps: float = 10.0) -> Path:
    """A video whose frame ``i`` has brightness ``8 * i``."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.full((48, 64, 3), 8 * i, np.uint8))
    writer.release()
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    root = tmp_path / "photographs"
    for name, image in (("cat/shot10.png", CAT), ("cat/shot9.png", CAT), ("rocket/a.png", ROCKET)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), image)
    return root


def test_one_picture(photographs):
    with open_source(str(photographs / "rocket/a.png")) as source:
        (frame,) = source
    np.testing.assert_array_equal(frame.image, ROCKET)
    assert (frame.index, frame.name, frame.label) == (0, "a.png", None)
    assert frame.capture_ms >= 0
    assert frame.decode_ms > 0
    assert (source.live, source.fps, source.frame_count) == (False, None, 1)


def test_a_photograph_stands_upright(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CAT[:, :, ::-1].copy()).save(tmp_path / "phone.png", exif=exif)
    with open_source(str(tmp_path / "phone.png")) as source:
        (frame,) = source
    np.testing.assert_array_equal(frame.image, cv2.rotate(CAT, cv2.ROTATE_90_CLOCKWISE))


def test_folder_in_natural_order_with_its_labels(photographs):
    with open_source(str(photographs), label_by_folder=True) as source:
        frames = list(source)
    assert [(f.name, f.label) for f in frames] == [
        ("cat/shot9.png", "cat"),
        ("cat/shot10.png", "cat"),
        ("rocket/a.png", "rocket"),
    ]


def test_glob(photographs):
    with open_source(str(photographs / "**" / "*.png")) as source:
        assert [f.name for f in source] == ["cat/shot9.png", "cat/shot10.png", "rocket/a.png"]
    with open_source(str(photographs / "rocket" / "*")) as source:
        assert [f.name for f in source] == ["a.png"]
    with pytest.raises(SourceError, match="no matching file"):
        open_source(str(photographs / "*.gif"))
    with pytest.raises(SourceError, match="source not found") as caught:
        open_source("rocket/%03d.png")
    assert caught.value.fix == "write a glob: 'rocket/*.png'"


def test_bad_files_in_a_folder_are_skipped_and_named(photographs, capfd):
    whole = (photographs / "rocket/a.png").read_bytes()
    (photographs / "cat/shot1.png").write_bytes(whole[:300])
    (photographs / "cat/shot2.jpg").touch()
    (photographs / "cat/shot3.jpg").write_text("no picture")
    (photographs / "notes.txt").write_text("no picture either")
    (photographs / "cat/shot4.png").symlink_to(photographs / "gone.png")
    with open_source(str(photographs)) as source:
        for _pass in range(2):
            frames = list(source)
            assert [f.index for f in frames] == [4, 5, 6], "positions hold although files were skipped"
            reasons = {s.name: s.reason for s in source.skipped}
            assert len(source.skipped) == 5
    for name, reason in (
        ("cat/shot1.png", "truncated"),
        ("cat/shot2.jpg", "empty"),
        ("cat/shot3.jpg", "not an image"),
        ("cat/shot4.png", "No such file"),
        ("notes.txt", "not an image"),
    ):
        assert reason in reasons[name]
    assert capfd.readouterr().err == ""


def test_folders_that_cannot_be_read_are_named(photographs):
    """In a process of its own, which permissions hold for."""
    (photographs / "none").mkdir(mode=0)
    (photographs / "cat/deep").mkdir()
    (photographs / "cat/deep/none").mkdir(mode=0)
    code = (
        "import sys\n"
        "from edgeproof_runtime.data.dataset import ImageList\n"
        "from edgeproof_runtime.errors import InputError\n"
        "from edgeproof_runtime.sources import open_source\n"
        "root = sys.argv[1]\n"
        "with open_source(root) as source:\n"
        "    print(len(list(source)), *((s.name, s.reason) for s in source.skipped), sep='; ')\n"
        "print(ImageList.open(root + '/cat').skipped)\n"
        "for read, folder in ((open_source, '/none'), (ImageList.open, '/none'), (ImageList.open, '')):\n"
        "    try:\n        read(root + folder)\n    except InputError as error:\n        print(error.what, error.got)\n"
    )
    command = [*held_to_permissions(), sys.executable, "-c", code, str(photographs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    played, listed, *refused = done.stdout.splitlines()
    why = "a folder that cannot be read"
    assert played == f"3; ('cat/deep/none', '{why}'); ('none', '{why}')"
    assert why in listed
    assert refused == [f"{photographs}/none: cannot be read Permission denied"] * 3, "a class would be missing"


def test_video(tmp_path):
    path = write_video(tmp_path / "clip.avi", 12)
    labels = ClipLabels.open(write(tmp_path / "labels.csv", "start,end,label\n0,4,dark\n4,8,mid\n"))
    with open_source(str(path), labels=labels) as source:
        frames = list(source)
        assert (source.live, source.fps, source.frame_count) == (False, 10.0, 12)
        assert source.skipped == []
    assert [f.index for f in frames] == list(range(12))
    assert [f.label for f in frames] == ["dark"] * 4 + ["mid"] * 4 + [None] * 4
    assert [abs(int(f.image.mean()) - 8 * i) <= 3 for i, f in enumerate(frames)] == [True] * 12
    assert frames[3].name == "clip.avi#3"
    assert len({f.image.ctypes.data for f in frames}) == 12, "no two frames share memory"
    assert all(a.captured_ns < b.captured_ns for a, b in itertools.pairwise(frames))


def test_a_video_that_ends_early_is_reported(tmp_path, data_dir, capfd):
    whole = (data_dir / "videos" / "car-detection.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with open_source(str(cut)) as source:
        frames = sum(1 for _ in source)
        assert 0 < frames < 300
        (skipped,) = source.skipped
    assert skipped.name == "cut.mp4"
    assert f"{frames} of 377 frames" in skipped.reason


def test_real_videos_are_read_whole(data_dir):
    for name, count in (("bottle-detection.mp4", 1189), ("car-detection.mp4", 377)):
        with open_source(str(data_dir / "videos" / name)) as source:
            assert source.frame_count == count
            assert sum(1 for _ in source) == count
            assert source.skipped == []


def test_closing_ends_the_iteration(tmp_path):
    with open_source(str(write_video(tmp_path / "clip.avi", 12))) as source:
        frames = iter(source)
        next(frames)
        source.close()
        assert list(frames) == []
        source.close()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("", "--source: empty"),
        ("none.mp4", "none.mp4: source not found"),
        ("97", "camera 97"),
        ("9" * 5000, "999: "),
        (f"csi://{'9' * 5000}", "999: cannot open"),
        ("/dev/video97", "/dev/video97"),
        ("gopher://host/x", "gopher://"),
        ("videotestsrc ! fakesink", "must end in appsink"),
        ("empty.mp4", "empty file"),
        ("text.mp4", "text.mp4: cannot open"),
        ("folder", "no images"),
    ],
)
def test_what_cannot_be_opened_says_how_to_mend_it(spec, what, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("no video " * 100)
    Path("folder").mkdir()
    with pytest.raises(SourceError, match=what) as caught:
        open_source(spec)
    assert caught.value.exit_code == 2
    assert caught.value.expected
    assert capfd.readouterr().err == ""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["x.png", "x.gif", "x.webp", "x.jpg", "x.mp4"])
def test_a_fifo_in_a_folder_is_not_waited_for(name, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    os.mkfifo(tmp_path / name)
    with open_source(str(tmp_path)) as source:
        assert len(list(source)) == 1


def test_gstreamer_pipelines_need_an_opencv_that_has_it(monkeypatch):
    if "GStreamer:                   YES" in cv2.getBuildInformation():
        pytest.skip("this OpenCV has GStreamer")
    for spec in ("videotestsrc ! appsink", "csi://0"):
        with pytest.raises(UnavailableError, match="without GStreamer") as caught:
            open_source(spec)
        assert caught.value.fix


def test_an_address_that_refuses_is_named_without_its_password():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SourceError, match=r"rtsp://127\.0\.0\.1.*: cannot open") as caught:
        open_source(f"rtsp://admin:secret@127.0.0.1:{port}/live?token=secret")
    assert "secret" not in str(caught.value)


def test_without_credentials():
    assert without_credentials("rtsp://u:p@host:554/a/b?key=1#x") == "rtsp://host:554/a/b"
    assert without_credentials("http://host/a") == "http://host/a"


def test_video_over_http(tmp_path):
    import functools
    import http.server

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    write_video(tmp_path / "clip.avi", 12)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with open_source(f"http://127.0.0.1:{server.server_port}/clip.avi") as source:
                assert sum(1 for _ in source) == 12
        finally:
            server.shutdown()
            thread.join()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'start,end,label\n0,2,cat\n3,4,"dog, a"\n'),
        ("b.csv", '3, 4, "dog, a"\n0, 2, cat\n'),
        ("c.txt", 'cat\ncat\n\n"dog, a"\n'),
        ("d.csv", 'label\ncat\ncat\n\n"dog, a"\n'),
        ("e.json", json.dumps(["cat", "cat", None, "dog, a"])),
        ("f.json", json.dumps([{"start": 3, "end": 4, "label": "dog, a"}, {"start": 0, "end": 2, "label": "cat"}])),
    ],
)
def test_every_form_of_clip_labels(tmp_path, name, text):
    labels = ClipLabels.open(write(tmp_path / name, text), known=["cat", "dog, a"])
    assert [labels.at(i) for i in range(6)] == ["cat", "cat", None, "dog, a", None, None]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "start,end,label\n0,2,cat\n2,2,cat\n", "line 3: empty range"),
        ("a.csv", "0,2,cat\n1,3,dog\n", "line 2: frame 1 has two labels"),
        ("a.csv", "0,2,cat\n2,x,dog\n", "line 2: start and end"),
        ("a.csv", "0,2,cat\n2,4,dog,more\n", "line 2: 4 columns"),
        ("a.csv", "0,2,\n", "line 1: empty label"),
        ("a.csv", "-1,2,cat\n", "line 1: empty range"),
        ("a.csv", "0,2,cat\n5,6,bird\n", "line 2: unknown label 'bird'"),
        ("a.txt", "cat\nbird\n", "line 2: unknown label 'bird'"),
        ("a.csv", '0,2,"cat\n', "invalid CSV"),
        ("a.csv", "", "no labelled frame"),
        ("a.csv", "start,end,label\n", "no labelled frame"),
        ("a.json", "{", "invalid JSON"),
        ("a.json", "{}", "not a list"),
        ("a.json", '[{"start": 0, "end": true, "label": "cat"}]', "entry 0: not a range"),
        ("a.json", '[{"begin": 0}]', "entry 0: not a range"),
        ("a.json", '["cat", 3]', "entry 0: not a range"),
        ("a.csv", "\x00\x01", "unknown label|line contains NUL"),  # the second is Python 3.10's csv
    ],
)
def test_labels_that_make_no_sense_are_refused_by_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        ClipLabels.open(write(tmp_path / name, text), known=["cat", "dog"])


def test_labels_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        ClipLabels.open(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        ClipLabels.open(tmp_path / "binary.csv")


def test_a_source_is_an_interface():
    with pytest.raises(TypeError):
        Source("x", live=False, fps=None, frame_count=None)  # type: ignore[abstract]
