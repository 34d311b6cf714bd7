"""Every task's record in Python has one in C++ that says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeproof_runtime.tasks.registry import TASKS

FOLDER = Path(__file__).resolve().parents[3] / "runtime/cpp/app/tasks"
RECORD = re.compile(
    r'const Task \w+\{\s*"(?P<name>\w+)",\s*"(?P<summary>[^"]+)",\s*(?P<takes_frames>\w+),\s*(?P<settings>[\w"]+),'
    r"\s*(?P<section>[\w\"]+),\s*(?P<ranked>\w+),"
)


def _value(literal: str) -> object:
    return {"true": True, "false": False, "nullptr": None}.get(literal, literal.strip('"'))


@pytest.mark.parametrize("name", TASKS)
def test_the_cpp_record_says_the_same(name: str) -> None:
    task = TASKS[name]
    source = (FOLDER / f"{task.cpp}.cpp").read_text(encoding="utf-8")
    found = RECORD.search(source)
    assert found is not None, "the record's fields are in the order of tasks/record.h"
    assert {key: _value(literal) for key, literal in found.groupdict().items()} == {
        "name": task.name,
        "summary": task.summary,
        "takes_frames": task.takes_frames,
        "settings": task.shape.settings,
        "section": None if task.metric is None else task.metric.section,
        "ranked": task.ranked,
    }


def test_the_cpp_registry_lists_them_in_order() -> None:
    text = (FOLDER / "registry.cpp").read_text(encoding="utf-8")
    listed = re.search(r"all\{([\w, ]+)\}", text)
    assert listed is not None
    assert listed.group(1).split(", ") == [task.cpp for task in TASKS.values()]
