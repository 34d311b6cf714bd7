"""Which of timm's model families can be exported, and which engines take them?

The smallest classifier of each module of `timm.models`, by parameters, with random weights, exported at its own input
size with every CPU engine of this machine. Each export is a process with a time limit: a crash, a traceback or a hang
is a row of the table. Slices may run side by side or one after another; their results add up in one folder, and a run
that was interrupted goes on where it stopped.

    python benchmarks/sweep.py [--slice 1/2] [--only NAME,NAME] [--again] [--limit-s 900] [--write]

Exit code 1 if an export crashed or ended with a traceback.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from common import HERE, Findings, output_flags

from edgeproof_runtime.engines.catalog import offered
from edgeproof_runtime.engines.machine import engine_identity
from edgeproof_runtime.system.files import write_atomically

FOLDER = HERE.parent / "build" / "sweep"
PROGRAM = (sys.executable, "-m", "edgeproof")
TARGET = 0.95
# Names of larger members, tried only in a family without others: building 1,371 models takes four minutes.
_LARGER = re.compile(r"huge|giant|gigantic|enormous|xxlarge|xlarge|large|_base|_so\d+m|_[2-9]b\b|x(2|3|4|5)\b")
_FAULTS = ("crash", "traceback", "hang")


def smallest(family: str) -> tuple[str | None, str]:
    """Name of a family's smallest classifier and its number of parameters as text; None and why it has none."""
    import timm
    import torch

    names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
    sizes: dict[str, int] = {}
    why = "no models"
    for few in ([n for n in names if not _LARGER.search(n)], names):
        for name in few:
            try:
                with torch.device("meta"):
                    model = timm.create_model(name)
            except Exception as error:
                why = f"{name}: {type(error).__name__}: {_line(str(error))}"
                continue
            config = model.pretrained_cfg
            if not config.get("input_size") or not getattr(model, "num_classes", 0) or not config.get("classifier"):
                why = "no member with an input size and a classifier"
                continue
            sizes[name] = sum(parameter.numel() for parameter in model.parameters())
        if sizes:
            name = min(sizes, key=sizes.__getitem__)
            return name, f"{sizes[name] / 1e6:.1f} M"
    return None, why


def exported(name: str, limit_s: float, program: Sequence[str] = PROGRAM) -> dict[str, Any]:
    """Export a model in a process of its own, and say how that ended."""
    with tempfile.TemporaryDirectory(prefix="edgeproof-sweep-") as folder:
        report = Path(folder) / "report.json"
        command = [*program, "export", f"timm:{name}", "--weights", "random"]
        command += ["--gate-images", "4", "--out", f"{folder}/model.edge", "--json", str(report)]
        began = time.monotonic()
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, start_new_session=True
        ) as process:
            try:
                said = process.communicate(timeout=limit_s)[1].decode(errors="replace")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return {"outcome": "hang", "reason": f"no end within {limit_s:.0f} s", "seconds": limit_s}
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        found: dict[str, Any] = {"exit_code": process.returncode, "seconds": round(time.monotonic() - began, 1)}
        if "Traceback (most recent call last)" in said:
            return {**found, "outcome": "traceback", "reason": _line(said.strip().splitlines()[-1])}
        if process.returncode < 0 or process.returncode > 128:
            number = abs(process.returncode) % 128
            return {**found, "outcome": "crash", "reason": f"signal {number}", "said": said[-2000:]}
        if process.returncode != 0:
            error = said[said.rfind("error:") :]
            return {**found, "outcome": "refused", "reason": _line(error.removeprefix("error:")), "said": error[:2000]}
        engines = json.loads(report.read_text())["engines"]
        left_out = {row["name"]: row["reason"] for row in engines if not row["passed"]}
        return {**found, "outcome": "exported", "left_out": left_out}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slice", default="1/1", metavar="I/N", help="every N-th family, from the I-th (default 1/1)")
    parser.add_argument("--only", metavar="NAMES", help="families, separated by commas")
    parser.add_argument("--again", action="store_true", help="export again what a result is there for")
    parser.add_argument("--limit-s", type=float, default=900.0, help="time limit of one export (default 900)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where results are kept (default build/sweep)")
    output_flags(parser)
    arguments = parser.parse_args()
    first, _, step = arguments.slice.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        parser.error("--slice: expected I/N with 1 <= I <= N, such as 1/2")
    import timm

    families = timm.list_modules()
    chosen = families[int(first) - 1 :: int(step)]
    if arguments.only is not None:
        chosen = [name.strip() for name in arguments.only.split(",")]
        if unknown := set(chosen) - set(families):
            parser.error(f"--only: unknown families: {', '.join(sorted(unknown))}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with _summary_lock(arguments.folder):
        findings = Findings("sweep", arguments)
    for number, family in enumerate(chosen, start=1):
        path = arguments.folder / f"{family}.json"
        if arguments.again or not _is_current(path):
            write_atomically(path, json.dumps(_row(family, arguments.limit_s), indent=2).encode())
        row = json.loads(path.read_text())
        print(f"[{number}/{len(chosen)}] {family}: {row['model']}: {_told(row)}", flush=True)
    with _summary_lock(arguments.folder):
        rows = [json.loads(path.read_text()) for path in sorted(arguments.folder.glob("*.json"))]
        _tell(findings, [row for row in rows if row["versions"] == _versions()], len(families))
    mine = [json.loads((arguments.folder / f"{family}.json").read_text()) for family in chosen]
    sys.exit(any(row["outcome"] in ("crash", "traceback") for row in mine))


def _row(family: str, limit_s: float) -> dict[str, Any]:
    name, what = smallest(family)
    facts = {"family": family, "model": name, "versions": _versions()}
    if name is None:
        return {**facts, "outcome": "not a classifier", "reason": what, "seconds": 0.0}
    return {**facts, "parameters": what, **exported(name, limit_s)}


def _versions() -> dict[str, str]:
    own = {name: metadata.version(name) for name in ("edgeproof", "timm", "torch")}
    return own | {entry.name: str(engine_identity(entry).version) for entry in offered() if entry.device == "cpu"}


def _is_current(path: Path) -> bool:
    try:
        row = json.loads(path.read_text())
        return bool(row["versions"] == _versions() and row["outcome"] != "hang")  # a busy machine may be why
    except (OSError, ValueError, KeyError):
        return False


def _told(row: dict[str, Any]) -> str:
    left_out = "; ".join(row.get("left_out", {}).values())
    reason = row.get("reason") or (f"without {left_out}" if left_out else "on every engine")
    return f"{row['outcome']}, {reason}, {row['seconds']:.0f} s"


def _tell(findings: Findings, rows: list[dict[str, Any]], families: int) -> None:
    classifiers = [row for row in rows if row["model"] is not None]
    done = [row for row in classifiers if row["outcome"] == "exported"]
    table = [
        [
            row["family"],
            row["model"],
            row.get("parameters"),
            row["outcome"],
            "; ".join(row.get("left_out", {}).values()) or row.get("reason"),
            float(row["seconds"]),
        ]
        for row in rows
    ]
    findings.table(
        "Smallest member of each family",
        ["family", "model", "parameters", "outcome", "engines left out, or reason", "seconds"],
        table,
    )
    faults = {fault: sum(row["outcome"] == fault for row in rows) for fault in _FAULTS}
    share = len(done) / len(classifiers) if classifiers else 0.0
    findings.say(
        f"{len(done)} of {len(classifiers)} families with a classifier exported ({share:.1%}; the target is "
        f"{TARGET:.0%}); {', '.join(f'{count} {fault}' for fault, count in faults.items())}. "
        f"{len(rows) - len(classifiers)} families have no classifier; {families - len(rows)} were not tried yet."
    )
    findings.keep({"families": families}, rows)


def _line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 240 else f"{words[:237]}..."


@contextmanager
def _summary_lock(folder: Path) -> Iterator[None]:
    """Let one slice at a time write the table, which holds the results of all."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    if shutil.which("nice") and os.nice(0) == 0:
        os.nice(5)  # it takes an hour
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and ends the export that it waits for
    main()
