"""Does `run --follow` lose frames, decide any twice, or stop for long, when the bundle changes at 30 frames/s?

A paced test card of 30 frames/s, every frame. In the middle a link is replaced: it names a copy of the bundle with
another manifest. The new engines are loaded, their golden cases are replayed, and the frames change over. The longest
gap is that between two predictions, from the beginning of the load to two seconds after the change; a span of the same
length before it is the comparison. Resident memory is sampled all the time.

    python benchmarks/hot_switch.py [--bundle BUNDLE.edge] [--engine onnxruntime] [--seconds 20] [--switches 3]
        [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from common import DEMO, Findings, output_flags, run

import edgeproof
from edgeproof.library.live_follow import BundleChange
from edgeproof.library.run import RunObserver
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.decision import Decision

FPS = 30
_SAMPLE_S = 0.01
_SETTLED_S = 1.0


class Watch(RunObserver):
    """Replace the link at its times, and keep the time and the number of each decided frame."""

    def __init__(self, link: Path, editions: list[Path], at: list[int]) -> None:
        self.link, self.editions, self.at = link, editions, at
        self.decisions: list[tuple[float, int, str]] = []
        self.changes: list[tuple[float, BundleChange]] = []
        self.replaced: list[float] = []

    def decided(self, decided: Decided[Decision], *, still: bool) -> None:  # noqa: ARG002
        self.decisions.append((time.monotonic(), decided.frame.index, decided.bundle))
        if self.at and decided.frame.index >= self.at[0]:
            self.at.pop(0)
            self.replaced.append(time.monotonic())
            point(self.link, self.editions[len(self.replaced)])

    def changed(self, change: BundleChange) -> None:
        self.changes.append((time.monotonic(), change))


class Memory:
    """Resident memory of this process over time."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def most_mib(self, begin_s: float, end_s: float) -> float | None:
        """Return the largest sample of a span."""
        return max((mib for at_s, mib in self.samples if begin_s <= at_s <= end_s), default=None)

    def _work(self) -> None:
        process = psutil.Process()
        while not self._over.wait(_SAMPLE_S):
            self.samples.append((time.monotonic(), process.memory_info().rss / (1 << 20)))


def point(link: Path, folder: Path) -> None:
    """Let a link name a folder, at once."""
    aside = link.with_suffix(".next")
    aside.symlink_to(folder)
    aside.rename(link)


def copies(bundle: Path, folder: Path, count: int) -> list[Path]:
    """Copy a bundle so often, each with a manifest of its own."""
    found = []
    for number in range(count):
        copy = folder / f"edition-{number}.edge"
        shutil.copytree(bundle, copy)
        for attached in ("attachments", "evidence", "engines"):  # of another manifest
            shutil.rmtree(copy / attached, ignore_errors=True)
        manifest = json.loads((copy / "bundle.json").read_text())
        manifest["provenance"]["edition"] = number
        (copy / "bundle.json").write_text(json.dumps(manifest))
        found.append(copy)
    return found


def longest_ms(times_s: list[float], begin_s: float, end_s: float) -> float:
    """Return the longest time between two decisions that overlaps a span."""
    gaps = (b - a for a, b in itertools.pairwise(times_s) if b >= begin_s and a <= end_s)
    return 1e3 * max(gaps, default=float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--switches", type=int, default=3)
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("hot_switch", arguments)
    frames = FPS * arguments.seconds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        editions = copies(arguments.bundle, folder, arguments.switches + 1)
        link = folder / "current.edge"
        point(link, editions[0])
        at = [frames * (n + 1) // (arguments.switches + 1) for n in range(arguments.switches)]
        watch = Watch(link, editions, at)
        with Memory() as memory:
            report = edgeproof.run(
                link,
                f"synthetic://640x480@{FPS}",
                engine=arguments.engine,
                precision="fp32",
                policy="every-frame",
                max_frames=frames,
                follow=True,
                observer=watch,
            )
    switched = [(at_s, change) for at_s, change in watch.changes if change.outcome == "switched"]
    refused = [change.reason for _, change in watch.changes if change.outcome == "refused"]
    if refused or len(switched) != arguments.switches:
        raise InputError("hot_switch: not every bundle took over", got=f"{len(switched)} switches; {refused}")
    numbers = Counter(index for _, index, _ in watch.decisions)
    times_s = [at_s for at_s, _, _ in watch.decisions]
    orders = [digest for _, _, digest in watch.decisions]
    changes = sum(a != b for a, b in itertools.pairwise(orders))
    counts = report.counts
    rows = [
        ["frames in", counts["frames_in"]],
        ["decided", counts["frames_classified"]],
        ["lost", sum(1 for index in range(frames) if index not in numbers)],
        ["decided twice", sum(1 for n in numbers.values() if n > 1)],
        ["dropped or failed", counts["frames_dropped"] + counts["frames_failed"]],
        ["places where the bundle changes", changes],
    ]
    found.table(
        f"{report.bundle.name if report.bundle else ''} on {arguments.engine}, {FPS} frames/s", ["", "value"], rows
    )
    each = []
    for number, (replaced_s, (at_s, change)) in enumerate(zip(watch.replaced, switched, strict=True), 1):
        begin_s = at_s - change.load_s
        before = memory.most_mib(replaced_s - _SETTLED_S, replaced_s)
        after = memory.most_mib(at_s + _SETTLED_S, at_s + 2 * _SETTLED_S)
        each.append(
            [
                str(number),
                at_s - replaced_s,
                change.load_s,
                longest_ms(times_s, replaced_s - change.load_s - 2, replaced_s),
                change.gap.longest_ms,
                before,
                memory.most_mib(begin_s, at_s),
                after,
            ]
        )
    head = ["switch", "link to change, s", "load and proof, s", "gap before, ms", "gap around, ms"]
    head += ["RSS before, MiB", "during", "after"]
    found.table("Each switch", head, each)
    found.say("The change lies between two frames of each stream; the path is looked at once a second.")
    settings = {"bundle": arguments.bundle.name, "engine": arguments.engine, "seconds": arguments.seconds, "fps": FPS}
    found.keep(settings, [dict(map(tuple, rows)), *(dict(zip(head, row, strict=True)) for row in each)])  # type: ignore[arg-type]


if __name__ == "__main__":
    run(main)
