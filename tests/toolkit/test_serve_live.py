"""Streams, metrics and the page of `serve`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from onnx import numpy_helper

from bundles import LABELS, frames, make_bundle, tiny_onnx
from decisions import decided
from edgeproof.dashboard import live
from edgeproof.dashboard.live import LiveStream
from edgeproof.dashboard.metrics import Metrics
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.sources import StreamSpec
from serving import PLAIN, Served, serving
from waiting import until

WAIT_S = 30


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("serve") / "tiny.edge")


def state(served: Served, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = served.get("/api/state").json()["streams"][number]
    return found


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Served]:
    specs = [
        StreamSpec(name="fast", source="synthetic://1280x720@30"),
        StreamSpec(name="none", source="/nowhere/clip.mp4"),
    ]
    with serving(bundle, specs) as running:
        until(lambda: state(running)["frames"]["decided"] >= 10)
        yield running


def test_the_state_shows_what_a_stream_does(served: Served) -> None:
    shown = state(served)
    assert (shown["name"], shown["state"], shown["width"], shown["height"]) == ("fast", "live", 1280, 720)
    assert {label for label, _, _ in shown["rows"]} == set(LABELS)
    assert shown["headline"].startswith(shown["rows"][0][0])
    assert shown["latency_ms"]["frame_age"]["count"] > 0
    until(lambda: any(ms is not None for ms in state(served)["curve"]["age_ms_median"]))
    broken = state(served, 1)
    assert broken["state"] == "failed"
    assert "/nowhere/clip.mp4: source not found" in broken["reason"]
    assert broken["frame"] is None


def test_the_host_is_shown_with_what_is_not_known(served: Served) -> None:
    host = served.get("/api/state").json()["host"]
    assert host["process_rss_bytes"] > 1 << 20
    assert bool(host["gpus"]) != ("gpu" in host["unavailable"])


def parts(served: Served, count: int) -> list[bytes]:
    """The first pictures of the stream."""
    with httpx.stream("GET", f"{served.url}/streams/0.mjpeg", **PLAIN, timeout=WAIT_S) as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=edgeproof-frame"
        received = b""
        for piece in answer.iter_raw():
            received += piece
            if received.count(b"--edgeproof-frame") > count:
                break
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in received.split(b"--edgeproof-frame")[1:-1]]


@pytest.mark.serial
def test_a_stream_is_seen_as_mjpeg(served: Served) -> None:
    pictures = parts(served, 4)
    decoded = [cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) for picture in pictures]
    assert {picture.shape for picture in decoded} == {(540, 960, 3)}
    assert len(set(pictures)) == len(pictures), "the same frame twice"
    single = served.get("/streams/0.jpg")
    assert single.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(single.content, np.uint8), cv2.IMREAD_COLOR).shape == (540, 960, 3)


@pytest.mark.slow
def test_a_viewer_who_does_not_read_slows_nobody(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /streams/0.mjpeg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        before = state(served)["frames"]["decided"]
        until(lambda: state(served)["frames"]["decided"] > before + 30)
        assert len(parts(served, 2)) == 2
    pages = served.service.server.dashboard.pages
    until(lambda: pages.viewers == 0)


def test_viewers_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproof.dashboard.pages._MAX_VIEWERS", 0)
    answer = served.get("/streams/0.mjpeg")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_metrics_are_what_prometheus_takes(served: Served) -> None:
    served.get("/v2/models/nobody")
    text = served.get("/metrics").text
    for line in (
        'edgeproof_http_requests_total{code="404",route="/v2/models/{model}"}',
        'edgeproof_frames_total{cause="overtaken",outcome="dropped",stream="fast"}',
        'edgeproof_stream_state{state="live",stream="fast"} 1.0',
        'edgeproof_stream_state{state="failed",stream="none"} 1.0',
        'edgeproof_frame_age_seconds_bucket{le="0.1",stream="fast"}',
        'edgeproof_frame_stage_duration_seconds_count{stage="inference",stream="fast"}',
        "edgeproof_inference_queue_capacity 128.0",
    ):
        assert line in text, text
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: install Debian's prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_paths_that_a_client_makes_up_are_no_labels(served: Served) -> None:
    before = len(served.get("/metrics").text.splitlines())
    for i in range(5):
        served.get(f"/made/up/{i}")
        served.get(f"/v2/models/made-up-{i}")
    assert len(served.get("/metrics").text.splitlines()) <= before + 20


def test_what_a_broken_model_says_is_shown_and_refused(tmp_path: Path) -> None:
    model = tiny_onnx()
    bias = next(i for i in model.graph.initializer if i.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(len(LABELS), np.nan, np.float32), "bias"))
    broken = make_bundle(tmp_path / "broken.edge", model=model)
    picture = cv2.imencode(".png", frames()[0])[1].tobytes()
    with serving(broken, [StreamSpec(name="card", source="synthetic://64x48@30")]) as served:
        until(lambda: state(served)["rows"])
        answer = httpx.post(f"{served.model}/predict", content=picture, **PLAIN)
        assert answer.status_code == 500
        assert "not finite" in answer.json()["error"]


class MjpegCamera:
    """A camera with an HTTP address, which can be switched off and on; its pictures differ in what they show."""

    def __init__(self) -> None:
        self._pictures = [
            cv2.imencode(".jpg", cv2.resize(frame, (320, 240), interpolation=cv2.INTER_NEAREST))[1].tobytes()
            for frame in frames(12)
        ]
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.on = False
        self.switch_on()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/camera.mjpeg"

    def switch_on(self) -> None:
        camera = self
        camera.on = True

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
                self.end_headers()
                number = 0
                try:
                    while camera.on:
                        picture = camera._pictures[number // 10 % len(camera._pictures)]
                        head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                        self.wfile.write(head.encode() + picture + b"\r\n")
                        number += 1
                        time.sleep(0.05)
                except OSError:
                    pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def switch_off(self) -> None:
        self.on = False
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    made = MjpegCamera()
    yield made
    if made.on:
        made.switch_off()


@pytest.mark.slow
def test_a_browser_is_asked_for_the_token(bundle: Bundle, browser: Any) -> None:
    with serving(bundle, engine="null", token="opensesame") as served:  # noqa: S106 - lives for a test
        page = browser.new_page()
        page.set_default_timeout(1000 * WAIT_S)
        page.goto(served.url)
        page.fill("#token", "guess")
        page.click("button")
        page.wait_for_selector("text=Wrong token")
        page.fill("#token", "opensesame")
        page.click("button")
        page.wait_for_selector("text=Ready")
        assert page.locator("#no-streams").is_visible()
        assert "Authorization: Bearer $EDGEPROOF_TOKEN" in page.locator("#example").text_content()
        page.close()


@pytest.mark.slow
@pytest.mark.serial
def test_the_page_in_a_browser(bundle: Bundle, camera: MjpegCamera, browser: Any) -> None:
    """Video is visible and moves, labels change, a camera that is switched off shows within 2 s and comes back."""
    with serving(bundle, [StreamSpec(name="camera", source=camera.url)]) as served:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(served.url)
        page.set_default_timeout(1000 * WAIT_S)
        article = page.locator("article")
        page.wait_for_selector('article[data-state="live"]')
        page.wait_for_function("() => document.querySelector('article img').naturalWidth === 320")
        seen = page.evaluate_handle("""async () => {
            const canvas = new OffscreenCanvas(32, 24), context = canvas.getContext("2d"), seen = new Set();
            for (let i = 0; i < 100 && seen.size < 3; i++) {
                context.drawImage(document.querySelector("article img"), 0, 0, 32, 24);
                seen.add(context.getImageData(0, 0, 32, 24).data.join());
                await new Promise((done) => setTimeout(done, 100));
            }
            return seen.size;
        }""").json_value()
        assert seen >= 3, "the picture does not change"
        labels = set()
        deadline_s = time.monotonic() + WAIT_S
        while len(labels) < 2 and time.monotonic() < deadline_s:
            labels.add(page.locator(".rows li").first.text_content())
        assert len(labels) >= 2, "the labels do not change"
        page.locator("summary").click()
        page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 7")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "wider than the phone"

        camera.switch_off()
        switched_off_s = time.monotonic()
        page.wait_for_selector('article:not([data-state="live"])')
        assert time.monotonic() - switched_off_s < 2
        assert "econnect" in str(article.locator(".pill").text_content()) + str(
            article.locator(".notice").text_content()
        )
        camera.switch_on()
        page.wait_for_selector('article[data-state="live"]')
        until(lambda: state(served)["reconnections"] == 1)
        assert complaints == []
        page.close()
    assert state_is_gone(served)


def state_is_gone(served: Served) -> bool:
    try:
        served.get("/healthz")
    except httpx.ConnectError:
        return True
    return False


def test_a_slow_stream_keeps_no_more_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 10 frames/s; 4,096 frames were kept before, which took seven minutes to fill."""
    stream = LiveStream("0", "door", Metrics("m", "e", "1"), EventSettings())
    now_s = [1000.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    for _ in range(1000):
        now_s[0] += 0.1
        stream.decided(decided())
    assert 595 <= len(stream._window) <= 605
