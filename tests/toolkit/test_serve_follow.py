"""`serve --follow`: requests and frames change to another bundle; no request fails, none gets a mixture."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from bundles import frames, make_bundle, make_multilabel_bundle, tiny_onnx
from edgeproof.dashboard.service import FollowOptions
from edgeproof.library.live_follow import BundleChange, identity_of, real_path
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.sources import StreamSpec
from notified import Manager
from serving import PLAIN, Served, serving, started
from waiting import until

pytestmark = pytest.mark.slow

FRAME = frames(1, seed=9)[0]
PICTURE = cv2.imencode(".png", FRAME)[1].tobytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("serve-follow")
    good = {f"v{seed}": make_bundle(folder / f"v{seed}.edge", model=tiny_onnx(seed=seed)) for seed in range(2)}
    return {**good, "task": make_multilabel_bundle(folder / "task.edge")}


class Running:
    def __init__(self, served: Served, link: Path, told: list[BundleChange]) -> None:
        self.served, self.link, self.told = served, link, told

    def point(self, bundle: Bundle) -> None:
        aside = self.link.with_suffix(".next")
        aside.symlink_to(bundle.path)
        aside.rename(self.link)
        assert self.served.service.follow is not None
        self.served.service.follow.look()

    def metric(self, name: str) -> list[str]:
        return [line for line in self.served.get("/metrics").text.splitlines() if line.startswith(name)]


@pytest.fixture
def running(made: dict[str, Bundle], tmp_path: Path) -> Iterator[Running]:
    link, told = tmp_path / "current.edge", list[BundleChange]()
    link.symlink_to(made["v0"].path)
    seen = identity_of(link)
    specs = [StreamSpec(name="door", source="synthetic://64x48@30")]
    follow = FollowOptions(path=link, seen=seen, tell=told.append)
    with serving(Bundle.open(real_path(link)), specs, follow=follow) as served:
        yield Running(served, link, told)


def test_requests_and_frames_change_and_none_fails(running: Running, made: dict[str, Bundle]) -> None:
    expected = {}
    for bundle in (made["v0"], made["v1"]):
        with Classifier(bundle, "onnxruntime", threads=1) as classifier:
            expected[_version(bundle)] = classifier(FRAME).to_json(5)
    answers: list[tuple[int, dict[str, Any]]] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(**PLAIN, timeout=30) as client:
            while not over.is_set():
                answer = client.post(f"{running.served.model}/predict", content=PICTURE)
                answers.append((answer.status_code, answer.json()))

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        until(lambda: len(answers) > 50)
        running.point(made["v1"])
        until(lambda: len(running.told) == 1)
        enough = len(answers) + 50
        until(lambda: len(answers) > enough)
    finally:
        over.set()
        for client in clients:
            client.join(20)
    assert {code for code, _ in answers} == {200}
    versions = [found["model_version"] for _, found in answers]
    assert set(versions) == set(expected)
    for _, found in answers:  # each answer is that of the version that it names
        wanted = expected[found["model_version"]]["top"]
        for got, want in zip(found["prediction"]["top"], wanted, strict=True):
            assert got["label"] == want["label"]
            assert got["probability"] == pytest.approx(want["probability"], abs=1e-5)
    assert {found["model_name"] for _, found in answers} == {"v0"}, "addresses of clients stay"
    # What shows the model shows the new one.
    (info,) = running.metric("edgeproof_model_info")
    assert _version(made["v1"]) in info
    assert running.metric("edgeproof_bundle_changes_total") == [
        'edgeproof_bundle_changes_total{cause="",outcome="switched"} 1.0'
    ]
    state = running.served.get("/api/state").json()
    assert state["server"]["model_version"] == _version(made["v1"])
    live = running.served.service.live
    assert live is not None
    until(lambda: live.streams["0"]._newest.bundle == made["v1"].manifest_sha256)  # type: ignore[union-attr]
    counts = live.pipeline.counts
    assert counts.failed == counts.stopped == 0
    follow = running.served.service.follow
    assert follow is not None
    until(lambda: follow.changes[0].gap.longest_ms)


def test_a_request_whose_body_comes_slowly_gets_the_bundle_that_it_began_with(
    running: Running, made: dict[str, Bundle]
) -> None:
    head = (
        f"POST /v2/models/v0/versions/{_version(made['v0'])}/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: {len(PICTURE)}\r\nConnection: close\r\n\r\n"
    )
    before = running.served.service.serving.now
    with socket.create_connection(("127.0.0.1", running.served.port), timeout=30) as connection:
        connection.sendall(head.encode() + PICTURE[:100])
        until(lambda: running.served.service.serving._visits[before] == 1)
        running.point(made["v1"])
        until(lambda: running.served.service.serving.now is not before)
        assert before.batcher.alive
        connection.sendall(PICTURE[100:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["model_version"] == _version(made["v0"])
    until(lambda: not before.batcher.alive)
    until(lambda: len(running.told) == 1)
    gone = running.served.get(f"/v2/models/v0/versions/{_version(made['v0'])}")
    assert gone.status_code == 404
    assert _version(made["v1"]) in gone.text


def test_a_refused_bundle_changes_nothing_and_is_counted(running: Running, made: dict[str, Bundle]) -> None:
    before = running.served.service.serving.now
    running.point(made["task"])
    until(lambda: len(running.told) == 1)
    assert running.metric("edgeproof_bundle_changes_total") == [
        'edgeproof_bundle_changes_total{cause="task",outcome="refused"} 1.0'
    ]
    assert running.served.service.serving.now is before
    tensor = np.zeros((1, 3, 16, 16), np.float32)
    body = {"inputs": [{"name": "input", "shape": tensor.shape, "datatype": "FP32", "data": tensor.ravel().tolist()}]}
    assert httpx.post(f"{running.served.model}/infer", json=body, **PLAIN, timeout=20).status_code == 200


def _version(bundle: Bundle) -> str:
    return bundle.sha256("model.onnx")[:12]


def test_the_command_changes_and_its_report_says_so(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link, report, manager = tmp_path / "current.edge", tmp_path / "r.json", Manager(str(tmp_path / "notify"))
    link.symlink_to(made["v0"].path)
    options = ("--port", 0, "--engine", "onnxruntime", "--follow", "--json", report)
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with started(link, *options, env=environment) as server:

        def version() -> str:
            found = httpx.get(f"{server.url}/api/state", **PLAIN, timeout=20).json()
            return str(found["server"]["model_version"])

        assert version() == _version(made["v0"])
        aside = tmp_path / "next"
        aside.symlink_to(made["v1"].path)
        aside.rename(link)
        server.process.send_signal(signal.SIGHUP)  # of a service: it looks at once, also without streams
        until(lambda: version() == _version(made["v1"]), 60, process=server.process)
        code, out, said = server.end()
    manager.socket.close()
    assert code == 0, said
    assert "bundle: changed from" in " ".join(said.split())
    assert "bundle changed once" in out
    document = json.loads(report.read_text())
    assert document["switches"]["switched"] == 1
    assert document["switches"]["changes"][0]["to"] == made["v1"].manifest_sha256
    assert document["bundle"]["manifest_sha256"] == made["v1"].manifest_sha256
