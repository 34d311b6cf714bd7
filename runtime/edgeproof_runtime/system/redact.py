"""Redact passwords in messages, reports and logs."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from edgeproof_runtime import _native
from edgeproof_runtime.errors import InputError

__all__ = ["expand_environment", "redact", "without_credentials"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def redact(text: str) -> str:
    """Replace secrets in any text by ``***``.

    Secrets are passwords of URLs (``rtsp://user:***@camera``) and the values of ``password=``, ``token=``, ``user-pw=``
    and similar keys.
    """
    return _native.redact(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def without_credentials(url: str) -> str:
    """Remove user, password and query from a URL, so that it can serve as a name."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def expand_environment(text: str) -> str:
    """Replace ``${NAME}`` by the value of the environment variable, so that files and command lines hold no password.

    Raises:
        InputError: the variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"environment variable {name}: not set", got=redact(text), fix=f"export {name}=...")
        return os.environ[name]

    return _VARIABLE.sub(value, text)
