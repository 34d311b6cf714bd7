"""Streams as devices of Home Assistant, read back from a broker and compared with its documented schema."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from brokers import Broker, listening
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.live.outcomes import Counts, Decided
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.sinks import MqttSink, MqttStreams, open_sink
from edgeproof_runtime.sinks.home_assistant import Device, safe_id
from edgeproof_runtime.sources.base import Frame
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.decision import Decision
from waiting import until

SCHEMA = json.loads((Path(__file__).parent / "discovery_schema.json").read_text())
LABELS = ("cat", "n/a", "C++", "Müsli", "müsli", "犬", "x" * 256)
SNAPSHOT = StreamSnapshot(
    name="door", state="live", reason=None, since_unix_s=1.0, policy=None, live=True, width=64, height=48, fps=30.0,
    frame_count=None, counts=Counts(), reconnections=0, last_frame_unix_s=None, history=(),
)  # fmt: skip
STARTED = Event(
    kind="started", stream="door", label="cat", quantity="probability", peak=0.9, start_unix_s=1.0, start_index=0,
    frames=5,
)  # fmt: skip


def decided(labels: tuple[str, ...] = LABELS, probability: float = 0.9) -> Decided[Decision]:
    probabilities = np.full(len(labels), (1 - probability) / max(1, len(labels) - 1), np.float32)
    probabilities[0] = probability
    frame = Frame(np.full((48, 64, 3), 128, np.uint8), 0, "frame 0", 0, 0.0, 0.0)
    return Decided(frame, Prediction(probabilities, labels), 1, 1, 1, 1, 1, "door")


def check(payload: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(payload)


@pytest.fixture
def sink(broker: Broker) -> Iterator[MqttSink]:
    queued = open_sink(f"mqtt://127.0.0.1:{broker.port}/site/hall")
    assert isinstance(queued.sink, MqttSink)
    yield queued.sink
    queued.close()


def held(broker: Broker, topics: str, count: int) -> dict[str, str]:
    """What the broker holds for a client that comes later."""
    with listening(broker, topics) as got:
        until(lambda: len(got) >= count)
    return dict(got)


def test_a_stream_is_announced_as_a_device(broker: Broker, sink: MqttSink) -> None:
    streams = MqttStreams(sink, "shapes", home_assistant=True)
    streams.decided(decided())
    streams.update([replace(SNAPSHOT, health="frozen")])
    ((topic, text),) = held(broker, "homeassistant/#", 1).items()
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
    payload = json.loads(text.encode("latin-1"))
    check(payload)
    assert payload["device"]["name"] == "door"
    assert payload["device"]["model"] == "shapes"
    assert [one["topic"] for one in payload["availability"]] == ["site/hall/status", "site/hall/door/status"]
    assert payload["availability_mode"] == "all"
    components = payload["components"]
    assert len({component["unique_id"] for component in components.values()}) == len(components)
    assert components["state"]["availability"] == [{"topic": "site/hall/status"}]
    sensors = [one for key, one in components.items() if key.startswith("class_")]
    assert components["problem"]["state_topic"] == components["state"]["state_topic"]
    assert [one["name"] for one in sensors] == list(LABELS)
    topics = [one["state_topic"] for one in sensors]
    assert len({topic.lower() for topic in topics}) == len(LABELS)
    values = held(broker, "site/#", 5 + len(LABELS))
    assert {topic: values[topic] for topic in topics} == dict.fromkeys(topics, "OFF")
    assert values["site/hall/door/status"] == "online"
    state = json.loads(values[components["state"]["state_topic"]])
    assert (state["schema"], state["state"], state["health"]) == ("edgeproof.stream/1", "live", "frozen")
    assert state["state"] in components["state"]["options"]
    prediction = json.loads(values[components["prediction"]["state_topic"]])
    assert (prediction["label"], round(prediction["probability"], 3)) == ("cat", 0.9)
    picture = np.frombuffer(values[components["snapshot"]["topic"]].encode("latin-1"), np.uint8)
    assert cv2.imdecode(picture, cv2.IMREAD_COLOR).shape == (48, 64, 3)


def test_a_class_is_on_while_its_event_lasts(broker: Broker, sink: MqttSink) -> None:
    streams = MqttStreams(sink, "shapes", home_assistant=True)
    streams.decided(decided())
    streams.update([SNAPSHOT])
    with listening(broker, "site/hall/door/class/cat") as got:
        streams.event(STARTED)
        until(lambda: got[-1:] == [("site/hall/door/class/cat", "ON")])
        streams.event(replace(STARTED, kind="ended", end_unix_s=2.0, end_index=9))
        until(lambda: got[-1:] == [("site/hall/door/class/cat", "OFF")])


def test_a_removed_stream_is_offline_and_announced_no_more(broker: Broker, sink: MqttSink) -> None:
    streams = MqttStreams(sink, "shapes", home_assistant=True)
    streams.update([SNAPSHOT])
    topic = Device("site/hall", "door", "shapes").discovery_topic
    ended = replace(SNAPSHOT, state="ended", reason="changed in the file of streams")
    with listening(broker, "#") as got:
        until(lambda: ("site/hall/door/status", "online") in got)
        streams.replace([ended], ["door"])
        until(lambda: ("site/hall/door/status", "offline") in got)
        assert (topic, "") not in got, "Home Assistant would forget the device and make it anew"
        streams.update([SNAPSHOT])
        until(lambda: got[-1:] == [("site/hall/door/status", "online")])
        streams.replace([replace(ended, reason="removed from the file of streams")], [])
        until(lambda: (topic, "") in got)
        state = json.loads([text for where, text in got if where == "site/hall/door/state"][-1])
        assert (state["state"], state["reason"]) == ("ended", "removed from the file of streams")
        streams.update([SNAPSHOT])  # by a thread that looked before
        streams.close([])
        time.sleep(0.2)
        assert [text for where, text in got if where == "site/hall/door/status"][-1] == "offline"


def test_of_a_thousand_classes_those_that_were_seen_are_announced(broker: Broker, sink: MqttSink) -> None:
    labels = tuple(f"class {number}" for number in range(1000))
    streams = MqttStreams(sink, "imagenet", home_assistant=True)
    streams.decided(decided(labels))
    streams.update([SNAPSHOT])

    def names() -> list[str]:
        ((_, text),) = held(broker, "homeassistant/#", 1).items()
        payload = json.loads(text)
        check(payload)
        return [one["name"] for key, one in payload["components"].items() if key.startswith("class_")]

    assert names() == []
    streams.event(replace(STARTED, label="class 7"))
    until(lambda: names() == ["class 7"])


def test_a_stream_that_is_away_is_unavailable_and_says_why(broker: Broker, sink: MqttSink) -> None:
    streams = MqttStreams(sink, "shapes", home_assistant=False)
    streams.update([replace(SNAPSHOT, state="reconnecting", reason="the cable is out")])
    values = held(broker, "#", 3)
    assert set(values) == {"site/hall/status", "site/hall/door/status", "site/hall/door/state"}
    assert values["site/hall/door/status"] == "offline"
    assert json.loads(values["site/hall/door/state"])["reason"] == "the cable is out"
    streams.update([SNAPSHOT])
    streams.close([replace(SNAPSHOT, state="ended")])
    with listening(broker, "site/hall/door/+") as got:
        until(lambda: len(got) >= 2)
    assert dict(got)["site/hall/door/status"] == "offline"
    assert json.loads(dict(got)["site/hall/door/state"])["state"] == "ended"


def test_a_broken_model_breaks_no_json(broker: Broker, sink: MqttSink) -> None:
    streams = MqttStreams(sink, "shapes", home_assistant=True)
    streams.decided(decided(LABELS, float("nan")))
    streams.update([SNAPSHOT])
    ((_, text),) = held(broker, "site/hall/door/prediction", 1).items()
    assert json.loads(text)["probability"] is None


def test_identifiers_differ_where_topics_and_streams_do() -> None:
    pairs = [("a/b", "c"), ("a", "b-c"), ("a_b", "c"), ("a", "b_c"), ("A/b", "c"), ("a.b", "c")]
    found = [Device(topic, stream, "m").identity for topic, stream in pairs]
    assert len(set(found)) == len(found), found
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", one) for one in found)
    assert safe_id("cat") == "cat"
    assert safe_id("犬") != safe_id("猫")


def test_a_health_that_flickers_does_not_flood_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, kept = [100.0], []
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt_streams.time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def keep(topic: str, payload: str | bytes) -> None:
        if topic == "site/door/state" and payload not in kept[-1:]:
            kept.append(payload)

    sink = SimpleNamespace(address=SimpleNamespace(topic="site"), keep=keep)
    streams = MqttStreams(cast(MqttSink, sink), "shapes", home_assistant=False)
    for turn in range(120):  # a minute
        health, reason = ("damaged", "damaged frames") if turn % 3 == 0 else (None, "healthy frames again")
        streams.update([replace(SNAPSHOT, health=health, reason=reason)])
        now_s[0] += 0.5
    assert 3 <= len(kept) <= 13
    streams.update([replace(SNAPSHOT, state="reconnecting", reason="no data for 5 s")])
    assert json.loads(kept[-1])["state"] == "reconnecting", "a change of the state is told at once"
    streams.update([SNAPSHOT])
    assert json.loads(kept[-1])["state"] == "live"
