"""The head of a bundle's task: what turns the model's outputs for one frame into a decision."""

from __future__ import annotations

from collections.abc import Callable

from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.classifier import classify_head
from edgeproof_runtime.decision import Decision
from edgeproof_runtime.engines.base import Tensor
from edgeproof_runtime.reconstruct import ReconstructHead

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
