"""Passwords stay out of messages, reports and logs."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from edgeproof_runtime import _native
from edgeproof_runtime.errors import InputError

__all__ = ["expand_environment", "redact", "without_credentials"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def redact(text: str) -> str:
    """Replace the passwords of URLs (``rtsp://user:***@camera``) and the values of ``password=``, ``token=``,
    ``user-pw=`` and the like by ``***``, in any text."""
    return _native.redact(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


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
