"""Redaction as two regular expressions: the oracle of ``redact.cpp``."""

from __future__ import annotations

import re

_END = r" \t\r\n\f\v"  # ASCII whitespace ends a password; other whitespace may stand around "="
_USERINFO = re.compile(rf"(:/+[^{_END}:/@]*):[^{_END}/]*@")
_SECRET = re.compile(
    r"((?ai:user-pw|password|passwd|pwd|token|secret|api[-_]?key|signature)\s*=\s*+)"
    rf"(\"[^\"]*\"?|'[^']*'?|[^{_END}&!,'\"]+)"
)


def redact(text: str) -> str:
    """Passwords of URLs and the values of secrets replaced by ``***``."""
    return _SECRET.sub(r"\1***", _USERINFO.sub(r"\1:***@", text))
