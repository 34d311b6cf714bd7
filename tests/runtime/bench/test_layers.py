"""Times of layers: engines' own profilers, and the names of PyTorch's modules."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

from bundles import make_bundle, tiny_onnx
from edgeproof_runtime.bench.layers import LayerTimes, time_layers
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import LayerTime, catalog
from edgeproof_runtime.errors import UnavailableError
from toy_engine import ENTRY


def named_onnx() -> onnx.ModelProto:
    """`tiny_onnx` with names as PyTorch's exporter writes them."""
    model = tiny_onnx()
    for node, name in zip(
        model.graph.node, ("/stem/Conv", "/act/Relu", "/pool/Pool", "/Flatten", "/fc/Gemm"), strict=True
    ):
        node.name = name
    return model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("layers") / "tiny.edge", model=named_onnx())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "opencv"])
def test_an_engine_tells_the_time_of_its_layers(bundle: Bundle, engine: str) -> None:
    times = time_layers(bundle, engine, bundle.artifact(max_batch=2), batch=2, threads=1)
    assert all(layer.ms >= 0 for layer in times.layers)
    assert times.total_ms > 0
    assert [layer.ms for layer in times.layers] == sorted((layer.ms for layer in times.layers), reverse=True)
    document = times.to_json()
    assert sum(layer["share"] for layer in document["layers"]) == pytest.approx(1)
    assert document["clock"] == catalog.find(engine).layer_clock
    modules = {layer["module"] for layer in document["layers"] if "conv" in layer["type"].lower()}
    assert modules == {"stem"}
    assert "fc" in times.modules
    assert (times.batch, times.engine, times.precision) == (2, engine, "fp32")


def test_an_engine_without_a_profiler_says_so(bundle: Bundle) -> None:
    with catalog.registered(ENTRY), pytest.raises(UnavailableError, match="gives no times of layers"):
        time_layers(bundle, ENTRY.name, bundle.artifact(max_batch=1))


@pytest.mark.parametrize(
    ("covers", "kind", "module"),
    [
        (("/stem/Conv",), "Conv", "stem"),
        (("active",), "Conv", "stem"),  # ONNX Runtime names a fused convolution by its activation's value
        (("/stem/Conv/WithoutBiases", "/stem/Conv", "/act/Relu"), "Convolution", "stem"),
        (("/stem/Conv + PWN(/act/Relu)",), "CaskConvolution", "stem"),
        (("PWN(/act/Relu)",), "PointWise", "act"),
        (("{ForeignNode[/pool/Pool.../fc/Gemm]}",), "Myelin", "fc"),
        (("Reformatting CopyNode for Input Tensor 0 to input",), "Reformat", ""),
    ],
)
def test_a_layer_belongs_to_the_module_of_its_weights(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, covers: tuple[str, ...], kind: str, module: str
) -> None:
    layer = LayerTime("x", kind, 1.0, covers)
    monkeypatch.setattr("edgeproof_runtime.engines.layer_times", lambda *_args, **_options: [layer])
    assert time_layers(bundle, "onnxruntime", bundle.artifact(max_batch=1)).modules == (module,)


def test_shares_of_nothing_are_zero() -> None:
    times = LayerTimes("e", "fp32", 1, "clock", 30, (LayerTime("a", "", 0.0, ()),), ("",))
    assert times.to_json()["layers"][0]["share"] == 0
    assert replace(times, layers=(), modules=()).to_json()["layers"] == []
