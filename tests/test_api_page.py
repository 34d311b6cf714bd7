"""docs/api.md lists every public name; each says what it is, with the shapes of its arrays."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/api_page.py"
ARRAYS = re.compile(r"NDArray|Tensor\b|FrameLike|YuvFrame")
SHAPES = re.compile(r"``(uint8 )?[NCH](xHxW|xWxC|xWx3|xW| x )|\bCx?HxW|HxWx|shape|one per class|one value per class")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public() -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the object and the class around it (or None) of everything public."""
    seen = set()
    for package in script().PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, str) or found in seen:
                continue
            seen.add(found)
            yield f"{package}.{name}", found, None
            if inspect.isclass(found) and not issubclass(found, Exception):
                for member, value in vars(found).items():
                    inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                    if inspect.isfunction(inner) and (member == "__call__" or not member.startswith("_")):
                        yield f"{package}.{name}.{member}", inner, found


NAMES = {name: (found, around) for name, found, around in public()}


def test_the_page_lists_the_public_names() -> None:
    api_page = script()
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "python scripts/api_page.py --write"


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_it_is(name: str) -> None:
    found, around = NAMES[name]
    text = inspect.getdoc(found) or ""
    assert len(text.split()) >= 3, f"{name}: no docstring"
    if dataclasses.is_dataclass(found):
        assert not text.startswith(f"{found.__name__}("), f"{name}: only the docstring that dataclass makes"  # type: ignore[union-attr]
    joined = re.search(r"^ +\w+(, \w+)+: ", text, re.MULTILINE)
    assert joined is None, f"{name}: {joined and joined.group().strip()}: the site shows only one name to a line"
    if inspect.isfunction(found) and "progress" in (inspect.signature(found).parameters):
        assert "progress" in text, f"{name}: progress is not described"
    if around is None and inspect.isfunction(found):
        missing = [one for one in inspect.signature(found).parameters if not re.search(rf"\b{one}\b", text)]
        assert not missing, f"{name}: parameters without a word: {missing}"


@pytest.mark.parametrize("name", [name for name, (found, _) in NAMES.items() if inspect.isfunction(found)])
def test_a_function_of_arrays_gives_their_shapes(name: str) -> None:
    found, _ = NAMES[name]
    if any(ARRAYS.search(str(kind)) for kind in inspect.get_annotations(found).values()):
        assert SHAPES.search(inspect.getdoc(found) or ""), (
            f"{name}: takes or returns arrays, and no shape in the docstring"
        )
