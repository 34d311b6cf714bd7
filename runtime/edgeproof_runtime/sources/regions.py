"""Regions of a stream: parts of the same decoded frames, each classified as a stream by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources.adapted import shaped
from edgeproof_runtime.sources.base import Frame
from edgeproof_runtime.sources.health import OF_WHOLE_FRAME, HealthOptions
from edgeproof_runtime.sources.options import SourceOptions

__all__ = ["Region", "region_health", "region_options"]

_OPTIONS = ("rotate", "crop", "every_s", "on_motion")
_PACE = ("every_s", "on_motion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Part of a stream's frames.

    Attributes:
        stream: name of the stream, whose source is read once for all its regions.
        options: rotation and crop of the stream's frame, and which frames are classified; other options are unused.
        labels_from: file of labels of the region's frames; None keeps the stream's labels.
        whole: limits by which the whole frame is judged: damaged, frozen.
    """

    stream: str
    options: SourceOptions
    labels_from: str | None = None
    whole: HealthOptions

    def cutter(self, name: str, known: Collection[str] | None = None) -> Callable[[Frame], Frame]:
        """Return a function that cuts the region out of a frame.

        Args:
            name: name of the region's stream, for its frames and messages.
            known: labels of the model, for checking ``labels_from``.

        Returns:
            A function that raises a SourceError if the region exceeds the frame.

        Raises:
            InputError: the file of labels cannot be read, or the model does not know one of them.
        """
        labels = None if self.labels_from is None else ClipLabels.open(self.labels_from, known=known)

        def cut(frame: Frame) -> Frame:
            part = shaped(frame, self.options, name)
            if part.name.startswith(f"{self.stream}#"):
                part = replace(part, name=f"{name}#{frame.index}")
            return part if labels is None else replace(part, label=labels.at(frame.index))

        return cut


def region_options(values: dict[str, Any], of_stream: SourceOptions, where: str) -> SourceOptions:
    """Parse the options of a region; those for its pace are the stream's where it has none.

    Raises:
        InputError: an option that only a stream has, or an invalid value.
    """
    for name in values:
        if name not in _OPTIONS:
            known = any(name == option.name for option in fields(SourceOptions)) or name == "source"
            raise InputError(
                f"{where}: {'an option of the whole stream' if known else 'unknown option'}",
                got=name,
                expected=", ".join((*_OPTIONS, "health, labels_from, threshold, thresholds, unknown")),
                fix="move it to the stream's table" if known else None,
            )
    parsed = SourceOptions.parse(values, where)
    return replace(parsed, **{name: getattr(of_stream, name) for name in _PACE if name not in values})


def region_health(value: Any, of_stream: HealthOptions, where: str) -> HealthOptions:
    """Parse the ``health`` of a region, which adds to the stream's.

    Raises:
        InputError: an invalid value, or a limit by which the whole frame is judged.
    """
    for name in value if isinstance(value, dict) else ():
        if name in OF_WHOLE_FRAME:
            raise InputError(f"{where}: health.{name} is of the whole frame", fix="move it to the stream's health")
    return of_stream.of_part(HealthOptions.parse(value, where))
