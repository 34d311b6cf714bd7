"""Decisions as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["PredictionsFile"]


class PredictionsFile:
    """One JSON object a line, flushed line by line, so that it can be followed and survives a crash whole.

    Keys: ``stream``, ``index``, ``name``, ``captured_unix_s``, ``label`` (what the frame shows, or null),
    ``stages_ms``, and the decision's own: ``top`` (list of ``label`` and ``probability``, the most probable first), or
    ``anomaly``.

    Args:
        path: the file; an existing one is replaced.
        k: classes listed per frame.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, k: int = 5) -> None:
        self.path = Path(path)
        self._k = k
        self._file: TextIO | None = None
        if not self.path.parent.is_dir():
            raise InputError(f"cannot write predictions to {path}", got="No such file or directory")

    def write(self, decided: Decided[Decision]) -> None:
        """Take a decision.

        Raises:
            InputError: it cannot be written, or the model's answer is no number.
        """
        if self._file is None:
            # Only now: a source without a single frame leaves an earlier file as it was.
            try:
                # A file name that is not UTF-8 arrives as lone surrogates; their escapes are JSON as well.
                self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
            except OSError as error:
                raise InputError(f"cannot write predictions to {self.path}", got=error.strerror) from error
        frame = decided.frame
        record = {
            "stream": decided.stream,
            "index": frame.index,
            "name": frame.name,
            "captured_unix_s": frame.captured_unix_s,
            "label": frame.label,
            **decided.decision.to_json(self._k),
            "stages_ms": decided.stages_ms,
        }
        try:
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        except ValueError as error:
            raise InputError(
                f"the model's answer to {frame.name} is not finite",
                got="NaN or infinity",
                expected="numbers that JSON can hold",
                fix="edgeproof verify tells whether the engine or the model is wrong",
            ) from error
        except OSError as error:
            raise InputError(f"cannot write predictions to {self.path}", got=error.strerror) from error

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - every line is whole, whatever happened after it
        """Finish. Safe to call twice.

        Raises:
            InputError: what a full disk did not take cannot be written now either.
        """
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise InputError(f"cannot write predictions to {self.path}", got=error.strerror) from error
