"""Publish events and latest values to an MQTT broker."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any
from urllib.parse import SplitResult

from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.live.events import BundleEvent, Event
from edgeproof_runtime.sinks.mqtt_address import MqttAddress
from edgeproof_runtime.sinks.mqtt_causes import closed_cause, connect_cause, refused_cause

__all__ = ["MqttSink"]

_KEEP_ALIVE_S = 15  # the broker sends the last will after 1.5 times this without a packet
_CONNECT_TIMEOUT_S = 3.0
_GOODBYE_TIMEOUT_S = 1.0
_LATE_S = 0.5  # until a connection that timed out is reported
_LOST_S = 0.05  # from the end of a connection until paho reports it


class MqttSink:
    """Publish each event as JSON to ``TOPIC/STREAM/event``, and keep ``TOPIC/status`` at ``online``, retained.

    Changes of the bundle go to ``TOPIC/bundle``.

    The status becomes ``offline`` on closing, and by the broker's last will when this process or its network fails.
    With ``qos`` 1 or 2 an event counts as written once the broker acknowledges it. While the broker is unreachable,
    events wait and are sent on reconnection; a queue in front of the sink must bound their number.

    Args:
        url: ``mqtt`` or ``mqtts`` address; see `MqttAddress`.

    Raises:
        UnavailableError: paho-mqtt is not installed.
        InputError: the address is invalid, or a certificate cannot be used.
    """

    def __init__(self, url: SplitResult) -> None:
        address = MqttAddress.parse(url)
        self.address: MqttAddress = address
        try:
            from paho.mqtt import client as paho
        except ImportError as error:
            raise UnavailableError(
                "MQTT sink: requires paho-mqtt", got="not installed", fix='pip install "edgeproof[mqtt]"'
            ) from error
        self._changed = threading.Condition()
        self._keeping = threading.Lock()
        self._connected = self._refused = False
        self._cancelled = False
        self._why_not: str | None = None
        self._told = ""
        self._acknowledged: set[int] = set()
        self._latest: dict[str, str | bytes] = {}
        self._no_connection = paho.MQTT_ERR_NO_CONN
        self._log_error = paho.MQTT_LOG_ERR
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            client.tls_set_context(address.context())
        client.will_set(f"{address.topic}/status", "offline", qos=1, retain=True)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_log = self._on_log
        self._client = client
        client.connect_async(address.host, address.port, _KEEP_ALIVE_S)
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._why_not, _CONNECT_TIMEOUT_S + _LATE_S)

    @property
    def problem(self) -> str | None:
        """Return why the broker is not connected, and how to mend it; None if connected."""
        with self._changed:
            return (
                None if self._connected else self._why_not or f"no answer from {self.address.host}:{self.address.port}"
            )

    def write(self, event: Event | BundleEvent) -> None:
        """Publish an event and wait until the broker has it.

        Raises:
            InputError: `cancel` was called before the broker had it.
        """
        payload = json.dumps(event.to_json(), ensure_ascii=False, allow_nan=False)
        self._publish(f"{self.address.topic}/{event.topic}", payload)

    def keep(self, topic: str, payload: str | bytes) -> None:
        """Set the retained value of a topic; never blocks, and safe from any thread.

        Only the latest value counts: values that a broker misses while it is away are not sent later.

        Args:
            topic: the whole topic.
            payload: text or bytes.
        """
        with self._keeping:
            if self._latest.get(topic) == payload:
                return
            self._latest[topic] = payload
            if self.problem is None:
                # QoS 0: a message that paho sends again after a reconnection could replace a newer one.
                self._client.publish(topic, payload, qos=0, retain=True)

    def cancel(self) -> None:
        """Cancel a waiting `write`; safe from any thread."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - published events cannot be withdrawn
        """Publish ``offline`` and disconnect. Safe to call twice."""
        if self.problem is None:
            # The broker does not send the last will after a regular disconnect.
            goodbye = self._client.publish(f"{self.address.topic}/status", "offline", qos=1, retain=True)
            with self._changed:
                self._changed.wait_for(lambda: goodbye.mid in self._acknowledged, _GOODBYE_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, payload: str) -> None:
        qos = self.address.qos
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._connected or self._cancelled)
                if self._cancelled:
                    raise InputError("MQTT broker: did not accept an event", got=self._why_not)
                self._acknowledged.clear()
            message = self._client.publish(topic, payload, qos=qos)
            if qos == 0 and message.rc == self._no_connection:
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
            client.publish(f"{self.address.topic}/status", "online", qos=1, retain=True)
        with self._keeping:
            with self._changed:
                self._connected, self._refused = not reason.is_failure, reason.is_failure
                self._why_not = refused_cause(str(reason), self.address) if reason.is_failure else None
                self._changed.notify_all()
            if not reason.is_failure:
                for topic, payload in self._latest.items():
                    client.publish(topic, payload, qos=0, retain=True)

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        with self._changed:
            self._why_not = connect_cause(sys.exc_info()[1], self.address)  # paho calls this where it handles the error
            self._changed.notify_all()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            if not self._refused:  # the broker has said why
                answered, self._connected = self._connected, False
                self._why_not = closed_cause(self._told, self.address, answered=answered, reason=str(reason))
            self._refused, self._told = False, ""
            self._changed.notify_all()

    def _on_log(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level == self._log_error:
            self._told = text

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        with self._changed:
            self._acknowledged.add(mid)
            self._changed.notify_all()
