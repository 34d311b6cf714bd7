"""The agent of a device: pull, check, prove, switch, watch, roll back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeproof.fleet.health import Health, HealthBounds, Sample, Watch, check_address, sample
from edgeproof.fleet.proof import Proof, ProofOptions, prove
from edgeproof.fleet.reference import Reference
from edgeproof.fleet.registry import Registry, RegistryError
from edgeproof.fleet.store import Store, Trying
from edgeproof.fleet.transfer import fetch
from edgeproof.fleet.waves import device_id, position
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import require_signed
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import EdgeproofError, InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.compat import Self

__all__ = ["Agent", "AgentSettings", "Decision", "Outcome", "agent"]

Outcome = Literal["unchanged", "waiting", "postponed", "rejected", "switched", "rolled back", "recovered"]

_MOST_STARTS = 5
_BASELINE_S = 2.0
_POLL_S = 0.5
# What is said once, not at each look at the registry.
_REPEATED = ("unchanged", "waiting", "postponed")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Settings of an agent.

    Attributes:
        reference: address whose tag is followed.
        folder: the device's folder of bundles.
        proof: engine, and bound on the slowdown.
        trust: public key or policy of signatures; None requires none.
        allow_changes: take a bundle of another task or with other labels.
        percent: share of the fleet that takes new bundles, percent.
        device: id of this device; None for this machine's.
        health_url: metrics of the live service; None watches nothing.
        health_token: token of the service; None without one.
        watch_s: how long the service is watched after a switch, seconds.
        bounds: how much worse the service may become.
        plain_http: use HTTP without TLS.
    """

    reference: str
    folder: Path
    proof: ProofOptions = field(default_factory=ProofOptions)
    trust: Path | None = None
    allow_changes: bool = False
    percent: float = 100.0
    device: str | None = None
    health_url: str | None = None
    health_token: str | None = field(default=None, repr=False)
    watch_s: float = 60.0
    bounds: HealthBounds = field(default_factory=HealthBounds)
    plain_http: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 100:
            raise InputError("--percent: out of range", got=self.percent, expected="0..100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one look at the registry led to.

    Attributes:
        outcome: ``switched``, ``rejected``, ``rolled back`` and so on.
        reason: why, in one clause.
        digest: digest that it is about; None if the registry did not say.
        current: digest of the current bundle afterwards.
        report: its report; None for one that repeats the last.
        path: file of the report; None without.
    """

    outcome: Outcome
    reason: str
    digest: str | None
    current: str | None
    report: Report | None = None
    path: Path | None = None


class _RejectedError(Exception):
    """A candidate that must not run here."""


class Agent:
    """Keeps a device on the newest bundle of a tag that was proven on it. Use it as a context manager.

    Args:
        settings: what to follow, and the bounds.
        tell: called with each step, in a few words.
        progress: called with (phase, done, total) while a bundle is pulled.

    Raises:
        InputError: a setting is invalid, or another agent uses the folder.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        tell: Callable[[str], None] = lambda _step: None,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings
        self._place = Reference.parse(settings.reference)
        self._health = None if settings.health_url is None else check_address(settings.health_url)
        self._registry = Registry(self._place, plain_http=settings.plain_http)
        self.device = settings.device or device_id()
        self._position = position(self.device)
        self._tell, self._progress = tell, progress or no_progress
        self._whole_digest: str | None = None
        self.store = Store(settings.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another agent use the folder."""
        self.store.close()

    def look(self) -> Decision:
        """Finish what was interrupted, look at the registry, and act.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            return self._recover() or self._look()
        except (KeyboardInterrupt, SystemExit):
            if self.store.state.trying is not None:  # ended on purpose: not a sign that the bundle ends the machine
                self.store.state.trying.starts -= 1
                self.store.save()
            raise

    def _look(self) -> Decision:
        try:
            digest = self._place.digest or self._registry.resolve(self._place.version)
        except RegistryError as error:
            return self._decide("postponed", _line(error), self._place.digest)
        state = self.store.state
        if digest == self.store.current and self._current_is_whole(digest):
            return self._decide("unchanged", "the tag names the current bundle", digest)
        if digest in state.rejected:
            return self._decide("unchanged", f"rejected earlier: {state.rejected[digest]}", digest)
        if self._position >= self.settings.percent:
            reason = (
                f"this device is at {self._position:.2f} % of the fleet, the roll-out at {self.settings.percent:g} %"
            )
            return self._decide("waiting", reason, digest)
        return self._try(digest)

    def _try(self, digest: str) -> Decision:
        proof: Proof | None = None
        bundle: Bundle | None = None
        try:
            bundle = self._pulled(digest)
            self._begin(digest, "prove")
            running = self._running()
            self._check(bundle, running)
            self._tell("proving")
            old = None if running is None else running.path
            proof = prove(bundle.path, old, self.settings.proof, trust=self.settings.trust, tell=self._tell)
        except RegistryError as error:
            return self._decide("postponed", _line(error), digest)
        except _RejectedError as error:
            return self._rejected(digest, str(error), bundle)
        except UnavailableError as error:
            return self._decide("postponed", _line(error), digest, bundle=bundle)
        except OSError as error:
            return self._decide("postponed", f"{error.filename or self.store.folder}: {error.strerror}", digest)
        except EdgeproofError as error:
            if isinstance(error.__cause__, OSError):  # a disk that is full or fails says nothing about the bundle
                return self._decide("postponed", _line(error), digest, bundle=bundle)
            return self._rejected(digest, _line(error), bundle)
        if proof.unavailable is not None:
            self._end()
            return self._decide("postponed", proof.unavailable, digest, bundle=bundle, proof=proof)
        if proof.rejected is not None:
            return self._rejected(digest, proof.rejected, bundle, proof)
        baseline, before = self._baseline()
        if self.store.current != digest:  # equal after a repair
            self.store.state.previous = self.store.current
        self._begin(digest, "watch", first=True)
        self.store.switch(digest)
        return self._watched(digest, bundle, proof, baseline, before)

    def _pulled(self, digest: str) -> Bundle:
        self.store.prune([digest, self.store.current, self.store.state.previous])
        path = self.store.path(digest)
        if path.exists():
            with suppress(EdgeproofError):
                bundle = Bundle.open(path)
                bundle.check()
                return bundle
            self.store.discard(path)  # damaged on the disk
        self._tell(f"pulling {digest[:19]}")
        content, _ = self._registry.manifest(digest)
        return fetch(self._registry, self._place.at(digest), content, path, progress=self._progress).bundle

    def _check(self, bundle: Bundle, running: Bundle | None) -> None:
        if self.settings.trust is not None:
            try:
                require_signed(bundle.path, self.settings.trust)
            except InputError as error:
                raise _RejectedError(f"signature: {_line(error)}") from error
        if running is None or self.settings.allow_changes:
            return
        for what, new, old in (
            ("task", bundle.manifest.task, running.manifest.task),
            ("labels", bundle.labels, running.labels),
        ):
            if new != old:
                shown = f"{_shown(new)} instead of {_shown(old)}"
                raise _RejectedError(f"other {what}: {shown} (--allow-changes permits it)")

    def _running(self) -> Bundle | None:
        current = self.store.current
        if current is None:
            return None
        with suppress(EdgeproofError):
            return Bundle.open(self.store.path(current))
        return None

    def _current_is_whole(self, digest: str) -> bool:
        """Return whether the current bundle is undamaged; its files are read once per agent."""
        if self._whole_digest != digest:
            with suppress(EdgeproofError):
                Bundle.open(self.store.path(digest)).check()
                self._whole_digest = digest
        return self._whole_digest == digest

    def _begin(self, digest: str, phase: Literal["prove", "watch"], *, first: bool = False) -> None:
        """Remember that a phase begins, and reject a digest in whose phases this machine ended again and again."""
        before = self.store.state.trying
        again = before is not None and (before.digest, before.phase) == (digest, phase) and not first
        starts = before.starts + 1 if before is not None and again else 1
        if starts > _MOST_STARTS:
            raise _RejectedError(f"the agent ended {_MOST_STARTS} times while it was {_WORDS[phase]}")
        self.store.state.trying = Trying(digest, phase, starts)
        self.store.save()

    def _end(self) -> None:
        self.store.state.trying = None
        self.store.save()

    def _baseline(self) -> tuple[Sample | None, Health | None]:
        """Return the last sample before the switch, and the health of a moment before it."""
        if self._health is None:
            return None, None
        first = self._sample()
        time.sleep(min(_BASELINE_S, self.settings.watch_s))
        last = self._sample()
        if first is None or last is None or first.started_s != last.started_s:
            return last, None
        # All that the process has seen, if it has seen the running bundle only for this moment or less.
        recent = Health.between(first, last)
        return last, recent

    def _sample(self) -> Sample | None:
        return None if self._health is None else sample(self._health, self.settings.health_token)

    def _watched(
        self, digest: str, bundle: Bundle, proof: Proof | None, baseline: Sample | None, before: Health | None
    ) -> Decision:
        """Watch the service; accept the bundle, or roll back."""
        previous = self.store.state.previous
        health: dict[str, Any] = {"before": None if before is None else before.to_json()}
        note = None
        if self._health is not None:
            self._tell(f"watching for {self.settings.watch_s:g} s")
            watch = Watch(self._sample, baseline, before, self.settings.bounds)
            end = time.monotonic() + self.settings.watch_s
            while time.monotonic() < end:
                time.sleep(min(_POLL_S, self.settings.watch_s))
                why = watch.worse()
                if why is not None:
                    health["after"] = None if watch.health is None else watch.health.to_json()
                    return self._roll_back(digest, why, bundle, proof, health)
            health["after"] = None if watch.health is None else watch.health.to_json()
            if watch.unchanged:
                note = "The service still serves the bundle of before: it does not follow current.edge (--follow)."
        self._end()
        self.store.prune([digest, previous])
        reason = "proven on this device" if previous is None else f"proven against {previous[:19]}"
        if self._health is not None:
            reason += f"; the service was not worse for {self.settings.watch_s:g} s"
        return self._decide("switched", reason, digest, bundle=bundle, proof=proof, health=health, note=note)

    def _roll_back(
        self, digest: str, why: str, bundle: Bundle | None, proof: Proof | None = None, health: Any = None
    ) -> Decision:
        previous = self.store.state.previous
        whole = previous is not None and self.store.path(previous).exists()
        self.store.reject(digest, why)  # first: after a power cut here `_recover` does the rest
        self.store.switch(previous if whole else None)
        self.store.state.previous = None
        if not whole:
            why += "; there is no bundle to roll back to"
        return self._decide("rolled back", why, digest, bundle=bundle, proof=proof, health=health)

    def _rejected(self, digest: str, why: str, bundle: Bundle | None, proof: Proof | None = None) -> Decision:
        self.store.reject(digest, why)
        decision = self._decide("rejected", why, digest, bundle=bundle, proof=proof)
        self.store.prune([self.store.current, self.store.state.previous])
        return decision

    def _recover(self) -> Decision | None:
        """Bring the folder into order after the agent or the machine ended at any moment."""
        state, current = self.store.state, self.store.current
        if current is not None and current in state.rejected:  # between the two steps of a roll-back
            others = [path for path in self._whole() if path not in state.rejected]
            previous = state.previous if state.previous in others else next(iter(others), None)
            state.previous = None
            self.store.switch(previous)
            return self._decide("recovered", f"rolled back: {state.rejected[current]}", current)
        trying = state.trying
        if trying is None:
            return None
        if trying.phase == "watch" and trying.digest == current:
            try:
                bundle = Bundle.open(self.store.path(current))
                self._begin(current, "watch")
            except (_RejectedError, EdgeproofError) as error:
                return self._roll_back(current, str(error), None)
            # The counters of before the switch are gone: what is left to see is a service that falls silent or fails.
            return self._watched(current, bundle, None, self._sample(), None)
        if trying.phase == "watch":  # it ended before the switch: prove it again
            state.trying = None
            self.store.save()
        return None

    def _whole(self) -> list[str]:
        found = []
        for path in (self.store.folder / "by-digest").glob("sha256-*.edge"):
            with suppress(EdgeproofError):
                Bundle.open(path).check()
                found.append(path.stem.replace("-", ":"))
        return found

    def _decide(
        self,
        outcome: Outcome,
        reason: str,
        digest: str | None,
        *,
        bundle: Bundle | None = None,
        proof: Proof | None = None,
        health: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> Decision:
        state, current = self.store.state, self.store.current
        # By its first clause: how a connection fails, or how much space is left, changes from one look to the next.
        subject = reason.partition(" (")[0]
        if outcome in _REPEATED and state.last == (outcome, subject):
            return Decision(outcome=outcome, reason=reason, digest=digest, current=current)
        state.last = (outcome, subject)
        report = self._report(outcome, reason, digest, bundle, proof, health, note)
        path = self.store.write_decision(outcome, report.to_json())
        return Decision(outcome=outcome, reason=reason, digest=digest, current=current, report=report, path=path)

    def _report(
        self,
        outcome: str,
        reason: str,
        digest: str | None,
        bundle: Bundle | None,
        proof: Proof | None,
        health: Mapping[str, Any] | None,
        note: str | None,
    ) -> Report:
        facts = None
        if bundle is not None:
            with suppress(EdgeproofError):
                facts = BundleFacts.of(bundle)
        notes = [*(() if proof is None else proof.notes), *(() if note is None else (note,))]
        if self.store.problem is not None:
            notes.append(f"What the agent remembered is lost: {self.store.problem}")
            self.store.problem = None
        settings = self.settings
        return Report(
            kind="agent",
            command=command_line(),
            host=host_facts(),
            bundle=facts,
            settings={
                "reference": str(self._place),
                "bundle_dir": str(self.store.folder),
                "engine": settings.proof.engine,
                "precision": settings.proof.precision,
                "max_slowdown": settings.proof.max_slowdown,
                "trust": None if settings.trust is None else str(settings.trust),
                "device": self.device,
                "position_percent": self._position,
                "percent": settings.percent,
                "health_url": settings.health_url,
                "watch_s": settings.watch_s,
            },
            counts={f"decisions {name}": number for name, number in self.store.state.counts.items()},
            gates=[] if proof is None else proof.gates,
            engines=[] if proof is None or proof.engine is None else [proof.engine],
            sections={
                "decision": {
                    "outcome": outcome,
                    "reason": reason,
                    "digest": digest,
                    "current": self.store.current,
                    "previous": self.store.state.previous,
                    "slowdown": None if proof is None or proof.slowdown is None else proof.slowdown.to_json(),
                    "health": health,
                }
            },
            warnings=notes,
        )


_WORDS = {"prove": "proven", "watch": "watched"}


def _line(error: EdgeproofError) -> str:
    return error.what if error.got is None else f"{error.what} ({error.got})"


def _shown(value: object) -> str:
    return str(value) if isinstance(value, str) else f"{len(value)} labels"  # type: ignore[arg-type]


@bounded
def agent(
    reference: str,
    bundle_dir: str | Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    max_slowdown: float = 0.05,
    trust: str | Path | None = None,
    allow_changes: bool = False,
    percent: float = 100.0,
    device: str | None = None,
    health_url: str | None = None,
    watch_s: float = 60.0,
    plain_http: bool = False,
    progress: Progress | None = None,
) -> Decision:
    """Look at a registry once, and bring a device to the newest bundle of a tag that is proven on it.

    Args:
        reference: address with the tag to follow.
        bundle_dir: the device's folder of bundles; its ``current.edge`` is a symbolic link to the bundle in use.
        engine: engine that will run the bundle, or ``auto``.
        precision: precision, or ``auto``.
        max_slowdown: permitted growth of the time per frame; 0.05 is 5 %.
        trust: public key or policy that signatures are checked with; None requires no signature.
        allow_changes: take a bundle of another task or with other labels.
        percent: share of the fleet that takes new bundles, percent.
        device: id of this device; None for this machine's.
        health_url: metrics of the live service, watched after a switch; None watches nothing.
        watch_s: how long it is watched, seconds.
        plain_http: use HTTP without TLS; a registry on this machine always does.
        progress: called with (phase, done, total).

    Returns:
        The decision. A candidate that fails is a decision, not an error.

    Raises:
        InputError: an argument is invalid, or the folder is in use or cannot be written.
    """
    settings = AgentSettings(
        reference=reference,
        folder=Path(os.fspath(bundle_dir)),
        proof=ProofOptions(engine=engine, precision=precision, max_slowdown=max_slowdown),
        trust=None if trust is None else Path(trust),
        allow_changes=allow_changes,
        percent=percent,
        device=device,
        health_url=health_url,
        watch_s=watch_s,
        plain_http=plain_http,
    )
    with Agent(settings, progress=progress) as one:
        return one.look()
