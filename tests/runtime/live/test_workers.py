from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeproof_runtime.live.workers as crew_module
from bundles import frames, make_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.engines.base import EngineInfo
from edgeproof_runtime.engines.null import NullEngine
from edgeproof_runtime.live.workers import crew
from edgeproof_runtime.tasks.classify import classify_head


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "alone", "count", "each"),
    [
        (4, None, None, False, 4, 1),  # files: the cores shared out
        (4, None, None, True, 1, None),  # a camera alone: all threads for its newest frame
        (8, 2, None, False, 2, 4),
        (8, None, 4, False, 2, 4),
        (2, 3, None, False, 3, 1),
        (64, None, None, False, 16, 4),
        (4, 2, 3, True, 2, 3),
    ],
)
def test_cores_are_shared_out(monkeypatch, bundle, cores, workers, threads, alone, count, each):
    monkeypatch.setattr(crew_module, "usable_cores", lambda: cores)
    asked = []
    load = crew_module.load_engine

    def watched(*arguments, **options):
        asked.append(options["threads"])
        return load(*arguments, **options)

    monkeypatch.setattr(crew_module, "load_engine", watched)
    head = classify_head(bundle)
    with crew(bundle, head, "null", "fp32", workers=workers, threads=threads, alone=alone) as hands:
        assert len(hands.workers) == count
        assert asked[0] == each
        assert len({id(w.engine) for w in hands.workers}) == len({id(w.preprocess) for w in hands.workers}) == count


def test_a_gpu_has_two_workers_so_that_one_prepares_while_the_other_computes(monkeypatch, bundle):
    monkeypatch.setattr(NullEngine, "describe", lambda _: EngineInfo("null", "1", "GPU 0", "fp32"))
    with crew(bundle, classify_head(bundle), "null", "fp32") as hands:
        assert len(hands.workers) == 2


def test_workers_answer_as_a_classifier_does(bundle, tmp_path: Path):
    with (
        crew(bundle, classify_head(bundle), "onnxruntime", "fp32", workers=2, max_batch=2) as hands,
        Classifier(bundle, "onnxruntime", "fp32") as classifier,
    ):
        for worker, frame in zip(hands.workers, frames(2), strict=True):
            batch = worker.engine.allocate_input(2)
            for slot in batch:
                worker.preprocess(frame, out=slot)
            outputs = worker.engine.run(batch)
            for i in range(2):
                said = worker.head(tuple(output[i : i + 1] for output in outputs))
                np.testing.assert_allclose(said.probabilities, classifier(frame).probabilities, atol=1e-5)
