"""The documentation is executed: Python blocks run, commands parse against the program, make targets exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from bundles import make_bundle
from edgeproof.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r'(?:src|srcset)="([^":]+)"')
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.relative_to(ROOT).as_posix(), code)
        for page in PAGES
        for found, code in FENCE.findall(page.read_text())
        if found == language
    ]


def commands() -> list[tuple[str, str]]:
    """Every indented line of a page that starts with ``edgeproof``, or ``$ edgeproof``; continued lines joined."""
    found = []
    for page in PAGES:
        for line in page.read_text().replace("\\\n", " ").splitlines():
            match = re.match(r"(?: {4}|\$ )\s*(edgeproof [a-z].*)$", line)
            if match:
                found.append((page.relative_to(ROOT).as_posix(), match.group(1)))
    return found


@pytest.mark.parametrize("page", dict.fromkeys(page for page, _ in blocks("python")))
def test_python_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, as its reader would type them."""
    skimage = pytest.importorskip("skimage")
    make_bundle(tmp_path / "edgeproof-demo" / "efficientnet-lite0.edge")
    shutil.copy(Path(skimage.__file__).parent / "data/rocket.jpg", tmp_path / "photograph.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for code in (code for found, code in blocks("python") if found == page):
        exec(compile(code, page, "exec"), names)  # noqa: S102 - that is what a documentation test is


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_ones_the_program_takes(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = re.findall(r"^```text\n(bundle = .*?)^```", (ROOT / "docs/live.md").read_text(), re.M | re.S)
    for place in (tmp_path, tmp_path / "edgeproof-demo"):
        place.mkdir(exist_ok=True)
        (place / "edgeproof.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    _, name, *arguments = shlex.split(line, comments=True)
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert name in known, f"{page}: no command {name}"
    with known[name].make_context(name, list(arguments)):
        pass


@pytest.mark.parametrize(("page", "code"), [*blocks("sh"), *blocks("console")])
def test_make_targets_exist(page: str, code: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", code, re.MULTILINE):
        assert target in targets, f"{page}: no target {target}"


def test_no_page_has_the_markers_of_a_merge() -> None:
    for page in PAGES:
        assert not re.search(r"^(<<<<<<< |>>>>>>> )", page.read_text(), re.MULTILINE), page.name


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text()
        for target in [*LINK.findall(text), *PICTURE.findall(text)]:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_nothing_is_promised_that_the_program_lacks() -> None:
    """Commands in the README's table are those of the program."""
    table = re.findall(r"^\| `edgeproof (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(table) == sorted(known)


def test_tests_that_pages_name_exist() -> None:
    """A row of the threat table without its test would be a promise."""
    named = [
        (page.name, *found)
        for page in PAGES
        for found in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())
    ]
    assert any(page == "security.md" for page, _, _ in named)
    for page, file, test in named:
        assert (ROOT / file).exists(), f"{page}: {file}"
        assert not test or f"def {test}(" in (ROOT / file).read_text(), f"{page}: {file}::{test}"
