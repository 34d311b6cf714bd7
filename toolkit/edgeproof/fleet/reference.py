"""Addresses of bundles in a registry: ``oci://host[:port]/name[:tag][@sha256:…]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self

__all__ = ["DIGEST", "Reference"]

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"  # of a name, by the OCI distribution specification 1.1
_FORM = re.compile(
    rf"oci://(?P<host>(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{{1,5}})?)/(?P<name>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A bundle in a registry.

    Attributes:
        host: host and port of the registry.
        name: name of the repository.
        tag: tag; None if only a digest was given.
        digest: digest of the manifest; None takes what the tag names.
    """

    host: str
    name: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an address; without tag and digest the tag is ``latest``.

        Raises:
            InputError: not an address, or with a password.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            secret = "@" in text.partition("://")[2].partition("/")[0]
            raise InputError(
                "reference: holds a user or password" if secret else "reference: not an address of a registry",
                got=None if secret else text,
                expected="oci://host[:port]/name[:tag][@sha256:...], the name in lower case",
                fix="docker login HOST keeps passwords" if secret else None,
            )
        tag, digest = found["tag"], found["digest"]
        return cls(found["host"], found["name"], tag or (None if digest else "latest"), digest)

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        return _LOOPBACK.fullmatch(self.host) is not None

    @property
    def version(self) -> str:
        """What identifies the manifest: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> Self:
        """Return the address of one digest."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return f"oci://{self.host}/{self.name}{tag}" + ("" if self.digest is None else f"@{self.digest}")
