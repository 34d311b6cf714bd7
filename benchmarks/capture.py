"""What does a frame of a video cost through FFmpeg's own API (PyAV), and through OpenCV?

Both read the same clip to BGR images, round by round, with one decoder thread.

    python benchmarks/capture.py [--clip CLIP] [--frames 300] [--rounds 5] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from common import Findings, clip_flag, output_flags, run

from edgeproof_runtime.sources.base import Source
from edgeproof_runtime.sources.capturing import file_backends
from edgeproof_runtime.sources.media import MediaSource
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.video import VideoSource

OPTIONS = SourceOptions(decode_threads=1)


def encoded(folder: Path, clip: Path, frames: int, *encoder: str) -> Path:
    """The clip's frames at 1280x720 in another codec."""
    out = folder / f"{encoder[0]}.mkv"
    scaled = ["-frames:v", str(frames), "-an", "-vf", "scale=1280:720", "-c:v", *encoder]
    ffmpeg = shutil.which("ffmpeg") or "ffmpeg"
    subprocess.run([ffmpeg, "-v", "error", "-y", "-i", str(clip), *scaled, str(out)], check=True)
    return out


def cost(source: Source) -> tuple[float, float]:
    """Milliseconds a frame: of the CPU, and on the wall."""
    with source:
        wall, cpu = time.perf_counter(), time.process_time()
        frames = sum(1 for _ in source)
        return 1e3 * (time.process_time() - cpu) / frames, 1e3 * (time.perf_counter() - wall) / frames


def through_pyav(clip: Path) -> Source:
    return MediaSource(f"file:{clip}", clip.name, kind="file", options=OPTIONS, fix="")


def through_opencv(clip: Path) -> Source:
    return VideoSource(str(clip), clip.name, backends=file_backends(), kind="file", options=OPTIONS, fix="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    clip_flag(parser)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("capture", arguments)
    rows, results = [], []
    with tempfile.TemporaryDirectory() as folder:
        for codec in (("libx264", "-preset", "veryfast"), ("mpeg4", "-q:v", "4"), ("mjpeg", "-q:v", "3")):
            clip = encoded(Path(folder), arguments.clip, arguments.frames, *codec)
            rounds = [(*cost(through_pyav(clip)), *cost(through_opencv(clip))) for _ in range(arguments.rounds)]
            pyav, pyav_wall, opencv, opencv_wall = (median(column) for column in zip(*rounds, strict=True))
            rows.append([codec[0], pyav, opencv, pyav / opencv, pyav_wall, opencv_wall])
            keys = ("pyav_cpu_ms", "pyav_wall_ms", "opencv_cpu_ms", "opencv_wall_ms")
            results += [{"codec": codec[0], **dict(zip(keys, one, strict=True))} for one in rounds]
    head = ["1280x720", "PyAV, CPU ms", "OpenCV, CPU ms", "of OpenCV's", "PyAV, wall ms", "OpenCV, wall ms"]
    found.table(f"Milliseconds a frame, one decoder thread, median of {arguments.rounds} rounds", head, rows)
    found.keep({"clip": arguments.clip.name, "frames": arguments.frames, "rounds": arguments.rounds}, results)


if __name__ == "__main__":
    run(main)
