"""Classify frames in one call."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import Color
from edgeproof_runtime.contract.preprocess import USEFUL_THREADS, Preprocessor
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import require_parallel
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.tasks.classify import Prediction, classify_head

__all__ = [
    "Classifier",
]


class Classifier:
    """A bundle, ready to classify frames. Not thread-safe: use one per thread.

    Args:
        bundle: path of a ``.edge`` folder, or an opened bundle.
        engine: name of an engine, or ``auto`` for the fastest that passes the golden cases on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto`` for the bundle's fastest on this machine.
        threads: CPU threads; None for the engine's default, or the fastest if measured.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the bundle's task is not ``classify``.
        UnavailableError: the engine is not available on this machine.
    """

    @bounded
    def __init__(
        self,
        bundle: str | Path | Bundle,
        engine: str = "auto",
        precision: str = "auto",
        *,
        threads: int | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self._head = classify_head(self.bundle)
        self.engine = load_engine(self.bundle, engine, precision, threads=threads)
        # Nothing else of this object runs at the same time.
        require_parallel(threads, "threads")
        self._preprocess = Preprocessor(self.bundle.contract, threads=min(threads or usable_cores(), USEFUL_THREADS))
        self._input = self.engine.allocate_input(1)
        self._slot = self._input[0]

    def __call__(self, frame: NDArray[Any], *, color: Color = "bgr") -> Prediction:
        """Classify one frame.

        Args:
            frame: uint8 ``HxWx3`` in the order ``color`` (OpenCV's is ``bgr``), or ``HxW`` gray; for a model of many
                channels ``HxWxC`` of the contract's ``frame_dtype``.
            color: channel order of a three-channel frame.

        Raises:
            FrameError: the frame's dtype or shape is unsupported.
        """
        self._preprocess(frame, out=self._slot, color=color)
        return self._head(self.engine.run(self._input))

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
