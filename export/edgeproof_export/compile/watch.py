"""Watching a build: progress, a way to stop it, and the memory that it may not eat up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psutil

from edgeproof_runtime.errors import UnavailableError

__all__ = ["BuildWatch"]

_Result = TypeVar("_Result")

MEMORY_FLOOR_BYTES = 256 * 2**20  # below this a Jetson kills processes, the desktop's included


class BuildWatch:
    """Progress of a build to a caller, and the build's end if the caller or the memory says so.

    Args:
        on_progress: called with (phase, steps done, steps in all), from TensorRT's threads; a phase is over
            when both are equal.
        memory_floor_bytes: the build is stopped when the machine has less memory available than this.
    """

    def __init__(
        self,
        on_progress: Callable[[str, int, int], None] | None = None,
        *,
        memory_floor_bytes: int = MEMORY_FLOOR_BYTES,
    ) -> None:
        self._on_progress = on_progress or (lambda _phase, _done, _total: None)
        self._floor = memory_floor_bytes
        self._stop = threading.Event()
        self._starved_at: int | None = None

    def stop(self) -> None:
        """Ask the build to end at its next step."""
        self._stop.set()

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Run a build in a thread of its own, so that Ctrl-C reaches this one and stops it.

        TensorRT holds its thread for minutes, in which Python would not see the signal; versions without a
        progress monitor (8.6) cannot be stopped and end by themselves.

        Raises:
            KeyboardInterrupt: the user stopped it; the build has ended.
            UnavailableError: memory ran low; the build has ended.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgeproof-build") as pool:
            future = pool.submit(work)
            try:
                result = future.result()
            except KeyboardInterrupt:
                self.stop()
                raise  # leaving the block waits for the build to end
            except Exception:
                self._raise_if_starved()
                raise
        self._raise_if_starved()
        return result

    def _raise_if_starved(self) -> None:
        if self._starved_at is not None:
            raise UnavailableError(
                "the build was stopped because the machine ran out of memory",
                got=f"{self._starved_at // 2**20} MiB available",
                expected=f"at least {self._floor // 2**20} MiB",
                fix="end other programs, give --workspace a smaller size, or a smaller largest batch with --batch",
            )

    def goes_on(self) -> bool:
        """Whether the build is to go on; False once it was stopped or memory ran low."""
        available = psutil.virtual_memory().available
        if available < self._floor and self._starved_at is None:
            self._starved_at = available
            self.stop()
        return not self._stop.is_set()

    def monitor(self, trt: Any) -> Any:
        """TensorRT's ``IProgressMonitor`` that reports here; keep it as long as the builder's configuration."""
        watch = self
        totals: dict[str, int] = {}

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # a class of a module found at run time
            def phase_start(self, phase: str, _parent: str | None, steps: int) -> None:
                totals[phase] = steps
                watch._on_progress(phase, 0, steps)

            def step_complete(self, phase: str, step: int) -> bool:
                watch._on_progress(phase, min(step + 1, totals.get(phase, 1)), totals.get(phase, 1))
                return watch.goes_on()

            def phase_finish(self, phase: str) -> None:
                total = totals.pop(phase, 1)
                watch._on_progress(phase, total, total)

        return Monitor()
