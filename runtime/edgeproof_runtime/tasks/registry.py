"""The head of a bundle's task: what turns the model's outputs for one frame into a decision."""

from __future__ import annotations

from collections.abc import Callable

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.tasks.classify import classify_head
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.reconstruct import ReconstructHead

__all__ = ["Head", "head_of"]

Head = Callable[[tuple[Tensor, ...]], Decision]


def head_of(bundle: Bundle) -> Head:
    """The head of a bundle that looks at frames.

    Raises:
        InputError: the bundle makes pictures instead.
    """
    settings, contract = bundle.manifest.anomaly, bundle.contract
    if settings is not None:
        return ReconstructHead(settings, contract)
    return classify_head(bundle)
