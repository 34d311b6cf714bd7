"""Bounds of an input contract: what is refused before anything is allocated. The C++ suite holds the same."""

from __future__ import annotations

import pytest

from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.errors import ContractError


def test_a_tensor_has_at_most_256_mib() -> None:
    def square(side: int, **more: object) -> InputContract:
        return InputContract(resize="squash", resize_size=(side, side), crop_size=None, **more)  # type: ignore[arg-type]

    assert square(4096).tensor_shape() == (1, 3, 4096, 4096)
    square(9000, dtype="uint8", scale=1, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ContractError, match="tensor too large"):
        square(5000)
    with pytest.raises(ContractError, match="tensor too large"):
        square(32_768)
    with pytest.raises(ContractError, match="not a size"):
        square(32_769)


def test_a_batch_has_at_most_65536_inputs() -> None:
    BatchBounds(1, 1, 65_536)
    with pytest.raises(ContractError, match="batch: too large"):
        BatchBounds(1, 1, 65_537)
