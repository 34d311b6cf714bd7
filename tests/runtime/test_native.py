"""The extension module: its stub, softmax and top-k; latencies that Python and C++ must sum up alike."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeproof_runtime
from edgeproof_runtime import _native
from edgeproof_runtime.metrics.latency import summarize

STUB = Path(edgeproof_runtime.__file__).with_name("_native.pyi")


def stub_functions(body: list[ast.stmt]) -> dict[str, str]:
    """Signature of every function and method that the stub declares, by its qualified name; properties without."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
            node.decorator_list = []
            found[node.name] = "property" if is_property else ast.unparse(node).partition("\n")[0].rstrip(": .")
        elif isinstance(node, ast.ClassDef):
            found[node.name] = "class"
            found |= {f"{node.name}.{name}": text for name, text in stub_functions(node.body).items()}
    return found


def module_functions(scope: ModuleType | type) -> Iterator[tuple[str, str]]:
    """The same of the module, from the signatures that nanobind keeps."""
    for name, value in vars(scope).items():
        if isinstance(value, type):
            yield name, "class"
            yield from ((f"{name}.{inner}", text) for inner, text in module_functions(value))
        elif isinstance(value, property):
            yield name, "property"
        elif hasattr(value, "__nb_signature__"):
            signature = value.__nb_signature__[0][0]
            yield name, ast.unparse(ast.parse(f"{signature}: ...")).partition("\n")[0].rstrip(": .")


def test_stub_declares_what_the_module_has() -> None:
    assert stub_functions(ast.parse(STUB.read_text()).body) == dict(module_functions(_native))


@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=300))
def test_softmax_equals_its_formula(scores: list[float]) -> None:
    values = np.asarray([scores, scores[::-1]], np.float32)
    expected = np.exp(values.astype(np.float64) - values.max())
    expected /= expected.sum(axis=1, keepdims=True)
    _native.softmax(values)
    np.testing.assert_allclose(values, expected, rtol=2e-5, atol=1e-37)  # float32 keeps 160 to 2e-5


@given(st.lists(st.floats(-3, 3, width=16), max_size=50), st.integers(0, 60))
def test_top_k_equals_a_stable_sort(scores: list[float], k: int) -> None:
    values = np.asarray(scores, np.float32)
    order = np.argsort(-values, kind="stable")[:k]
    assert _native.top_k(values, k) == [(int(i), float(values[i])) for i in order]


def test_other_dtypes_are_not_converted_behind_the_callers_back() -> None:
    with pytest.raises(TypeError):
        _native.softmax(np.zeros((1, 3)))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _native.top_k(np.zeros((2, 3), np.float32), 1)


def test_golden_latencies_are_what_the_python_recorder_makes_of_them() -> None:
    for case in json.loads((Path(__file__).resolve().parents[1] / "golden" / "latency.json").read_text()):
        assert summarize(case["values_ms"]).to_json() == case["summary"]  # ctest holds the core to the same file
