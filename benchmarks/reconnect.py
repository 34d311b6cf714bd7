"""Four RTSP cameras, one of which is killed and started again many times: what do the others notice, and memory?

Real servers (GStreamer's, one process a camera) stream a clip whose every frame carries its number. Prints, for each
return of the killed camera, how long after the server took connections the first of its frames was decided; whether
any frame of the others is missing, or any frame at all was repeated or made up; and the slopes of memory, threads and
descriptors. Exits 1 where one of the bounds is missed.

    python benchmarks/reconnect.py [--bundle BUNDLE.edge] [--engine null] [--minutes 10] [--kills 20]
        [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import defaultdict
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from common import DEMO, Findings, clip_flag, output_flags, run

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.soak import Soak
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.sources import open_source
from edgeproof_runtime.tasks.classify import classify_head

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from cameras import Camera, missing_rtsp_server, number_of, write_numbered

RETURN_WITHIN_S = 2.0
MEMORY_MB_PER_HOUR = 1.0
DOWN_S = 3.0


def kill_and_start(
    camera: Camera, kills: int, minutes: float, running: threading.Event, returns_s: list[float]
) -> None:
    """Spread over the run; notes when the server took connections again."""
    every_s = 60 * minutes / (kills + 1)
    for _ in range(kills):
        if running.wait(every_s - DOWN_S):
            return
        camera.kill()
        time.sleep(DOWN_S)
        camera.start()
        returns_s.append(time.monotonic())
    # A thread that ended would leave its part of the heap to another one, which shows as growth.
    running.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="null")
    clip_flag(parser)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=20)
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("reconnect", arguments)
    reason = missing_rtsp_server()
    if reason is not None:
        raise SystemExit(reason)
    bundle = Bundle.open(arguments.bundle)
    head = classify_head(bundle)
    engines = [load_engine(bundle, arguments.engine, "fp32", threads=1) for _ in range(2)]
    numbers: dict[str, int] = {}
    missing: dict[str, int] = defaultdict(int)
    wrong: list[str] = []
    first_after: list[tuple[float, str]] = []
    returns_s: list[float] = []
    running = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        with open_source(str(arguments.clip)) as source:
            pictures = [frame.image for frame in islice(source, 300)]
        count = int(arguments.fps * (60 * arguments.minutes + 60))
        clip = write_numbered(Path(folder) / "numbered.mp4", islice(cycle(pictures), count), arguments.fps)
        del pictures
        cameras = [Camera(clip) for _ in range(4)]
        streams = [Stream(f"cam{i}", lambda c=c: open_source(c.url), "every-frame") for i, c in enumerate(cameras)]
        workers = [Worker(Preprocessor(bundle.contract), engine, head) for engine in engines]
        killer = threading.Thread(
            target=kill_and_start, args=(cameras[3], arguments.kills, arguments.minutes, running, returns_s)
        )
        try:
            with (
                Pipeline(streams, workers, duration_s=60 * arguments.minutes) as pipeline,
                Soak(lambda: pipeline.counts, 60 * arguments.minutes) as soak,
            ):
                killer.start()
                for decided in pipeline:
                    soak.decided(decided.frame_age_ms)
                    try:
                        number = number_of(decided.frame.image)
                    except ValueError as error:
                        wrong.append(f"{decided.frame.name}: {error}")
                        continue
                    before = numbers.get(decided.stream, -1)
                    numbers[decided.stream] = number
                    if decided.stream == "cam3" and number == 0 and before >= 0:
                        first_after.append((time.monotonic(), decided.frame.name))
                    elif number <= before:
                        wrong.append(f"{decided.frame.name} is frame {number} after {before}")
                    else:
                        missing[decided.stream] += number - before - 1
        finally:
            running.set()
            killer.join()
            for camera in cameras:
                camera.kill()
    delays_s = [at - back for back, (at, _) in zip(returns_s, first_after, strict=False)]
    slow = [at for at, delay_s in zip(returns_s, delays_s, strict=False) if delay_s > RETURN_WITHIN_S]
    record = soak.record()
    rows = [
        [s.name, s.counts.frames_in, s.counts.decided, s.counts.dropped, missing[s.name], s.reconnections]
        for s in pipeline.snapshots()
    ]
    found.table("streams", ["", "in", "decided", "dropped", "missing", "reconnections"], rows)
    found.table("back again, s after its server", ["return", "s"], [[i + 1, d] for i, d in enumerate(delays_s)])
    slopes: dict[str, Any] = {}
    for name in ("memory_mb", "threads", "descriptors", "frame_age_ms"):
        per_hour = record.per_hour(name)
        slopes[name] = per_hour.to_json() if per_hour is not None else None
        if per_hour is not None:
            print(f"{name} per hour: {per_hour.estimate:.3f} ({per_hour.low:.3f} to {per_hour.high:.3f})")
    memory = slopes["memory_mb"]
    judged = {
        "the others lost no frame": not any(missing[f"cam{i}"] for i in range(3)),
        "no frame was repeated or made up": not wrong,
        f"back within {RETURN_WITHIN_S:g} s every time": len(delays_s) == arguments.kills
        and max(delays_s, default=0.0) <= RETURN_WITHIN_S,
        f"memory grows by less than {MEMORY_MB_PER_HOUR:g} MB/h": memory is not None
        and memory["estimate"] < MEMORY_MB_PER_HOUR,
        "in = decided + dropped + failed": all(
            c.frames_in == c.decided + c.dropped + c.failed for c in (s.counts for s in pipeline.snapshots())
        ),
    }
    print()
    for what, holds in judged.items():
        print(f"{'yes' if holds else 'NO '}  {what}")
    for line in wrong[:5]:
        print(line)
    to_unix_s = time.time() - time.monotonic()
    for change in pipeline.snapshots()[3].history:
        if any(-2 * DOWN_S < change.unix_s - to_unix_s - at < 15 for at in slow):
            print(f"{change.unix_s:.2f}  {change.state}  {change.reason or ''}")
    result = {"delays_s": delays_s, "missing": dict(missing), "wrong": wrong[:100], "judged": judged, "slopes": slopes}
    settings = {
        "minutes": arguments.minutes,
        "kills": arguments.kills,
        "fps": arguments.fps,
        "engine": arguments.engine,
    }
    found.keep(settings, [{**result, "soak": record.to_json()}])
    raise SystemExit(0 if all(judged.values()) else 1)


if __name__ == "__main__":
    run(main)
