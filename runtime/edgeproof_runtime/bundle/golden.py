"""The golden cases of a bundle."""

from __future__ import annotations

from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.errors import BundleError

__all__ = ["load_golden"]


def load_golden(bundle: Bundle) -> list[GoldenCase]:
    """All golden cases of a bundle.

    Raises:
        BundleError: it has none, so nothing could be proven.
    """
    cases = list(bundle.golden())
    if not cases:
        raise BundleError(f"{bundle.path} has no golden cases", fix="export the bundle again")
    return cases
