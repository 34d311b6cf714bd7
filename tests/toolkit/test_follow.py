"""`run --follow`: another bundle at a path takes over between two frames; a bad one changes nothing."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundles
import edgeproof
from bundles import LABELS, make_bundle, make_defect_bundle, make_multilabel_bundle, tiny_onnx
from edgeproof.library.live_follow import BundleChange, Follow, identity_of
from edgeproof.library.live_reload import StreamsReload
from edgeproof.library.live_report import RunReport
from edgeproof.library.run import RunObserver
from edgeproof.report.html import render_html
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.live.gaps import GapMeter
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision
from signing import make_key
from waiting import until

FRAMES = 120


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Bundles of a classifier: two versions, and others that cannot follow them."""
    folder = tmp_path_factory.mktemp("follow")
    good = {f"v{seed}": make_bundle(folder / f"v{seed}.edge", model=tiny_onnx(seed=seed)) for seed in range(3)}
    backwards = make_bundle(folder / "labels.edge", labels=LABELS[::-1])
    multilabel, gray = make_multilabel_bundle(folder / "task.edge"), make_defect_bundle(folder / "gray.edge")
    damaged = make_bundle(folder / "damaged.edge", model=tiny_onnx(seed=5))
    with (folder / "damaged.edge" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "ReferenceEvaluator", _Wrong)
        wrong = make_bundle(folder / "wrong.edge", model=tiny_onnx(seed=6))
    return {**good, "labels": backwards, "task": multilabel, "gray": gray, "damaged": damaged, "wrong": wrong}


class _Wrong:
    """An evaluator whose answers no engine gives."""

    def __init__(self, model: object) -> None:
        pass

    def run(self, _names: object, inputs: dict[str, Any]) -> list[Any]:
        return [np.linspace(0, 9, len(LABELS), dtype=np.float32)[None].repeat(len(inputs["input"]), 0)]


def point(link: Path, folder: Path) -> None:
    """Let a link name another folder, at once."""
    aside = link.with_name(f".{link.name}.{time.monotonic_ns()}")
    aside.symlink_to(folder)
    aside.rename(link)


class Watcher(RunObserver):
    """Do things at frames of the first stream, and keep what was decided and what became of bundles."""

    def __init__(self, at: Mapping[int, Callable[[], object]], wait: Mapping[int, int] | None = None) -> None:
        self.at, self.wait = at, wait or {}
        self.seen: list[Decided[Decision]] = []
        self.changes: list[BundleChange] = []

    def decided(self, decided: Decided[Decision], *, still: bool) -> None:
        self.seen.append(decided)
        first = self.seen[0].stream
        if decided.stream == first:
            self.at.get(decided.frame.index, lambda: None)()
            wanted = self.wait.get(decided.frame.index, 0)
            until(lambda: len(self.changes) >= wanted, 60)

    def changed(self, change: BundleChange) -> None:
        self.changes.append(change)

    def of(self, stream: str) -> list[tuple[int, str]]:
        return [(one.frame.index, one.bundle) for one in self.seen if one.stream == stream]


def follow(link: Path, watcher: Watcher, source: str = "synthetic://64x48@120", **more: Any) -> RunReport:
    given = {"engine": "onnxruntime", "threads": 1, "policy": "every-frame", "max_frames": FRAMES, **more}
    return edgeproof.run(link, source, follow=True, observer=watcher, **given)


def require_whole(watcher: Watcher, report: RunReport, editions: list[Bundle], frames: int = FRAMES) -> None:
    """Every frame of every stream once, in order, by one bundle after the other."""
    digests = [one.manifest_sha256 for one in editions]
    streams = {one.stream for one in watcher.seen}
    for stream in streams:
        found = watcher.of(stream)
        assert [index for index, _ in found] == list(range(frames))
        order = [digests.index(digest) for _, digest in found]
        assert order == sorted(order)
    assert {one.bundle for one in watcher.seen} == set(digests)
    counts = report.counts
    assert counts["frames_in"] == counts["frames_classified"] == frames * len(streams)
    assert counts["frames_dropped"] == counts["frames_failed"] == 0
    assert report.bundle is not None
    assert report.bundle.manifest_sha256 == digests[-1]


@pytest.mark.slow
def test_a_run_at_30_frames_a_second_changes_its_bundle(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link, streams = tmp_path / "current.edge", tmp_path / "streams.toml"
    point(link, made["v0"].path)
    streams.write_text("".join(f'[{name}]\nsource = "synthetic://64x48@30"\n' for name in ("door", "gate")))
    watcher = Watcher({20: lambda: point(link, made["v1"].path)})
    predictions, events = tmp_path / "p.jsonl", tmp_path / "e.csv"
    report = follow(link, watcher, str(streams), predictions=predictions, sink=[str(events)])
    require_whole(watcher, report, [made["v0"], made["v1"]])
    (change,) = watcher.changes
    assert change.outcome == "switched"
    document = report.to_json()
    (said,) = document["switches"]["changes"]
    assert (said["from"], said["to"]) == (made["v0"].manifest_sha256, made["v1"].manifest_sha256)
    assert 0 < said["longest_gap_ms"] < 2000
    assert said["longest_gap_stream"] in ("door", "gate")
    assert said["load_s"] > 0
    assert document["switches"]["longest_gap_ms"] == said["longest_gap_ms"]
    page = render_html(document)
    assert "Changes of the bundle" in page
    assert said["to"][:12] in page
    # Each line of the predictions names its bundle, and its answers are that bundle's.
    lines = [json.loads(line) for line in predictions.read_text().splitlines()[1:]]
    answers = {line["bundle"]: line["top"] for line in lines}
    assert len(lines) == 2 * FRAMES
    assert set(answers) == {made["v0"].manifest_sha256, made["v1"].manifest_sha256}
    assert len({json.dumps(top) for top in answers.values()}) == 2
    rows = list(csv.DictReader(events.read_text().splitlines()))[1:]
    assert {row["bundle"] for row in rows} == {made["v0"].manifest_sha256, made["v1"].manifest_sha256}
    for row in rows:  # an event is of one bundle
        last = max(index for index, digest in watcher.of(row["stream"]) if digest == made["v0"].manifest_sha256)
        of_old = row["bundle"] == made["v0"].manifest_sha256
        assert (int(row["end_index"]) <= last) if of_old else (int(row["start_index"]) > last)


@pytest.mark.slow
def test_two_changes_and_back(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link = tmp_path / "current.edge"
    point(link, made["v0"].path)
    at = {n: partial(point, link, made[name].path) for n, name in ((5, "v1"), (40, "v2"), (80, "v0"))}
    watcher = Watcher(at, {39: 1, 79: 2, 100: 3})
    report = follow(link, watcher)
    found = [digest for _, digest in watcher.of(watcher.seen[0].stream)]
    order = [digest for digest, before in zip(found, ["", *found], strict=False) if digest != before]
    assert order == [made[name].manifest_sha256 for name in ("v0", "v1", "v2", "v0")]
    assert [index for index, _ in watcher.of(watcher.seen[0].stream)] == list(range(FRAMES))
    assert report.counts["frames_classified"] == report.counts["frames_in"] == FRAMES
    assert report.switches is not None
    assert report.switches["switched"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cause", "said"),
    [
        ("labels", "labels", "other labels"),
        ("task", "task", "multilabel"),
        ("gray", "task", "reconstruct"),
        ("wrong", "golden", "golden cases fail here"),
        ("damaged", "bundle", "model.onnx"),
        ("nothing", "bundle", "bundle.json"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_and_the_other_goes_on(
    tmp_path: Path, made: dict[str, Bundle], name: str, cause: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproof.library.live_follow._LOOK_S", 0.05)
    link, target = tmp_path / "current.edge", tmp_path / "empty.edge"
    target.mkdir()
    point(link, made["v0"].path)
    target = target if name == "nothing" else made[name].path
    watcher = Watcher({5: lambda: point(link, target), 60: lambda: point(link, made["v1"].path)}, {59: 1})
    report = follow(link, watcher)
    require_whole(watcher, report, [made["v0"], made["v1"]])
    refused, switched = watcher.changes
    assert (refused.outcome, refused.cause, switched.outcome) == ("refused", cause, "switched")
    assert said in (refused.reason or "")
    assert refused.before == switched.before == made["v0"].manifest_sha256
    assert report.switches is not None
    assert (report.switches["switched"], report.switches["refused"]) == (1, 1)


@pytest.mark.slow
def test_other_labels_are_accepted_when_they_are_allowed(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link, events = tmp_path / "current.edge", tmp_path / "e.csv"
    point(link, made["v0"].path)
    watcher = Watcher({5: lambda: point(link, made["labels"].path)}, {100: 1})
    report = follow(link, watcher, other_labels=True, sink=[str(events)])
    require_whole(watcher, report, [made["v0"], made["labels"]])
    assert sum(report.labels.values()) == FRAMES
    with pytest.raises(InputError, match="requires --follow"):
        edgeproof.run(link, "synthetic://64x48@30", other_labels=True)
    with pytest.raises(InputError, match="does not fit --labels-from"):
        edgeproof.run(link, "synthetic://64x48@30", follow=True, other_labels=True, labels_from="parent")


@pytest.mark.slow
def test_the_null_engine_and_a_folder_that_is_replaced(tmp_path: Path, made: dict[str, Bundle]) -> None:
    """What `export` does: another folder takes the place of the old one. The null engine has no golden case to pass."""
    place = tmp_path / "model.edge"
    shutil.copytree(made["v0"].path, place)
    shutil.copytree(made["v1"].path, tmp_path / "next.edge")

    def replace() -> None:
        place.rename(tmp_path / "gone.edge")
        (tmp_path / "next.edge").rename(place)

    watcher = Watcher({5: replace}, {100: 1})
    require_whole(watcher, follow(place, watcher, engine="null"), [made["v0"], made["v1"]])


@pytest.mark.slow
def test_a_change_at_the_end_of_a_file(tmp_path: Path, made: dict[str, Bundle], clip: Path) -> None:
    """Its frames are decided by one bundle or the other; nothing waits for the next look."""
    link = tmp_path / "current.edge"
    point(link, made["v0"].path)
    watcher = Watcher({8: lambda: point(link, made["v1"].path)})
    report = follow(link, watcher, str(clip))
    assert [index for index, _ in watcher.of(watcher.seen[0].stream)] == list(range(10))
    assert report.counts["frames_classified"] == report.counts["frames_in"] == 10


class Followed:
    """A `Follow` without a pipeline; ``load`` and ``change`` are the test's."""

    def __init__(self, link: Path, bundle: Bundle, load: Callable[[Bundle], object]) -> None:
        self.told: list[BundleChange] = []
        self.closed: list[str] = []
        held = ExitStack()
        held.callback(self.closed.append, bundle.name)

        def loads(new: Bundle, stack: ExitStack) -> str:
            stack.callback(self.closed.append, new.name)
            load(new)
            return new.name

        self.follow: Follow[str] = Follow(
            link, bundle, bundle.name, seen=identity_of(link), load=loads, change=lambda _bundle, _loaded: None,
            held=held, gaps=GapMeter(), tell=self.told.append,
        )  # fmt: skip


def _told(tried: Followed, number: int) -> bool:
    return len(tried.told) == number


def test_what_an_engine_raises_is_a_refusal_and_what_it_opened_is_closed(
    tmp_path: Path, made: dict[str, Bundle]
) -> None:
    link = tmp_path / "current.edge"
    point(link, made["v0"].path)
    errors: dict[str, Exception] = {
        "v1": UnavailableError("engine tensorrt: not available"), "v2": ValueError("a bug of an engine")
    }  # fmt: skip

    def load(bundle: Bundle) -> None:
        if bundle.name in errors:
            raise errors.pop(bundle.name)

    tried = Followed(link, made["v0"], load)
    with tried.follow:
        for number, name in enumerate(("v1", "v2", "v1"), 1):
            point(link, made[name].path)
            tried.follow.look()
            until(partial(_told, tried, number))
            time.sleep(0.05)
    assert [(one.outcome, one.cause) for one in tried.told] == [
        ("refused", "engine"), ("refused", "engine"), ("switched", None)
    ]  # fmt: skip
    assert "not available" in (tried.told[0].reason or "")
    assert "ValueError: a bug of an engine" in (tried.told[1].reason or "")
    assert tried.closed == ["v1", "v2", "v0"]
    assert (tried.follow.bundle.name, tried.follow.loaded) == ("v1", "v1")
    assert tried.follow.refused == {"engine": 2}


@pytest.mark.slow
def test_a_webhook_hears_of_changes_and_refusals(tmp_path: Path, made: dict[str, Bundle]) -> None:
    heard: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            pass

    link = tmp_path / "current.edge"
    point(link, made["v0"].path)
    at = {5: partial(point, link, made["wrong"].path), 60: partial(point, link, made["v1"].path)}
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        follow(link, Watcher(at, {59: 1, 100: 2}), sink=[f"http://127.0.0.1:{server.server_port}/hook"])
        server.shutdown()
    changes = [one for one in heard if one["kind"].startswith("bundle_")]
    assert [(one["kind"], one["cause"]) for one in changes] == [("bundle_refused", "golden"), ("bundle_switched", None)]
    assert (changes[1]["from"], changes[1]["to"]) == (made["v0"].manifest_sha256, made["v1"].manifest_sha256)
    assert "golden cases fail here" in changes[0]["reason"]
    bundles_of = [one["bundle"] for one in heard if not one["kind"].startswith("bundle_")]
    assert bundles_of, "events name their bundle"
    assert set(bundles_of) <= {made["v0"].manifest_sha256, made["v1"].manifest_sha256}


def test_a_bundle_that_is_withdrawn_while_it_is_proven_is_not_run(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link = tmp_path / "current.edge"
    point(link, made["v0"].path)

    def load(bundle: Bundle) -> None:
        if bundle.name == "v1":
            point(link, made["v2"].path)

    tried = Followed(link, made["v0"], load)
    with tried.follow:
        point(link, made["v1"].path)
        tried.follow.look()
        until(lambda: len(tried.told) == 2)
    assert [(one.outcome, one.cause, Path(one.path).name) for one in tried.told] == [
        ("refused", "superseded", "v1.edge"),
        ("switched", None, "v2.edge"),
    ]
    assert tried.closed == ["v1", "v0"]


@pytest.mark.slow
def test_the_command_says_what_became_of_each_bundle(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link, report, lines = tmp_path / "current.edge", tmp_path / "r.json", tmp_path / "p.jsonl"
    point(link, made["v0"].path)
    command = [
        sys.executable, "-m", "edgeproof", "run", link, "--source", "synthetic://64x48@30", "--engine", "onnxruntime",
        "--policy", "every-frame", "--follow", "--json", report, "--predictions", lines,
    ]  # fmt: skip
    said: list[str] = []
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(list(map(str, command)), **pipes, text=True) as process:  # type: ignore[call-overload]
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            until(lambda: lines.exists() and len(lines.read_text().splitlines()) > 5, 60, process=process)
            point(link, made["wrong"].path)
            until(lambda: "golden cases fail here" in " ".join(" ".join(said).split()), 60, process=process)
            point(link, made["v1"].path)
            until(lambda: "changed from" in " ".join(" ".join(said).split()), 60, process=process)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            out = process.stdout.read()
            assert process.wait(60) == 0, said
        finally:
            process.kill()
        reader.join(20)
    assert "bundle changed once, longest gap between two predictions of a stream" in " ".join(out.split())
    document = json.loads(report.read_text())
    assert [one["outcome"] for one in document["switches"]["changes"]] == ["refused", "switched"]
    assert document["bundle"]["manifest_sha256"] == made["v1"].manifest_sha256
    counts = document["counts"]
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_dropped"]


@pytest.mark.slow
def test_a_successor_must_be_signed_where_the_first_bundle_was(tmp_path: Path, made: dict[str, Bundle]) -> None:
    private, public, link = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "current.edge"
    make_key(private, public)
    for name in ("v0", "v2"):
        shutil.copytree(made[name].path, tmp_path / f"{name}.edge")
        edgeproof.sign(tmp_path / f"{name}.edge", key=private)
    point(link, tmp_path / "v0.edge")
    at = {5: partial(point, link, made["v1"].path), 60: partial(point, link, tmp_path / "v2.edge")}
    watcher = Watcher(at, {59: 1, 100: 2})
    given = {"engine": "onnxruntime", "threads": 1, "policy": "every-frame", "max_frames": FRAMES}
    opened = Bundle.open(link, trust=public)
    report = edgeproof.run(opened, "synthetic://64x48@120", follow=True, observer=watcher, **given)
    require_whole(watcher, report, [made["v0"], made["v2"]])
    assert [(one.outcome, one.cause) for one in watcher.changes] == [("refused", "bundle"), ("switched", None)]
    assert "signature" in (watcher.changes[0].reason or "")


@pytest.mark.slow
def test_streams_that_are_added_after_a_change_get_the_new_bundle(tmp_path: Path, made: dict[str, Bundle]) -> None:
    link, streams = tmp_path / "current.edge", tmp_path / "streams.toml"
    point(link, made["v0"].path)
    door = '[door]\nsource = "synthetic://64x48@120"\n'
    streams.write_text(door)
    said: list[str] = []

    class Reloads(Watcher):
        @contextmanager
        def watching(self, pipeline: Any, reload: StreamsReload) -> Iterator[None]:
            self.reload = reload
            yield

        def add(self) -> None:
            streams.write_text(f'{door}[gate]\nsource = "synthetic://64x48@120"\nthreshold = 0.9\n')
            threading.Thread(target=lambda: said.append(self.reload()), daemon=True).start()

    watcher = Reloads({5: partial(point, link, made["v1"].path), 41: lambda: watcher.add()}, {40: 1})
    follow(link, watcher, str(streams))
    assert said == ["streams: added gate; 1 unchanged"]
    assert {digest for _, digest in watcher.of("gate")} == {made["v1"].manifest_sha256}
    assert [index for index, _ in watcher.of("gate")] == list(range(FRAMES))
    assert [index for index, _ in watcher.of("door")] == list(range(FRAMES))
