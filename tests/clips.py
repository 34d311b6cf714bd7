"""Small clips with known frames, made by ffmpeg from the recipes in tests/golden/captures_media.json.

Also a program, for suites in other languages:

    python3 tests/clips.py FOLDER [NAME ...]

A numbered frame shows its number as eight bars in its upper half, bit 0 at the left, black for 0 and white for 1; the
lower half is red at the left and green at the right.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the program needs no package
    import numpy as np
    from numpy.typing import NDArray

GOLDEN = Path(__file__).with_name("golden") / "captures_media.json"
TS_PACKET = 188


def recipes() -> dict[str, dict[str, Any]]:
    """Return the golden's cases by file name."""
    return {case["file"]: case for case in json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]}


def make_clip(folder: Path, name: str) -> Path:
    """Make one clip, and the clips that it is made from; return its path."""
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    case = next(case for case in known["cases"] if case["file"] == name)
    out = folder / name
    if out.exists():
        return out
    if "of" in case:
        make_clip(folder, case["of"])
    for arguments in case.get("make", ()):
        filled = [_filled(argument, known["parts"]) for argument in arguments]
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *filled]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
        if case.get("stdout"):
            out.write_bytes(done.stdout)
    if "edit" in case:
        kind, *numbers = case["edit"]
        data = (folder / case["of"]).read_bytes() if "of" in case else b""
        out.write_bytes(_EDITS[kind](data, *numbers))
    return out


def number_of(image: NDArray[np.uint8]) -> int:
    """Return the number that the bars of a frame show."""
    half = image.shape[0] // 2
    bars = image[4 : half - 4].reshape(half - 8, 8, -1, 3)[:, :, 2:-2].mean(axis=(0, 2, 3))
    return sum(1 << bit for bit, bright in enumerate(bars > 128) if bright)


def _filled(argument: str, parts: dict[str, str]) -> str:
    for name, text in parts.items():
        argument = argument.replace("{" + name + "}", text)
    return argument


def _without_packets(data: bytes, every: int, first: int) -> bytes:
    """Drop one TS packet of ``every``, beginning with packet ``first``."""
    packets = [data[i : i + TS_PACKET] for i in range(0, len(data), TS_PACKET)]
    return b"".join(p for i, p in enumerate(packets) if i < first or (i - first) % every)


def _overwritten(data: bytes, places: int, seed: int) -> bytes:
    """Overwrite 32 bytes at so many places of the last 95 % of an MP4's media data."""
    chosen = random.Random(seed)
    changed = bytearray(data)
    begin = data.index(b"mdat") + 4
    length = int.from_bytes(data[begin - 8 : begin - 4], "big") - 8
    for _ in range(places):
        place = begin + chosen.randrange(length // 20, length - 32)
        changed[place : place + 32] = chosen.randbytes(32)
    return bytes(changed)


def _cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _renamed(data: bytes, old: str, new: str) -> bytes:
    return data.replace(old.encode(), new.encode())


def _first(data: bytes, count: int) -> bytes:
    return data[:count]


def _repeated(data: bytes, times: int) -> bytes:
    return data * times


def _without_gif_delay(data: bytes) -> bytes:
    """Set the delay of each frame to 0, in its graphic control extension."""
    changed, at = bytearray(data), 0
    while (at := changed.find(b"\x21\xf9\x04", at)) >= 0:
        changed[at + 4 : at + 6] = b"\0\0"
        at += 8
    return bytes(changed)


def _text(_data: bytes, text: str) -> bytes:
    return text.encode()


_EDITS: dict[str, Callable[..., bytes]] = {
    "drop_ts_packets": _without_packets,
    "overwrite": _overwritten,
    "cut": _cut,
    "first": _first,
    "repeat": _repeated,
    "no_gif_delay": _without_gif_delay,
    "rename": _renamed,
    "text": _text,
}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for clip in sys.argv[2:] or recipes():
        print(make_clip(target, clip))
