"""Why an MQTT broker is not connected, in one clause that says how to mend it."""

from __future__ import annotations

import re
import socket
import ssl

from edgeproof_runtime.sinks.mqtt_address import MqttAddress

__all__ = ["closed_cause", "connect_cause", "refused_cause"]

# OpenSSL's numbers of X509_V_ERR_*.
_EXPIRED, _NOT_YET = 10, 9
_WRONG_HOST = (62, 64)
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF", "EOF occurred", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_REQUIRED = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
_ALERT = re.compile(r"\[SSL: (\w+)\]")


def connect_cause(error: BaseException | None, address: MqttAddress) -> str:
    """Return why a connection could not be opened.

    Args:
        error: what the attempt raised.
        address: the broker.
    """
    where = f"{address.host}:{address.port}"
    if isinstance(error, socket.gaierror):
        return f'no address found for "{address.host}" (DNS: {error.strerror}); check the host name'
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_cause(error, address)
    if isinstance(error, ssl.SSLError | ConnectionResetError) and address.tls:
        return _tls_cause(str(error), address)
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refused the connection; start the broker, or check its port"
    if isinstance(error, TimeoutError):
        what = "did not answer in time"
        return f"{where} {what}; check address and firewall{', and whether the port uses TLS' if address.tls else ''}"
    return f"{where} cannot be reached: {getattr(error, 'strerror', None) or error or 'no answer'}"


def refused_cause(reason: str, address: MqttAddress) -> str:
    """Return why a broker refused the session.

    Args:
        reason: the broker's reason, in paho's words.
        address: the broker.
    """
    if reason in ("Not authorized", "Bad user name or password"):
        what = "requires user and password" if address.user is None else "refused user or password"
        return f"the broker {what}: {reason}; expected mqtt://user:password@host/topic"
    return f"the broker refused the session: {reason}"


def closed_cause(told: str, address: MqttAddress, *, answered: bool, reason: str) -> str:
    """Return why a connection ended.

    Args:
        told: what the socket said last, or "".
        address: the broker.
        answered: whether the broker had accepted the session.
        reason: the reason of the client.
    """
    if answered:
        return f"the connection was lost: {reason}"
    if address.tls and told:
        return _tls_cause(told, address)
    hint = "" if address.tls else "a port with TLS requires mqtts://, and "
    where = f"{address.host}:{address.port}"
    return f"{where} closed the connection without an answer; {hint}a port of another service is no MQTT broker"


def _certificate_cause(error: ssl.SSLCertVerificationError, address: MqttAddress) -> str:
    said = error.verify_message
    if error.verify_code in _WRONG_HOST:
        return f"TLS: the broker's certificate is for another name ({said}); use a name that it holds"
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return f"TLS: {said}; renew the broker's certificate, or set this machine's clock"
    where = "the system's" if address.ca is None else address.ca
    return f"TLS: the broker's certificate is not signed by a known CA ({said}) of {where}; add ?ca=FILE"


def _tls_cause(told: str, address: MqttAddress) -> str:
    alert = _ALERT.search(told)
    name = alert[1].replace("_", " ").lower() if alert is not None else ""
    if any(part in told for part in _REQUIRED) and address.cert is None:
        return f"TLS: the broker requires a client certificate ({name}); add ?cert=FILE&key=FILE"
    if "ALERT" in told:
        what = "the client certificate" if address.cert is not None else "the connection"
        return f"TLS: the broker refused {what} ({name})"
    if any(part in told for part in _NO_TLS) or "reset" in told:
        return (
            f"{address.host}:{address.port} does not speak TLS; use mqtt://, or the broker's port with TLS (often 8883)"
        )
    return f"TLS: {told}"
