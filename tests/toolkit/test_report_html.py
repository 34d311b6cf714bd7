"""The HTML report: well formed, self-contained, escaped, and without sections it has no data for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage

from edgeproof.report import write_html
from edgeproof.report.headline import tiles
from edgeproof.report.html import render_html
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.live.timeline import Timeline
from edgeproof_runtime.metrics.accuracy import AccuracyMeter
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.system.host import host_warnings

PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "bricks": "brick.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}


def build_fixture(frames: int) -> dict[str, Any]:
    """A report whose pictures and times are real and whose model is a toy: the nearest of ten small pictures.

    It stands for no product's figures; its own warnings say so.
    """
    folder = Path(skimage.__file__).parent / "data"
    labels = list(PHOTOGRAPHS)
    pictures = [cv2.imread(str(folder / name), cv2.IMREAD_COLOR) for name in PHOTOGRAPHS.values()]
    contract = InputContract(resize="squash", resize_size=(32, 32), crop_size=None, filter="bilinear")
    preprocess = Preprocessor(contract)
    centroids = np.stack([preprocess(p).ravel() for p in pictures]).astype(np.float32)
    rng = np.random.default_rng(7)
    recorder, meter, timeline = LatencyRecorder(), AccuracyMeter(len(labels)), Timeline()
    samples: list[Thumbnail] = []
    start = previous = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal previous
        now = time.perf_counter()
        recorder.add(stage, 1e3 * (now - previous))
        previous = now

    for i in range(frames):
        truth = i % len(labels)
        picture = pictures[truth]
        height, width = picture.shape[:2]
        if i % 61 == 60:
            timeline.add(time.perf_counter() - start, None, "dropped")
            continue
        began = previous = time.perf_counter()
        zoom = rng.uniform(0.3, 1.0) * min(height / 3, width / 4)
        h, w = int(3 * zoom), int(4 * zoom)
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        jpeg = cv2.imencode(".jpg", cv2.resize(picture[y : y + h, x : x + w], (320, 240)))[1]
        lap("capture")
        frame = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        lap("decode")
        tensor = preprocess(frame).ravel()
        lap("preprocess")
        scores = -np.square(centroids - tensor).mean(axis=1)
        lap("inference")
        probability = np.exp(8 * (scores - scores.max()))
        probability /= probability.sum()
        answer = int(probability.argmax())
        lap("postprocess")
        elapsed_ms = 1e3 * (time.perf_counter() - began)
        recorder.add("end_to_end", elapsed_ms)
        timeline.add(began - start, elapsed_ms)
        meter.update(scores[None], [truth])
        if i < 8:
            samples.append(Thumbnail.of(f"frame {i}", frame, labels[answer], float(probability[answer]), labels[truth]))
    wall_s = time.perf_counter() - start
    facts = host_facts()
    inference = recorder.summary("inference").p50_ms
    gates = [
        Gate.judge(
            f"parity {name}",
            "PyTorch fp32 against this engine, 8 pictures (fixture)",
            {"max_abs_diff": diff, "mean_abs_diff": diff / 9, "cosine": 1 - diff / 50, "top1_agreement": 1.0},
            at_most={"max_abs_diff": 1e-3},
            at_least={"cosine": 0.9999, "top1_agreement": 1.0},
        )
        for name, diff in (("onnxruntime", 4.77e-6), ("openvino", 6.2e-6), ("opencv", 8.1e-6))
    ]
    report = Report(
        kind="demo",
        command="edgeproof demo --out edgeproof-demo",
        host=facts,
        bundle=BundleFacts(
            "toy-fixture",
            "5f" * 32,
            contract.summary(),
            ({"path": "model.onnx", "sha256": "a7" * 32, "size_bytes": 18_600_411},),
            {"architecture": "nearest mean picture", "opset": 20, "weights_sha256": "c4" * 32},
        ),
        settings={"engine": "numpy", "precision": "fp32", "threads": 2, "source": "clip.mp4", "warmup_ms": 0.5},
        counts={"frames_in": frames, "frames_classified": meter.n, "frames_dropped": frames - meter.n},
        **Report.latency(recorder),
        throughput_fps=meter.n / wall_s,
        sections={"accuracy": meter.result().to_json(labels)},
        gates=gates,
        engines=[
            EngineRow("numpy", np.__version__, inference, True, "fastest that passed", chosen=True),
            EngineRow("opencv", cv2.__version__, None, None, "not part of the fixture"),
        ],
        samples=samples,
        timeline=timeline.to_json(),
        warnings=[
            "A fixture of the tests: the model is a toy, the gates' figures are made up, the times are real.",
            *host_warnings(facts),
        ],
    )
    return json.loads(json.dumps(report.to_json(), allow_nan=False))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return build_fixture(100)


@pytest.fixture(scope="module")
def html(report: dict[str, Any]) -> str:
    return render_html(report)


class Page(HTMLParser):
    """Checks that tags nest, and collects what the page consists of."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.text.append(data)

    @property
    def sections(self) -> set[str]:
        return {attrs["id"] for tag, attrs in self.tags if tag == "section" and attrs["id"]}

    def ids(self) -> list[str]:
        return [attrs["id"] for _, attrs in self.tags if attrs.get("id")]


EVERYTHING = {
    "verdict", "notes", "samples", "latency", "timeline", "accuracy", "gates", "engines", "run", "bundle", "host",
    "reproduce",
}  # fmt: skip


def test_page_is_well_formed_and_shows_everything(report: dict[str, Any], tmp_path: Path) -> None:
    write_html(report, tmp_path / "out" / "report.html")
    page = Page((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert page.sections == EVERYTHING
    assert sum(tag == "svg" for tag, _ in page.tags) == 10  # five plots, each for a desk and for a phone
    assert sum(tag == "img" for tag, _ in page.tags) == 8
    text = " ".join(page.text)
    assert f"{100 * report['accuracy']['top1']:.2f}" in text
    assert "edgeproof demo --out edgeproof-demo" in text
    assert "All 3 gates were met." in text


def test_every_kind_of_report_has_a_head() -> None:
    from edgeproof.report import headline, html

    assert set(headline._ORDER) == set(html.KINDS)


def test_page_needs_nothing_from_elsewhere(html: str) -> None:
    assert re.findall(r"https?://|//[a-z]+\.|@import|url\((?!#)", html) == []
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "foreignobject"} == set()
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))


def test_every_reference_of_the_plots_has_its_target_and_no_id_twice(html: str) -> None:
    ids = Page(html).ids()
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="|url\()#([^")]+)', html)
    assert references
    assert set(references) <= set(ids)


def test_colours_of_the_plots_are_the_pages(html: str) -> None:
    assert "#0100" not in html
    plots = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", plots)) <= {"#ffffff"}  # hidden backgrounds
    used = set(re.findall(r"var\((--[\w]+)\)", html))
    defined = set(re.findall(r"(--[\w]+):", html))
    assert used <= defined


EMPTY: dict[str, Any] = {
    "bundle": None, "settings": {}, "counts": {}, "latency_ms": {}, "distribution_ms": {}, "throughput_fps": None,
    "accuracy": None, "gates": [], "engines": [], "samples": [], "timeline": None, "warnings": [], "host": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("notes", ["warnings"]),
        ("samples", ["samples"]),
        ("latency", ["latency_ms", "distribution_ms"]),
        ("timeline", ["timeline"]),
        ("accuracy", ["accuracy"]),
        ("gates", ["gates"]),
        ("engines", ["engines"]),
        ("run", ["settings", "counts"]),
        ("bundle", ["bundle"]),
        ("host", ["host"]),
    ],
)
def test_a_section_comes_and_goes_with_its_data(report: dict[str, Any], section: str, fields: list[str]) -> None:
    bare = {**report, **EMPTY}
    assert section not in Page(render_html(bare)).sections
    only = {**bare, **{name: report[name] for name in fields}}
    assert Page(render_html(only)).sections == {"verdict", "reproduce", section}


def test_an_absent_key_means_null(report: dict[str, Any]) -> None:
    sink = {"name": "out.jsonl", "written": 1, "dropped": 0, "failed": 0, "waiting": 0, "last_error": None}
    document = {**report, "accuracy": None, "sinks": [sink]}
    short = {name: value for name, value in document.items() if value is not None}
    for part in ("engines", "sinks"):
        short[part] = [{name: value for name, value in row.items() if value is not None} for row in document[part]]
    assert short["engines"] != document["engines"]
    assert render_html(short) == render_html(document)


@pytest.mark.parametrize("kind", ["demo", "export", "verify", "evaluate", "run", "soak"])
def test_every_kind_leads_with_what_matters_to_it(report: dict[str, Any], kind: str) -> None:
    first = {"evaluate": "Top-1 accuracy", "export": "Gates met", "verify": "Gates met"}.get(kind, "Throughput")
    shown = tiles({**report, "kind": kind})
    assert shown[0].label == first
    assert 3 <= len(shown) <= 4


@pytest.mark.parametrize(
    ("drop", "ci95", "label", "detail"),
    [
        (0.01, [-0.005, 0.02], "Drop of int8", "below fp32, 95 % interval -0.50 to +2.00,"),
        (-0.01, [-0.02, 0.0], "Gain of int8", "above fp32, 95 % interval +0.00 to +2.00,"),
    ],
)
def test_what_gained_accuracy_loses_no_negative_points(drop: float, ci95: list[float], label: str, detail: str) -> None:
    speed = {"latency_ms": 2.0, "fp32_ms": 1.6, "engine": "openvino", "speedup": {"estimate": 0.8}}
    point = {"model": "int8", "chosen": True, "paired": {"drop": drop, "drop_ci95": ci95, "n": 100}, "speed": speed}
    fp32 = {"top1": 0.9, "n": 100, "ci95": [0.8, 0.95]}
    report = {"kind": "optimize", "gates": [], "optimization": {"fp32": fp32, "models": {"int8": {"points": [point]}}}}
    budget, speed_tile, _ = tiles(report)
    assert (budget.label, budget.value) == (label, "1.00")
    assert budget.detail.startswith(detail)
    assert (speed_tile.label, speed_tile.value, speed_tile.unit) == ("Speed of int8", "0.80", "× fp32")


def test_failed_gates_are_named_first(report: dict[str, Any]) -> None:
    failed = deepcopy(report)
    gate = failed["gates"][1]
    gate["passed"], gate["measured"]["max_abs_diff"] = False, 0.25
    html = render_html({**failed, **{k: EMPTY[k] for k in ("timeline", "distribution_ms", "accuracy", "latency_ms")}})
    text = " ".join(" ".join(Page(html).text).split())
    assert "Failed 1 of 3 gates missed the bound: parity openvino." in text
    assert "✗ missed" in text
    assert html.count("n missed") == 1


def test_missing_percentiles_say_why(report: dict[str, Any]) -> None:
    recorder = LatencyRecorder()
    recorder.extend("inference", [3.0, 4.0, 5.0])
    document = Report(kind="run", command="", host={}, **Report.latency(recorder)).to_json()
    text = " ".join(" ".join(Page(render_html(document)).text).split())
    assert "p99 needs 299" in text
    assert text.count("n/a") == 4  # p50, p90, p99, and the note that explains them
    assert "Inference, mean 4.00 ms slowest 5.00 ms" in text


NASTY = [
    "<script>alert(1)</script>",
    "--><b>x",
    '" onload="alert(1)',
    "$\\frac{a$ & ]]>",
    "猫 кот قط",
    "nul\x00 esc\x1b[31m \udcff",
    "font-family: oops; #010000 id=\"x\" url(#y)",
    "a very long label " * 12,
]  # fmt: skip


def _with_text(value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, dict):
        return {k: _with_text(v, replace) for k, v in value.items()}
    return [_with_text(v, replace) for v in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_whatever_a_label_or_file_is_called_it_stays_text(report: dict[str, Any], html: str) -> None:
    nasty = deepcopy(report)
    labels = {label: NASTY[i % len(NASTY)] for i, label in enumerate(PHOTOGRAPHS)}
    nasty["accuracy"] = _with_text(report["accuracy"], lambda text: labels.get(text, text))
    for i, sample in enumerate(nasty["samples"]):
        sample["label"] = sample["name"] = sample["truth"] = NASTY[i % len(NASTY)]
    nasty["bundle"]["name"] = nasty["command"] = nasty["warnings"][0] = NASTY[0]
    nasty["bundle"]["artifacts"][0]["path"] = nasty["gates"][0]["name"] = nasty["engines"][0]["reason"] = NASTY[2]
    nasty["settings"] = {NASTY[1]: NASTY[0], "nested": {"deep": [NASTY[2]]}}
    hostile = render_html(nasty)
    hostile.encode()
    page, plain = Page(hostile), Page(html)
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "<script>alert(1)</script>" in " ".join(page.text)
    assert "猫 кот قط" in hostile


def test_many_classes_are_listed_where_a_matrix_would_be_unreadable(report: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    meter = AccuracyMeter(1000)
    targets = rng.integers(0, 1000, 500)
    scores = rng.normal(size=(500, 1000))
    scores[np.arange(500), targets] += 4
    meter.update(scores, targets)
    document = {**report, **EMPTY, "kind": "evaluate", "accuracy": meter.result().to_json()}
    page = Page(render_html(document))
    # No matrix of a thousand classes, and no bars for classes of one frame.
    assert sum(tag == "svg" for tag, _ in page.tags) == 0
    assert "Some of the wrong predictions" in " ".join(page.text)


@pytest.mark.slow
def test_odd_measurements_still_draw(report: dict[str, Any]) -> None:
    timeline = Timeline()
    for i in range(3):
        timeline.add(float(i), None, "dropped")
    recorder = LatencyRecorder()
    recorder.extend("inference", [0.0, 0.0])
    recorder.extend("end_to_end", [1.0, 5000.0])
    lonely = Report(kind="run", command="", host={}, timeline=timeline.to_json(), **Report.latency(recorder)).to_json()
    assert {"latency", "timeline"} <= Page(render_html(lonely)).sections
    timeline.add(3.0, 1.0)
    timeline.add(4.0, 5000.0, "stale")
    assert "timeline" in Page(render_html({**lonely, "timeline": timeline.to_json()})).sections


def test_what_is_no_report_is_refused(report: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unsupported schema"):
        write_html({"schema": "edgeproof.bundle/1"}, tmp_path / "x.html")
    with pytest.raises(InputError, match="required key"):
        write_html({"schema": report["schema"]}, tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.startswith("edgeproof.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UnavailableError, match=r'pip install "edgeproof\[report\]"'):
        render_html(report)


CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)


def test_a_page_stays_below_a_megabyte() -> None:
    """As many photographs as the demo shows, a timeline of as many points as are kept, a thousand classes."""
    document, rng, meter = build_fixture(2000), np.random.default_rng(0), AccuracyMeter(1000)
    for _ in range(20):
        meter.update(rng.normal(size=(100, 1000)).astype(np.float32), list(map(int, rng.integers(0, 1000, 100))))
    folder = Path(skimage.__file__).parent / "data"
    photographs = [cv2.imread(str(folder / name), cv2.IMREAD_COLOR) for name in PHOTOGRAPHS.values()]
    samples = [Thumbnail.of(f"{i}", photographs[i % len(photographs)], "a label", 0.5, "a label") for i in range(17)]
    document["accuracy"] = meter.result().to_json([f"class number {i}" for i in range(1000)])
    document["samples"] = [sample.to_json() for sample in samples]
    page = render_html(document)
    assert 500_000 < len(page.encode()) < 1_000_000
    drawn = re.findall(r'<path d="((?:M[\d.]+ [\d.]+h0)+)"', page)
    frames = sum(value is not None for value in document["timeline"]["end_to_end_ms"])
    assert [d.count("h0") for d in drawn] == [frames, frames], "the wide and the narrow timeline"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to show the page in")
@pytest.mark.slow
def test_chromium_prints_the_page(html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html, "utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'report.pdf'}", (tmp_path / "report.html").as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    printed = (tmp_path / "report.pdf").read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert printed.startswith(b"%PDF")
    assert 2 <= pages <= 8, pages
    style = "".join(re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL))
    assert "@media print" in style
    assert "break-inside: avoid" in style


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to show the page in")
@pytest.mark.slow
def test_chromium_shows_the_plots(html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html, "utf-8")
    shot = tmp_path / "shot.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}",
        "--window-size=1200,4000", (tmp_path / "report.html").as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    picture = cv2.imread(str(shot), cv2.IMREAD_COLOR)
    assert picture.shape == (4000, 1200, 3)
    accent = np.array([0xBF, 0x5F, 0x1F])  # BGR of the light page's --accent, which bars and lines are drawn in
    drawn = np.flatnonzero((picture[1200:] == accent).all(axis=2).sum(axis=1))
    assert len(drawn) > 100
