"""Messages to systemd: the protocol of `sd_notify`, in which a service says how it is (sd_notify(3))."""

from __future__ import annotations

import os
import socket

__all__ = ["SystemdSocket"]


class SystemdSocket:
    """The socket of ``NOTIFY_SOCKET``; without that variable messages go nowhere.

    Attributes:
        watchdog_s: time within which systemd expects ``WATCHDOG=1``, seconds; None without a watchdog for this process.
    """

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # systemd writes an abstract address with @ for its first byte, 0.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s: float | None = _watchdog_s() if address else None

    @property
    def exists(self) -> bool:
        """Return whether a service manager listens."""
        return bool(self._address)

    def send(self, **values: str | int) -> None:
        """Send variables in one message, such as ``send(READY=1, STATUS="2 of 3 streams live")``.

        A manager that does not listen any more is ignored: its service must not end for that.
        """
        if not self._address:
            return
        lines = "\n".join(f"{name}={' '.join(str(value).split())}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(lines.encode(), self._address)
        except OSError:
            return


def _watchdog_s() -> float | None:
    micros, owner = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not micros.isascii() or not micros.isdecimal() or int(micros) == 0:
        return None
    return None if owner is not None and owner != str(os.getpid()) else int(micros) / 1e6
