"""What a person types after ``--sink`` becomes a sink of events."""

from __future__ import annotations

from urllib.parse import urlsplit

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.sinks.events_csv import EventsFile
from edgeproof_runtime.sinks.mqtt import MqttSink
from edgeproof_runtime.sinks.queued import QueuedSink
from edgeproof_runtime.sinks.webhook import Webhook
from edgeproof_runtime.system.redact import expand_environment, redact, without_credentials

__all__ = ["open_sink"]

_EXPECTED = "FILE.csv, mqtt://host/topic, mqtts://host/topic, http://host/path or https://host/path"


def open_sink(spec: str) -> QueuedSink[Event]:
    """Open a sink of events, in a thread of its own.

    Args:
        spec: ``FILE.csv``, ``mqtt://[user:password@]host[:port]/topic[?qos=1]`` (``mqtts`` for TLS), or an ``http`` or
            ``https`` URL; ``${NAME}`` is taken from the environment.

    Raises:
        InputError: it is none of these, or the file cannot be written.
        UnavailableError: the package that it needs is not installed.
    """
    spec = expand_environment(spec)
    try:
        url = urlsplit(spec)
        _ = url.port
    except ValueError as error:
        raise InputError("no such sink", got=redact(spec), expected=_EXPECTED) from error
    if url.scheme in ("mqtt", "mqtts"):
        return QueuedSink(MqttSink(url), without_credentials(spec))
    if url.scheme in ("http", "https") and url.hostname:
        return QueuedSink(Webhook(url), without_credentials(spec))
    if not url.scheme and spec.lower().endswith(".csv"):
        # Its rows are events that are over; counted with their beginnings they would look twice as many.
        return QueuedSink(EventsFile(spec), spec, takes=lambda event: event.kind == "ended")
    raise InputError("no such sink", got=redact(spec) or "nothing", expected=_EXPECTED)
