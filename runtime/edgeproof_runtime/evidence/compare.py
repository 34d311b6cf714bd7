"""Comparison of two reports: whether they are comparable, what got worse, and with what confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.figures import Quality, figure, optional_figure, quality_of, times
from edgeproof_runtime.measure import Interval, ratio_interval

__all__ = [
    "Bounds",
    "Comparison",
    "Pair",
    "Verdict",
    "compare_reports",
    "verdict_of_times",
]

Verdict = Literal["slower", "faster", "same", "cannot tell", "less accurate"]

_DISTURBED = 0.25  # of the usable cores: host load above which times are no evidence of a change
_NORMALIZED = (
    "Time is divided by the reference engines' time in the same round, which cancels a machine that was slower "
    "throughout; p50, p99 and frames/s are as measured and include the machine."
)
_NO_REFERENCE = (
    "No common reference engine for {}. Both reports must have timed another CPU engine, in the same version, on the "
    "same model. Without one, no verdict is given on a virtual machine: other guests change times by more."
)
_NO_QUALITY = (
    "No common figure of labelled data for {}: cannot tell whether it became less accurate. Measure both with the same "
    "labelled data."
)
# Facts that must be equal, so that a difference is due to the change and not to the machine.
_SAME = {
    "CPU": ("cpu", "model"),
    "usable cores": ("cpu", "cores_usable"),
    "frequency governor": ("cpu", "governors"),
    "boost": ("cpu", "boost"),
    "memory": ("memory", "total_bytes"),
    "Jetson power mode": ("jetson", "power_mode"),
    "architecture": ("os", "arch"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Largest permitted changes.

    Attributes:
        max_slowdown: slowdown as a share of the old time, 0.05 for 5 %.
        max_drop: drop of top-1, mAP or AUROC, percentage points.

    Raises:
        InputError: a bound is negative or not finite.
    """

    max_slowdown: float = 0.05
    max_drop: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("max_slowdown", self.max_slowdown), ("max_drop", self.max_drop)):
            if not 0 <= value < math.inf:  # nothing is larger than NaN: it would pass everything
                raise InputError(f"{name}: not a bound", got=value, expected="a number from 0")


_LINES, _NEXT_LINE = 4, "\n  "  # of the text of a comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One configuration in both reports.

    Attributes:
        name: name of the configuration.
        slowdown: new time over old, 1.1 for 10 % slower; its ends are None if the reports have too few blocks.
        in_yardsticks: whether times were divided by the reference engines'; the slowdown then differs from p50's.
        p50_ms: old and new median latency, ms; None if a report lacks it.
        p99_ms: old and new 99th percentile, ms; None if a report lacks it.
        fps: old and new throughput, frames per second.
        metric: figure of labelled data that both reports have, such as ``top-1``; None without.
        drop_points: drop of this figure in percentage points, with interval if both reports have one.
        verdict: result under the bounds.
    """

    name: str
    slowdown: Interval
    in_yardsticks: bool
    p50_ms: tuple[float | None, float | None]
    p99_ms: tuple[float | None, float | None]
    fps: tuple[float | None, float | None]
    metric: str | None
    drop_points: Interval | None
    verdict: Verdict

    @property
    def worse(self) -> bool:
        """Whether the verdict is a regression."""
        return self.verdict in ("slower", "less accurate")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the slowdown's estimate is null if a report has no latency to compare."""
        slowdown = self.slowdown.to_json()
        if math.isnan(self.slowdown.estimate):
            slowdown["estimate"] = None
        return {**asdict(self), "slowdown": slowdown}


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """The configurations of two reports, paired by name.

    Attributes:
        pairs: configurations in both reports.
        only_old: names of configurations in the old report alone.
        only_new: names of configurations in the new report alone.
        notes: other differences, as sentences.
    """

    pairs: Sequence[Pair]
    only_old: Sequence[str] = ()
    only_new: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)

    def __repr__(self) -> str:
        lines = [f"{pair.name}: {pair.verdict}, time {pair.slowdown.estimate:.3f} of the old" for pair in self.pairs]
        left = len(lines) - _LINES
        shown = lines if left <= 0 else [*lines[:_LINES], f"... {left} more"]
        return f"Comparison({_NEXT_LINE.join(shown)})"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        regressions = [pair.name for pair in self.pairs if pair.worse]
        return {**asdict(self), "pairs": [pair.to_json() for pair in self.pairs], "regressions": regressions}

    def markdown(self) -> str:
        """Return a Markdown table for a pull request."""
        head = "| configuration | p50 ms, old → new | time, new / old | 95 % | p99 ms | frames/s | accuracy | |"
        lines = [head, "|---|---|---|---|---|---|---|---|"]
        lines += [_row(pair) for pair in self.pairs]
        lines += [f"| {name} | only in the old report |||||||" for name in self.only_old]
        lines += [f"| {name} | only in the new report |||||||" for name in self.only_new]
        notes = [_NORMALIZED, *self.notes] if any(pair.in_yardsticks for pair in self.pairs) else self.notes
        return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def compare_reports(
    old: Mapping[str, Any], new: Mapping[str, Any], bounds: Bounds, *, force: bool = False
) -> Comparison:
    """Pair the configurations of two reports and give a verdict on each.

    Args:
        old: JSON of the earlier report, of `bench` or `evaluate`.
        new: JSON of the later report, of the same kind.
        bounds: largest permitted changes.
        force: compare although host, power mode or scenario differ.

    Raises:
        InputError: the reports are not comparable, or a figure is missing, not finite or out of range.
    """
    try:
        differing = _differing(old, new)
        if differing and not force:
            raise InputError(
                "reports: not comparable",
                got="; ".join(differing),
                expected="the same machine in the same power mode, and the same scenario",
                fix="measure both on one machine, or pass --force",
            )
        before, after = _configurations(old), _configurations(new)
        disturbed = _disturbed(old, new)
        scenario = (old.get("bench") or {}).get("scenario")
        pairs, without_reference, without_quality = [], [], []
        for name in (name for name in before if name in after):
            references = _reference_times(before[name], old, new)
            unsteady = references is None and "blocks" in before[name] and _shares_cpu(before[name], old)
            if unsteady:
                without_reference.append(name)
            slowdown = _slowdown(before[name], after[name], references, scenario)
            qualities = (
                quality_of(before[name], f"{name} in the old report"),
                quality_of(after[name], f"{name} in the new report"),
            )
            # A figure in one report only, or none where labelled data was the purpose, leaves nothing to compare.
            missing = _drop(*qualities) is None and (old["kind"] == "evaluate" or qualities != (None, None))
            if missing:
                without_quality.append(name)
            judged = {
                "in_yardsticks": references is not None,
                "disturbed": bool(disturbed) or unsteady,
                "missing": missing,
            }
            pairs.append(_pair(name, before[name], after[name], slowdown, qualities, bounds, **judged))
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise InputError(
            "report: a key that the comparison requires is missing or invalid", got=f"{type(error).__name__}: {error}"
        ) from error
    if not pairs:
        raise InputError("reports: no configuration in common", got=f"{', '.join(before)}; {', '.join(after)}")
    forced = [f"Compared with --force although they differ: {text}." for text in differing]
    no_reference = [_NO_REFERENCE.format(", ".join(without_reference))] if without_reference else []
    no_quality = [_NO_QUALITY.format(", ".join(without_quality))] if without_quality else []
    return Comparison(
        pairs=pairs,
        only_old=[name for name in before if name not in after],
        only_new=[name for name in after if name not in before],
        notes=[*forced, *_changes(old, new), *disturbed, *no_reference, *no_quality],
    )


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = [f"kind {old['kind']} and {new['kind']}"] if old["kind"] != new["kind"] else []
    for what, (group, key) in _SAME.items():
        values = [(report["host"].get(group) or {}).get(key) for report in (old, new)]
        if values[0] != values[1]:
            found.append(f"{what} {values[0]} and {values[1]}")
    names = [[gpu.get("name") for gpu in report["host"].get("gpu") or []] for report in (old, new)]
    limits = [[gpu.get("power_limit_w") for gpu in report["host"].get("gpu") or []] for report in (old, new)]
    if names[0] != names[1]:
        found.append(f"GPUs {names[0]} and {names[1]}")
    elif limits[0] != limits[1]:
        found.append(f"GPU power limits {limits[0]} and {limits[1]} W")
    for key in ("scenario", "driver"):
        values = [(report.get("bench") or {}).get(key) for report in (old, new)]
        if values[0] != values[1]:
            found.append(f"{key} {values[0]} and {values[1]}")
    return found


def _configurations(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if report.get("bench"):
        return {one["name"]: one for one in report["bench"]["configurations"]}
    if report["kind"] == "evaluate":
        settings = report["settings"]
        sections = {name: section for name, section in report.items() if isinstance(section, Mapping)}
        inference = (report["latency_ms"] or {}).get("inference") or {}
        name = f"{settings['engine']} {settings['precision']}"
        return {name: {**sections, "latency_ms": inference, "throughput_fps": report.get("throughput_fps")}}
    raise InputError("report: this kind cannot be compared", got=report["kind"], expected="bench or evaluate")


def _reference_times(
    one: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the time of both reports' common reference engines in each round, as their geometric mean.

    None for an engine that does not run on the CPU, or without a common reference engine. An engine is never its own
    reference.
    """
    if one.get("device") != "CPU":
        return None
    found = [
        {tuple(y[key] for key in ("engine", "version", "threads", "model_sha256")): y for y in r["bench"]["yardsticks"]}
        for r in (old, new)
    ]
    common = [key for key in found[0] if key in found[1] and key[0] != one["engine"]]
    if not common:
        return None
    series = [[times(f[key]["blocks"]["median_ms"], f"{key[0]} as reference") for key in common] for f in found]
    before, after = (np.exp(np.mean(np.log(one), axis=0)) for one in series)
    return before, after


def _shares_cpu(one: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Return whether the configuration runs on a CPU that other virtual machines may share."""
    return one.get("device") == "CPU" and bool((report["host"].get("os") or {}).get("virtualized"))


def _pair(
    name: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    slowdown: Interval,
    qualities: tuple[Quality | None, Quality | None],
    bounds: Bounds,
    *,
    in_yardsticks: bool,
    disturbed: bool,
    missing: bool,
) -> Pair:
    drop = _drop(*qualities)
    p50, p99 = ((_latency(old, key, name), _latency(new, key, name)) for key in ("p50", "p99"))
    return Pair(
        name=name,
        slowdown=slowdown,
        in_yardsticks=in_yardsticks,
        p50_ms=p50,
        p99_ms=p99,
        fps=(
            optional_figure(old["throughput_fps"], f"frames/s of {name}"),
            optional_figure(new["throughput_fps"], f"frames/s of {name}"),
        ),
        metric=None if drop is None or qualities[0] is None else qualities[0].metric,
        drop_points=drop,
        verdict=_verdict(slowdown, drop, bounds, disturbed=disturbed, missing=missing),
    )


def _latency(one: Mapping[str, Any], percentile: str, name: str) -> float | None:
    return optional_figure(one["latency_ms"].get(percentile), f"{percentile} of {name}")


def _times(blocks: Mapping[str, Any], scenario: str | None) -> NDArray[np.float64]:
    """Return one figure per block: its median query; in the offline scenario a query is the whole block."""
    if scenario == "offline":
        return 1e3 / times(blocks["throughput_fps"], "frames/s of blocks")
    return times(blocks["median_ms"], "median of blocks")


def _slowdown(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    references: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    scenario: str | None,
) -> Interval:
    if "blocks" not in old or "blocks" not in new:
        first, second = (optional_figure(one["latency_ms"].get("p50"), "p50") for one in (old, new))
        return Interval(math.nan if first is None or second is None else second / first, None, None)
    before, after = _times(old["blocks"], scenario), _times(new["blocks"], scenario)
    if references is not None:
        # Divided by the reference engines' time in the same round, a machine that was slower throughout cancels.
        before, after = before / references[0], after / references[1]
    return ratio_interval(after, before, paired=False)


def _drop(old: Quality | None, new: Quality | None) -> Interval | None:
    """Return the old figure minus the new one, percentage points; None without a figure in common.

    The interval is that of two independent proportions (Newcombe 1998, method 10).
    """
    if old is None or new is None or old.metric != new.metric:
        return None
    drop = old.value - new.value
    if old.ci95 is None or new.ci95 is None:
        return Interval(100 * drop, None, None)
    (low_old, high_old), (low_new, high_new) = old.ci95, new.ci95
    down = math.hypot(old.value - low_old, high_new - new.value)
    up = math.hypot(high_old - old.value, new.value - low_new)
    return Interval(100 * drop, 100 * (drop - down), 100 * (drop + up))


def _verdict(slowdown: Interval, drop: Interval | None, bounds: Bounds, *, disturbed: bool, missing: bool) -> Verdict:
    if drop is not None and drop.estimate > bounds.max_drop:
        return "less accurate"
    by_time: Verdict = "cannot tell" if disturbed else verdict_of_times(slowdown, bounds)
    return "cannot tell" if missing and by_time != "slower" else by_time


def verdict_of_times(slowdown: Interval, bounds: Bounds) -> Verdict:
    """Return whether a time grew by more than permitted and its 95 % interval excludes no growth."""
    ratio, low, high = slowdown.estimate, slowdown.low, slowdown.high
    most = 1 + bounds.max_slowdown
    if low is None or high is None:
        return "same" if ratio <= most else "cannot tell"
    if ratio > most and low > 1:
        return "slower"
    if ratio < 1 / most and high < 1:
        return "faster"
    return "same" if high <= most or ratio <= 1 else "cannot tell"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences that were probably intended: versions and the model."""
    found = []
    packages = [report["host"].get("packages") or {} for report in (old, new)]
    for name in sorted(packages[0].keys() | packages[1].keys()):
        versions = [p.get(name, "not installed") for p in packages]
        if versions[0] != versions[1]:
            found.append(f"{name} {versions[0]} → {versions[1]}")
    kernels = [(report["host"].get("os") or {}).get("kernel") for report in (old, new)]
    if kernels[0] != kernels[1]:
        found.append(f"kernel {kernels[0]} → {kernels[1]}")
    hashes = [_artifacts(report) for report in (old, new)]
    found += [f"{path} differs" for path in hashes[0] if hashes[1].get(path) != hashes[0][path]]
    return [f"Changed: {', '.join(found)}."] if found else []


def _artifacts(report: Mapping[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in (report.get("bundle") or {}).get("artifacts", ())}


def _other_cores(report: Mapping[str, Any]) -> tuple[float, int]:
    """Return the cores that other processes used on average during a benchmark, and the usable cores."""
    conditions = (report.get("bench") or {}).get("conditions") or {}
    found = [figure(v, "cores of other processes", least=0) for v in conditions.get("other_cores", ()) if v is not None]
    return (float(np.mean(found)) if found else 0.0, int(figure(conditions.get("cores", 1), "cores", least=1)))


def _disturbed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for which, report in (("old", old), ("new", new)):
        other, cores = _other_cores(report)
        if other > _DISTURBED * cores:
            found.append(
                f"Host load: other processes used {other:.1f} of {cores} cores during the {which} report. Its times "
                "do not support a verdict of slower or faster."
            )
    return found


def _row(pair: Pair) -> str:
    ratio = pair.slowdown
    within = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.low is not None and ratio.high is not None else "–"
    drop = "" if pair.drop_points is None else f"{0.0 - pair.drop_points.estimate:+.2f} points"
    mark = {"slower": "❌ ", "less accurate": "❌ ", "faster": "✅ ", "same": "✅ "}.get(pair.verdict, "❔ ")
    cells = [
        pair.name,
        _both(pair.p50_ms, ".3f"),
        "–" if math.isnan(ratio.estimate) else f"**{ratio.estimate:.3f}**",
        within,
        _both(pair.p99_ms, ".3f"),
        _both(pair.fps, ".1f"),
        drop,
        f"{mark}{pair.verdict}",
    ]
    return f"| {' | '.join(cells)} |"


def _both(values: tuple[float | None, float | None], form: str) -> str:
    return " → ".join("–" if value is None else format(value, form) for value in values)
