"""Matplotlib figures as inline SVG with the page's colours and font, and ids that do not clash."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from itertools import count
from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import is_color_like, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from edgeproof_runtime.system.files import write_atomically

__all__ = ["COLORS", "NUMBER", "SERIES", "Draw", "Plotter", "shorten"]

# Matplotlib requires colours; the page has CSS variables for its light and dark theme. Each variable gets an unusual
# placeholder colour, which is replaced in the finished SVG.
COLORS = {
    name: f"#0100{i:02x}"
    for i, name in enumerate(
        ("ink", "muted", "line", "surface", "accent", "pass", "fail", "warn", "s0", "s1", "s2", "s3", "s4", "s5", "s6")
    )
}
_VARIABLES = {color: f"var(--{name})" for name, color in COLORS.items()}
_PAPER = dict(
    zip(
        COLORS.values(),
        (
            "#16202a", "#5b6875", "#d9dee3", "#ffffff", "#1f6feb", "#1a7f37", "#c93c37", "#b26a00",
            "#1f6feb", "#c2410c", "#15803d", "#7c3aed", "#be185d", "#0e7490", "#57534e",
        ),
        strict=True,
    )
)  # fmt: skip
SERIES = tuple(COLORS[f"s{i}"] for i in range(7))

_DECIMALS = re.compile(r"-?[0-9]+\.[0-9]{3,}")
_COORDINATES = re.compile(r'( (?:d|x|y|width|height)=")([^"]*)')
_MANY = 20
# A marker that Matplotlib draws as a disc (its path begins below the centre), and its places.
_DISCS = re.compile(
    r'<defs>\n<path id="(?P<id>[^"]*)" d="M 0 (?P<radius>[0-9.]+)\nC [^"]*" style="stroke: (?P<color>[^";]*)"/>\n'
    r'</defs>\n(?P<group><g clip-path="[^"]*">)\n(?P<uses>(?:<use href="#(?P=id)"[^>]*/>\n)+)</g>'
)

Draw = Callable[[Figure, bool], str]
"""Draw into an empty figure, for a narrow screen if the flag is set; return one sentence as its text alternative."""

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["line"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLORS["muted"],
    "axes.labelsize": 11.5,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "grid.color": COLORS["line"],
    "grid.linewidth": 0.8,
    "hatch.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "legend.labelcolor": COLORS["ink"],
    "svg.fonttype": "none",
    "svg.hashsalt": "edgeproof",
    "text.color": COLORS["ink"],
    "text.parse_math": False,
    "xtick.color": COLORS["line"],
    "xtick.labelcolor": COLORS["muted"],
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": COLORS["line"],
    "ytick.labelcolor": COLORS["ink"],
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}

NUMBER = FuncFormatter(lambda value, _: f"{value:g}")
"""Tick labels as plain numbers: ``0.1``, not a power of ten."""


class Plotter:
    """Renders figures for one page."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def render(self, draw: Draw, *, width: int, height: int, narrow: bool = False) -> str:
        """Render one figure as an ``<svg>`` element.

        Args:
            draw: function that draws the figure.
            width: width in CSS pixels at which the text has the page's size; the page scales the figure.
            height: height in the same CSS pixels.
            narrow: passed to ``draw``.
        """
        buffer = io.StringIO()
        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            # The browser draws the text; Matplotlib's font only measures it.
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
            FigureCanvasSVG(figure)
            description = draw(figure, narrow)
            figure.savefig(
                buffer,
                format="svg",
                transparent=True,
                metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
            )
        return _inline(buffer.getvalue(), description, f"f{next(self._numbers)}-")

    def write_png(self, draw: Draw, path: Path, *, width: int, height: int) -> None:
        """Write one figure as a PNG file, dark on white.

        Args:
            draw: function that draws the figure.
            path: the file, written whole or not at all.
            width: width in pixels at 72 per inch; the file has twice as many.
            height: height in pixels at 72 per inch.
        """
        buffer = io.BytesIO()
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(width / 72, height / 72), layout="constrained", facecolor="white")
            FigureCanvasAgg(figure)
            draw(figure, False)
            figure.canvas.draw()  # drawing creates the ticks and their labels
            for artist in figure.findobj():
                _paint(artist)
            figure.savefig(buffer, format="png", dpi=144)
        write_atomically(path, buffer.getvalue())


def _paint(artist: Artist) -> None:
    """Replace the placeholder colours of the page's variables."""
    for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
        try:
            color = getattr(artist, f"get_{name}")()
            alpha = artist.get_alpha()
            shown = to_hex(color) if is_color_like(color) else to_hex(color[0]) if len(color) == 1 else None
        except (AttributeError, TypeError, ValueError):
            continue
        if shown in _PAPER:
            getattr(artist, f"set_{name}")(_PAPER[shown])
            artist.set_alpha(alpha)


def _inline(document: str, description: str, prefix: str) -> str:
    found = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>(.*)</svg>', document, flags=re.DOTALL)
    if found is None:
        raise ValueError("Matplotlib's output: no <svg> element")
    box, body = found.groups()
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    # Tags only: the text between them are labels, which may contain anything.
    body = re.sub(r"<[^>]+>", lambda tag: _adapt(tag.group(), prefix), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = _COORDINATES.sub(_rounded, body)
    body = _DISCS.sub(_as_path, body)
    title = f'<title id="{prefix}title">{escape(description)}</title>'
    return f'<svg viewBox="{box}" role="img" aria-labelledby="{prefix}title">{title}{body}</svg>'


def _rounded(found: re.Match[str]) -> str:
    """Round the coordinates of an attribute to a hundredth of a pixel."""
    return found[1] + _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), found[2])


def _as_path(found: re.Match[str]) -> str:
    """Draw many equal discs as the round ends of lines without length: a tenth of the text of an element each."""
    radius, uses, color = float(found["radius"]), found["uses"], found["color"]
    uses_of = re.findall(r' x="([^"]*)" y="([^"]*)" style="fill: ([^";]*); stroke: ([^";]*)"', uses)
    if len(uses_of) < _MANY or len(uses_of) != uses.count("<use ") or any({*use[2:]} != {color} for use in uses_of):
        return found[0]
    d = "".join(f"M{x} {y}h0" for x, y, _, _ in uses_of)
    style = f"fill: none; stroke: {color}; stroke-width: {2 * radius + 1:g}; stroke-linecap: round"
    return f'{found["group"]}\n<path d="{d}" style="{style}"/>\n</g>'


def _adapt(tag: str, prefix: str) -> str:
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    # Only referenced elements keep their id, with a prefix that is unique on the page.
    tag = re.sub(r' id="(?![mph][0-9a-f]{10}")[^"]*"', "", tag)
    tag = re.sub(r' id="([^"]*)"', rf' id="{prefix}\1"', tag)
    tag = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}\1)", tag)
    tag = re.sub(r' xlink:href="#([^"]*)"', rf' href="#{prefix}\1"', tag)
    tag = tag.replace(' style="fill: none"/>', ' fill="none"/>')
    return re.sub("#0100[0-9a-f]{2}", lambda color: _VARIABLES[color.group()], tag)


def shorten(label: str, limit: int) -> str:
    """Shorten a label to at most ``limit`` characters."""
    return label if len(label) <= limit else label[: limit - 1].rstrip() + "…"
