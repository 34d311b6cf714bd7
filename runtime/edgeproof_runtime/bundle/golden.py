"""Golden cases of a bundle."""

from __future__ import annotations

from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.errors import BundleError

__all__ = ["load_golden"]


def load_golden(bundle: Bundle) -> list[GoldenCase]:
    """Load all golden cases of a bundle.

    Raises:
        BundleError: the bundle has no golden cases, so it cannot be verified.
    """
    cases = list(bundle.golden())
    if not cases:
        raise BundleError(f"{bundle.path}: no golden cases", fix="export the bundle again")
    return cases
