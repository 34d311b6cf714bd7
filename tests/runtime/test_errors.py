"""How errors read."""

from __future__ import annotations

from edgeproof_runtime.errors import InputError, one_line


def test_one_line_keeps_apart_what_an_error_names() -> None:
    error = InputError("a.jpg: no image", got="13 bytes\nof  text", expected="JPEG", fix="mend it")
    assert one_line(error) == "a.jpg: no image; got: 13 bytes; of text; expected: JPEG; fix: mend it"
    assert one_line(ValueError("two\n  lines")) == "two lines"
