"""`edgeproof compare`: the regression gate between two reports."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import count, err, out
from edgeproof.library.compare import compare as compare_reports
from edgeproof_runtime.errors import GateError, InputError
from edgeproof_runtime.evidence.compare import Pair
from edgeproof_runtime.system.files import write_json

__all__ = ["compare", "share_of"]


def compare(
    old: Annotated[Path, typer.Argument(help="Baseline report.", metavar="OLD.json", show_default=False), Reads()],
    new: Annotated[
        Path,
        typer.Argument(help="Report to compare with the baseline.", metavar="NEW.json", show_default=False),
        Reads(),
    ],
    max_slowdown: Annotated[str, typer.Option(help="Largest permitted slowdown, such as 5% or 0.05.")] = "5%",
    max_drop: Annotated[
        float, typer.Option(help="Largest permitted drop of top-1, mAP or AUROC, percentage points.", min=0.0)
    ] = 0.5,
    force: Annotated[
        bool, typer.Option("--force", help="Compare reports of different machines or power modes.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail also if a comparison is inconclusive.")] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the comparison as JSON; - is stdout.", metavar="FILE"),
        Writes("file"),
    ] = None,
) -> None:
    """Compare a report of bench or evaluate with an older one; print a Markdown table. Exits 1 on a regression.

    A configuration is slower if its time grew by more than permitted and the 95 % interval excludes no growth.
    If the interval is too wide or the host load too high, the comparison is inconclusive: it fails only with --strict.

    Examples:

      edgeproof compare main.json branch.json

      edgeproof compare main.json branch.json --max-slowdown 3% --max-drop 0.2
    """
    found = compare_reports(
        old, new, max_slowdown=share_of(max_slowdown, "--max-slowdown"), max_drop=max_drop, force=force, strict=strict
    )
    out.print(found.comparison.markdown())
    if found.unsure:
        err.print(
            f"cannot tell: {', '.join(pair.name for pair in found.unsure)}; measure longer, on a quieter machine, "
            "and with the same labelled data",
            style="yellow",
        )
    if json_file is not None:
        write_json(json_file, found.to_json())
        err.print(f"comparison {json_file}")
    if not found.passed and not found.failed:
        gone = found.comparison.only_old
        raise GateError(f"cannot tell: {count(len(gone), 'configuration')} only in the old report", got=", ".join(gone))
    if not found.passed:
        what = "regressed" if found.worse else "may have regressed: cannot tell"
        raise GateError(
            f"{len(found.failed)} of {len(found.comparison.pairs)} configurations {what}",
            got="; ".join(_said(pair) for pair in found.failed),
            expected=f"at most {found.bounds.max_slowdown:.3g} slower, "
            f"drop of at most {found.bounds.max_drop:g} points",
        )


def share_of(text: str, option: str) -> float:
    """Parse a share, ``5%`` or ``0.05``.

    Raises:
        InputError: not a share.
    """
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise InputError(f"{option}: not a share", got=text, expected="5%, 0.05 or similar")
    return value


def _said(pair: Pair) -> str:
    if pair.verdict == "less accurate" and pair.drop_points is not None:
        return f"{pair.name}: drop of {pair.drop_points.estimate:.2f} points of {pair.metric}"
    if math.isnan(pair.slowdown.estimate):
        return f"{pair.name}: cannot tell"
    ratio = pair.slowdown
    within = f", 95 % interval {ratio.low:.3f} to {ratio.high:.3f}" if ratio.low and ratio.high else ""
    return f"{pair.name}: takes {ratio.estimate:.3f} times as long{within}"
