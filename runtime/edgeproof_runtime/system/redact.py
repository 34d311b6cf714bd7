"""Passwords stay out of messages, reports and logs."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from edgeproof_runtime.errors import InputError

__all__ = ["expand_environment", "redact", "without_credentials"]

# One slash too few is a frequent slip, and no reason to show a password.
_USERINFO = re.compile(r"(\w[\w+.-]*:/{1,3}[^\s:/@]*):[^\s/]*@")
_SECRET = re.compile(
    r"(?i)((?:user-pw|password|passwd|pwd|token|secret|api[-_]?key|signature)\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s&!,'\"]+)"
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def redact(text: str) -> str:
    """Any text with the passwords of URLs (``rtsp://user:***@camera``) and the values of ``password=``, ``token=``,
    ``user-pw=`` and the like replaced by ``***``."""
    return _SECRET.sub(r"\1***", _USERINFO.sub(r"\1:***@", text))


def without_credentials(url: str) -> str:
    """A URL fit to be a name: without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def expand_environment(text: str) -> str:
    """``${NAME}`` becomes the environment's value, so that a password need not stand in a file or a command line.

    Raises:
        InputError: the variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"the environment has no {name}", got=redact(text), fix=f"export {name}=...")
        return os.environ[name]

    return _VARIABLE.sub(value, text)
