"""Write decisions as JSON lines."""

from __future__ import annotations

import time
from pathlib import Path

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.growing import GrowingFile, Rotation, not_written
from edgeproof_runtime.system.files import is_stream
from edgeproof_runtime.system.text import json_text
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["PredictionsFile"]


class PredictionsFile:
    """File of JSON objects, one per line, written line by line: it can be followed, and survives a crash.

    An existing file is appended to. Each run begins with a line of its own, ``{"run_began_unix_s": ...}``.

    Keys: ``stream``, ``index``, ``name``, ``captured_unix_s``, ``label`` (ground truth, or null), ``stages_ms``, and
    the task's own: ``top`` (list of ``label`` and ``probability``, most probable first), or ``anomaly``; of a run that
    follows a bundle also ``bundle``, the sha256 of its manifest.

    Args:
        path: file to append to; a device, FIFO or ``-`` is written as a stream.
        k: classes per frame.
        rotation: when the file is set aside and a new one begun.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, k: int = 5, rotation: Rotation | None = None) -> None:
        self.path: Path = Path(path)
        self._k = k
        self._rotation = rotation
        self._file: GrowingFile | None = None
        if not is_stream(path) and not self.path.parent.is_dir():
            raise InputError(f"{path}: cannot write predictions", got="No such file or directory")

    def write(self, decided: Decided[Decision]) -> None:
        """Write a decision.

        Raises:
            InputError: the decision cannot be written, or an output is not finite.
        """
        if self._file is None:
            # Open late: a source without frames leaves no trace in an earlier file.
            try:
                self._file = GrowingFile(self.path, rotation=self._rotation)
                self._file.write(json_text({"run_began_unix_s": time.time()}, indent=None))
            except (OSError, ValueError) as error:
                raise not_written(self.path, "predictions", error) from error
        frame = decided.frame
        record = {
            "stream": decided.stream,
            "index": frame.index,
            "name": frame.name,
            "captured_unix_s": frame.captured_unix_s,
            "label": frame.label,
            **({"health": frame.health} if frame.health is not None else {}),
            **decided.decision.to_json(self._k),
            "stages_ms": decided.stages_ms,
            **({"bundle": decided.bundle} if decided.bundle else {}),
        }
        try:
            line = json_text(record, indent=None)
        except ValueError as error:
            raise InputError(
                f"{frame.name}: the model's output is not finite",
                got="NaN or infinity",
                expected="finite numbers",
                fix="run edgeproof verify, which shows whether the engine or the model is wrong",
            ) from error
        try:
            self._file.write(line)
        except OSError as error:
            raise not_written(self.path, "predictions", error) from error

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - written lines are complete even if the run failed
        """Finish. Safe to call twice.

        Raises:
            InputError: the rest cannot be written, for example on a full disk.
        """
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise not_written(self.path, "predictions", error) from error
