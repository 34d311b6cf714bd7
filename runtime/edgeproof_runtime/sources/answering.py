"""Does anybody answer at an address? Asked before FFmpeg is, because OpenCV opens one address at a time.

OpenCV holds a lock of the whole process while FFmpeg opens an address, so that a camera that is away would keep every
other one from coming back until its time limit is over (github.com/opencv/opencv/issues/17057).
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.system.redact import without_credentials

__all__ = ["check_answers"]

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "tcp": None}
_ASKED = {
    "rtsp": "OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: edgeproof\r\n\r\n",
    "http": "HEAD {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: edgeproof\r\nConnection: close\r\n\r\n",
}


def check_answers(url: str, timeout_s: float, fix: str) -> None:
    """Connect, and where the protocol is plain text wait for the first byte of an answer, whatever it says.

    Args:
        url: an address; only TCP's schemes are tried.
        timeout_s: for all of it.
        fix: how to mend it if nobody answers.

    Raises:
        SourceError: nobody takes the connection, or nothing is said in time.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    name = without_credentials(url)
    try:
        port = parts.port or _PORTS.get(scheme)
    except ValueError as error:
        raise SourceError(f"cannot open {name}", got=error, expected="a port from 1 to 65535") from error
    # FFmpeg may reach through a proxy what cannot be reached from here.
    proxied = scheme in ("http", "https") and f"{scheme}_proxy" in map(str.lower, os.environ)
    if scheme not in _PORTS or port is None or not parts.hostname or proxied:
        return
    try:
        with socket.create_connection((parts.hostname, port), timeout_s) as connection:
            if scheme in _ASKED:
                path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
                asked = _ASKED[scheme].format(url=name, path=path, host=parts.netloc.rpartition("@")[2])
                connection.sendall(asked.encode("ascii", "replace"))
                connection.recv(1)
    except TimeoutError as error:
        raise SourceError(f"cannot open {name}", got=f"no answer within {timeout_s:g} s", fix=fix) from error
    except OSError as error:
        raise SourceError(f"cannot open {name}", got=error.strerror or error, fix=fix) from error
