"""Planted faults: `verify --layers` names the layer, on three models and two engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from bundles import CONTRACT, LABELS, make_bundle
from edgeproof_export.precision import to_fp16
from edgeproof_export.pytorch.to_onnx import Job, routes_of
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.onnx_graph import OnnxNode, read_graph
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.trial import one_child
from edgeproof_runtime.tasks.registry import golden_inputs_of
from edgeproof_runtime.verify.layers import trace_layers

ENGINES = ("onnxruntime", "openvino")


class Residual(nn.Module):
    """Convolutions with batch normalisation around shortcuts."""

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
            self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + x)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.layer1 = nn.Sequential(self.Block(12), self.Block(12))
        self.layer2 = nn.Sequential(nn.Conv2d(12, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(16, len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(torch.relu(self.stem(x))))
        return self.fc(x.mean((2, 3)))


class Mobile(nn.Module):
    """Depthwise convolutions, ReLU6 and a squeeze-and-excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1, groups=12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 1),
            nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 1),
            nn.ReLU(),
        )
        self.squeeze, self.excite = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.classifier = nn.Linear(24, len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return self.classifier((x * torch.sigmoid(gate)).mean((2, 3)))


class Attention(nn.Module):
    """Patches, a mixing of tokens, and a mixing of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.norm1, self.qkv, self.proj = nn.LayerNorm(24), nn.Linear(24, 72), nn.Linear(24, 24)
        self.norm2, self.up, self.down = nn.LayerNorm(24), nn.Linear(24, 48), nn.Linear(48, 24)
        self.norm3, self.head = nn.LayerNorm(24), nn.Linear(24, len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=2)
        x = x + self.proj(torch.softmax(q @ k.transpose(1, 2) / 24**0.5, dim=2) @ v)
        x = x + self.down(torch.relu(self.up(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))


MODELS: dict[str, tuple[type[nn.Module], str]] = {
    "residual": (Residual, "layer1.1.conv2"),
    "mobile": (Mobile, "features.4"),
    "attention": (Attention, "up"),
}
"""Network, and the module in whose layer the faults are planted."""


@dataclass(frozen=True)
class Planted:
    """A bundle of a healthy model, its other precisions, and the node where faults are planted."""

    bundle: Bundle
    models: dict[str, onnx.ModelProto]
    node: OnnxNode
    module: str


def exported(kind: type[nn.Module]) -> onnx.ModelProto:
    torch.manual_seed(3)
    network = kind().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.6, 1.4)
            nn.init.uniform_(part.bias, -0.3, 0.3)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.uniform_(part.bias, 0.4, 1.2)
    job = Job(
        model=network,
        input=TensorSpec("input", (3, 16, 16)),
        outputs=["logits"],
        opset=18,
        single=False,
        image=np.zeros((3, 16, 16), np.float32),
    )
    return routes_of(network, "auto")[0].run(job)[0]


def quantize(source: Path, out: Path, tensors: NDArray[np.float32]) -> None:
    """Quantise with weights of 7 bits, whose int8 kernels saturate on no CPU."""

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no type hints
        def __init__(self) -> None:
            self.left = iter(tensors)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            tensor = next(self.left, None)
            return None if tensor is None else {"input": tensor}

    quantize_static(
        source,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


@pytest.fixture(scope="module", params=MODELS)
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    kind, module = MODELS[request.param]
    folder = tmp_path_factory.mktemp("layers")
    model = exported(kind)
    bundle = make_bundle(folder / "m.edge", CONTRACT, LABELS, model)
    source = bundle.path / "model.onnx"
    to_fp16(source, folder / "fp16.onnx")
    inputs = golden_inputs_of(bundle)
    tensors = np.zeros((len(load_golden(bundle)), 1, 3, 16, 16), np.float32)
    for case, tensor in zip(load_golden(bundle), tensors, strict=True):
        inputs.fill(case, tensor[0])
    quantize(source, folder / "int8.onnx", tensors)
    graph = read_graph(model.SerializeToString())
    node = next(n for n in graph.nodes if graph.module(n) == module and graph.weights.intersection(n.inputs))
    models = {"fp32": model, **{p: onnx.load(folder / f"{p}.onnx") for p in ("fp16", "int8")}}
    with one_child():
        yield Planted(bundle, models, node, module)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def value_of(model: onnx.ModelProto, planted: Planted) -> str:
    """The layer's value, or that of the activation behind it, which a quantiser may take away."""
    value = planted.node.outputs[0]
    if any(value in node.output for node in model.graph.node):
        return value
    return next(n.output[0] for n in planted.models["fp32"].graph.node if value in n.input)


def node_of(model: onnx.ModelProto, planted: Planted) -> onnx.NodeProto:
    return next(node for node in model.graph.node if value_of(model, planted) in node.output)


def tensor_of(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """The initializer behind a value, also through the quantiser of a weight."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    while name not in found:
        name = next(node.input[0] for node in model.graph.node if name in node.output)
    return found[name]


def change(model: onnx.ModelProto, name: str, to: Callable[[NDArray[np.generic]], NDArray[np.generic]]) -> None:
    tensor = tensor_of(model, name)
    before = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(to(before)).astype(before.dtype), tensor.name))


def weight_of(model: onnx.ModelProto, planted: Planted) -> str:
    return node_of(model, planted).input[1]


def outputs_first(model: onnx.ModelProto, planted: Planted, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight if node_of(model, planted).op_type == "Conv" else weight.T


def channels(model: onnx.ModelProto, planted: Planted, rows: Callable[[NDArray[np.generic]], None]) -> None:
    """Change rows of a weight whose first dimension is the layer's outputs."""

    def to(weight: NDArray[np.generic]) -> NDArray[np.generic]:
        changed = np.array(weight)
        rows(outputs_first(model, planted, changed))
        return changed

    change(model, weight_of(model, planted), to)


def scaled(model: onnx.ModelProto, planted: Planted) -> None:
    change(model, weight_of(model, planted), lambda weight: weight * 1.4)


def slightly_scaled(model: onnx.ModelProto, planted: Planted) -> None:
    change(model, weight_of(model, planted), lambda weight: weight * 1.01)


def bias_dropped(model: onnx.ModelProto, planted: Planted) -> None:
    node = node_of(model, planted)
    if len(node.input) > 2:
        change(model, node.input[2], np.zeros_like)
        return
    add = next(n for n in model.graph.node if node.output[0] in n.input)
    assert add.op_type == "Add"
    change(model, next(name for name in add.input if name != node.output[0]), np.zeros_like)


def channel_lost(model: onnx.ModelProto, planted: Planted) -> None:
    def rows(weight: NDArray[np.generic]) -> None:
        weight[: len(weight) // 4] = 0

    channels(model, planted, rows)


def channels_swapped(model: onnx.ModelProto, planted: Planted) -> None:
    def rows(weight: NDArray[np.generic]) -> None:
        weight[:] = weight[::-1].copy()

    channels(model, planted, rows)


def sign_flipped(model: onnx.ModelProto, planted: Planted) -> None:
    change(model, weight_of(model, planted), lambda weight: -weight)


def overflow(model: onnx.ModelProto, planted: Planted) -> None:
    """Fill one output of the layer with a value that fp16 does not hold."""

    def rows(weight: NDArray[np.generic]) -> None:
        weight[0] = 3e4 * np.sign(weight[0])

    channels(model, planted, rows)


def quantizer(model: onnx.ModelProto, value: str, kind: str) -> onnx.NodeProto:
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == value)
    if kind == "QuantizeLinear":
        return first
    return next(n for n in model.graph.node if n.op_type == kind and n.input[0] == first.output[0])


def rescale(model: onnx.ModelProto, value: str, kinds: tuple[str, ...], factor: float) -> None:
    """Give the quantiser of a value a scale of its own that is wrong."""
    for kind in kinds:
        node = quantizer(model, value, kind)
        scale = numpy_helper.to_array(tensor_of(model, node.input[1])) * factor
        model.graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{value}.{kind}.wrong"))
        node.input[1] = f"{value}.{kind}.wrong"


def quantized_after(model: onnx.ModelProto, planted: Planted) -> str:
    """The first quantised value at or behind the layer."""
    value = value_of(model, planted)
    while not any(n.op_type == "QuantizeLinear" and n.input[0] == value for n in model.graph.node):
        value = next(n.output[0] for n in model.graph.node if value in n.input)
    return value


def clipped(model: onnx.ModelProto, planted: Planted) -> None:
    rescale(model, quantized_after(model, planted), ("QuantizeLinear", "DequantizeLinear"), 0.2)


def scales_differ(model: onnx.ModelProto, planted: Planted) -> None:
    rescale(model, quantized_after(model, planted), ("DequantizeLinear",), 2.0)


def weight_scale(model: onnx.ModelProto, planted: Planted) -> None:
    node = next(n for n in model.graph.node if weight_of(model, planted) in n.output)
    assert node.op_type == "DequantizeLinear"
    scale = numpy_helper.to_array(tensor_of(model, node.input[1])) * 2
    model.graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), "wrong scale"))
    node.input[1] = "wrong scale"


FAULTS: dict[str, tuple[str, Callable[[onnx.ModelProto, Planted], None]]] = {
    "a weight scaled": ("fp16", scaled),
    "a weight scaled by 1 %": ("fp32", slightly_scaled),
    "a bias dropped": ("fp16", bias_dropped),
    "a fourth of the channels lost": ("fp16", channel_lost),
    "channels in the wrong order": ("fp32", channels_swapped),
    "the sign of a weight": ("int8", sign_flipped),
    "an overflow in fp16": ("fp16", overflow),
    "a quantiser's scale too small": ("int8", clipped),
    "a quantiser's scales differ": ("int8", scales_differ),
    "the scale of a quantised weight": ("int8", weight_scale),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_healthy_model_has_no_layer_that_moves(planted: Planted, engine: str, precision: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(planted.models[precision], path)
    artifact = replace(planted.bundle.artifact(max_batch=1), path=path, precision=precision, digests={})
    trace = trace_layers(planted.bundle, engine, artifact, load_golden(planted.bundle))
    assert trace.first is None, trace.verdict()
    assert len(trace.layers) >= 8
    assert trace.layers[-1].value == "logits"
    assert 0 < max(layer.error for layer in trace.layers) < 1
    assert not trace.fuses_differently


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_planted_layer_is_named(planted: Planted, engine: str, fault: str, tmp_path: Path) -> None:
    precision, plant = FAULTS[fault]
    bundle, path = planted.bundle, tmp_path / "faulty.onnx"
    if plant is overflow:  # the values are in the exported model too, which holds them
        healthy = copy_of(planted.models["fp32"])
        overflow(healthy, planted)
        bundle = make_bundle(tmp_path / "large.edge", CONTRACT, LABELS, healthy)
        to_fp16(bundle.path / "model.onnx", path)
    else:
        model = copy_of(planted.models[precision])
        plant(model, planted)
        onnx.save(model, path)
    artifact = replace(bundle.artifact(max_batch=1), path=path, precision=precision, digests={})
    trace = trace_layers(bundle, engine, artifact, load_golden(bundle))
    assert trace.first is not None, trace.verdict()
    named = (trace.first.name, trace.first.nodes, trace.first.operators)
    behind = set(planted.node.outputs)
    if precision == "int8":
        behind.add(quantized_after(planted.models["int8"], planted))
    if plant is bias_dropped and planted.node.operator == "MatMul":
        behind.add(next(n.output[0] for n in planted.models["fp32"].graph.node if planted.node.outputs[0] in n.input))
    assert trace.first.value in behind, (named, trace.verdict())
    assert trace.first.module == planted.module, named
    if plant is overflow:
        assert trace.first.not_finite or trace.first.max_abs > np.finfo(np.float16).max
