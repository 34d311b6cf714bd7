"""docs/models.md is executed: every command of its table runs on files of the kind that its row names."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from anomalib_files import checkpoint, forget, write_package
from coloured import picture, write_folders, write_model
from edgeproof.cli import main
from onnx_files import anomalib_like

PAGE = (Path(__file__).parents[1] / "docs/models.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| `edgeproof (export [^`]+)` \|$", PAGE, re.MULTILINE)
SIDE = 16

MY_MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        layers = nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.features(x))


class TwoHeads(Net):
    def forward(self, x):
        scores = super().forward(x)
        return {"species": scores, "age": scores.flip(1) * 2}


class Single(Net):
    def forward(self, x):
        return self.head(self.features(x).reshape(1, 8))


class Branching(Net):
    def forward(self, x):
        scores = super().forward(x)
        return scores * 2 if x.mean() > -100 else scores


def build(): return Net()
def two_heads(): return TwoHeads()
def single(): return Single()
def branching(): return Branching()
def rgbn(): return Net(4)
"""


def _write_onnx(path: Path, nodes: list[onnx.NodeProto], image: onnx.ValueInfoProto, **tensors: np.ndarray) -> None:
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "net", [image], [scores], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


def _onnx_files() -> None:
    write_model(Path("model.onnx"), [0, 1, 2])
    weights = {"w": np.random.default_rng(0).normal(0, 1, (3, 3)).astype(np.float32)}
    ends = [
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["wide", "s"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        *ends,
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    camera = helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    _write_onnx(Path("camera.onnx"), nodes, camera, s=np.array(255, np.float32), **weights)
    nodes = [
        helper.make_node("Identity", ["x"], ["planes"]),
        *ends,
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    floats = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    _write_onnx(Path("tags.onnx"), nodes, floats, **weights)
    anomalib_like(Path("tiles.onnx"), size=SIDE)


def _torch_files() -> None:
    import my_models
    import timm

    torch.manual_seed(0)
    net = my_models.build().eval()
    save_file(net.state_dict(), "best.safetensors")
    raw = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    averaged = {f"ema_model.module.{name}": tensor * 0.9 for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": {**raw, **averaged, "criterion.weight": torch.ones(3)}, "epoch": 3}, "last.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still what people have
        torch.jit.trace(net, torch.zeros(1, 3, SIDE, SIDE)).save("traced.pt")
    torch.save(timm.create_model("resnet18", num_classes=3).state_dict(), "resnet18.pth")


def _hugging_face() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {0: "ants", 1: "bees", 2: "moths"}
    config = transformers.ViTConfig(image_size=32, patch_size=8, id2label=names, **sizes)
    transformers.ViTForImageClassification(config).save_pretrained("vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("vit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the commands name."""
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.syspath_prepend(str(root))
        Path("my_models.py").write_text(MY_MODELS)
        names = ("ants", "bees", "moths")
        Path("labels.txt").write_text("\n".join(names))
        Path("config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
        write_folders(Path("photographs/val"), names, each=12)
        write_folders(Path("tiles"), ("good",), each=4)
        _onnx_files()
        _torch_files()
        checkpoint(Path("model.ckpt"))
        write_package(Path())
        _hugging_face()
        assert picture(0).shape == (SIDE, SIDE, 3)
    return root


def test_the_table_has_its_rows() -> None:
    assert len(ROWS) >= 16


@pytest.mark.slow
@pytest.mark.parametrize(("what", "command"), ROWS)
def test_the_command_exports(
    folder: Path, what: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("sys.argv", ["edgeproof", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert not ended.value.code, f"{what}\n{told.err}"
    assert (folder / command.split()[-1] / "bundle.json").is_file()
    assert "Traceback" not in told.err
    if "--data photographs" in command:
        assert "36 of 36 correct" in told.out
    sys.modules.pop("my_models", None)
    forget()
