"""Metrics of the agent in Prometheus' text format: a file for node_exporter's textfile collector, or a page."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeproof.fleet.agent import Agent, Decision
from edgeproof_runtime.errors import InputError

__all__ = ["metrics_text", "serve_metrics"]

_OUTCOMES = ("switched", "rejected", "rolled back", "recovered", "postponed", "waiting", "unchanged")
_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(agent: Agent, decision: Decision) -> str:
    """Return the metrics after a decision."""
    state = agent.store.state
    lines: list[str] = []

    def add(name: str, kind: str, about: str, values: Mapping[str, float]) -> None:
        lines.extend((f"# HELP {name} {about}", f"# TYPE {name} {kind}"))
        lines.extend(f"{name}{labels} {value:.17g}" for labels, value in values.items())

    info = _labels(digest=decision.current or "", reference=agent.settings.reference, device=agent.device)
    add("edgeproof_agent_bundle_info", "gauge", "The current bundle; always 1.", {info: 1})
    add("edgeproof_agent_last_look_timestamp_seconds", "gauge", "Time of the last look.", {"": time.time()})
    counts = {_labels(outcome=name): float(state.counts.get(name, 0)) for name in _OUTCOMES}
    add("edgeproof_agent_decisions_total", "counter", "Decisions by outcome; repeated ones count once.", counts)
    last = {_labels(outcome=name): float(name == decision.outcome) for name in _OUTCOMES}
    add("edgeproof_agent_last_decision", "gauge", "1 for the outcome of the last look.", last)
    add("edgeproof_agent_rejected_digests", "gauge", "Digests that are remembered.", {"": len(state.rejected)})
    return "\n".join(lines) + "\n"


class _Page:
    """An HTTP server in a thread of its own, with the newest metrics.

    Attributes:
        text: what it answers.
    """

    def __init__(self, port: int) -> None:
        self.text = ""
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = page.text.encode()
                self.send_response(200 if self.path == "/metrics" else 404)
                self.send_header("Content-Type", _MEDIA_TYPE)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise InputError(f"--metrics-port {port}: cannot be opened", got=error.strerror) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def serve_metrics(port: int) -> _Page:
    """Serve metrics on ``http://127.0.0.1:PORT/metrics``.

    Raises:
        InputError: the port cannot be opened.
    """
    return _Page(port)


def _labels(**labels: str) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"
