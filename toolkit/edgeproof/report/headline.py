"""The head of a report: the verdict in one sentence and the main figures of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeproof.report.wording import count, number, percent, plural, three_digits

__all__ = ["Tile", "Verdict", "tiles", "verdict"]

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the gates.

    Attributes:
        state: ``pass``, ``fail`` or ``none``.
        symbol: the state as a symbol, readable without colour.
        word: the state as a word.
        sentence: which gates passed or failed.
    """

    state: str
    symbol: str
    word: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure: label, value, unit and detail."""

    label: str
    value: str
    unit: str
    detail: str


def verdict(report: Document) -> Verdict:
    """Return the verdict of the gates; a report without gates neither passed nor failed."""
    gates = report["gates"]
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    if failed:
        missed = f"{count(len(failed))} of {plural(len(gates), 'gate')} missed the bound"
        return Verdict("fail", "✗", "Failed", f"{missed}: {', '.join(failed)}.")
    if gates:
        sentence = "The gate was met." if len(gates) == 1 else f"All {count(len(gates))} gates were met."
        return Verdict("pass", "✓", "Passed", sentence)
    return Verdict("none", "●", "Measured", "No gate was set, so nothing here passed or failed.")


def tiles(report: Document) -> list[Tile]:
    """Return at most four tiles, the most important for this kind of report first."""
    candidates = (_TILES[name](report) for name in _ORDER[report["kind"]])
    return [tile for tile in candidates if tile is not None][:4]


def _sample(n: int) -> str:
    return f"n = {count(n)}".replace(" ", "\N{NO-BREAK SPACE}")


def _throughput(report: Document) -> Tile | None:
    fps = report["throughput_fps"]
    if fps is None:
        return None
    return Tile("Throughput", three_digits(fps), "fps", "frames per second, wall clock")


def _latency(report: Document) -> Tile | None:
    for stage, label in (("end_to_end", "Capture to result"), ("inference", "Inference")):
        summary = report["latency_ms"].get(stage)
        if summary is None:
            continue
        middle = "median" if summary["p50"] is not None else "mean"
        value = summary["p50"] if summary["p50"] is not None else summary["mean"]
        tail = next((f"{text} {three_digits(summary[key])} ms" for key, text in _TAILS if summary[key] is not None), "")
        return Tile(
            f"{label}, {middle}",
            three_digits(value),
            "ms",
            f"{tail}, {_sample(summary['count'])}",
        )
    return None


_TAILS = (("p99", "99th percentile"), ("p90", "90th percentile"), ("max", "slowest"))


def _top1(report: Document) -> Tile | None:
    return _accuracy(report, "top1", "ci95", "Top-1 accuracy")


def _top5(report: Document) -> Tile | None:
    return _accuracy(report, "top5", "top5_ci95", "Top-5 accuracy")


def _accuracy(report: Document, key: str, interval: str, label: str) -> Tile | None:
    accuracy = report["accuracy"]
    if accuracy is None or accuracy[key] is None:
        return None
    low, high = accuracy[interval]
    detail = f"95 % interval {100 * low:.2f} to {100 * high:.2f} %, {_sample(accuracy['n'])}"
    return Tile(label, percent(accuracy[key]).removesuffix(" %"), "%", detail)


def _f1(report: Document) -> Tile | None:
    accuracy = report["accuracy"]
    if accuracy is None:
        return None
    detail = f"mean over the {count(accuracy['classes_present'])} classes of the dataset"
    return Tile("F1, macro", percent(accuracy["f1"]).removesuffix(" %"), "%", detail)


def _map(report: Document) -> Tile | None:
    found = report["multilabel"]
    if found is None or found["mean_average_precision"] is None:
        return None
    interval = "" if found["ci95"] is None else "95 % interval {:.4f} to {:.4f}, ".format(*found["ci95"])
    return Tile("mAP", f"{found['mean_average_precision']:.4f}", "", f"{interval}{_sample(found['n'])}")


def _exact(report: Document) -> Tile | None:
    found = report["multilabel"]
    if found is None:
        return None
    low, high = found["exact_match_ci95"]
    detail = f"95 % interval {100 * low:.2f} to {100 * high:.2f} %"
    return Tile("Exact match", percent(found["exact_match"]).removesuffix(" %"), "%", detail)


def _label_f1(report: Document) -> Tile | None:
    found = report["multilabel"]
    if found is None:
        return None
    return Tile("F1, micro", percent(found["micro"]["f1"]).removesuffix(" %"), "%", "over all labels of all images")


def _frames(report: Document) -> Tile | None:
    counts = report["counts"]
    if "frames_classified" not in counts:
        return None
    lost = [f"{count(n)} {key.removeprefix('frames_')}" for key, n in counts.items() if key in _LOST]
    return Tile("Frames classified", count(counts["frames_classified"]), "", ", ".join(lost))


_LOST = ("frames_dropped", "frames_unhealthy", "frames_failed")


def _gates(report: Document) -> Tile | None:
    gates = report["gates"]
    if not gates:
        return None
    met = sum(gate["passed"] for gate in gates)
    return Tile("Gates met", count(met), f"of {count(len(gates))}", "measurements against their bounds")


def _agreement(report: Document) -> Tile | None:
    values = _measured(report, "top1_agreement")
    if not values:
        return None
    return Tile("Same top-1", number(100 * min(values)), "%", f"lowest of {plural(len(values), 'comparison')}")


def _difference(report: Document) -> Tile | None:
    values = _measured(report, "max_abs_diff")
    if not values:
        return None
    return Tile("Largest difference", number(float(f"{max(values):.2g}")), "", "in any output, of any comparison")


def _measured(report: Document, quantity: str) -> list[float]:
    values = [gate["measured"].get(quantity) for gate in report["gates"]]
    return [v for v in values if v is not None]


def _engine(report: Document) -> Tile | None:
    measured = [e for e in report["engines"] if e["median_ms"] is not None and e["passed"] is not False]
    if not measured:
        return None
    best = min(measured, key=lambda e: e["median_ms"])
    return Tile(f"Fastest engine: {best['name']}", three_digits(best["median_ms"]), "ms", "median inference")


def _fastest(report: Document) -> Tile | None:
    shown = [one for one in _benched(report) if one["latency_ms"]["p50"] is not None]
    if not shown:
        return None
    best = min(shown, key=lambda one: one["latency_ms"]["p50"])
    return Tile("Shortest median latency", three_digits(best["latency_ms"]["p50"]), "ms", best["name"])


def _rate(report: Document) -> Tile | None:
    shown = _benched(report)
    if not shown:
        return None
    best = max(shown, key=lambda one: one["throughput_fps"])
    return Tile("Highest throughput", three_digits(best["throughput_fps"]), "fps", best["name"])


def _harness(report: Document) -> Tile | None:
    null = (report["bench"] or {}).get("null")
    if not null or null["latency_ms"]["p50"] is None:
        return None
    return Tile("The harness itself", three_digits(1e3 * null["latency_ms"]["p50"]), "µs", "median of the null engine")


def _benched(report: Document) -> list[Document]:
    """Return the configurations with correct outputs: a wrong one must not count as the fastest."""
    failed = {gate["name"] for gate in report["gates"] if not gate["passed"]}
    found = (report["bench"] or {}).get("configurations", [])
    return [one for one in found if not failed & {f"golden cases {one['name']}", f"answers {one['name']}"}]


def _fp32(report: Document) -> Tile | None:
    if report["optimization"] is None:
        return None
    fp32 = report["optimization"]["fp32"]
    detail = _sample(fp32["n"])
    if fp32["ci95"] is not None:
        low, high = fp32["ci95"]
        detail = f"95 % interval {100 * low:.2f} to {100 * high:.2f} %, {detail}"
    key = next((key for key in _OPTIMIZED if fp32.get(key) is not None), None)
    if key is None:
        return None
    return Tile(f"{_OPTIMIZED[key]} of fp32", percent(fp32[key]).removesuffix(" %"), "%", detail)


def _budget(report: Document) -> Tile | None:
    point = _chosen_int8(report)
    if point is None:
        return None
    paired = point["paired"]
    low, high = (100 * bound for bound in paired["drop_ci95"])
    gains = paired["drop"] < 0
    if gains:
        low, high = 0.0 - high, 0.0 - low
    detail = f"{'above' if gains else 'below'} fp32, 95 % interval {low:+.2f} to {high:+.2f}, {_sample(paired['n'])}"
    what = "Gain" if gains else "Drop"
    return Tile(f"{what} of {point['model']}", f"{100 * abs(paired['drop']):.2f}", "points", detail)


def _speed(report: Document) -> Tile | None:
    point = _chosen_int8(report)
    if point is None or point["speed"] is None:
        return None
    speed = point["speed"]
    times = f"{three_digits(speed['latency_ms'])} ms against {three_digits(speed['fp32_ms'])} ms on {speed['engine']}"
    return Tile(f"Speed of {point['model']}", f"{speed['speedup']['estimate']:.2f}", "× fp32", times)


def _chosen_int8(report: Document) -> Mapping[str, Any] | None:
    models = (report["optimization"] or {"models": {}})["models"]
    chosen = [p for name in ("int8", "fp16") for p in models.get(name, {}).get("points", []) if p["chosen"]]
    return chosen[0] if chosen else None


_OPTIMIZED = {
    "top1": "Top-1",
    "mean_average_precision": "mAP",
    "mean_auroc": "AUROC",
    "passed": "Good images below the threshold",
}

_TILES: dict[str, Callable[[Document], Tile | None]] = {
    "throughput": _throughput,
    "latency": _latency,
    "top1": _top1,
    "top5": _top5,
    "f1": _f1,
    "map": _map,
    "exact": _exact,
    "label_f1": _label_f1,
    "frames": _frames,
    "gates": _gates,
    "agreement": _agreement,
    "difference": _difference,
    "engine": _engine,
    "fp32": _fp32,
    "budget": _budget,
    "speed": _speed,
    "fastest": _fastest,
    "rate": _rate,
    "harness": _harness,
}

_ORDER: dict[str, tuple[str, ...]] = {
    "demo": ("throughput", "latency", "top1", "gates", "engine", "frames"),
    "train": ("top1", "top5", "f1", "map", "label_f1", "exact"),
    "export": ("gates", "agreement", "difference", "engine", "latency"),
    "optimize": ("budget", "speed", "fp32", "gates"),
    "verify": ("gates", "agreement", "difference", "engine", "latency"),
    "evaluate": ("top1", "top5", "f1", "map", "label_f1", "exact", "latency", "gates", "throughput"),
    "run": ("throughput", "latency", "top1", "map", "frames", "gates"),
    "soak": ("throughput", "latency", "top1", "map", "frames", "gates"),
    "tune": ("engine",),
    "bench": ("fastest", "rate", "harness", "gates"),
    "serve": ("latency", "throughput", "frames", "engine"),
    "sample": ("gates", "difference", "engine", "latency"),
    "agent": ("gates", "engine"),
}
