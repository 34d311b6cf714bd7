"""Write the tables of docs/api.md: every public name with the first line of its docstring.

    python scripts/api_page.py --write

Without `--write` the page is printed.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/api.md"
PACKAGES = ("edgeproof", "edgeproof_runtime", "edgeproof_export")


def page() -> str:
    """Return the page with its tables made anew; the text around them is kept."""
    text = PAGE.read_text(encoding="utf-8")
    for package in PACKAGES:
        begin, end = f"<!-- {package} -->\n", f"<!-- end of {package} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + table(package) + end + after
    return text


def table(package: str) -> str:
    """Return the table of a package's public names."""
    module = import_module(package)
    rows = [
        f"| `{name}` | {kind(found)} | {summary(found)} |"
        for name in names(package)
        for found in [getattr(module, name)]
    ]
    return "\n".join(["| name | | what it is |", "|---|---|---|", *rows]) + "\n"


def names(package: str) -> list[str]:
    """Return a package's public names in the order of the alphabet."""
    public = import_module(package).__all__
    return [name for name in sorted(public, key=str.lower) if not name.startswith("__")]


def kind(found: object) -> str:
    """Return ``error``, ``class`` or ``function``."""
    if not inspect.isclass(found):
        return "function"
    return "error" if issubclass(found, Exception) else "class"


def summary(found: object) -> str:
    """Return the first sentence of a docstring."""
    first = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    return first.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
