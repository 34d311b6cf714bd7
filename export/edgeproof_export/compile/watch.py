"""Watch a build: report progress, stop it on request or when memory runs low."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psutil

from edgeproof_runtime.errors import UnavailableError

__all__ = ["BuildWatch"]

_Result = TypeVar("_Result")

MEMORY_FLOOR_BYTES = 256 * 2**20  # below this a Jetson kills processes, including the desktop


class BuildWatch:
    """Report a build's progress, and stop it on request or when memory runs low.

    Args:
        on_progress: called with (phase, done, total) from TensorRT's threads; a phase is complete when done equals
            total.
        memory_floor_bytes: least available memory, bytes; the build stops below this.
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
        """Stop the build at its next step."""
        self._stop.set()

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Run a build in a separate thread, so that Ctrl-C reaches this thread and stops it.

        TensorRT blocks its thread for minutes, during which Python does not handle signals. Versions without a
        progress monitor (8.6) cannot be stopped and run to their end.

        Raises:
            KeyboardInterrupt: the user stopped the build; it has ended.
            UnavailableError: memory ran low; the build has ended.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgeproof-build") as pool:
            future = pool.submit(work)
            try:
                result = future.result()
            except KeyboardInterrupt:
                self.stop()
                raise  # leaving the block waits for the end of the build
            except Exception:
                self._raise_if_starved()
                raise
        self._raise_if_starved()
        return result

    def _raise_if_starved(self) -> None:
        if self._starved_at is not None:
            raise UnavailableError(
                "build: stopped, memory ran low",
                got=f"{self._starved_at // 2**20} MiB available",
                expected=f"at least {self._floor // 2**20} MiB",
                fix="stop other programs, or choose a smaller --workspace or a smaller maximum --batch",
            )

    def goes_on(self) -> bool:
        """Return whether to continue; False after a stop, or when memory ran low."""
        available = psutil.virtual_memory().available
        if available < self._floor and self._starved_at is None:
            self._starved_at = available
            self.stop()
        return not self._stop.is_set()

    def monitor(self, trt: Any) -> Any:
        """Return TensorRT's ``IProgressMonitor`` for this watch; keep it as long as the builder's configuration."""
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
