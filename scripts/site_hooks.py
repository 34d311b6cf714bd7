"""What the documentation site has beyond docs/: pages written at the build, and links to files outside docs/.

Called by MkDocs (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import api_page  # MkDocs puts this folder on sys.path while it imports a hook
import cli_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Pages of the repository that lie outside docs/, and their names in the site.
OUTSIDE = {
    "benchmarks/RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/monitoring/README.md": "monitoring.md",
}
_ORIGINS = {name: origin for origin, name in OUTSIDE.items()}
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#:\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"^(?:```.*?^```|(?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_CODE_WITH_BAR = re.compile(r"`([^`]*\\\|[^`]*)`")
_TABLES = re.compile(r"^<!-- tables of (\w+) -->\n", re.MULTILINE)
_API_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation's entry ``cli`` with the commands."""
    names = [name for name in cli_pages.pages() if name != "index"]
    commands: list[Any] = [
        "cli/index.md",
        *({f"edgeproof {name.replace('-', ' ')}": f"cli/{name}.md"} for name in names),
    ]
    for section in config.nav or []:
        for entries in section.values():
            if isinstance(entries, list):
                entries[:] = [
                    {title: commands} if target == "cli" else {title: target}
                    for entry in entries
                    for title, target in _entry(entry)
                ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the command line, of the API and of `OUTSIDE`, and files outside docs/ that pages link to."""
    for name, text in cli_pages.pages().items():
        files.append(File.generated(config, f"cli/{name}.md", content=text))
    for package in api_page.PACKAGES:
        files.append(File.generated(config, f"api-{package}.md", content=_api(package)))
    for origin, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / origin).read_text(encoding="utf-8")))
    for page in files.documentation_pages():
        for _, target, _ in _LINK.findall(_CODE.sub("", page.content_string)):
            path = _in_repository(page.src_uri, target)
            if _is_outside(path) and files.get_file_from_path(f"files/{path}") is None:
                files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links at the site's places, put in measured tables, and link the names of docs/api.md to their pages."""
    here = page.file.src_uri
    markdown = _ROW.sub(lambda row: _CODE_WITH_BAR.sub(_with_bar, row[0]), markdown)
    markdown = _TABLES.sub(lambda found: tables(found.group(1)) + "\n", markdown)
    if here == "api.md":
        for package in api_page.PACKAGES:
            before, begin, rest = markdown.partition(f"<!-- {package} -->\n")
            table, end, after = rest.partition(f"<!-- end of {package} -->\n")
            linked = _API_ROW.sub(_linked, table)
            markdown = before + begin + linked + end + after

    def moved(found: re.Match[str]) -> str:
        path = _in_repository(here, found.group(2))
        place: str | None
        if path in OUTSIDE:
            place = OUTSIDE[path]
        elif path.startswith("docs/"):
            place = path.removeprefix("docs/")
        else:
            place = f"files/{path}" if _is_outside(path) else None
        if place is None or here.startswith(("cli/", "api-")):
            return found.group()
        return f"{found.group(1)}{os.path.relpath(place, PurePosixPath(here).parent)}{found.group(3) or ''})"

    parts, last = [], 0
    for fence in _CODE.finditer(markdown):  # what stands in a block of code is no link
        parts += [_LINK.sub(moved, markdown[last : fence.start()]), fence.group()]
        last = fence.end()
    return "".join([*parts, _LINK.sub(moved, markdown[last:])])


def tables(marker: str) -> str:
    """Return the tables that a benchmark wrote between its markers in benchmarks/RESULTS.md."""
    text = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    _, begin, rest = text.partition(f"<!-- {marker} -->\n")
    found, end, _ = rest.partition(f"<!-- /{marker} -->\n")
    if not (begin and end):
        raise ValueError(f"benchmarks/RESULTS.md: no tables of {marker}")
    return found.replace("](peers.png)", "](../benchmarks/peers.png)").strip() + "\n"


def _with_bar(code: re.Match[str]) -> str:
    """Return code of a table with its bars as GitHub shows them; Python-Markdown would show their backslashes."""
    return f"<code>{escape(code[1].replace(chr(92) + '|', '|')).replace('|', '&#124;')}</code>"


def _entry(entry: Any) -> list[tuple[Any, Any]]:
    return list(entry.items()) if isinstance(entry, dict) else [(None, entry)]


def _in_repository(src_uri: str, target: str) -> str:
    """Return the path in the repository of what a page of the site links to."""
    folder = PurePosixPath(_ORIGINS.get(src_uri, f"docs/{src_uri}")).parent
    return os.path.normpath(folder / target)


def _is_outside(path: str) -> bool:
    return not path.startswith(("docs/", "..")) and path not in OUTSIDE and (ROOT / path).is_file()


def _api(package: str) -> str:
    """Return a page of a package's public names; what another package before it has too is a link there."""
    named = {name: _described(name) for name in api_page.names(package)}
    here = [name for name, place in named.items() if place == f"{package}.{name}"]
    others = [f"[`{name}`]({_page_of(place)})" for name, place in named.items() if name not in here]
    also = f"\nAlso here: {', '.join(others)}.\n" if others else ""
    members = "".join(f"\n::: {package}.{name}\n" for name in here)
    return f"# {package}\n\nEvery public name, with arguments, shapes, units and errors.\n{also}{members}"


def _described(name: str) -> str:
    """Return the package that describes a public name: the first that has it. Imports no PyTorch."""
    return next(f"{package}.{name}" for package in api_page.PACKAGES if name in api_page.names(package))


def _linked(row: re.Match[str]) -> str:
    return f"| [`{row[1]}`]({_page_of(_described(row[1]))}) |"


def _page_of(place: str) -> str:
    return f"api-{place.partition('.')[0]}.md#{place}"
