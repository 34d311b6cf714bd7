"""A service manager's end of `NOTIFY_SOCKET`, as systemd listens."""

from __future__ import annotations

import socket
import time

__all__ = ["Manager"]


class Manager:
    """Listens as systemd does."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.05)

    def heard(self, seconds: float) -> list[dict[str, str]]:
        """The messages of so many seconds."""
        found, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                message = self.socket.recv(4096).decode()
            except TimeoutError:
                continue
            found.append(dict(line.split("=", 1) for line in message.splitlines()))
        return found
