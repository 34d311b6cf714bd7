"""What the benchmarks share: where data lies, and what one of them found: printed, as JSON, and in RESULTS.md."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.host import host_warnings

__all__ = ["DATA", "DEMO", "HERE", "Findings", "clip_flag", "output_flags", "print_table", "run"]

HERE = Path(__file__).resolve().parent
DEMO = Path("edgeproof-demo/efficientnet-lite0.edge")  # from `make demo`
DATA = Path(os.environ.get("EDGEPROOF_DATA", HERE.parents[1] / "shared" / "data"))
RESULTS = HERE / "RESULTS.md"
_OUR_CLIP = DATA / "videos" / "bottle-detection.mp4"
_DEMO_CLIP = DEMO.parent / "clip.mp4"  # 300 frames
_UNAVAILABLE = 3  # exit code: this machine lacks what it needs


def output_flags(parser: argparse.ArgumentParser) -> None:
    """The two flags that every benchmark has."""
    parser.add_argument("--json", type=Path, dest="json_file", help="where to keep the figures")
    parser.add_argument("--write", action="store_true", help="put the tables into this benchmark's part of RESULTS.md")


def clip_flag(parser: argparse.ArgumentParser, about: str = "") -> None:
    """The flag of the clip; without our data folder it is the demo's, and the table's settings name it."""
    default = _OUR_CLIP if _OUR_CLIP.is_file() else _DEMO_CLIP
    text = f"{about + '; ' if about else ''}without our data the clip of `make demo`"
    parser.add_argument("--clip", type=Path, default=default, help=text)


def run(main: Callable[[], None]) -> None:
    """Run a benchmark. What this machine lacks is one line and exit code 3, with which `make bench` goes on."""
    try:
        main()
    except (UnavailableError, FileNotFoundError) as error:
        said = " ".join(str(error).split())
    except subprocess.CalledProcessError as error:
        if "pip" not in error.cmd:
            raise
        said = f"packages cannot be installed: {shlex.join(map(str, error.cmd[-3:]))}"
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    else:
        return
    print(f"skipped: {Path(sys.argv[0]).stem}: {said}", file=sys.stderr)
    raise SystemExit(_UNAVAILABLE)


class Findings:
    """What one run found: printed as it comes; at the end also written, where the flags ask for it.

    Made before anything is measured, because it takes down what else the machine does.

    Args:
        name: of the script; its part of RESULTS.md stands between ``<!-- name -->`` and ``<!-- /name -->``.
        arguments: with what `output_flags` added.
        packages: versions to name beside those of every report.
    """

    def __init__(self, name: str, arguments: argparse.Namespace, *, packages: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._json_file: Path | None = arguments.json_file
        self._write: bool = arguments.write
        if self._write:
            replaced(RESULTS.read_text(), name, "")  # not after ten minutes
        self._parts: list[str] = []
        self._host = host_facts()
        self._host["packages"].update(packages or {})
        clip = getattr(arguments, "clip", None)
        if clip == _DEMO_CLIP:
            print(
                f"note: {_OUR_CLIP.name} is not here: the demo's clip is taken, and times are not those of RESULTS.md"
            )
        for warning in host_warnings(self._host):
            print(f"note: {warning}")
        self._began = time.time()
        self._busy_s, self._own_s = _busy_s(), _own_s()

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table, printed and kept."""
        print_table(title, head, rows)
        lines = ["| " + " | ".join(_cell(v).replace("|", "\\|") for v in row) + " |" for row in [head, *rows]]
        lines.insert(1, "|---|" + "---:|" * (len(head) - 1))
        self._parts.append(f"{title}:\n\n" + "\n".join(lines))

    def say(self, sentence: str) -> None:
        """A sentence under the tables."""
        print(sentence)
        self._parts.append(sentence)

    def keep(self, settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
        """The end of the run: figures to the JSON file, tables to RESULTS.md."""
        took_s = time.time() - self._began
        other_cores = max(0.0, (_busy_s() - self._busy_s) - (_own_s() - self._own_s)) / took_s
        print(f"{took_s:.0f} s; other processes took {other_cores:.2f} cores meanwhile")
        if self._json_file is not None:
            what = {"question": self._name, "host": self._host, "took_s": took_s, "other_cores": other_cores}
            report = {**what, "settings": dict(settings), "results": list(results)}
            write_atomically(self._json_file, (json.dumps(report, indent=2) + "\n").encode())
        if self._write:
            body = "\n\n".join(["", self._machine(took_s, other_cores), *self._parts, ""])
            write_atomically(RESULTS, replaced(RESULTS.read_text(), self._name, body).encode())

    def _machine(self, took_s: float, other_cores: float) -> str:
        cpu, system = self._host["cpu"], self._host["os"]
        cores = cpu["cores_usable"]
        others = f"other processes {other_cores:.2f} cores meanwhile"
        if other_cores > 0.1 * cores:
            others = f"**a busy machine, times are upper bounds: {others}**"
        # Of a path of this machine its name, such as the commit of a tree.
        words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:] if word != "--write"]
        command = ["python", f"benchmarks/{self._name}.py", *words]
        facts = (
            f"`{shlex.join(command)}`, {time.strftime('%Y-%m-%d %H:%M', time.gmtime(self._began))} UTC, {took_s:.0f} s",
            f"{cores} cores of {cpu['model']}" + ", a virtual machine" * system["virtualized"],
            f"load {self._host['load_average_1min']:.2f} at the start, {others}",
            ", ".join(f"{name} {version}" for name, version in self._host["packages"].items()),
        )
        return "<sub>" + "; ".join(facts) + "</sub>"


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table: the first column to the left, numbers to the right; None is a dash."""
    cells = [[_cell(value) for value in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def replaced(text: str, name: str, body: str) -> str:
    """The text with another body between a name's two markers.

    Raises:
        SystemExit: it has no such markers; what stands in RESULTS.md without them is written by hand.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise SystemExit(f"{RESULTS.name} has no part between {begin} and {end}: add them where it should stand")
    return f"{before}{begin}{body}{end}{after}"


def _cell(value: object) -> str:
    """Numbers with the digits that a measurement supports."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _busy_s() -> float:
    """CPU time of all processes since the machine was started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _own_s() -> float:
    """CPU time of this process and of those it started and saw end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
