"""The second way out: several exporters, each gated the same, and what is said where none passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import factories
from bundles import frames
from edgeproof_export import ContractFlags, export_bundle
from edgeproof_export.onnx_files import file as onnx_file
from edgeproof_export.pytorch.static_program import NotStaticError, static_program
from edgeproof_export.pytorch.to_onnx import Job, check_exporter, routes_of
from edgeproof_export.quietly import quiet
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import load
from edgeproof_runtime.errors import EdgeproofError, GateError, InputError

ONE = ContractFlags(batch=BatchBounds(1, 1, 1))


class Branch(factories.Tiny):
    """Decides by the values of the image."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        if x.mean() > 0.5:
            scores = scores + 1
        return scores


class Neighbours(factories.Tiny):
    """Mixes the images of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        shift: Tensor = super().forward(x) * (1 + x.mean())
        return shift


class Nested(nn.Module):
    """Reaches the branch through other modules and a lambda."""

    edgeproof_contract = factories.Tiny.edgeproof_contract

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(Branch(), nn.Identity())
        self.call = lambda x: self.inner(x)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.call(x)
        return scores


class Loop(factories.Tiny):
    """Loops over the images of the batch in Python."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super(Loop, self).forward(image[None])[0] for image in x])


class Single(factories.Tiny):
    """Takes one image at a time."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(1, 3, 16, 16))


class View(factories.Tiny):
    """Names the batch size in the shape of a view."""

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(x))).amax((2, 3), keepdim=True)
        scores: Tensor = self.head(features.view(features.size(0), -1))
        return scores


class Expand(factories.Tiny):
    """Needs the batch size, as class tokens of transformers do."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.head.bias[None].expand(x.shape[0], -1)


class ThroughNumpy(factories.Tiny):
    """Leaves PyTorch for a step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.from_numpy(2 * x.numpy()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("conversion")
    for number, frame in enumerate(frames(6)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return str(folder)


@pytest.fixture
def export(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Export what a function returns, as a factory of a person's module would be."""

    def run(make: Callable[[], nn.Module], **options: Any) -> Any:
        torch.manual_seed(0)
        monkeypatch.setattr(factories, "made", make, raising=False)
        return export_bundle("factories:made", tmp_path / "m.edge", data=data, force=True, **options)

    return run


def notes(done: Any) -> str:
    return "\n".join(done.report.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("make", [Branch, Nested])
def test_the_line_of_the_model_that_cannot_be_traced(
    export: Callable[..., Any], make: Callable[[], nn.Module], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        export(make)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "depends on the values of a tensor" in lines[0]
    assert "test_conversion.py:" in lines[1]
    assert lines[1].endswith("in forward: if x.mean() > 0.5:")
    assert "torch.where" in lines[2]
    printed = capfd.readouterr()
    assert "aten" not in printed.out + printed.err


def test_forced_torchscript_says_which_line_it_fixed(export: Callable[..., Any]) -> None:
    done = export(Branch, exporter="torchscript")
    assert done.report.settings["exporter"] == "torchscript"
    assert "TorchScript's trace keeps what these lines did for one image" in notes(done)
    assert "test_conversion.py:" in notes(done)


@pytest.mark.slow
def test_a_graph_that_the_gate_finds_wrong_is_replaced(export: Callable[..., Any]) -> None:
    done = export(factories.differs_when_exported)
    assert done.report.passed
    assert done.report.settings["exporter"] == "torchscript"
    assert "failed" in notes(done)
    assert "Exporter torchscript passed" in notes(done)


@pytest.mark.slow
def test_a_forced_exporter_has_no_second_way(export: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(GateError, match="parity onnxruntime fp32") as caught:
        export(factories.differs_when_exported, exporter="dynamo")
    assert "leave --exporter dynamo out" in str(caught.value.fix)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_one_exporter_cannot_trace_another_can(export: Callable[..., Any]) -> None:
    done = export(ThroughNumpy)
    assert done.report.settings["exporter"] == "dynamo"
    assert "test_conversion.py:" in notes(done)


@pytest.mark.slow
def test_a_loop_over_the_batch_is_exported_for_single_images(export: Callable[..., Any]) -> None:
    with pytest.raises(EdgeproofError) as caught:
        export(Loop)
    assert caught.value.fix == "--batch 1,1,1: for single images this model passes the gates"
    done = export(Loop, contract=ONE)
    assert done.bundle.contract.batch == BatchBounds(1, 1, 1)


def test_outputs_that_depend_on_the_other_images_of_a_batch_are_found(export: Callable[..., Any]) -> None:
    with pytest.raises(GateError, match="neighbour_relative_diff") as caught:
        export(Neighbours)
    assert "depend on the other images of its batch" in str(caught.value.fix)
    done = export(Neighbours, contract=ONE)
    assert all(gate.passed for gate in done.report.gates)


def test_a_model_for_single_images(export: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="takes single images only") as caught:
        export(Single)
    assert str(caught.value.fix).startswith("--batch 1,1,1")
    done = export(Single, contract=ONE)
    assert "the graph takes one image at a time" in notes(done)
    session = ort.InferenceSession(str(done.bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 16, 16]


def test_fixed_shapes_with_a_dynamic_batch(export: Callable[..., Any]) -> None:
    done = export(View)
    assert done.report.settings["exporter"] == "torch.export, fixed shapes"
    session = ort.InferenceSession(str(done.bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).normal(size=(7, 3, 16, 16)).astype(np.float32)
    (together,) = session.run(None, {"input": batch})
    alone = np.concatenate([session.run(None, {"input": one[None]})[0] for one in batch])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    kinds = {node.op_type for node in onnx.load(done.bundle.path / "model.onnx").graph.node}
    assert not kinds & {"Shape", "Gather", "BatchNormalization"}


def test_a_graph_that_needs_the_batch_size_is_not_static() -> None:
    examples = [torch.zeros(n, 3, 16, 16) for n in (2, 3)]
    with pytest.raises(NotStaticError, match="expand"):
        static_program(Expand().eval(), examples)
    with pytest.raises(NotStaticError, match="number of operators"):
        static_program(Loop().eval(), examples)
    static_program(Loop().eval(), examples[:1])


@pytest.mark.slow
def test_paddings_of_tensorflow_leave_no_arithmetic() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    with quiet():
        network = timm.create_model("tf_efficientnet_lite0", num_classes=4).eval().requires_grad_(False)
    job = _job(network, (3, 64, 64))
    model, _ = routes_of(network, "auto")[0].run(job)
    assert {node.op_type for node in model.graph.node} <= {
        "Add",
        "Clip",
        "Conv",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "Pad",
        "Reshape",
    }


def _job(model: nn.Module, shape: tuple[int, ...]) -> Job:
    return Job(
        model=model,
        input=TensorSpec("input", shape),
        outputs=["logits"],
        opset=18,
        single=False,
        image=np.zeros(shape, np.float32),
    )


def test_routes_of_every_kind_of_model() -> None:
    module = factories.tiny().eval()
    program = torch.export.export(module, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: Dim("batch")},))
    with pytest.warns(FutureWarning):
        traced = torch.jit.trace(module, torch.zeros(2, 3, 16, 16))
    names = {
        kind: [route.name for route in routes_of(model, check_exporter(exporter))]
        for kind, model, exporter in (
            ("module", module, "auto"),
            ("dynamo", module, "dynamo"),
            ("program", program, "auto"),
            ("traced", nn.Sequential(traced), "auto"),
            ("forced", module, "torchscript"),
        )
    }
    assert names == {
        "module": ["torch.export, fixed shapes", "dynamo", "dynamo, strict", "torchscript"],
        "dynamo": ["dynamo", "dynamo, strict"],
        "program": ["dynamo", "torchscript"],
        "traced": ["torchscript"],
        "forced": ["torchscript"],
    }
    with pytest.raises(InputError, match="--exporter: unknown"):
        check_exporter("script")


def test_an_archive_of_torchscript_becomes_a_bundle(export: Callable[..., Any], tmp_path: Path, data: str) -> None:
    with pytest.warns(FutureWarning):
        torch.jit.trace(factories.tiny().eval(), torch.zeros(2, 3, 16, 16)).save(str(tmp_path / "m.pt"))
    flags = ContractFlags(resize="squash", resize_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    done = export_bundle(str(tmp_path / "m.pt"), tmp_path / "m.edge", data=data, contract=flags)
    assert done.report.settings["exporter"] == "torchscript"


class Heads(nn.Module):
    """Returns ``[features, scores]``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.layer(x).relu().mean([2, 3])
        return [features, self.head(features)]


@pytest.mark.parametrize("make", ["script", "trace"])
def test_torchscript_with_several_outputs(tmp_path: Path, data: str, make: str) -> None:
    torch.manual_seed(0)
    module, example = Heads().eval(), torch.zeros(2, 3, 16, 16)
    with quiet():
        scripted = torch.jit.trace(module, example, strict=False) if make == "trace" else torch.jit.script(module)
    flags = ContractFlags(resize="squash", resize_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    scripted.save(str(tmp_path / "m.pt"))
    done = export_bundle(str(tmp_path / "m.pt"), tmp_path / "m.edge", data=data, contract=flags, output="1")
    assert done.report.settings["exporter"] == "torchscript"
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32))
    with load("onnxruntime", Bundle.open(tmp_path / "m.edge").artifact("fp32")) as engine:
        np.testing.assert_allclose(engine.run(batch.numpy())[0], module(batch)[1].detach().numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_quantisation_aware_model_that_no_exporter_takes(export: Callable[..., Any]) -> None:
    def make() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)).train()
        model.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
        model.edgeproof_contract = factories.Tiny.edgeproof_contract
        prepared = torch.ao.quantization.prepare_qat(model)
        prepared(torch.randn(4, 3, 16, 16))
        return prepared

    with quiet(), pytest.raises(EdgeproofError) as caught:
        export(make)
    assert "edgeproof optimize" in str(caught.value.fix)


def test_a_model_above_the_limit_of_one_file(export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST_BYTES", 1000)
    with pytest.raises(InputError, match="too large for one ONNX file") as caught:
        export(factories.tiny)
    assert "GiB of weights" in str(caught.value.got)
    assert "smaller variant" in str(caught.value.fix)
