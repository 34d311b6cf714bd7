"""The JSON dialect of documents from outside: golden documents, which the C++ suite reads too, and properties."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.documents import MAX_BYTES, parse_document, read_document

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "documents.json").read_text("utf-8")
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


def content_of(case: dict[str, Any]) -> bytes:
    return b"".join(bytes.fromhex(part) * times for part, times in case["parts"])


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["what"])
def test_golden_documents(case: dict[str, Any]) -> None:
    if case["accepted"]:
        assert parse_document(content_of(case), "x.json") == json.loads(content_of(case))
    else:
        with pytest.raises(InputError, match=r"^x\.json: invalid JSON\n  got: "):
            parse_document(content_of(case), "x.json")


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_what_json_writes_is_read(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert parse_document(text.encode(), "x") == value


@given(st.binary(max_size=40) | st.text('{}[],:"\\u0123ab \n-.e', max_size=40).map(str.encode))
def test_what_is_accepted_is_json_without_duplicates(content: bytes) -> None:
    try:
        found = parse_document(content, "x")
    except InputError:
        return
    assert found == json.loads(content, object_pairs_hook=unique)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize(
    "content",
    [
        b"[" + b"[],".join([b""] * (MAX_BYTES // 3)) + b"[]]",
        b"{" + b",".join(b'"%d":0' % i for i in range(MAX_BYTES // 14)) + b"}",
        b'"' + b"\\n" * (MAX_BYTES // 2 - 1) + b'"',
    ],
    ids=["arrays", "names", "escapes"],
)
def test_the_largest_documents_take_seconds_at_most(content: bytes) -> None:
    assert len(content) <= MAX_BYTES
    before = time.process_time()
    parse_document(content, "x")
    assert time.process_time() - before < 10  # about half a second each; a quadratic check takes hours


def test_a_file_that_is_not_one_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(BundleError, match="cannot be read"):
            read_document(path, error=BundleError)
    (tmp_path / "large.json").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="at most"):
        read_document(tmp_path / "large.json")
    (tmp_path / "fine.json").write_text('{"a": 1}')
    assert read_document(tmp_path / "fine.json") == {"a": 1}
