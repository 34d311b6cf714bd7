"""The health of a live service, from the metrics of `edgeproof serve`, and whether it became worse."""

from __future__ import annotations

import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeproof_runtime.errors import InputError

__all__ = ["Health", "HealthBounds", "Sample", "Watch", "check_address", "sample"]

_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_MAX_BYTES = 8 << 20
_TIMEOUT_S = 5.0
_LEAST_ITEMS = 10  # before shares say something
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthBounds:
    """How much worse a service may become.

    Attributes:
        silent_s: longest time without an answer, or without a decided frame where frames were decided before, seconds.
        more_failed: permitted growth of the share of failed frames and requests.
        more_unknown: permitted growth of the share of frames that are unknown.
        age_factor: permitted growth of the mean frame age, a factor.
        age_floor_s: frame age that is never too high, seconds.
    """

    silent_s: float = 10.0
    more_failed: float = 0.01
    more_unknown: float = 0.1
    age_factor: float = 2.0
    age_floor_s: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Counters of a service since its start.

    Attributes:
        started_s: start of its process, Unix time; None if it does not say.
        decided: decided frames.
        failed: failed frames, and inference requests with a status of 500 or above.
        requests: inference requests.
        unknown: decided frames that are unknown.
        ages: decided frames with an age.
        age_sum_s: sum of their ages, seconds.
        version: version of the model that it serves; empty if it does not say.
        refused: cause -> number of followed bundles that it refused.
    """

    started_s: float | None = None
    decided: float = 0.0
    failed: float = 0.0
    requests: float = 0.0
    unknown: float = 0.0
    ages: float = 0.0
    age_sum_s: float = 0.0
    version: str = ""
    refused: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Shares between two samples; NaN without frames.

    Attributes:
        items: decided and failed frames, and inference requests.
        decided: decided frames.
        failed: share of failed frames and requests.
        unknown: share of unknown frames.
        age_s: mean frame age at the decision, seconds.
    """

    items: float
    decided: float
    failed: float
    unknown: float
    age_s: float

    @classmethod
    def between(cls, first: Sample, last: Sample) -> Health:
        """Return the health of the time between two samples of one process."""
        decided = last.decided - first.decided
        ages = last.ages - first.ages
        failed = last.failed - first.failed
        items = decided + failed + last.requests - first.requests
        return cls(
            items=items,
            decided=decided,
            failed=failed / items if items > 0 else math.nan,
            unknown=(last.unknown - first.unknown) / decided if decided > 0 else math.nan,
            age_s=(last.age_sum_s - first.age_sum_s) / ages if ages > 0 else math.nan,
        )

    def to_json(self) -> dict[str, float | None]:
        """Return plain JSON values; null without frames."""
        values = {"decided": self.decided, "failed": self.failed, "unknown": self.unknown, "age_s": self.age_s}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


def check_address(address: str) -> str:
    """Return the address of a service's metrics: ``/metrics`` where the address has no path.

    Raises:
        InputError: not an address of HTTP.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError("--health-url: not an address", got=address, expected="http://127.0.0.1:8080 or similar")
    return urllib.parse.urlunsplit(parts._replace(path=parts.path if parts.path not in ("", "/") else "/metrics"))


def sample(address: str, token: str | None = None) -> Sample | None:
    """Read a service's metrics; None if it does not answer."""
    request = urllib.request.Request(address)  # noqa: S310 - checked by `check_address`
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with _NO_PROXY.open(request, timeout=_TIMEOUT_S) as answer:
            return _parse(answer.read(_MAX_BYTES).decode("utf-8", errors="replace"))
    except (OSError, ValueError):
        return None


def _parse(text: str) -> Sample:
    refused: dict[str, float] = {}
    found: dict[str, Any] = {"started_s": None, "refused": refused}

    def add(name: str, value: float) -> None:
        found[name] = found.get(name, 0.0) + value

    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, labels, value = match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])
        if name == "process_start_time_seconds":
            found["started_s"] = value
        elif name == "edgeproof_model_info":
            found["version"] = labels.get("version", "")
        elif name == "edgeproof_bundle_changes_total" and labels.get("outcome") == "refused":
            refused[labels.get("cause", "")] = value
        elif name == "edgeproof_frames_total" and labels.get("outcome") in ("decided", "failed"):
            add(labels["outcome"], value)
        elif name == "edgeproof_frames_unknown_total":
            add("unknown", value)
        elif name == "edgeproof_frame_age_seconds_count":
            add("ages", value)
        elif name == "edgeproof_frame_age_seconds_sum":
            add("age_sum_s", value)
        elif name == "edgeproof_http_requests_total" and labels.get("route", "").endswith(("/infer", "/predict")):
            add("failed" if labels.get("code", "").startswith("5") else "requests", value)
    return Sample(**found)


class Watch:
    """Watches a service after a switch, and says when it became worse than before.

    Args:
        read: returns a sample; None if the service does not answer.
        baseline: last sample before the switch; None if the service did not answer.
        before: health before the switch; None if it is not known.
        bounds: what is worse.
        clock: monotonic time, seconds.

    Attributes:
        health: health since the switch; None before the first sample.
    """

    def __init__(
        self,
        read: Callable[[], Sample | None],
        baseline: Sample | None,
        before: Health | None,
        bounds: HealthBounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.health: Health | None = None
        self._read, self._clock = read, clock
        self._baseline = self._first = self._last = baseline
        self._answered = baseline is not None
        self._before = before
        self._bounds = bounds or HealthBounds()
        self._answered_at = self._decided_at = clock()

    @property
    def unchanged(self) -> bool:
        """Whether the service still serves the model of before the switch."""
        first, last = self._baseline, self._last
        return first is not None and last is not None and first.version != "" and first.version == last.version

    def worse(self) -> str | None:
        """Take a sample; return why the service is worse, or None."""
        now, found = self._clock(), self._read()
        if found is None:
            silent_s = now - self._answered_at
            late = self._answered and silent_s > self._bounds.silent_s
            return f"the service has not answered for {silent_s:.0f} s" if late else None
        self._answered_at = now
        if self._first is None or self._last is None:
            self._first = self._last = found
            return None
        if found.started_s != self._first.started_s or found.decided < self._last.decided:
            self._first = self._last = found
            return "the service was started again: it crashed or was stopped" if self._answered else None
        before = self._last.refused
        causes = [cause for cause, n in found.refused.items() if n > before.get(cause, 0.0) and cause != "superseded"]
        if causes:
            return f"the service refused the bundle: {', '.join(causes)}"
        if found.decided > self._last.decided:
            self._decided_at = now
        self._last = found
        self.health = Health.between(self._first, found)
        return None if self._before is None else self._compared(self.health, self._before, now - self._decided_at)

    def _compared(self, health: Health, before: Health, silent_s: float) -> str | None:
        bounds = self._bounds
        if before.decided > 0 and silent_s > bounds.silent_s:
            return f"no frame was decided for {silent_s:.0f} s"
        if health.items < _LEAST_ITEMS:
            return None
        shares = (
            ("failed", health.failed, before.failed, bounds.more_failed),
            ("unknown", health.unknown, before.unknown, bounds.more_unknown),
        )
        for what, share, earlier, more in shares:
            most = more + (0.0 if math.isnan(earlier) else earlier)
            if share > most:
                return f"share of {what} frames {share:.1%}, at most {most:.1%} allowed after what it was before"
        most_s = max(bounds.age_factor * before.age_s, bounds.age_floor_s)
        if health.age_s > most_s and not math.isnan(before.age_s):
            return f"mean frame age {health.age_s:.3f} s, {before.age_s:.3f} s before, at most {most_s:.3f} s allowed"
        return None
