"""Open the event sinks of ``--sink``."""

from __future__ import annotations

from urllib.parse import urlsplit

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import BundleEvent, Event
from edgeproof_runtime.sinks.events_csv import EventsFile
from edgeproof_runtime.sinks.growing import Rotation
from edgeproof_runtime.sinks.mqtt import MqttSink
from edgeproof_runtime.sinks.queued import QueuedSink
from edgeproof_runtime.sinks.webhook import Webhook
from edgeproof_runtime.system.files import is_stream
from edgeproof_runtime.system.redact import expand_environment, redacted_host

__all__ = ["open_sink"]

_EXPECTED = "FILE.csv, mqtt://host/topic, mqtts://host/topic, http://host/path or https://host/path"


def open_sink(
    spec: str, rotation: Rotation | None = None, *, files: bool = False, bundles: bool = False
) -> QueuedSink[Event | BundleEvent]:
    """Open an event sink in its own thread.

    Args:
        spec: ``FILE.csv``, ``mqtt://[user:password@]host[:port]/topic[?qos=1]`` (``mqtts`` for TLS), or an ``http`` or
            ``https`` URL; ``${NAME}`` is read from the environment. ``-``, a device or a FIFO is written as CSV.
        rotation: when a file is set aside and a new one begun.
        files: whether events have clips or snapshots, which a CSV file names in further columns.
        bundles: whether the bundle may change, which a CSV file names in a further column.

    Raises:
        InputError: the sink is invalid, or the file cannot be written.
        UnavailableError: a required package is not installed.
    """
    spec = expand_environment(spec)
    try:
        url = urlsplit(spec)
        _ = url.port
    except ValueError as error:
        raise InputError("--sink: invalid", got=redacted_host(spec), expected=_EXPECTED) from error
    if url.scheme in ("mqtt", "mqtts"):
        return QueuedSink(MqttSink(url), redacted_host(spec))
    if url.scheme in ("http", "https") and url.hostname:
        return QueuedSink(Webhook(url), redacted_host(spec))
    if not url.scheme and (spec.lower().endswith(".csv") or is_stream(spec)):
        # Its rows are ended events: count starts too and the number would double.
        rows = EventsFile(spec, rotation, files=files, bundles=bundles)
        return QueuedSink(rows, spec, takes=lambda event: event.kind == "ended")
    raise InputError("--sink: invalid", got=redacted_host(spec) or "nothing", expected=_EXPECTED)
