"""Who sends video over the network or a pipe: FFmpeg, and servers that answer what a test wants said."""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Talk", "pages", "sending", "talking"]

Talk = Callable[[socket.socket, threading.Event], None]
"""What a server does with a connection after it read the request; the event is set at the end of the block."""


@contextmanager
def sending(*arguments: str, out: Any = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ffmpeg`; kill it at the end."""
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    with subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL) as sender:
        try:
            yield sender
        finally:
            sender.kill()


@contextmanager
def talking(talk: Talk | bytes) -> Iterator[str]:
    """Yield the HTTP address of a server that does as it likes with every connection, or that says these bytes."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)
                if isinstance(talk, bytes):
                    connection.sendall(talk)
                else:
                    talk(connection, over)

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    threads.append(threading.Thread(target=answer, args=(listener.accept()[0],)))
                    threads[-1].start()

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/stream"
        finally:
            over.set()
            for thread in threads:
                thread.join()


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><html><body>Log in</body></html>"
        self.send_response(200 if self.path == "/page" else int(self.path[1:]))
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def pages() -> Iterator[int]:
    """Yield the port of a server that answers /STATUS with that status, and /page with an HTML page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
