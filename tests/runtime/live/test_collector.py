"""What a collector says of the frames that it was given."""

from __future__ import annotations

import numpy as np
import pytest

from bundles import LABELS, make_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.collector import Collector
from edgeproof_runtime.live.outcomes import Decided, Lost
from edgeproof_runtime.sources import Frame
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.registry import judge_of

START_NS = 10**12
CAT, DOG = (np.eye(len(LABELS), dtype=np.float32)[i] for i in (0, 1))


def decided(index: int, answer: np.ndarray, label: str | None = None) -> Decided[Prediction]:
    frame = Frame(np.zeros((4, 4, 3), np.uint8), index, f"clip#{index}", START_NS + index * 10**9, 0.0, 0.0, label)
    return Decided(frame, Prediction(answer, LABELS), 1.0, 2.0, 0.0, 5.0 + index, 6.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("collector") / "tiny.edge")


def test_decided_and_lost_frames_stand_in_the_timeline_and_the_samples(bundle: Bundle) -> None:
    collector = Collector(judge_of(bundle))
    collector.decided(decided(0, CAT, "cat"))
    collector.lost(Lost("clip#1", 1, START_NS + 10**9, "overtaken"))
    collector.lost(Lost("clip#2", 2, START_NS + 2 * 10**9, "failed"))
    collector.decided(decided(3, DOG, "cat"))
    collector.recorder.add("inference", 2.0)
    fields = collector.report_fields()
    assert fields["timeline"]["state"] == ["classified", "dropped", "failed", "classified"]
    assert fields["timeline"]["time_s"] == [0.0, 1.0, 2.0, 3.0]
    assert [(s.name, s.label, s.truth) for s in fields["samples"]] == [
        ("clip#0", "cat", "cat"),
        ("clip#3", "dog", "cat"),
    ]
    assert fields["latency_ms"]["inference"].count == 1
    assert collector.labels == {"cat": 1, "dog": 1}
    assert collector.judge is not None
    assert collector.judge.figures()["top1"] == 0.5


def test_an_unknown_label_is_an_error_only_where_labels_count(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="does not know"):
        Collector(judge_of(bundle)).decided(decided(0, CAT, "unicorn"))
    without = Collector()
    without.decided(decided(0, CAT, "unicorn"))
    assert [sample.truth for sample in without.report_fields()["samples"]] == [None]
