"""Redact secrets in messages, reports, names and logs."""

from __future__ import annotations

import os
import re

from edgeproof_runtime import _native
from edgeproof_runtime.errors import InputError

__all__ = ["expand_environment", "redact", "redact_address", "redacted_host", "without_credentials"]

_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/?#]*")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def redact(text: str) -> str:
    """Replace secrets in any text by ``***``.

    Secrets of the addresses in it are user and password (all up to the last ``@`` before ``?``), every value of the
    query, and what may be one in the path; besides, the values of ``password=``, ``token=``, ``user-pw=`` and similar
    keys. An address in quotes ends at the closing one, others at whitespace.
    """
    return _native.redact(text)


def redact_address(address: str) -> str:
    """Replace secrets in a text that is one address, such as the value of an option; it may lack its scheme."""
    return _native.redact_address(address)


def redacted_host(address: str) -> str:
    """Return scheme, host and port of an address, for those whose path is a secret as well, such as a webhook."""
    shown = without_credentials(address)
    found = _HOST.match(shown)
    return shown if found is None else found[0]


def without_credentials(address: str) -> str:
    """Return an address as a name: as `redact_address`, with user, password, query and fragment left out."""
    return _native.without_credentials(address)


def expand_environment(text: str) -> str:
    """Replace ``${NAME}`` by the value of the environment variable, so that files and command lines hold no password.

    Raises:
        InputError: the variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(
                f"environment variable {name}: not set", got=redact_address(text), fix=f"export {name}=..."
            )
        return os.environ[name]

    return _VARIABLE.sub(value, text)
