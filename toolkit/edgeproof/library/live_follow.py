"""Follow the path of a bundle during a live run, and change to each new bundle there that proves itself first."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.bands import bands_of
from edgeproof_runtime.engines import Engine, catalog
from edgeproof_runtime.errors import BundleError, EdgeproofError, GateError, InputError
from edgeproof_runtime.live.events import BundleEvent
from edgeproof_runtime.live.gaps import GapMeter, GapWatch
from edgeproof_runtime.live.pipeline import EndingError
from edgeproof_runtime.system import heap
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.steps import step
from edgeproof_runtime.system.text import some
from edgeproof_runtime.verify.golden import frame_gates, output_gate

__all__ = ["BundleChange", "Follow", "Identity", "identity_of", "prove", "real_path", "trust_of"]

_LOOK_S = 1.0
_TRIES = 3  # of a bundle that does not open: a copy may still be under way
_JOIN_TIMEOUT_S = 10.0
_KEPT = 100  # of the changes, for the report
_LABELS_NAMED = 5
_DIGITS = 12
_LOG = logging.getLogger("edgeproof.follow")

L = TypeVar("L")

Cause = Literal["bundle", "task", "labels", "input", "engine", "golden", "superseded"]
"""Why a bundle is refused: damaged or absent, of another task, with other labels, for other frames, its engine does not
load, its golden cases fail, or another bundle took its place meanwhile."""

Identity = tuple[str, tuple[int, int, int, int] | None]


class _RefusedError(InputError):
    def __init__(self, cause: Cause, what: str, **more: Any) -> None:
        super().__init__(what, **more)
        self.cause: Cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleChange:
    """A new bundle at the followed path, and what became of it.

    Attributes:
        outcome: ``switched`` or ``refused``; after a refusal the previous bundle goes on.
        at_unix_s: time of the outcome, Unix seconds.
        path: folder of the new bundle.
        before: sha256 of the manifest of the bundle before.
        after: that of the new bundle; None if it could not be read.
        load_s: seconds in which the new bundle was opened, loaded and proven beside the other.
        cause: kind of the reason for a refusal; None of a switch.
        reason: why it was refused; None of a switch.
        gap: longest time between two decisions of a stream around it.
    """

    outcome: Literal["switched", "refused"]
    at_unix_s: float
    path: str
    before: str
    after: str | None
    load_s: float
    cause: Cause | None = None
    reason: str | None = None
    gap: GapWatch = field(default_factory=GapWatch)

    @property
    def sentence(self) -> str:
        """Return one line for people."""
        if self.outcome == "refused":
            return f"bundle: {self.before[:_DIGITS]} goes on; refused {self.path}: {self.reason}"
        after = (self.after or "")[:_DIGITS]
        return f"bundle: changed from {self.before[:_DIGITS]} to {after}, loaded and proven in {self.load_s:.1f} s"

    @property
    def event(self) -> BundleEvent:
        """Return what brokers and webhooks are told."""
        return BundleEvent(
            kind="bundle_switched" if self.outcome == "switched" else "bundle_refused",
            unix_s=self.at_unix_s,
            before=self.before,
            after=self.after,
            cause=self.cause,
            reason=self.reason,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the longest gap in ms, and its stream."""
        return {
            "outcome": self.outcome,
            "at_unix_s": self.at_unix_s,
            "path": self.path,
            "from": self.before,
            "to": self.after,
            "load_s": self.load_s,
            "cause": self.cause,
            "reason": self.reason,
            "longest_gap_ms": self.gap.longest_ms,
            "longest_gap_stream": self.gap.stream,
        }


def real_path(path: str | Path) -> Path:
    """Return the folder that a path names now: a bundle that is running must not change when a link does."""
    return Path(os.path.realpath(path))


def trust_of(bundle: Bundle) -> Path | None:
    """Return what an opened bundle's signature was checked by, so that its successors are; None: not at all."""
    return None if bundle.signed is None else bundle.signed.trust


def identity_of(path: str | Path) -> Identity:
    """Return what tells whether another bundle lies at a path: the folder that it names, and its manifest's file."""
    folder = real_path(path)
    try:
        found = (folder / "bundle.json").stat()
    except (OSError, ValueError):
        return str(folder), None
    return str(folder), (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def prove(bundle: Bundle, engines: Sequence[Engine]) -> None:
    """Replay the golden cases on this machine: preprocessing once, outputs on each engine.

    Raises:
        GateError: a golden case misses its bound.
    """
    cases = load_golden(bundle)
    gates = list(frame_gates(bundle, cases))
    gates += [
        output_gate(bundle, engine, cases, batch=min(bundle.batch.min, engine.artifact.max_batch))
        for engine in engines
        if catalog.find(engine.name).device != "none"  # that one computes nothing
    ]
    missed = [gate for gate in gates if not gate.passed]
    if missed:
        raise GateError(
            f"{bundle.path}: golden cases fail here",
            got="; ".join(f"{gate.name}: {gate.misses()}" for gate in missed),
            fix=f"edgeproof verify {bundle.path}",
        )


class Follow(Generic[L]):
    """Context manager that looks at a path once a second, in a thread of its own, and changes to a new bundle there.

    The new bundle is opened, loaded and proven beside the current one. What fails on the way is a refusal, which is
    told, and the current bundle goes on. The same bundle is tried once. If the path names yet another one when the
    proof ends, that one is tried instead.

    Args:
        path: the followed path: a link that is replaced, or a folder that is.
        bundle: the current bundle.
        loaded: what `load` would have returned of it.
        seen: identity of the path before the current bundle was opened.
        load: loads and proves a bundle; the stack closes what it opened.
        change: changes over to it; returns when nothing uses the previous one.
        held: closes what the current bundle opened.
        gaps: measures the gaps.
        tell: called with every outcome, in that thread.
        other_labels: whether a bundle with other labels is accepted.

    Attributes:
        bundle: the current bundle.
        loaded: what `load` returned of it.
        changes: the newest outcomes, oldest first.
        switched: number of switches.
        refused: number of refusals by cause.
        lock: held while the run changes over.
    """

    def __init__(
        self,
        path: str | Path,
        bundle: Bundle,
        loaded: L,
        *,
        seen: Identity,
        load: Callable[[Bundle, ExitStack], L],
        change: Callable[[Bundle, L], None],
        held: ExitStack,
        gaps: GapMeter,
        tell: Callable[[BundleChange], None] = lambda _change: None,
        other_labels: bool = False,
    ) -> None:
        self.bundle = bundle
        self.loaded = loaded
        self.changes: list[BundleChange] = []
        self.switched: int = 0
        self.refused: dict[str, int] = {}
        self.lock = threading.RLock()
        self._path = Path(path)
        self._seen = seen
        self._load, self._change, self._held, self._gaps, self._tell = load, change, held, gaps, tell
        self._other_labels = other_labels
        self._tries = 0
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="edgeproof-follow", daemon=True)

    def look(self) -> None:
        """Look at the path soon. Safe from any thread."""
        self._wake.set()

    def look_now(self) -> str:
        """Look at the path soon, and say so, as the reload of a service without streams."""
        self.look()
        return "bundle: looking for a new one"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._wake.set()
        self._thread.join(_JOIN_TIMEOUT_S)

    def section(self) -> dict[str, Any]:
        """Return the section ``switches`` of a report."""
        gaps = [c.gap.longest_ms for c in self.changes if c.outcome == "switched" and c.gap.longest_ms is not None]
        return {
            "switched": self.switched,
            "refused": sum(self.refused.values()),
            "longest_gap_ms": max(gaps, default=None),
            "changes": [change.to_json() for change in self.changes],
        }

    def _work(self) -> None:
        while not self._over:
            self._wake.clear()
            now = identity_of(self._path)
            if now != self._seen and not self._over:
                self._try(now)
            if identity_of(self._path) in (now, self._seen):
                self._wake.wait(_LOOK_S)

    def _try(self, now: Identity) -> None:
        begin_s, gap, before = time.monotonic(), self._gaps.watch(), self.bundle.manifest_sha256
        bundle: Bundle | None = None
        found: dict[str, Any] = {}
        try:
            bundle = self._open(now)
            if bundle is None or bundle.manifest_sha256 == self.bundle.manifest_sha256:
                return
            with step(f"change to {bundle.path}"):
                self._switch(bundle, now)
            self.switched += 1
        except EndingError:
            return
        except _RefusedError as error:
            found = {"cause": error.cause, "reason": _line(error)}
        except GateError as error:
            found = {"cause": "golden", "reason": _line(error)}
        except BundleError as error:
            found = {"cause": "bundle", "reason": _line(error)}
        except Exception as error:  # whatever an engine raises: the run goes on
            found = {"cause": "engine", "reason": _line(error)}
        finally:
            gap.end()
        self._seen, self._tries = now, 0
        change = BundleChange(
            outcome="refused" if found else "switched",
            at_unix_s=time.time(),
            path=now[0],
            before=before,
            after=None if bundle is None else bundle.manifest_sha256,
            load_s=time.monotonic() - begin_s,
            gap=gap,
            **found,
        )
        if found:
            self.refused[found["cause"]] = self.refused.get(found["cause"], 0) + 1
        self.changes = [*self.changes, change][-_KEPT:]
        _LOG.log(logging.WARNING if found else logging.INFO, "%s", change.sentence)
        self._tell(change)

    def _open(self, now: Identity) -> Bundle | None:
        """Open the bundle; None means that it may not be whole yet."""
        try:
            bundle = Bundle.open(now[0], trust=trust_of(self.bundle))
        except BundleError:
            self._tries += 1
            if self._tries < _TRIES:
                return None
            raise
        if bundle.manifest_sha256 == self.bundle.manifest_sha256:
            self._seen, self._tries = now, 0
        return bundle

    def _switch(self, bundle: Bundle, now: Identity) -> None:
        self._check(bundle)
        with ExitStack() as stack:
            loaded = self._load(bundle, stack)
            if identity_of(self._path) != now:
                raise _RefusedError("superseded", f"{bundle.path}: another bundle took its place meanwhile")
            with self.lock:
                if self._over:
                    raise EndingError(f"{bundle.path}: not loaded", got="a run that is ending")
                self._change(bundle, loaded)
                self.bundle, self.loaded = bundle, loaded
                previous = self._held.pop_all()
                self._held.enter_context(stack.pop_all())
        with step("close the previous engines"):
            previous.close()
            del previous
            heap.give_back()

    def _check(self, bundle: Bundle) -> None:
        """Require what a run cannot change: task, labels, the kind of frames.

        Raises:
            InputError: the bundle does not fit.
        """
        old, new = self.bundle, bundle
        if new.manifest.task != old.manifest.task:
            raise _RefusedError("task", f"{new.path}: another task", got=new.manifest.task, expected=old.manifest.task)
        if new.labels != old.labels and not self._other_labels:
            raise _RefusedError(
                "labels",
                f"{new.path}: other labels",
                got=f"{len(new.labels)}: {some(new.labels, _LABELS_NAMED)}",
                expected=f"{len(old.labels)}: {some(old.labels, _LABELS_NAMED)}",
                fix="--other-labels accepts them",
            )
        if bands_of(new.manifest.contract) != bands_of(old.manifest.contract):
            got, expected = (str(bands_of(one.manifest.contract) or "colour images") for one in (new, old))
            raise _RefusedError("input", f"{new.path}: takes other frames", got=got, expected=expected)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, EdgeproofError) else f"{type(error).__name__}: {text}"
