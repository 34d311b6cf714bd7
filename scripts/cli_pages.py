"""The site's pages of the command line: one per command, written from what `edgeproof COMMAND --help` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from edgeproof.cli import app

__all__ = ["pages"]

_EXAMPLES = re.compile(r"^Examples?:\n+(.*)", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"\s*\[env var: (\w+)(?:\]|; (?=.))")
_HEAD = """\
# Command line

The pages of this section are written from the program itself: each is what `edgeproof COMMAND --help` says.

"""


def pages() -> dict[str, str]:
    """Return the Markdown of every page, by its name: ``index``, then each command's."""
    root: Any = typer.main.get_command(app)
    found = {"index": ""}
    by_panel: dict[str, list[str]] = {}
    with root.make_context("edgeproof", [], resilient_parsing=True) as context:
        for words, command in _commands(root, ()):
            name = "-".join(words)
            found[name] = _page(words, command, context)
            panel = root.commands[words[0]].rich_help_panel
            first = command.help.split("\n\n")[0]
            by_panel.setdefault(panel, []).append(f"| [`edgeproof {' '.join(words)}`]({name}.md) | {_cell(first)} |")
        options = _table(root, context)
    tables = [
        f"## {panel}\n\n| command | what it does |\n|---|---|\n" + "\n".join(by_panel[panel]) for panel in by_panel
    ]
    found["index"] = _HEAD + "\n\n".join([*tables, "## Options of every command", options, root.epilog])
    return found


def _commands(group: Any, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*before, name))
        else:
            yield (*before, name), command


def _page(words: tuple[str, ...], command: Any, parent: Any) -> str:
    with command.make_context(" ".join(words), [], parent=parent, resilient_parsing=True) as context:
        usage = command.get_usage(context).removeprefix("Usage: ")
        tables = _table(command, context)
    text, examples = command.help, _EXAMPLES.search(command.help)
    if examples is not None:
        text = text[: examples.start()]
        shown = [line.strip() for line in examples.group(1).splitlines() if line.strip()]
        text += "```console\n" + "\n".join(f"$ {line}" for line in shown) + "\n```\n"
    return f"# edgeproof {' '.join(words)}\n\n{text.strip()}\n\n## Usage\n\n```text\n{usage}\n```\n\n{tables}\n"


def _table(command: Any, context: Any) -> str:
    """Return a table of parameters for each panel of ``--help``."""
    by_panel: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or parameter.hidden:
            continue
        default = "Arguments" if parameter.param_type_name == "argument" else "Options"
        rows = by_panel.setdefault(getattr(parameter, "rich_help_panel", None) or default, [])
        variable = _VARIABLE.search(record[1])
        text = _VARIABLE.sub(lambda found: "" if found.group().endswith("]") else " [", record[1])
        shown = f"<br><small>`{variable.group(1)}`</small>" if variable and not parameter.is_eager else ""
        rows.append(f"| `{record[0].replace('|', chr(92) + '|')}` | {_cell(text)}{shown} |")
    tables = []
    for panel, rows in by_panel.items():
        head = [f"### {panel}", "", "| parameter | meaning |", "|---|---|"]
        tables.append("\n".join([*head, *rows]))
    return "\n\n".join(tables)


def _cell(text: str) -> str:
    """Return text for a cell of a table; what looks like HTML or Markdown in it is text."""
    return re.sub(r"([|<*_])", r"\\\1", " ".join(text.split()))
