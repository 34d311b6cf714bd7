"""Commands that permissions hold for, although the tests run as root."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["held_to_permissions"]


def held_to_permissions() -> list[str]:
    """Return what to put before a command so that it cannot read files that nobody may read.

    The user stays the same: the checkout and its Python may lie in a private folder.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root without setpriv: permissions do not hold")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
