"""Credentials of registries: from the environment, or where ``docker login`` keeps them."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document

__all__ = ["VARIABLES", "Credentials", "credentials_for"]

VARIABLES = ("EDGEPROOF_REGISTRY_USER", "EDGEPROOF_REGISTRY_PASSWORD", "EDGEPROOF_REGISTRY_TOKEN")
"""Environment variables: user and password, or a bearer token. They are sent to the registry of the command."""

_HELPER_S = 10.0
_HELPER_TOKEN = "<token>"  # noqa: S105 - the user name by which a helper says that its secret is a token


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password, or a token; all empty for an anonymous client. `repr` shows none of them.

    Attributes:
        user: user.
        password: password of the user.
        token: bearer token that the registry takes.
        identity: identity token, which the registry's authorisation server exchanges for bearer tokens.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)

    @property
    def basic(self) -> str | None:
        """Value of the header ``Authorization`` for user and password; None without them."""
        if not self.user:
            return None
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def credentials_for(host: str) -> Credentials:
    """Return the credentials of a registry: of `VARIABLES`, else of docker's ``config.json``, else none.

    Raises:
        InputError: docker's file cannot be read, or its helper fails.
    """
    user, password, token = (os.environ.get(name, "") for name in VARIABLES)
    if user or token:
        return Credentials(user, password, token)
    folder = os.environ.get("DOCKER_CONFIG") or str(Path("~/.docker").expanduser())
    path = Path(folder) / "config.json"
    if not path.is_file():
        return Credentials()
    raw = read_document(path)
    helpers = _object(_object(raw).get("credHelpers"))
    helper = helpers.get(host) or _object(raw).get("credsStore")
    if isinstance(helper, str) and helper:
        found = _of_helper(helper, host)
        if found is not None:
            return found
    auths = _object(_object(raw).get("auths"))
    for name in (host, f"https://{host}", f"http://{host}", f"https://{host}/v2/", f"https://{host}/v1/"):
        if name in auths:
            return _of_entry(_object(auths[name]), path, host)
    return Credentials()


def _of_entry(entry: dict[str, Any], path: Path, host: str) -> Credentials:
    identity, token = entry.get("identitytoken") or "", entry.get("registrytoken") or ""
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            # Without its cause: what was found is a secret.
            raise InputError(f"{path}: auths.{host}.auth: not Base64 of user:password", fix="docker login") from None
    return Credentials(str(user), str(password), str(token), str(identity))


def _of_helper(helper: str, host: str) -> Credentials | None:
    program = f"docker-credential-{helper}"
    if os.sep in helper:
        raise InputError("docker's config.json: credential helper with a path", got=helper, expected="a name")
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=_HELPER_S, check=False
        )
        if done.returncode != 0:  # it has none for this host, which it says on standard output
            return None
        found = json.loads(done.stdout)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        kind = type(error).__name__
        raise InputError(f"{program}: gives no credentials", got=kind, fix=f"docker login {host}") from None
    return Credentials(identity=secret) if user == _HELPER_TOKEN else Credentials(user, secret)


def _object(raw: Any) -> dict[str, Any]:
    return raw if isinstance(raw, dict) else {}
