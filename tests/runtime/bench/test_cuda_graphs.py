"""`bench` on a fake GPU that shares the host's memory: CUDA graphs with rotated buffers and alternating batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from bundles import make_bundle, tiny_onnx
from edgeproof_export.attach import Addition, attach
from edgeproof_runtime.bench import BenchOptions, Configuration, bench_bundle
from edgeproof_runtime.bundle.attachments import EngineFacts
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import trust
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import trial
from edgeproof_runtime.measure import Plan
from fake_tensorrt import FakeCudart, FakeTensorRt, fake_plan, plan_record, stand_in


def _compiled(bundle: Bundle) -> Bundle:
    plan = fake_plan()
    record = plan_record(plan, onnx_sha256=bundle.sha256("model.onnx"), profile=BatchBounds(1, 2, 4))
    trust(record.plan_sha256, "built here")
    folder = f"engines/{record.key}"
    files = {f"{folder}/model.plan": plan, f"{folder}/engine.json": json.dumps(record.to_json()).encode()}
    return attach(bundle, [Addition("engine", record.key, files, EngineFacts("tensorrt", "fp32", record.onnx_sha256))])


def test_bench_launches_graphs_in_more_than_95_percent_of_the_timed_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudart, model = FakeCudart(), ReferenceEvaluator(tiny_onnx())
    cudart.attributes["integrated"] = 1
    trt = FakeTensorRt(cudart, (3, 16, 16))
    trt.names, trt.out_shape, trt.profile = ["input", "logits"], (5,), (1, 2, 4)
    trt.network = lambda batch: np.asarray(model.run(None, {"input": batch})[0])
    stand_in(monkeypatch, cudart, trt)
    monkeypatch.setattr(trial, "require_harmless", lambda *_: None)  # its child process has no fake
    bundle = _compiled(make_bundle(tmp_path / "tiny.edge"))
    options = BenchOptions(
        configurations=[Configuration("tensorrt"), Configuration("tensorrt", batch=2)],
        plan=Plan(turns=3, block_ms=20, untimed_ms=1, warm_up_s=0.2),
    )
    record, gates, _ = bench_bundle(bundle, options)
    assert all(gate.passed for gate in gates)
    shares = {one.name: one.graph_share for one in record.measured}
    assert set(shares) == {"tensorrt fp32", "tensorrt fp32, batch 2"}
    assert all(share is not None and share > 0.95 for share in shares.values()), shares
    assert record.null is not None
    assert record.null.graph_share is None
    assert record.to_json()["configurations"][0]["graph_share"] == shares["tensorrt fp32"]
