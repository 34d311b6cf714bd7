"""The parent's side of a trial: an artifact on an engine, in a child process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.engines.trial_child import job_to_json
from edgeproof_runtime.system.child import Child, Fault, Limits, NotStartedError

__all__ = ["Outcome", "TrialProcess"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one trial.

    Attributes:
        fault: None if the child lived.
        one_ran: whether a batch of one ran before the fault, as an engine for batches of one runs it.
    """

    fault: Fault | None
    one_ran: bool


class TrialProcess(Child):
    """A child process that tries engines, one after another, until one of them ends it.

    Raises:
        NotStartedError: it does not start.
    """

    def __init__(self) -> None:
        super().__init__("edgeproof_runtime.engines.trial_child")

    def try_out(self, entry: CatalogEntry, artifact: ModelArtifact, loads: Sequence[int], limits: Limits) -> Outcome:
        """Load an artifact on an engine and run it, in the child.

        Args:
            entry: the engine.
            artifact: what it loads.
            loads: ``max_batch`` of each load.
            limits: limits of each load.

        Raises:
            NotStartedError: the child cannot import the engine.
        """
        one_ran = False
        try:
            self.send(job_to_json((entry, artifact, loads)))
            while True:
                message = self.next(limits)
                if isinstance(message, Fault):
                    self.close()
                    return Outcome(message, one_ran)
                if "untried" in message:
                    raise NotStartedError(str(message["untried"]))
                if "done" in message:
                    return Outcome(None, one_ran)
                one_ran = one_ran or message.get("loaded") == 1 or ("ran" in message and loads[0] != 1)
        except BaseException:
            self.close()
            raise
