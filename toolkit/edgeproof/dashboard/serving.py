"""The bundle that requests get, which another one may replace while requests are answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgeproof.dashboard.batching import Batcher
from edgeproof.dashboard.model import ServedModel
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import EngineInfo

__all__ = ["Edition", "Serving"]


@dataclass(frozen=True, slots=True, eq=False)
class Edition:
    """A served bundle with its engine.

    Attributes:
        bundle: the bundle.
        model: the bundle as clients see it.
        engine: its engine.
        batcher: queue of the engine.
    """

    bundle: Bundle
    model: ServedModel
    engine: EngineInfo
    batcher: Batcher


class Serving:
    """The edition that requests get from now on; a request keeps the one that it got until it is answered.

    Args:
        edition: the first one.
    """

    def __init__(self, edition: Edition) -> None:
        self._now = edition
        self._visits: Counter[Edition] = Counter()
        self._left = threading.Condition()

    @property
    def now(self) -> Edition:
        """Return the current edition."""
        return self._now

    @contextmanager
    def visit(self) -> Iterator[Edition]:
        """Hold the current edition: it is not closed before the visit ends, though another one may replace it."""
        with self._left:
            edition = self._now
            self._visits[edition] += 1
        try:
            yield edition
        finally:
            with self._left:
                self._visits[edition] -= 1
                if not self._visits[edition]:
                    del self._visits[edition]
                    self._left.notify_all()

    def replace(self, edition: Edition) -> None:
        """Give another edition to requests from now on."""
        with self._left:
            self._now = edition

    def wait_until_left(self, edition: Edition) -> None:
        """Wait until no request holds an edition that was replaced; return at once for the current one."""
        with self._left:
            while edition is not self._now and self._visits[edition]:
                self._left.wait()
