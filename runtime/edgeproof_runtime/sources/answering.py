"""Probe an address before FFmpeg opens it, because OpenCV opens one address at a time.

OpenCV holds a process-wide lock while FFmpeg opens an address: an absent camera would block the reconnection of all
others until its time limit (github.com/opencv/opencv/issues/17057).
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.causes import invalid_host
from edgeproof_runtime.system.redact import without_credentials

__all__ = ["check_answers"]

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "tcp": None}
_ASKED = {
    "rtsp": "OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: edgeproof\r\n\r\n",
    "http": "HEAD {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: edgeproof\r\nConnection: close\r\n\r\n",
}


def check_answers(url: str, timeout_s: float, fix: str) -> None:
    """Connect and, for plain-text protocols, wait for the first byte of any response.

    Args:
        url: address; only TCP schemes are probed.
        timeout_s: time limit, seconds.
        fix: fix for the error message.

    Raises:
        SourceError: the connection is refused, or no response arrives in time.
    """
    name = without_credentials(url)
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        port = parts.port or _PORTS.get(scheme)
    except ValueError:  # whose text may hold a part of the password
        raise invalid_host(name) from None
    # FFmpeg may use a proxy for addresses that are unreachable directly.
    proxied = scheme in ("http", "https") and f"{scheme}_proxy" in map(str.lower, os.environ)
    if scheme not in _PORTS or port is None or not parts.hostname or proxied:
        return
    try:
        with socket.create_connection((parts.hostname, port), timeout_s) as connection:
            if scheme in _ASKED:
                path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
                host = parts.netloc.rpartition("@")[2]
                plain = f"{parts.scheme}://{host}{parts.path}"
                asked = _ASKED[scheme].format(url=plain, path=path, host=host)
                connection.sendall(asked.encode("ascii", "replace"))
                connection.recv(1)
    except TimeoutError as error:
        raise SourceError(f"{name}: cannot open", got=f"no response within {timeout_s:g} s", fix=fix) from error
    except OSError as error:
        raise SourceError(f"{name}: cannot open", got=error.strerror or error, fix=fix) from error
