"""The catalogue of engines: its entries agree with the package, the bundle and the docs."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from edgeproof_runtime import engines
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines._modules import version_of
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import tomllib
from toy_engine import ENTRY

ROOT = Path(__file__).resolve().parents[3]


def test_auto_meets_the_engines_in_this_order() -> None:
    assert [entry.name for entry in catalog.offered()] == [
        "onnxruntime",
        "openvino",
        "opencv",
        "tensorrt",
        "tensorrt-rtx",
        "onnxruntime:cuda",
        "onnxruntime:tensorrt",
        "onnxruntime:tensorrt-rtx",
        "openvino:gpu",
        "openvino:npu",
        "openvino:auto",
    ]


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.name)
def test_an_extra_installs_a_distribution_of_its_engine(entry: CatalogEntry) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if entry.extra is not None:
        named = {re.split(r"[\[<>=;~! ]", requirement)[0] for requirement in extras[entry.extra]}
        assert named & set(entry.distributions)


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.name)
def test_tensorrts_engines_take_its_int8_graph(entry: CatalogEntry) -> None:
    assert entry.int8_shape == ("tensorrt" if "tensorrt" in entry.name else "cpu")
    if entry.target is not None:
        assert catalog.int8_shape(entry.target) == entry.int8_shape


def test_a_target_of_another_version_takes_the_plain_graph() -> None:
    assert catalog.int8_shape("abacus") == "cpu"


def test_what_is_compiled_has_a_target_and_a_file() -> None:
    with pytest.raises(ValueError, match="compiled files"):
        CatalogEntry(name="x", implementation="x:X", distributions=(), device="cpu", precisions=("fp32",), target="x")


def test_an_entry_that_names_no_engine_is_an_error() -> None:
    entry = CatalogEntry(name="x", implementation="pathlib:Path", distributions=(), device="cpu", precisions=("fp32",))
    with pytest.raises(TypeError, match="is not an Engine"):
        entry.load_class()


def test_the_gpus_wheel_names_onnxruntimes_version_where_it_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            return "1.31.1"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert version_of("onnxruntime") == "1.31.1"


def test_a_registered_engine_is_gone_afterwards() -> None:
    with catalog.registered(ENTRY):
        assert "toy" in engines.available()
    with pytest.raises(InputError, match="unknown engine"):
        catalog.find("toy")


def test_the_docs_have_the_catalogues_table() -> None:
    assert catalog.markdown_table() in (ROOT / "docs/engines.md").read_text()
