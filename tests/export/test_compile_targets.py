"""Compile targets: every engine of the catalogue that loads a compiled file has a builder."""

from __future__ import annotations

import pytest

from edgeproof_export.compile.keep import BUILDERS
from edgeproof_export.compile.target import find_compiling
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import InputError


def test_every_target_of_the_catalogue_has_a_builder() -> None:
    assert BUILDERS.keys() == catalog.compiling().keys()


@pytest.mark.parametrize("entry", catalog.offered(), ids=lambda entry: entry.name)
def test_an_engine_that_loads_the_onnx_file_is_not_a_target(entry: catalog.CatalogEntry) -> None:
    if entry.target is not None:
        assert find_compiling(entry.target) == entry
        return
    with pytest.raises(InputError, match="nothing to compile") as caught:
        find_compiling(entry.name)
    assert f"{entry.name} compiles the model when loading it" in str(caught.value.fix)
