"""The Python fuzz targets take their seeds, and random changes of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproof_runtime.errors import EdgeproofError
from hostile import fuzz


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_targets_take_changed_seeds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_FUZZ_FOLDER", str(tmp_path))
    target, seeds = fuzz._make(name), fuzz.seeds(name)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(seeds), st.integers(0), st.integers(0, 8), st.binary(max_size=8))
    def changed(seed: bytes, place: int, removed: int, put: bytes) -> None:
        place %= len(seed) + 1
        with suppress(EdgeproofError):
            target(seed[:place] + put + seed[place + removed :])

    assert seeds
    changed()
