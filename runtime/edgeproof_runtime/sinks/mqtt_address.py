"""Addresses of MQTT brokers."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.redact import redacted_host

__all__ = ["MqttAddress"]

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_EXPECTED = "mqtt://[user:password@]host[:port]/topic[?qos=0|1|2]; mqtts:// also takes ca=FILE, cert=FILE and key=FILE"
_OPTIONS = {"mqtt": {"qos"}, "mqtts": {"qos", "ca", "cert", "key"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttAddress:
    """Broker, topic and options of ``mqtt://[user:password@]host[:port]/topic[?qos=1]``.

    Attributes:
        host, port: where the broker listens.
        topic: prefix of every topic, without slashes at its ends.
        user, password: credentials; None without.
        qos: quality of service of events: 0, 1 or 2.
        tls: whether the connection is encrypted (``mqtts``).
        ca: file of certificate authorities in PEM format; None means the system's.
        cert, key: client certificate and its key in PEM format; without ``key``, ``cert`` holds both.
    """

    host: str
    port: int
    topic: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    qos: int = 1
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(cls, url: SplitResult) -> Self:
        """Parse a split address.

        Raises:
            InputError: the address is invalid.
        """
        topic = unquote(url.path).strip("/")
        pairs = parse_qsl(url.query, keep_blank_values=True)
        options = dict(pairs)
        qos = options.get("qos", "1")
        sound = url.hostname and topic and not set(topic) & set("+#\0") and not url.fragment
        known = len(options) == len(pairs) and set(options) <= _OPTIONS[url.scheme] and all(options.values())
        if not sound or not known or qos not in ("0", "1", "2") or ("key" in options and "cert" not in options):
            raise InputError("--sink: invalid MQTT address", got=redacted_host(url.geturl()), expected=_EXPECTED)
        host = str(url.hostname)
        try:
            host.encode("idna")
        except UnicodeError as error:
            raise InputError("--sink: invalid host name of an MQTT broker", got=host, expected=_EXPECTED) from error
        return cls(
            host=host,
            port=url.port or _PORTS[url.scheme],
            topic=topic,
            user=None if url.username is None else unquote(url.username),
            password=None if url.username is None else unquote(url.password or ""),
            qos=int(qos),
            tls=url.scheme == "mqtts",
            **{name: Path(options[name]) for name in ("ca", "cert", "key") if name in options},
        )

    def context(self) -> ssl.SSLContext:
        """Return the TLS context with the address's certificates.

        Raises:
            InputError: a certificate or key cannot be read, or they do not fit.
        """
        context = ssl.create_default_context()
        if self.ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of the named authorities only
            _load("ca", self.ca, lambda: context.load_verify_locations(self.ca))
        if self.cert is not None:
            cert = self.cert
            if self.key is not None:
                _check_file("key", self.key)
            # An encrypted key would ask on the terminal.
            _load("cert", cert, lambda: context.load_cert_chain(cert, self.key, password=_no_password))
        return context


def _load(option: str, path: Path, load: Callable[[], object]) -> None:
    _check_file(option, path)
    try:
        load()
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise InputError(
            f"{path}: {option} of an MQTT address cannot be used",
            got=reason.replace("_", " ").lower(),
            expected="PEM; cert and key belong together, and the key has no password",
        ) from error


def _check_file(option: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {option} of an MQTT address cannot be read", got=got) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")
