"""`--threshold-of` on the command line."""

from __future__ import annotations

import pytest

from edgeproof.cli._outputs import thresholds_of
from edgeproof_runtime.errors import InputError


def test_thresholds_are_parsed() -> None:
    assert thresholds_of(None) == ()
    assert thresholds_of(["cat=0.8", "a=b=0.5"]) == (("cat", 0.8), ("a=b", 0.5))


@pytest.mark.parametrize("given", [["cat"], ["=0.5"], ["cat=x"], ["cat=nan"], ["cat=0.5", "cat=0.6"]])
def test_invalid_thresholds_are_named(given: list[str]) -> None:
    with pytest.raises(InputError, match="--threshold-of: invalid"):
        thresholds_of(given)
