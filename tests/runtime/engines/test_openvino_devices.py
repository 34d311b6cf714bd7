"""OpenVINO's other devices: by AUTO and HETERO on the CPU, and a stand-in that answers wrongly without an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import make_bundle
from edgeproof.library.verify import verify
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog, openvino
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.engines.openvino import OpenVinoEngine, OpenVinoGpuEngine
from edgeproof_runtime.errors import GateError, UnavailableError
from edgeproof_runtime.selection.auto import choose, load_engine
from edgeproof_runtime.selection.choices import Scope
from edgeproof_runtime.verify.golden import output_gate
from quick_choice import choose_quickly

NAMES = ("openvino:gpu", "openvino:npu", "openvino:auto")


class WrongNpuEngine(OpenVinoEngine):
    """Answers with the outputs in the wrong order, and no error."""

    name = "openvino:npu"

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        return tuple(np.ascontiguousarray(output[:, ::-1]) for output in super()._run(batch))


WRONG = CatalogEntry(
    name="openvino:npu",
    implementation=f"{__name__}:WrongNpuEngine",
    distributions=("openvino",),
    device="npu",
    precisions=("fp32",),
    proven_here=True,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("devices") / "tiny.edge")


@pytest.mark.parametrize("device", ["AUTO:CPU", "HETERO:CPU"])
def test_another_device_passes_the_golden_cases_in_fp32(
    bundle: Bundle, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path))
    monkeypatch.setattr(OpenVinoGpuEngine, "device", device)
    with OpenVinoGpuEngine(bundle.artifact(max_batch=1)) as engine:
        assert output_gate(bundle, engine, load_golden(bundle)).passed
        info = engine.describe()
        assert "CPU" in info.device
        assert info.details == {"device": device}
        assert info.threads is None


def test_the_graphs_precision_is_asked_for_and_the_result_kept(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path))
    asked: list[tuple[str, dict[str, Any]]] = []

    class Core:
        def compile_model(self, _model: Any, device: str, properties: dict[str, Any]) -> Any:
            asked.append((device, properties))
            raise RuntimeError("no such device")

    monkeypatch.setattr(openvino, "openvino_core", Core)
    for name in NAMES:
        with pytest.raises(Exception, match="no such device"):
            catalog.find(name).load_class()(bundle.artifact(max_batch=1), threads=2)
    assert [device for device, _ in asked] == ["GPU", "NPU", "AUTO"]
    for _, properties in asked:
        assert properties["INFERENCE_PRECISION_HINT"] == "f32"
        assert properties["CACHE_DIR"] == str(tmp_path / "openvino")
        assert "INFERENCE_NUM_THREADS" not in properties


@pytest.mark.parametrize(
    ("devices", "here"),
    [
        (["CPU"], ()),
        (["CPU", "GPU.0", "GPU.1"], ("openvino:gpu", "openvino:auto")),
        (["CPU", "GPU", "NPU"], NAMES),
    ],
)
def test_an_engine_is_there_where_openvino_lists_its_device(
    devices: list[str], here: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        available_devices = devices

    monkeypatch.setattr(openvino, "openvino_core", Core)
    reasons = {name: catalog.find(name).load_class().unavailable_reason() for name in NAMES}
    assert tuple(name for name, reason in reasons.items() if reason is None) == here
    for reason in reasons.values():
        assert reason is None or "OpenVINO lists" in reason.what


def test_other_devices_are_proven_where_they_run() -> None:
    assert [name for name in NAMES if not catalog.find(name).proven_here] == []


def test_a_device_that_answers_wrongly_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    choose_quickly(monkeypatch, tmp_path)
    with catalog.registered(WRONG):
        with WrongNpuEngine(bundle.artifact(max_batch=1)) as engine:
            gate = output_gate(bundle, engine, load_golden(bundle))
        assert not gate.passed
        report = verify(bundle, engine="openvino:npu")
        assert report.passed is False
        rows = choose(bundle, Scope("auto", "fp32", 1), remember=False).rows
        row = next(row for row in rows if row.name == "openvino:npu")
        assert (row.passed, row.median_ms) == (False, None)
        assert next(row for row in rows if row.chosen).name != "openvino:npu"
        with pytest.raises(UnavailableError, match="no engine of this machine runs it and passes"):
            choose(bundle, Scope("openvino:npu", "fp32", 1), remember=False)
        with pytest.raises(GateError, match="wrong outputs for this model, here"):
            load_engine(bundle, "openvino:npu", "fp32")
