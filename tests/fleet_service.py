"""Metrics as `edgeproof serve` gives them, of a service that a test makes ill."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Service"]


class Service:
    """A service on loopback that is healthy until the device's link names another bundle.

    Attributes:
        after: what each look adds to the counters once the device's link names another bundle.
        down: whether it answers no more from then on; restarts: whether it is another process from then on;
            refuses: whether it counts a refusal then.
    """

    def __init__(self, link: Path) -> None:
        self.after = {"decided": 10.0, "failed": 0.0, "unknown": 0.0, "age": 0.1}
        self.down = self.restarts = self.refuses = False
        self._link, self._first = link, link.readlink()
        self._counts = dict.fromkeys(("decided", "failed", "unknown", "age"), 0.0)
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = service.page()
                if content is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def page(self) -> str | None:
        switched = self._link.readlink() != self._first
        if switched and self.down:
            return None
        more = self.after if switched else {"decided": 10.0, "failed": 0.0, "unknown": 1.0, "age": 0.1}
        for name, value in more.items():
            self._counts[name] += value
        counts = self._counts
        refused = float(switched and self.refuses)
        version = "2" if switched else "1"
        return (
            f"process_start_time_seconds {1e9 + (switched and self.restarts)}\n"
            f'edgeproof_model_info{{model="m",engine="opencv",version="{version}"}} 1\n'
            f'edgeproof_bundle_changes_total{{outcome="refused",cause="golden"}} {refused}\n'
            f'edgeproof_frames_total{{stream="a",outcome="decided",cause=""}} {counts["decided"]}\n'
            f'edgeproof_frames_total{{stream="a",outcome="failed",cause=""}} {counts["failed"]}\n'
            f'edgeproof_frames_unknown_total{{stream="a"}} {counts["unknown"]}\n'
            f'edgeproof_frame_age_seconds_count{{stream="a"}} {counts["decided"]}\n'
            f'edgeproof_frame_age_seconds_sum{{stream="a"}} {counts["age"]}\n'
        )
