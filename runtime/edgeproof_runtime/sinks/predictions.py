"""Write decisions as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["PredictionsFile"]


class PredictionsFile:
    """File of JSON objects, one per line, flushed line by line: it can be followed, and survives a crash.

    Keys: ``stream``, ``index``, ``name``, ``captured_unix_s``, ``label`` (ground truth, or null), ``stages_ms``, and
    the task's own: ``top`` (list of ``label`` and ``probability``, most probable first), or ``anomaly``.

    Args:
        path: file to write; an existing one is replaced.
        k: classes per frame.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, k: int = 5) -> None:
        self.path = Path(path)
        self._k = k
        self._file: TextIO | None = None
        if not self.path.parent.is_dir():
            raise InputError(f"{path}: cannot write predictions", got="No such file or directory")

    def write(self, decided: Decided[Decision]) -> None:
        """Write a decision.

        Raises:
            InputError: the decision cannot be written, or an output is not finite.
        """
        if self._file is None:
            # Open late: a source without frames must not replace an earlier file.
            try:
                # A file name that is not UTF-8 arrives as lone surrogates; their escapes are valid JSON.
                self._file = self.path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
            except OSError as error:
                raise InputError(f"{self.path}: cannot write predictions", got=error.strerror) from error
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
                f"{frame.name}: the model's output is not finite",
                got="NaN or infinity",
                expected="finite numbers",
                fix="run edgeproof verify, which shows whether the engine or the model is wrong",
            ) from error
        except OSError as error:
            raise InputError(f"{self.path}: cannot write predictions", got=error.strerror) from error

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - written lines are complete even if the run failed
        """Finish. Safe to call twice.

        Raises:
            InputError: the rest cannot be written, for example on a full disk.
        """
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise InputError(f"{self.path}: cannot write predictions", got=error.strerror) from error
