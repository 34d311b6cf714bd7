"""A bad network on loopback: lost packets and outages by nftables, delay, reordering and changed bytes by relays.

Loss needs a separate network namespace (`own_network`) and root. Relays stand in for netem, which many kernels lack.
"""

from __future__ import annotations

import heapq
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

__all__ = ["Loss", "TcpRelay", "UdpRelay", "own_network"]

_INSIDE = "EDGEPROOF_OWN_NETWORK"
_SCALE = 1000


def own_network() -> None:
    """Start this program again in a separate network namespace, whose loopback is up; return if it is in one.

    Raises:
        SystemExit: without root, unshare, ip or nft.
    """
    if os.environ.get(_INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 - from PATH
        return
    missing = [tool for tool in ("unshare", "ip", "nft") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        raise SystemExit(f"--faults requires root, unshare, iproute2 and nftables (missing: {missing or 'root'})")
    words = ["unshare", "--net", sys.executable, *sys.argv]
    os.execvpe(words[0], words, {**os.environ, _INSIDE: "1"})  # noqa: S606 - no shell is wanted


class Loss:
    """Drop a share of the packets from and to some ports of the namespace, chosen at random by the kernel."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ", ".join(map(str, ports))
        self._run("add table inet faults")
        self._run("add chain inet faults input { type filter hook input priority 0 ; }")

    def set(self, share: float) -> None:
        """Drop this share from now on; 1 is an outage, in which connections are not told anything."""
        rules = ["flush chain inet faults input"]
        for protocol in ("tcp", "udp"):
            for side in ("sport", "dport"):
                chance = "" if share >= 1 else f"numgen random mod {_SCALE} < {round(share * _SCALE)}"
                rules.append(f"add rule inet faults input {protocol} {side} {{ {self._ports} }} {chance} drop")
        self._run("\n".join(rules))

    @staticmethod
    def _run(rules: str) -> None:
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)  # noqa: S607 - from PATH


class UdpRelay:
    """Pass datagrams on later, some of them later than others, and change bits of some.

    Args:
        target: port on loopback that they are passed to.
        delay_s: how long each one waits.
        late_s: how much longer the late ones wait, so that others overtake them.
        late: share of the late ones.
        corrupt: share in which a bit is changed.
    """

    def __init__(self, target: int, *, delay_s: float, late_s: float, late: float, corrupt: float) -> None:
        self._target, self._delay_s, self._corrupt = target, delay_s, corrupt
        self._late_s, self._late = late_s, late
        self._random = random.Random(target)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.005)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        number = 0
        while True:
            with suppress(TimeoutError):
                data = bytearray(self._socket.recv(65536))
                if self._random.random() < self._corrupt:
                    data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
                late_s = self._late_s if self._random.random() < self._late else 0.0
                due_s = time.monotonic() + self._delay_s + late_s
                heapq.heappush(waiting, (due_s, number, bytes(data)))
                number += 1
            while waiting and waiting[0][0] <= time.monotonic():
                self._socket.sendto(heapq.heappop(waiting)[2], ("127.0.0.1", self._target))


class TcpRelay:
    """Pass a server's connections on, what it sends ``delay_s`` later, plus up to ``jitter_s`` more or less."""

    def __init__(self, target: int, delay_s: float, jitter_s: float) -> None:
        self._target, self._delay_s, self._jitter_s = target, delay_s, jitter_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for left, right, delayed in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(left, right, delayed), daemon=True).start()

    def _pass_on(self, left: socket.socket, right: socket.socket, delayed: bool) -> None:
        with suppress(OSError):
            while data := left.recv(65536):
                if delayed:
                    time.sleep(max(0.0, self._delay_s + random.uniform(-1, 1) * self._jitter_s))
                right.sendall(data)
        for one in (left, right):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
