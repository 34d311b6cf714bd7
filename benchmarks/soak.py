"""`edgeproof run` and `serve` over cameras that come and go: are all frames accounted for, and does memory grow?

Real processes read real servers: RTSP over TCP and UDP (GStreamer's), Motion JPEG over HTTP, MPEG-TS over UDP. A
viewer looks at the page; events, snapshots, clips and recordings are written. One camera is killed and started again
from time to time. With --faults the network loses 2 % of the packets of all cameras, delays, reorders and changes some,
and is away altogether now and then (as root, in a separate network namespace). Exits 1 where a bound is missed.

    python benchmarks/soak.py [--bundle BUNDLE.edge] [--minutes 30] [--faults] [--command run] [--command serve]
        [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import http.server
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from bad_network import Loss, TcpRelay, UdpRelay, own_network
from common import DEMO, Findings, clip_flag, output_flags, run

from edgeproof_runtime.live.soak import slope
from edgeproof_runtime.sources import open_source

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from cameras import Camera, missing_rtsp_server, write_numbered
from waiting import free_port, until

MEMORY_MB_PER_HOUR = 1.0
SAMPLE_S = 5.0
START_WITHIN_S = 600.0
DELAY_S, JITTER_S, LATE, CORRUPT, LOST = 0.05, 0.02, 0.01, 0.005, 0.02
FPS = 10.0
CLIP_S = 240


class JpegCamera(http.server.ThreadingHTTPServer):
    """Motion JPEG over HTTP, as network cameras send it."""

    daemon_threads = True

    def __init__(self, images: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _JpegHandler)
        self.images = images
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _JpegHandler(http.server.BaseHTTPRequestHandler):
    server: JpegCamera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with suppress(OSError):
            for image in cycle(self.server.images):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                self.wfile.write(head.encode() + image + b"\r\n")
                time.sleep(1 / FPS)

    def log_message(self, *_: object) -> None:
        pass


class Cameras:
    """The cameras of one program."""

    def __init__(self, mpeg4: Path, h264: Path, images: list[bytes], faults: bool) -> None:
        self.rtsp, self.rtsp_udp, self.jpeg = Camera(mpeg4), Camera(h264, "--h264", "--udp"), JpegCamera(images)
        ts_port = free_port()
        rtsp_port, jpeg_port, entry = self.rtsp.port, self.jpeg.server_port, ts_port
        if faults:
            rtsp_port = TcpRelay(rtsp_port, DELAY_S, JITTER_S).port
            jpeg_port = TcpRelay(jpeg_port, DELAY_S, JITTER_S).port
            entry = UdpRelay(ts_port, delay_s=DELAY_S, late_s=JITTER_S, late=LATE, corrupt=CORRUPT).port
        words = ["ffmpeg", "-loglevel", "quiet", "-nostdin", "-re", "-stream_loop", "-1", "-i", str(h264)]
        self._sender = subprocess.Popen(
            [*words, "-c", "copy", "-f", "mpegts", f"udp://127.0.0.1:{entry}?pkt_size=1316"]
        )
        self.ports = [rtsp_port, self.rtsp_udp.port, jpeg_port, ts_port]
        self.sources = {
            "rtsp": f"rtsp://127.0.0.1:{rtsp_port}/camera",
            "rtsp-udp": f"{self.rtsp_udp.url}?udp",
            "jpeg": f"http://127.0.0.1:{jpeg_port}/",
            "ts": f"udp://127.0.0.1:{ts_port}",
        }

    def close(self) -> None:
        self.rtsp.kill()
        self.rtsp_udp.kill()
        self.jpeg.shutdown()
        self._sender.kill()
        self._sender.wait()


class Program:
    """`run` or `serve` as a process, with all its outputs, and what became of it."""

    def __init__(self, command: str, bundle: Path, engine: str, cameras: Cameras, folder: Path) -> None:
        self.command, self.cameras, self.folder = command, cameras, folder
        folder.mkdir()
        streams = [f'[{name}]\nsource = "{source}"\n' for name, source in cameras.sources.items()]
        (folder / "streams.toml").write_text("\n".join(streams))
        self.port = free_port()
        words = [command, str(bundle), "--engine", engine, "--source", "streams.toml", "--json", "report.json"]
        words += ["--sink", "events.csv", "--threshold", "0.2", "--stable", "3", "--smooth", "3"]
        words += ["--save", "live.mp4", "--segment", "1m", "--keep", "50MB"]
        words += ["--snapshots", "snapshots", "--clips", "clips", "--pre", "2s", "--post", "1s"]
        words += ["--predictions", "frames.jsonl", "--rotate-files", "5MB"]
        if command == "serve":
            words += ["--port", str(self.port)]
        self.said = (folder / "said.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgeproof", *words], cwd=folder, stdout=self.said, stderr=subprocess.STDOUT
        )
        self.memory: list[tuple[float, float]] = []
        self._watched = psutil.Process(self.process.pid)
        self._began_s = time.monotonic()

    def sample(self) -> None:
        """Take down how much memory it has."""
        with suppress(psutil.Error):
            self.memory.append((time.monotonic() - self._began_s, self._watched.memory_info().rss / 1e6))

    def view(self, running: threading.Event) -> None:
        """Look at the page as a browser does: its state twice a second, an image of a stream now and then, metrics."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        turn = 0
        names = list(self.cameras.sources)
        while not running.wait(0.5):
            turn += 1
            paths = ["/api/state", *([f"/streams/{names[turn // 4 % 4]}.jpg", "/metrics"] if turn % 4 == 0 else [])]
            for path in paths:
                with suppress(OSError), opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                    response.read()

    def end(self) -> int:
        """Stop it as a person does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.said.close()
        return code


def away(cameras: list[Cameras], minutes: float, loss: Loss | None, running: threading.Event) -> None:
    """Kill a camera, or cut the network, until the run ends. A thread that ended would leave its heap to another."""
    rng = random.Random(1)
    while not running.wait(min(60.0, 6 * minutes)):
        if loss is None:
            for one in cameras:
                one.rtsp.kill()
            running.wait(3)
            for one in cameras:
                one.rtsp.start()
        else:
            loss.set(1.0)
            running.wait(rng.choice([2, 8, 20]))
            loss.set(rng.choice([0.0, LOST, LOST, 5 * LOST]))


def in_order(part: list[Any], whole: list[Any]) -> bool:
    """Whether all items of one list are in the other, in that order."""
    rest = iter(whole)
    return all(item in rest for item in part)


def judged(program: Program, code: int, faults: bool) -> tuple[dict[str, bool], list[list[object]], Any]:
    """Return what holds, a row for each stream, and the slope of memory over the last half, MB/h."""
    name = program.command
    said = (program.folder / "said.txt").read_text()
    report = json.loads((program.folder / "report.json").read_text())
    rows: list[list[object]] = []
    accounted = states = True
    reconnected = 0
    for stream in report["streams"]:
        c = stream["counts"]
        dropped = c["overtaken"] + c["stopped"]
        accounted &= c["frames_in"] == c["decided"] + dropped + c["unhealthy"] + c["failed"]
        reconnected += stream["reconnections"]
        history = [(change["state"], change["reason"]) for change in stream["history"]]
        told = re.findall(rf"^{stream['name']}: ([a-z ]+?)(?: \((.*)\))?$", said, re.MULTILINE)
        states &= in_order(told, [(state, reason or "") for state, reason in history])
        states &= all(a != b for a, b in pairwise(history))
        states &= all(a["at_s"] <= b["at_s"] for a, b in pairwise(stream["history"]))
        counts = [c["frames_in"], c["decided"], dropped, c["unhealthy"], c["failed"]]
        rows.append([f"{name} {stream['name']}", *counts, stream["reconnections"]])
    holds = {
        f"{name}: ended as it should": code == 0,
        f"{name}: in = decided + dropped + unhealthy + failed": accounted and len(report["streams"]) == 4,
        f"{name}: every stream gave frames": all(row[1] for row in rows),
        f"{name}: streams were reconnected": reconnected > 0,
        f"{name}: states are told as they were, none twice, times ascend": states,
        f"{name}: no traceback": not re.search("Traceback|nanobind", said),
    }
    found = None
    if not faults:
        half = np.array([m for m in program.memory if m[0] >= program.memory[-1][0] / 2])
        found = slope(half[:, 0] / 3600, half[:, 1])
        if found is not None:
            holds[f"{name}: memory grows by less than {MEMORY_MB_PER_HOUR:g} MB/h"] = (
                found.estimate < MEMORY_MB_PER_HOUR
            )
    return holds, rows, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="onnxruntime")
    clip_flag(parser)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--faults", action="store_true", help="a network with faults; memory is not judged")
    parser.add_argument("--command", action="append", choices=["run", "serve"], help="default: both with --faults")
    output_flags(parser)
    arguments = parser.parse_args()
    if arguments.faults:
        own_network()
    reason = missing_rtsp_server()
    if reason is not None:
        raise SystemExit(reason)
    found = Findings("soak", arguments)
    commands = arguments.command or (["run", "serve"] if arguments.faults else ["serve"])
    running = threading.Event()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with open_source(str(arguments.clip)) as source:
            images = [frame.image for frame in islice(source, 200)]
        mpeg4 = write_numbered(folder / "clip.mp4", islice(cycle(images), int(FPS * CLIP_S)), FPS)
        words = ["ffmpeg", "-loglevel", "error", "-i", str(mpeg4), "-c:v", "libx264", "-g", "10", "-bf", "0"]
        subprocess.run([*words, "-pix_fmt", "yuv420p", str(folder / "h264.mp4")], check=True)
        jpegs = [cv2.imencode(".jpg", cv2.resize(image, (320, 180)))[1].tobytes() for image in images]
        cameras = [Cameras(mpeg4, folder / "h264.mp4", jpegs, arguments.faults) for _ in commands]
        loss = Loss([port for one in cameras for port in one.ports]) if arguments.faults else None
        programs: list[Program] = []
        threads: list[threading.Thread] = []
        codes: list[int] = []
        try:
            for command, one in zip(commands, cameras, strict=True):
                programs.append(Program(command, arguments.bundle.resolve(), arguments.engine, one, folder / command))
                threads.append(threading.Thread(target=programs[-1].view, args=(running,)))
            until(lambda: all((p.folder / "frames.jsonl").exists() for p in programs), START_WITHIN_S)
            if loss is not None:
                loss.set(LOST)
            threads.append(threading.Thread(target=away, args=(cameras, arguments.minutes, loss, running)))
            for thread in threads:
                thread.start()
            end_s = time.monotonic() + 60 * arguments.minutes
            while time.monotonic() < end_s and all(p.process.poll() is None for p in programs):
                for program in programs:
                    program.sample()
                time.sleep(SAMPLE_S)
        finally:
            running.set()
            codes = [program.end() for program in programs]
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            for one in cameras:
                one.close()
        results: list[dict[str, Any]] = []
        rows: list[list[object]] = []
        for program, code in zip(programs, codes, strict=True):
            holds, of_program, memory = judged(program, code, arguments.faults)
            rows += of_program
            slopes = None if memory is None else memory.to_json()
            samples = program.memory
            results.append({"command": program.command, "judged": holds, "memory_mb_per_hour": slopes, "mb": samples})
            if arguments.json_file is not None:
                print((program.folder / "said.txt").read_text())
        found.table("streams", ["", "in", "decided", "dropped", "unhealthy", "failed", "reconnections"], rows)
        for result in results:
            per_hour = result["memory_mb_per_hour"]
            if per_hour is not None:
                figures = f"{per_hour['estimate']:.2f} ({per_hour['low']:.2f} to {per_hour['high']:.2f})"
                last = result["mb"][-1][1]
                found.say(
                    f"Memory of `{result['command']}` over the last half, MB/h: {figures}; {last:.0f} MB at the end."
                )
            for what, holds in result["judged"].items():
                found.say(f"- {'yes' if holds else '**no**'}: {what}")
    found.keep({"minutes": arguments.minutes, "faults": arguments.faults}, results)
    raise SystemExit(0 if all(all(r["judged"].values()) for r in results) else 1)


if __name__ == "__main__":
    run(main)
