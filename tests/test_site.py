"""The documentation site builds without a warning, shows what GitHub shows, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt

from edgeproof.cli import app
from run_wide import once

pytest.importorskip("mkdocs", reason="mkdocs is not installed")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
COUNTED = ("h1", "h2", "h3", "h4", "li", "pre", "table", "td", "th", "img")
PAGES = sorted({path.stem for path in ROOT.glob("docs/*.md")} - {"comparison"})  # the site adds tables to that page


class Tags(HTMLParser):
    """How often each tag occurs below ``within``, the text of code there, and what attributes refer to."""

    def __init__(self, page: str, within: str = "body") -> None:
        super().__init__()
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.code: list[str] = []
        self.loaded: list[str] = []
        self._within, self._inside, self._in_code = within, 0, False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside += tag == self._within
        if self._inside and tag in self.counts:
            self.counts[tag] += 1
        self._in_code = self._in_code or tag == "code"
        if tag == "code" and self._inside:
            self.code.append("")
        refers = given.get("src") or (given.get("href") if tag == "link" else None)
        self.loaded += [refers] if refers else []

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag == self._within
        self._in_code = self._in_code and tag != "code"

    def handle_data(self, data: str) -> None:
        if self._inside and self._in_code:
            self.code[-1] += data


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built strictly: a warning fails it."""

    def build(out: Path) -> None:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
        env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("site", build)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        away = [one for one in Tags(page.read_text(encoding="utf-8")).loaded if re.match(r"(\w+:)?//", one)]
        assert not away, page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_command_has_a_page_with_its_options(site: Path) -> None:
    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    inner = {f"{name}-{one}": of for name in commands for one, of in getattr(commands[name], "commands", {}).items()}
    for name, command in {**commands, **inner}.items():
        if hasattr(command, "commands"):
            continue
        page = (site / f"cli/{name}.html").read_text(encoding="utf-8")
        missing = [option for p in command.params for option in p.opts if option.startswith("-") and option not in page]
        assert not missing, name


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_github_shows(name: str, site: Path) -> None:
    text = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
    here = Tags((site / f"{name}.html").read_text(encoding="utf-8"), "article")
    github = Tags(f"<body>{MarkdownIt('gfm-like', {'linkify': False}).render(text)}</body>")
    assert here.counts == github.counts
    assert [code.split() for code in here.code] == [code.split() for code in github.code]


def test_the_search_works_from_the_folder(site: Path, browser: Any) -> None:
    page = browser.new_page()
    away: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else away.append(request.url))
    page.goto(f"{site.as_uri()}/index.html")
    page.locator("input[name=query]").fill("letterbox")
    found = page.locator(".md-search-result__item a").first
    found.wait_for(state="attached", timeout=20_000)
    assert found.get_attribute("href")
    assert not away
