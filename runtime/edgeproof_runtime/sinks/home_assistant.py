"""Discovery payloads of Home Assistant: one device per stream, announced over MQTT.

The form is that of device discovery, which Home Assistant takes since 2024.12:
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, get_args

from edgeproof_runtime.live.stream import StreamState

__all__ = ["Device", "safe_id"]

_PREFIX = "homeassistant"  # Home Assistant's default discovery prefix
_NAME = "edgeproof"
_MAX_ID = 48
_PROBLEM = "{{ 'OFF' if value_json.state in ('live', 'ended') and not value_json.health else 'ON' }}"


@dataclass(frozen=True, slots=True)
class Device:
    """A stream as a device of Home Assistant.

    Attributes:
        topic: prefix of every topic of the sink.
        stream: name of the stream.
        model: name of the bundle.
    """

    topic: str
    stream: str
    model: str

    @property
    def identity(self) -> str:
        """Return the identifier of the device, unique among topics and streams."""
        return f"{_NAME}_{safe_id(f'{self.topic}/{self.stream}')}"

    @property
    def discovery_topic(self) -> str:
        """Return the topic of the discovery payload."""
        return f"{_PREFIX}/device/{self.identity}/config"

    def discovery(self, classes: Mapping[str, str]) -> dict[str, Any]:
        """Return the discovery payload.

        Args:
            classes: label of each class with a binary sensor, by its key in topics.
        """
        base = f"{self.topic}/{self.stream}"
        process = {"topic": f"{self.topic}/status"}
        version = metadata.version(_NAME)
        components: dict[str, dict[str, Any]] = {
            "state": {
                "platform": "sensor",
                "name": "State",
                "device_class": "enum",
                "options": list(get_args(StreamState)),
                "entity_category": "diagnostic",
                "state_topic": f"{base}/state",
                "value_template": "{{ value_json.state }}",
                "json_attributes_topic": f"{base}/state",
                # The state must be seen while the stream is away.
                "availability": [process],
            },
            "problem": {
                "platform": "binary_sensor",
                "name": "Problem",
                "device_class": "problem",
                "entity_category": "diagnostic",
                "state_topic": f"{base}/state",
                "value_template": _PROBLEM,
                "availability": [process],
            },
            "prediction": {
                "platform": "sensor",
                "name": "Prediction",
                "state_topic": f"{base}/prediction",
                "value_template": "{{ value_json.label[:255] }}",
                "json_attributes_topic": f"{base}/prediction",
            },
            "snapshot": {"platform": "camera", "name": "Snapshot", "topic": f"{base}/snapshot"},
        }
        for key, label in classes.items():
            components[f"class_{key}"] = {
                "platform": "binary_sensor",
                "name": label,
                "state_topic": f"{base}/class/{key}",
                "payload_on": "ON",
                "payload_off": "OFF",
            }
        for key, component in components.items():
            component["unique_id"] = f"{self.identity}_{key}"
        return {
            "device": {
                "identifiers": [self.identity],
                "name": self.stream,
                "manufacturer": _NAME,
                "model": self.model,
                "sw_version": version,
            },
            "origin": {"name": _NAME, "sw_version": version},
            "availability": [process, {"topic": f"{base}/status"}],
            "availability_mode": "all",
            "components": components,
        }


def safe_id(text: str) -> str:
    """Return a text as an identifier of letters, digits and ``_``; texts that differ get different ones."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:_MAX_ID]
    if plain == text:
        return plain
    return f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:6]}".lstrip("_")
