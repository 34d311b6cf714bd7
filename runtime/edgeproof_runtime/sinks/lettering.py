"""Draw text on images with OpenCV: any characters, any size, cut to a width."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.system.opencv import cv2, opencv_fault

__all__ = ["Lettering", "drawable"]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV 5 draws UTF-8 with its own fonts; OpenCV 4 draws a ? for every byte that is not ASCII.
_UNICODE = opencv_fault() is None and int(cv2.__version__.split(".")[0]) >= 5
_ELLIPSIS = "…" if _UNICODE else "..."
_LONGEST = 256
_RTL = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+"
_RIGHT_TO_LEFT = re.compile(f"{_RTL}(?: +{_RTL})*")

_LATIN = "ß=ss æ=ae œ=oe ø=o đ=d ł=l þ=th ð=d ı=i ŋ=ng"
_CYRILLIC = (
    "а=a б=b в=v г=g д=d е=e ж=zh з=z и=i й=i к=k л=l м=m н=n о=o п=p р=r с=s т=t у=u ф=f х=kh ц=ts ч=ch ш=sh щ=shch "
    "ъ= ы=y ь= э=e ю=iu я=ia є=ie і=i ґ=g"
)
_GREEK = "α=a β=b γ=g δ=d ε=e ζ=z η=i θ=th ι=i κ=k λ=l μ=m ν=n ξ=x ο=o π=p ρ=r σ=s ς=s τ=t υ=y φ=f χ=ch ψ=ps ω=o"
_SIGNS = "–=- —=- ‐=- ‑=- ‘=' ’=' “=\" ”=\" ·=- •=- →=-> ←=<- ×=x °=deg €=EUR ⁄=/"
_LETTERS = dict(pair.split("=", 1) for pair in f"{_LATIN} {_CYRILLIC} {_GREEK} {_SIGNS}".split())


def drawable(text: str, *, unicode: bool = _UNICODE) -> str:
    """Return a text of which OpenCV draws every character, in the order in which it is seen.

    Control characters become spaces (OpenCV 5 crashes on some of them), symbols beyond the basic plane their names in
    brackets. Texts from right to left are turned round; Arabic letters are not joined.

    Args:
        text: any text; cut after 256 characters.
        unicode: whether OpenCV draws more than ASCII. Otherwise Latin, Greek and Cyrillic letters are transliterated,
            and a ``?`` stands for all others.
    """
    text = unicodedata.normalize("NFC", text[:_LONGEST])
    text = "".join(_safe(character) for character in text)
    if unicode:
        return _RIGHT_TO_LEFT.sub(lambda found: found[0][::-1], text)
    return "".join(map(_ascii, text))


def _safe(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    if kind in ("Cf", "Mn", "Me") or "\ufe00" <= character <= "\ufe0f":
        return ""
    if kind in ("Cs", "Co", "Cn"):
        return "?"
    return f"[{unicodedata.name(character, '?').lower()}]" if character > "\uffff" and kind[0] == "S" else character


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    plain = [c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c)]
    found = "".join(c if c.isascii() else _LETTERS.get(c.lower(), "?") for c in plain)
    return found.capitalize() if character != character.lower() else found


class Lettering:
    """Text of one size.

    Args:
        row: height of a row of text, pixels.
    """

    def __init__(self, row: int) -> None:
        self.row = row
        self._scale = row / 36
        self._thickness = max(1, round(row / 24))

    def width(self, text: str) -> int:
        """Return the width of a drawable text, pixels."""
        (width, _), _ = cv2.getTextSize(text, _FONT, self._scale, self._thickness)
        return int(width)

    def fit(self, text: str, width: int) -> str:
        """Return a drawable text, cut with an ellipsis if it is wider than ``width`` pixels."""
        if self.width(text) <= width:
            return text
        short, long = 0, len(text)
        while short + 1 < long:
            middle = (short + long) // 2
            if self.width(text[:middle] + _ELLIPSIS) <= width:
                short = middle
            else:
                long = middle
        return text[:short].rstrip() + _ELLIPSIS

    def put(self, canvas: NDArray[np.uint8], text: str, x: int, up: int, color: tuple[int, int, int]) -> None:
        """Draw a drawable text into the row that begins at pixel row ``up``."""
        where = (x, up + round(self.row * 0.72))
        cv2.putText(canvas, text, where, _FONT, self._scale, color, self._thickness, cv2.LINE_AA)
