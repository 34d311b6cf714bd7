"""What the page of `serve` says of streams in every state, on a desktop and on a phone; the states are made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import make_bundle
from edgeproof_runtime.sources import StreamSpec
from serving import Served, serving

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
LONG_NAME = "a_camera_without_anything_that_a_line_could_break_at_" + "a" * 60
REASON = (
    "rtsp://10.20.30.40:8554/building-7/loading-dock/camera-northwest-upper-level-and-more?token=***: cannot open "
    "got: Connection refused (tried: FFMPEG) expected: a stream that answers within 10 s fix: check the address"
)
LABEL = "container ship, containership, container vessel of an unusually long name"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    bundle = make_bundle(tmp_path_factory.mktemp("page") / "tiny.edge")
    with serving(bundle, [StreamSpec(name="card", source="synthetic://64x48@2")], engine="null") as running:
        yield running


def stream(number: int, name: str = "", state: str = "live", **facts: Any) -> dict[str, Any]:
    """A stream of /api/state."""
    seen = facts.get("seen", True)
    label, share = facts.pop("label", "cat"), facts.pop("share", 0.93)
    frames = {"in": 100, "decided": 90, "overtaken": 10, "stopped": 0, "unhealthy": 0, "failed": 0, "left_out": {}}
    latency = {"count": 9, "mean": 5.0, "p50": 5.0, "p90": None, "p99": None, "max": 9.0, "unsupported": {"p99": "few"}}
    return {
        "id": str(number), "name": name or f"camera-{number}", "state": state, "reason": None, "state_age_s": 60.0,
        "seen": seen, "watched_s": 7200.0, "silent_s": 0.1 if seen else None, "policy": "latest-frame",
        "width": 1280 if seen else None, "height": 720 if seen else None, "claimed_fps": 30.0, "decided_fps": 15.0,
        "frames": frames, "health": None, "health_age_s": None, "unhealthy": {}, "reconnections": 0, "skipped": [],
        "frame": f"frame {number}" if seen else None, "sure": True,
        "headline": f"{label} {share:.0%}" if seen else None,
        "rows": [[label, share, f"{100 * share:.1f} %"], ["dog", 0.05, "5.0 %"]] if seen else [],
        "latency_ms": {"frame_age": latency} if seen else {},
        "curve": {"seconds": 120, "age_ms_median": [5.0] * 120, "age_ms_max": [9.0] * 120, "decided": [15] * 120},
        **facts,
    }  # fmt: skip


SIX = [
    stream(0, "door"),
    stream(1, "gate", sure=False, label="shopping cart", share=0.31),
    stream(2, LONG_NAME, label=LABEL, unhealthy={"damaged": 1234, "black": 0}),
    stream(3, LONG_NAME[::-1], "failed", reason=REASON, seen=False),
    stream(4, "yard", "reconnecting", reason="the connection was lost", silent_s=321.0),
    stream(5, "roof", "reconnecting", reason=REASON, seen=False),
]


def many(count: int) -> list[dict[str, Any]]:
    """A wall on which one stream failed, one was lost and one never came."""
    streams = [stream(number, LONG_NAME if number % 7 == 1 else "") for number in range(count)]
    streams[4] = stream(4, "lost", "reconnecting", reason="the connection was lost", silent_s=30.0)
    streams[5] = stream(5, "away", "reconnecting", reason=REASON, seen=False)
    streams[6] = stream(6, "broken", "failed", reason=REASON, seen=False)
    return streams


class Shown:
    """The page with a made-up state."""

    def __init__(self, browser: Any, served: Served) -> None:
        self._browser = browser
        self._served = served
        self._real = served.get("/api/state").json()
        _, encoded = cv2.imencode(".jpg", np.full((180, 320, 3), 90, np.uint8))
        self._picture = encoded.tobytes()
        self.complaints: list[str] = []

    def __call__(
        self, streams: list[dict[str, Any]], viewport: dict[str, int], scheme: str = "light", **more: Any
    ) -> Any:
        page = self._browser.new_page(viewport=viewport, color_scheme=scheme)
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        state = json.dumps({**self._real, "streams": streams, **more})
        page.route("**/api/state", lambda route: route.fulfill(body=state, content_type="application/json"))
        page.route("**/streams/*", lambda route: route.fulfill(body=self._picture, content_type="image/jpeg"))
        page.goto(self._served.url)
        page.wait_for_function(f"() => document.querySelectorAll('article').length === {len(streams)}")
        return page


@pytest.fixture
def show(browser: Any, served: Served) -> Iterator[Shown]:
    shown = Shown(browser, served)
    yield shown
    assert shown.complaints == []


def article(page: Any, name: str) -> Any:
    return page.locator("article", has=page.get_by_text(name, exact=True))


@pytest.mark.slow
def test_the_header_counts_the_streams_that_are_live(show: Shown) -> None:
    page = show(SIX, DESKTOP)
    assert page.locator("#health").text_content() == "3 of 6 live"
    assert page.locator("#health").get_attribute("data-state") == "failed"
    page = show([*SIX[:2], SIX[4]], DESKTOP)
    assert page.locator("#health").text_content() == "2 of 3 live"
    assert page.locator("#health").get_attribute("data-state") == "stalled"
    page = show([SIX[0], stream(1, "clip", "ended")], DESKTOP)
    assert page.locator("#health").text_content() == "1 live"
    assert page.locator("#health").get_attribute("data-state") == "live"
    page = show([SIX[5]], DESKTOP)
    assert page.locator("#health").text_content() == "0 of 1 live"
    assert page.locator("#health").get_attribute("data-state") == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_card_says_why_and_since_when(show: Shown, viewport: dict[str, int]) -> None:
    page = show(SIX, viewport)
    failed = article(page, LONG_NAME[::-1])
    assert failed.locator(".pill").inner_text() == "Failed"
    notice = failed.locator(".notice").inner_text()
    assert "cannot open: Connection refused" in notice
    assert "since " in notice
    assert "(1 min)" in notice
    assert "fix: check the address" in notice
    yard = article(page, "yard")
    assert yard.locator(".pill").inner_text() == "Reconnecting"
    assert "(5 min)" in yard.locator(".notice").inner_text()
    roof = article(page, "roof")
    assert roof.locator(".pill").inner_text() == "Never connected"
    assert "trying since" in roof.locator(".notice").inner_text()
    assert "(2 h 0 min)" in roof.locator(".notice").inner_text()
    box, inside = failed.bounding_box(), failed.locator(".notice").bounding_box()
    assert inside["y"] + inside["height"] <= box["y"] + box["height"]


@pytest.mark.slow
def test_a_guess_below_the_threshold_is_unsure(show: Shown) -> None:
    page = show(SIX, PHONE)
    gate = article(page, "gate")
    assert gate.locator(".headline").inner_text().split() == ["unsure", "shopping", "cart", "31%"]
    style = "(e) => [getComputedStyle(e).color, parseFloat(getComputedStyle(e).fontSize)]"
    guess = gate.locator(".headline small").evaluate(style)
    sure = article(page, "door").locator(".headline").evaluate(style)
    assert guess[0] != sure[0]
    assert guess[1] < sure[1]
    assert article(page, "door").locator(".headline").inner_text() == "cat 93%"
    assert "1 234 damaged" in article(page, LONG_NAME).locator(".left-out").inner_text()


@pytest.mark.slow
def test_a_stream_whose_frames_are_unhealthy_is_not_live(show: Shown) -> None:
    frozen = stream(1, "hall", health="frozen", health_age_s=321.0, unhealthy={"frozen": 4000})
    blurred = stream(2, "yard", health="blurred", health_age_s=0.1)
    page = show([stream(0, "door"), frozen, blurred], PHONE)
    assert page.locator("#health").text_content() == "2 of 3 live"
    card = article(page, "hall")
    assert card.locator(".pill").inner_text() == "Frozen"
    notice = card.locator(".notice").inner_text()
    assert "Frozen frames" in notice
    assert "(5 min)" in notice
    assert card.locator(".left-out").inner_text() == "Left out: 4 000 frozen"
    assert article(page, "yard").locator(".pill").inner_text() == "Live"


@pytest.mark.slow
def test_bars_stand_next_to_their_labels(show: Shown) -> None:
    page = show(SIX, DESKTOP)
    for name in ("door", "gate", LONG_NAME):
        gap = (
            article(page, name)
            .locator(".rows")
            .evaluate("""(rows) => Math.min(...[...rows.children].map((row) => {
            const range = document.createRange();
            range.selectNodeContents(row.children[0]);
            const end = Math.min(range.getBoundingClientRect().right, row.children[0].getBoundingClientRect().right);
            return row.children[1].getBoundingClientRect().left - end;
        }))""")
        )
        assert gap <= 16, name


OVERLAPS = """() => {
    const boxes = [...document.querySelectorAll("article")].map((card) => {
        const parts = [card, ...card.querySelectorAll("*")].map((part) => part.getBoundingClientRect());
        const seen = parts.filter((box) => box.width > 1 && box.height > 1);
        return [card.id, Math.min(...seen.map((b) => b.left)), Math.max(...seen.map((b) => b.right)),
                Math.min(...seen.map((b) => b.top)), Math.max(...seen.map((b) => b.bottom))];
    });
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
        a[1] < b[2] - 1 && b[1] < a[2] - 1 && a[3] < b[4] - 1 && b[3] < a[4] - 1).map((b) => [a[0], b[0]]));
}"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 6, 9, 64])
def test_no_card_covers_another_and_a_phone_never_scrolls_sideways(show: Shown, count: int) -> None:
    streams = {1: SIX[3:4], 6: SIX}.get(count) or many(count)
    outputs = [{
        "name": "mqtt://a-broker-with-a-long-name.example.org:1883", "written": 0, "dropped": 3, "failed": 1,
        "waiting": 9, "last_error": "x", "problem": "refused the connection; " + "w" * 200,
    }]  # fmt: skip
    for viewport, scheme in (
        (PHONE, "light"),
        (PHONE, "dark"),
        (DESKTOP, "light"),
        ({"width": 320, "height": 600}, "dark"),
    ):
        page = show(streams, viewport, scheme, outputs=outputs)
        page.wait_for_selector("#outputs .problem")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], viewport
        assert page.evaluate(OVERLAPS) == [], viewport
        page.close()


@pytest.mark.slow
def test_a_wall_of_64_streams_has_its_failures_first_and_opens_one(show: Shown) -> None:
    page = show(many(64), PHONE)
    names = page.locator("article .name").all_text_contents()
    assert names[:3] == ["broken", "away", "lost"]
    assert len(names) == 64
    assert page.locator("#health").text_content() == "61 of 64 live"
    assert page.evaluate("document.querySelector('#streams').getBoundingClientRect().height") < 5000
    assert not page.locator("article .tiles").first.is_visible()
    for button in ("Details of lost", "Details of camera-0"):
        page.get_by_role("button", name=button).press("Enter")
    opened = article(page, "lost")
    assert opened.locator(".tiles").is_visible()
    assert article(page, "camera-0").locator(".rows").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    opened.locator(".more").click()
    page.wait_for_function("() => document.querySelectorAll('article.open').length === 1")


@pytest.mark.slow
def test_a_long_name_does_not_stretch_a_card_without_a_frame(show: Shown) -> None:
    streams = many(64)
    for number, name in ((5, "loading-dock-north-east_camera-of-the-second-floor_at-the-gate"), (6, "gate")):
        streams[number] = stream(number, name, "reconnecting", reason="connection refused", seen=False)
    page = show(streams, PHONE)
    heights = [page.locator(f"#stream-{number} .screen").bounding_box()["height"] for number in (5, 6)]
    assert heights[0] == pytest.approx(heights[1], abs=1)


@pytest.mark.slow
def test_pictures_of_a_wall_are_small_and_only_those_in_view_are_asked_for(show: Shown) -> None:
    page = show(many(64), PHONE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_function("() => [...document.images].some((image) => image.naturalWidth === 320)")
    page.wait_for_timeout(1500)
    pictures = [url for url in asked if "/streams/" in url]
    assert pictures
    assert all("small=1" in url for url in pictures)
    assert len(set(pictures)) < 40
