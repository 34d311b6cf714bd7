"""Weights files as others write them: layouts, pickled objects that are never loaded, shards, damage."""

from __future__ import annotations

import argparse
import collections
import contextlib
import enum
import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeproof_export.weights.file import read_weights
from edgeproof_runtime.errors import InputError

TENSORS = {"conv.weight": torch.rand(2, 3), "conv.bias": torch.rand(2)}


class Config(dict[str, Any]):
    """Hyperparameters, as of a configuration library."""


class Kind(enum.Enum):
    """A value that is pickled by its class."""

    ONE = 1


class Net(nn.Module):
    """A module that is pickled whole."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


class Pickled:
    """Something whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


class Shell:
    """Something whose unpickling would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return (os.system, ("touch ran",))


def save(content: Any, folder: Path, *, legacy: bool = False) -> Path:
    path = folder / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert "weights_only" not in text
    assert "\x1b" not in text
    return caught.value


@pytest.mark.parametrize("legacy", [False, True])
def test_objects_beside_the_tensors_are_not_loaded_and_do_not_matter(tmp_path: Path, legacy: bool) -> None:
    content: dict[str, Any] = {
        "model": Config(TENSORS),
        "args": argparse.Namespace(model="resnet18", out=tmp_path, kind=Kind.ONE, best=np.float64(0.9)),
        "hyper_parameters": Config(lr=0.1, optimizer=torch.optim.Adam),
        "history": collections.deque([1, 2]),
        "counts": collections.defaultdict(int, a=1),
        "curve": np.zeros(3),
        "epoch": 3,
    }
    if not legacy:  # before PyTorch 1.6 a module, such as a loss, came with its source code
        content["criterion"] = nn.CrossEntropyLoss()
    weights = read_weights(save(content, tmp_path, legacy=legacy))
    assert {name: tensor.tolist() for name, tensor in weights.tensors.items()} == {
        f"model.{name}": tensor.tolist() for name, tensor in TENSORS.items()
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("evil", "named"), [(Pickled, "builtins.getattr"), (Shell, ".system")])
def test_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: type, named: str, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(save({"state_dict": TENSORS, "extra": evil()}, tmp_path, legacy=legacy))
    assert "holds more than tensors, loading it would run code" in error.what
    assert named in str(error.got)
    assert "would run code" in refused(save(evil(), tmp_path, legacy=legacy)).what
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_module_is_named(tmp_path: Path, legacy: bool) -> None:
    error = refused(save(Net(), tmp_path, legacy=legacy))
    assert error.what.endswith("a whole pickled module, not a state dict")
    assert str(error.got).endswith("test_weights_file.Net")
    assert "torch.save(model.state_dict()" in str(error.fix)
    if not legacy:
        assert str(refused(save({"model": Net(), "epoch": 3}, tmp_path)).got).endswith(".Net under 'model'")


@pytest.mark.parametrize(
    ("module", "name", "what", "fix"),
    [
        ("ultralytics.nn.tasks", "ClassificationModel", "an Ultralytics checkpoint", "export(format='onnx')"),
        ("fastai.learner", "Learner", "a fastai learner", "load_learner(FILE).model.state_dict()"),
    ],
)
def test_libraries_that_pickle_modules_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, what: str, fix: str
) -> None:
    made = type(name, (nn.Module,), {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    setattr(sys.modules[module], name, made)
    whole = made()
    whole.layer = nn.Linear(2, 2)
    for content in (whole, {"epoch": -1, "model": whole, "ema": whole, "train_args": {"imgsz": 224}}):
        path = save(content, tmp_path)
        error = refused(path)
        assert what in error.what
        assert fix in str(error.fix)
    error = refused(save({"model": whole, "callback": Pickled()}, tmp_path))
    assert what in error.what


def test_fastai_s_model_and_optimizer(tmp_path: Path) -> None:
    content = {"model": TENSORS, "opt": {"hypers": [{"lr": 0.1}], "state": [{"grad_avg": torch.zeros(2)}]}}
    assert list(read_weights(save(content, tmp_path)).tensors)[:2] == ["model.conv.weight", "model.conv.bias"]


def test_sharded_safetensors(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    shards = {"conv.weight": "model-1.safetensors", "conv.bias": "model-2.safetensors"}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}), encoding="utf-8")
    for name, file in shards.items():
        save_file({name: TENSORS[name]}, tmp_path / file)
    assert set(read_weights(index).tensors) == set(TENSORS)
    (tmp_path / "model-2.safetensors").unlink()
    error = refused(index)
    assert "1 of 2 shards not found" in error.what
    assert error.got == "model-2.safetensors"
    index.write_text(json.dumps({"weight_map": {"conv.bias": "../outside.safetensors"}}), encoding="utf-8")
    assert "outside its folder" in refused(index).what
    index.write_text('{"weight_map": [1, 2', encoding="utf-8")
    assert "damaged index" in refused(index).what


def test_sharded_pytorch_bin(tmp_path: Path) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(TENSORS, "pytorch_model-1.bin")}), encoding="utf-8")
    torch.save(TENSORS, tmp_path / "pytorch_model-1.bin")
    assert set(read_weights(index).tensors) == set(TENSORS)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin", ".ckpt", ""])
def test_the_content_decides_not_the_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(TENSORS, path)
    assert set(read_weights(path).tensors) == set(TENSORS)
    save_file(TENSORS, path)
    assert set(read_weights(path).tensors) == set(TENSORS)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".th"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half a zip", b"\x80\x02\x8a", bytes(64)])
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert "not a weights file" in refused(path).what


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_and_flipped_checkpoints(tmp_path: Path, legacy: bool) -> None:
    path = save({"state_dict": TENSORS}, tmp_path, legacy=legacy)
    whole = path.read_bytes()
    for end in range(1, len(whole), max(1, len(whole) // 12)):
        path.write_bytes(whole[:end])
        refused(path)
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(InputError):  # and no other error
            read_weights(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, {"state_dict": {}}, [torch.zeros(1)], {"a": {"b": {}}}, 3])
def test_files_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    assert "holds no state dict" in refused(save(content, tmp_path)).what


def test_arrays_instead_of_tensors(tmp_path: Path) -> None:
    error = refused(save({name: tensor.numpy() for name, tensor in TENSORS.items()}, tmp_path))
    assert "torch.from_numpy" in str(error.fix)


def test_a_prefix_that_is_not_there(tmp_path: Path) -> None:
    path = save({"state_dict": TENSORS}, tmp_path)
    assert set(read_weights(f"{path}:state_dict").tensors) == set(TENSORS)
    assert "holds no state dict under 'model'" in refused(Path(f"{path}:model")).what
    with pytest.raises(InputError, match="weights not found"):
        read_weights(tmp_path / "absent.pth")


def test_another_pickle_protocol(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(TENSORS, path, pickle_protocol=4)
    assert refused(path).got == "pickle protocol 4"
    path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in TENSORS.items()}))
    assert "a Python pickle" in str(refused(path).got)


def test_large_tensors_are_mapped_not_copied(tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("this system does not list memory maps")
    path = save({"big": torch.zeros(1 << 20)}, tmp_path)
    weights = read_weights(path)
    assert weights.tensors["big"].numel() == 1 << 20
    assert str(path) in maps.read_text(encoding="utf-8")
