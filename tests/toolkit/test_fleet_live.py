"""A registry, an agent and a live service together: the service changes over without a restart, and back."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgeproof
from bundles import make_bundle, tiny_onnx
from edgeproof.fleet.agent import Agent, AgentSettings, Decision
from edgeproof.fleet.health import HealthBounds
from edgeproof.fleet.proof import ProofOptions
from registries import registry
from serving import PLAIN, Started, started

pytestmark = pytest.mark.slow


def sure(seed: int, factor: float = 10.0) -> onnx.ModelProto:
    """A network whose logits are scaled: with 0 all classes are equally probable."""
    model = tiny_onnx(seed=seed)
    for tensor in model.graph.initializer:
        if tensor.name in ("fc", "bias"):
            scaled = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), tensor.name))
    return model


def figures(server: Started) -> dict[str, str]:
    """The version that is served, start of the process, decided and failed frames."""
    page = httpx.get(f"{server.url}/metrics", **PLAIN, timeout=20).text
    found = {
        "version": re.search(r'^edgeproof_model_info\{.*version="([^"]+)"', page, re.M),
        "started": re.search(r"^process_start_time_seconds (\S+)", page, re.M),
        "decided": re.search(r'^edgeproof_frames_total\{.*outcome="decided".*\} (\S+)', page, re.M),
        "failed": re.search(r'^edgeproof_frames_total\{.*outcome="failed".*\} (\S+)', page, re.M),
    }
    return {name: match[1] for name, match in found.items() if match}


def wait_for(server: Started, version: str) -> dict[str, str]:
    until = time.monotonic() + 30
    while (now := figures(server))["version"] != version:
        assert time.monotonic() < until, now
        time.sleep(0.2)
    return now


def test_a_service_changes_over_and_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    device = tmp_path / "device"
    with registry(tmp_path / "registry") as running:
        reference = f"oci://{running.host}/live:stable"

        def roll_out(model: onnx.ModelProto, url: str | None = None) -> Decision:
            bundle = make_bundle(tmp_path / f"{len(list(tmp_path.glob('*.edge')))}.edge", model=model)
            edgeproof.push(bundle, reference)
            settings = AgentSettings(
                reference=reference,
                folder=device,
                proof=ProofOptions(engine="onnxruntime", threads=1, max_slowdown=4.0, seconds=0.5),
                health_url=url,
                watch_s=5.0 if len(list(tmp_path.glob("*.edge"))) == 2 else 60.0,
                bounds=HealthBounds(age_floor_s=5.0),  # the machine may be busy
            )
            with Agent(settings) as agent:
                return agent.look()

        assert roll_out(sure(0)).outcome == "switched"
        source = ("--source", "synthetic://64x48@30", "--unknown", "max-probability:0.3")
        given = ("--engine", "onnxruntime", "--threads", "1", "--port", "0", "--follow", *source)
        with started(device / "current.edge", *given) as server:
            first = figures(server)
            decision = roll_out(sure(1), server.url)
            assert decision.outcome == "switched", decision.reason
            second = figures(server)
            assert second["version"] != first["version"]
            assert second["started"] == first["started"]
            assert decision.report is not None
            assert decision.report.warnings == []
            decision = roll_out(sure(2, factor=0.0), server.url)
            assert decision.outcome == "rolled back", decision.reason
            assert decision.reason.startswith("share of unknown frames")
            third = wait_for(server, second["version"])
            assert third["started"] == first["started"]
            assert float(third["decided"]) > float(second["decided"]) > 0
            assert float(third["failed"]) == 0
            server.end()
    report = json.loads(sorted((device / "decisions").iterdir())[-1].read_text())
    assert report["decision"]["outcome"] == "rolled back"
    assert report["decision"]["health"]["before"]["unknown"] < 0.2
