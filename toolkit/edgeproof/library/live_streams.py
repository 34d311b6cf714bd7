"""Streams of a run: how each source is opened, which of them before the engine is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.bands import bands_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.stream import Policy, Reconnect, Stream
from edgeproof_runtime.sources import Source, StreamSpec, open_source
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.tasks.registry import head_of
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["RunStreams"]


class RunStreams:
    """Make streams of named sources for `run`.

    Args:
        bundle: the bundle.
        of_parent: whether the ground truth is the name of each image's folder.
        rule: when a frame is unknown, of streams without their own.
        policy, reconnect, stall_timeout_s, max_frames: as `Stream` takes them.

    Attributes:
        bundle: the bundle, which may change during a run.
        stills: names of the streams that give still images.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        of_parent: bool,
        rule: UnknownRule | None,
        policy: Policy | None,
        reconnect: Reconnect,
        stall_timeout_s: float | None,
        max_frames: int | None,
    ) -> None:
        self.stills: set[str] = set()
        self.bundle = bundle
        self._of_parent = of_parent
        self._rule = rule
        self._policy, self._reconnect = policy, reconnect
        self._stall_timeout_s, self._max_frames = stall_timeout_s, max_frames

    def open_early(self, specs: Sequence[StreamSpec], stack: ExitStack, *, alone: bool) -> dict[str, Source]:
        """Open files, test cards and a single stream before anything else is done, so that their errors come first.

        Several cameras are opened later: their frames would age meanwhile, and one of them may be absent.

        Args:
            specs: the streams.
            stack: closes the sources.
            alone: whether a camera is opened too if it is the only stream.

        Returns:
            Opened sources by `StreamSpec.capture`.

        Raises:
            InputError: images are required, and a source gives none.
            SourceError: a source cannot be opened.
        """
        opened: dict[str, Source] = {}
        captures = {spec.capture: spec for spec in specs}
        for spec in captures.values():
            lasts = is_path(spec.source) or spec.source.lower().startswith("synthetic:")
            if lasts or (alone and len(captures) == 1 and self._reconnect != "always"):
                source = stack.enter_context(self._opener(spec)())
                if self._of_parent and not source.in_folders:
                    raise InputError("--labels-from parent: requires images", got=source.name, fix="--labels-from FILE")
                opened[spec.capture] = source
        self.stills.difference_update(spec.name for spec in specs)
        self.stills.update(s.name for s in specs if s.capture in opened and opened[s.capture].of_pictures)
        return opened

    def make(self, specs: Sequence[StreamSpec], early: dict[str, Source]) -> list[Stream]:
        """Return the streams.

        Args:
            specs: the streams.
            early: opened sources by `StreamSpec.capture`.

        Raises:
            InputError: labels are unknown to the model, or a rule does not fit its task.
        """
        return [
            Stream.of_spec(
                spec,
                _first(early.get(spec.capture), self._opener(spec)),
                self.bundle.labels,
                policy=self._policy,
                reconnect=self._reconnect,
                stall_timeout_s=self._stall_timeout_s,
                max_frames=self._max_frames,
                head=head_of(self.bundle, spec.unknown or self._rule),
            )
            for spec in specs
        ]

    def remake(self, specs: Sequence[StreamSpec], stack: ExitStack) -> list[Stream]:
        """Open what is stored, and return the streams; a camera may still be open under its old name."""
        return self.make(specs, self.open_early(specs, stack, alone=False))

    def _opener(self, spec: StreamSpec) -> Callable[[], Source]:
        bands = bands_of(self.bundle.manifest.contract)
        if self._of_parent:
            return lambda: open_source(spec.source, options=spec.options, label_by_folder=True, bands=bands)
        return lambda: spec.open(self.bundle.labels, bands)


def _first(opened: Source | None, again: Callable[[], Source]) -> Callable[[], Source]:
    """Return a factory that gives the opened source first and reopens it afterwards."""
    early = [opened] if opened is not None else []
    return lambda: early.pop() if early else again()
