"""SIGHUP under a service manager reloads `streams.toml` in `run` and `serve`: one camera of several changes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from bundles import make_bundle
from jpeg_cameras import send_jpegs
from notified import Manager
from recordings import times_of
from serving import PLAIN, Started, started
from waiting import until

pytestmark = pytest.mark.slow


class _Camera(BaseHTTPRequestHandler):
    """A Motion JPEG camera of 20 frames/s at any path; its server counts the connections of each."""

    def do_GET(self) -> None:
        connections: Counter[str] = self.server.connections  # type: ignore[attr-defined]
        connections[self.path] += 1
        send_jpegs(self, 64, 48, 10**6)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        pass


@pytest.fixture
def cameras() -> Iterator[tuple[str, Counter[str]]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Camera) as server:
        server.daemon_threads = True
        server.connections = Counter()  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server.connections  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def reload(process: subprocess.Popen[Any], manager: Manager) -> str:
    """Ask for a reload as systemd does, and return the status that the process answers with."""
    manager.heard(0.2)
    process.send_signal(signal.SIGHUP)
    heard: list[dict[str, str]] = []
    until(lambda: heard.extend(manager.heard(0.1)) or any("READY" in m for m in heard), 120, process=process)
    named = [m for m in heard if {"RELOADING", "READY"} & m.keys()]
    assert [sorted(m) for m in named] == [["MONOTONIC_USEC", "RELOADING"], ["READY", "STATUS"]]
    return named[1]["STATUS"]


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()[1:] if line.endswith("}")]


@contextmanager
def run(folder: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgeproof", "run", folder / "tiny.edge", "--engine", "opencv", *options]
    with subprocess.Popen(
        [str(part) for part in command],
        env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_run_changes_one_camera_and_the_others_go_on(
    tmp_path: Path, cameras: tuple[str, Counter[str]], manager: Manager
) -> None:
    url, connections = cameras
    make_bundle(tmp_path / "tiny.edge")
    file, predictions, report = tmp_path / "streams.toml", tmp_path / "p.jsonl", tmp_path / "r.json"
    gate = f'[gate]\nsource = "{url}/gate.mjpg"\n'
    yard = '[yard]\nsource = "synthetic://64x48@10"\n[yard.regions.left]\ncrop = "0,0,32,48"\n[yard.regions.right]\n'
    file.write_text(f'[door]\nsource = "{url}/door.mjpg"\n{gate}[old]\nsource = "{url}/old.mjpg"\n{yard}')

    def seen() -> Counter[str]:
        return Counter(line["stream"] for line in lines_of(predictions))

    given = ("--source", file, "--policy", "every-frame", "--predictions", predictions, "--json", report)
    with run(tmp_path, *given, "--save", tmp_path / "live.mp4") as process:
        until(lambda: all(seen()[name] > 3 for name in ("door", "gate", "old", "yard/left")), 120, process=process)
        file.write_text("[door\n")
        assert reload(process, manager) == "not reloaded"
        file.write_text(f'[door]\nsource = "{tmp_path}/absent.mp4"\n{gate}')
        assert reload(process, manager) == "not reloaded"
        before = seen()
        until(lambda: all(seen()[name] > before[name] for name in before), 120, process=process)
        new = f'[hall]\nsource = "synthetic://64x48@10"\n{yard}every_s = 0.2\n'
        file.write_text(f'[door]\nsource = "{url}/door-2.mjpg"\n{gate}{new}')
        status = reload(process, manager)
        assert status == "streams: added hall; changed door, yard/left, yard/right; removed old; 1 unchanged"
        before = seen()
        until(
            lambda: all(seen()[n] > before[n] + 3 for n in ("door", "gate", "hall", "yard/right")), 120, process=process
        )
        assert seen()["old"] == before["old"]
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert "streams: go on as they are; not reloaded: " in told
    assert "not TOML" in told
    assert "absent.mp4" in told
    assert connections == {"/door.mjpg": 1, "/door-2.mjpg": 1, "/gate.mjpg": 1, "/old.mjpg": 1}
    document = json.loads(report.read_text())
    (unchanged,) = [stream for stream in document["streams"] if stream["name"] == "gate"]
    assert unchanged["counts"]["frames_in"] == unchanged["counts"]["decided"] + unchanged["counts"]["stopped"]
    assert unchanged["reconnections"] == 0
    counts = document["counts"]
    parts = ("frames_classified", "frames_dropped", "frames_unhealthy", "frames_failed")
    assert counts["frames_in"] == sum(counts[part] for part in parts)
    assert counts["frames_in"] == sum(stream["counts"]["frames_in"] for stream in document["streams"])
    ended = {(s["name"], s["reason"]) for s in document["streams"] if s["reason"] != "stopped"}
    assert ended == {
        ("old", "removed from the file of streams"),
        *((name, "changed in the file of streams") for name in ("door", "yard/left", "yard/right")),
    }
    written = {Path(sink["name"]).name: sink["written"] for sink in document["sinks"]}
    (lines,) = [sink for sink in document["sinks"] if sink["name"] == str(predictions)]
    assert counts["frames_classified"] == sum(seen().values()) + lines["dropped"]
    assert {"live-door.mp4", "live-door-2.mp4", "live-old.mp4", "live-gate.mp4", "live-hall.mp4"} <= written.keys()
    assert len(times_of(tmp_path / "live-door.mp4")) == written["live-door.mp4"]
    assert all(sink["failed"] == 0 for sink in document["sinks"])


def test_the_page_and_the_metrics_follow(tmp_path: Path, cameras: tuple[str, Counter[str]], manager: Manager) -> None:
    url, connections = cameras
    make_bundle(tmp_path / "tiny.edge")
    file, report = tmp_path / "streams.toml", tmp_path / "r.json"
    gate = f'[gate]\nsource = "{url}/gate.mjpg"\n'
    file.write_text(f'[door]\nsource = "{url}/door.mjpg"\n{gate}')
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    given = ("--source", file, "--port", 0, "--engine", "opencv", "--json", report)
    with started(tmp_path / "tiny.edge", *given, env=environment) as served:

        def states() -> dict[str, dict[str, Any]]:
            shown = httpx.get(f"{base(served)}/api/state", **PLAIN, timeout=20).json()  # type: ignore[arg-type]
            return {stream["name"]: stream for stream in shown["streams"]}

        def metered() -> set[str]:
            page = httpx.get(f"{base(served)}/metrics", **PLAIN, timeout=20).text  # type: ignore[arg-type]
            return set(re.findall(r'stream="([^"]+)"', page))

        until(lambda: all(stream["frames"]["decided"] > 3 for stream in states().values()), 120)
        before = states()
        assert metered() == {"door", "gate"}
        file.write_text(f'{gate}[hall]\nsource = "{url}/hall.mjpg"\n')
        assert reload(served.process, manager) == "streams: added hall; removed door; 1 unchanged"
        until(lambda: states().get("hall", {}).get("frame"), 120)
        after = states()
        assert set(after) == metered() == {"gate", "hall"}
        assert after["gate"]["id"] == before["gate"]["id"]
        assert after["hall"]["id"] not in {stream["id"] for stream in before.values()}
        assert after["gate"]["frames"]["decided"] >= before["gate"]["frames"]["decided"]
        picture = httpx.get(f"{base(served)}/streams/{after['hall']['id']}.jpg", **PLAIN, timeout=20)  # type: ignore[arg-type]
        assert picture.status_code == 200
        gone = httpx.get(f"{base(served)}/streams/{before['door']['id']}.jpg", **PLAIN, timeout=20)  # type: ignore[arg-type]
        assert gone.status_code == 404
        file.write_text("")
        assert reload(served.process, manager) == "not reloaded"
        assert set(states()) == {"gate", "hall"}
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(60)
        assert served.process.returncode == 0
    assert connections == {"/door.mjpg": 1, "/gate.mjpg": 1, "/hall.mjpg": 1}
    document = json.loads(report.read_text())
    assert document["settings"]["sources"] == ["gate", "hall"]
    assert [stream["name"] for stream in document["streams"]] == ["gate", "hall", "door"]
    assert document["counts"]["frames_in"] == sum(s["counts"]["frames_in"] for s in document["streams"])


def base(served: Started) -> str:
    return f"http://127.0.0.1:{served.port}"
