"""Publish events to an MQTT broker."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote

from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.system.redact import redacted_host

__all__ = ["MqttSink"]

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_KEEP_ALIVE_S = 15  # the broker sends the last will after 1.5 times this without a packet
_CONNECT_TIMEOUT_S = 3.0
_GOODBYE_TIMEOUT_S = 1.0
_LOST_S = 0.05  # from the end of a connection until paho reports it
_EXPECTED = "mqtt://[user:password@]host[:port]/topic[?qos=0|1|2]"


class MqttSink:
    """Publish each event as JSON to ``TOPIC/STREAM/event``, and keep ``TOPIC/status`` at ``online``, retained.

    The status becomes ``offline`` on closing, and by the broker's last will when this process or its network fails.
    With ``qos`` 1 or 2 an event counts as written once the broker acknowledges it. While the broker is unreachable,
    events wait and are sent on reconnection; a queue in front of the sink must bound their number.

    Args:
        url: ``mqtt`` or ``mqtts`` (TLS, checked against the system's authorities).

    Raises:
        UnavailableError: paho-mqtt is not installed.
        InputError: the address is invalid.
    """

    def __init__(self, url: SplitResult) -> None:
        self._topic = unquote(url.path).strip("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        qos = query.pop("qos", "1")
        sound = url.hostname and self._topic and not set(self._topic) & set("+#\0") and not url.fragment
        if not sound or qos not in ("0", "1", "2") or query:
            got = redacted_host(url.geturl())
            raise InputError("--sink: invalid MQTT address", got=got, expected=_EXPECTED)
        try:
            from paho.mqtt import client as paho
        except ImportError as error:
            raise UnavailableError(
                "MQTT sink: requires paho-mqtt", got="not installed", fix='pip install "edgeproof[mqtt]"'
            ) from error
        self._qos = int(qos)
        self._changed = threading.Condition()
        self._connected = False
        self._cancelled = False
        self._why_not = "no answer"
        self._acknowledged: set[int] = set()
        self._no_connection = paho.MQTT_ERR_NO_CONN
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if url.username is not None:
            client.username_pw_set(unquote(url.username), unquote(url.password or ""))
        if url.scheme == "mqtts":
            client.tls_set()
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._client = client
        client.connect_async(url.hostname, url.port or _PORTS[url.scheme], _KEEP_ALIVE_S)
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected, _CONNECT_TIMEOUT_S)

    @property
    def problem(self) -> str | None:
        """Return why the broker is not connected; None if connected."""
        with self._changed:
            return None if self._connected else self._why_not

    def write(self, event: Event) -> None:
        """Publish an event and wait until the broker has it.

        Raises:
            InputError: `cancel` was called before the broker had it.
        """
        payload = json.dumps(event.to_json(), ensure_ascii=False, allow_nan=False)
        self._publish(f"{self._topic}/{event.stream}/event", payload)

    def cancel(self) -> None:
        """Cancel a waiting `write`; safe from any thread."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - published events cannot be withdrawn
        """Publish ``offline`` and disconnect. Safe to call twice."""
        if self.problem is None:
            # The broker does not send the last will after a regular disconnect.
            goodbye = self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
            with self._changed:
                self._changed.wait_for(lambda: goodbye.mid in self._acknowledged, _GOODBYE_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, payload: str) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._connected or self._cancelled)
                if self._cancelled:
                    raise InputError("MQTT broker: did not accept an event", got=self._why_not)
                self._acknowledged.clear()
            message = self._client.publish(topic, payload, qos=self._qos)
            if self._qos == 0 and message.rc == self._no_connection:
                # The connection was just lost, and a message with QoS 0 is not kept.
                with self._changed:
                    self._changed.wait_for(lambda: self._cancelled or not self._connected, _LOST_S)
                continue
            self._await_acknowledgement(message.mid)
            return

    def _await_acknowledgement(self, mid: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: mid in self._acknowledged or self._cancelled)
            if mid not in self._acknowledged:
                raise InputError("MQTT broker: did not acknowledge an event", got=self._why_not)

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
        with self._changed:
            self._connected, self._why_not = not reason.is_failure, f"the broker answered: {reason}"
            self._changed.notify_all()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        with self._changed:
            self._why_not = "the broker is unreachable"

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            if self._connected:
                self._connected, self._why_not = False, f"the connection was lost: {reason}"

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        with self._changed:
            self._acknowledged.add(mid)
            self._changed.notify_all()
