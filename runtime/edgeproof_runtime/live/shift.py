"""A shift: the workers that decide a pipeline's frames until others relieve them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from edgeproof_runtime.live.inbox import RelievedError

__all__ = ["Shift"]

D = TypeVar("D")


class Shift(Generic[D]):
    """Workers that begin together, between two frames.

    Args:
        number: its number in the pipeline, from 0.
        heads: head of each lane with its own; of others it is the stream's or the worker's.
        bundle: sha256 of the manifest of the bundle that the workers run.
    """

    def __init__(
        self, number: int, heads: Mapping[int, Callable[[tuple[Any, ...]], D]] | None = None, bundle: str = ""
    ) -> None:
        self.number = number
        self.heads: Mapping[int, Callable[[tuple[Any, ...]], D]] = heads or {}
        self.bundle = bundle
        self._news: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._told = threading.Event()
        self._begins = False

    def ready(self) -> None:
        """Say that a worker is ready, and wait until the shift begins.

        Raises:
            RelievedError: it does not begin.
        """
        self._news.put(None)
        self._told.wait()
        if not self._begins:
            raise RelievedError

    def failed(self, error: BaseException) -> bool:
        """Say that a worker failed; return False if the shift has begun, so that the run fails."""
        if self._begins:
            return False
        self._news.put(error)
        return True

    def wait_until_ready(self, workers: int) -> None:
        """Wait until so many workers are ready.

        Raises:
            BaseException: one of them failed.
        """
        for _ in range(workers):
            error = self._news.get()
            if error is not None:
                raise error

    def begin(self) -> None:
        """Let the workers take frames."""
        self._begins = True
        self._told.set()

    def cancel(self) -> None:
        """Let the workers end without a frame."""
        self._told.set()
