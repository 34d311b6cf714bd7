"""Foreign files are parsed in a child process first: what harms it is a message and exit code 2."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import psutil
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from edgeproof_export import export_bundle
from edgeproof_export.models import resolve
from edgeproof_export.onnx_files.reading import read_onnx
from edgeproof_export.parsing import child, trial
from edgeproof_export.pytorch import hugging_face
from edgeproof_export.pytorch.torchscript import load_torchscript
from edgeproof_export.quietly import quiet
from edgeproof_export.weights.file import load_tensors
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.child import LIMITS, Child


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is known yet, neither in this process nor in the cache."""
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "_harmless", set())
    monkeypatch.setattr(trial, "_kept", {})
    yield
    trial._close_kept()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Children that a test starts."""
    found: list[str] = []

    class Counted(Child):
        def __init__(self, module: str, *, forked: bool = False) -> None:
            found.append(module + ", forked" * forked)
            super().__init__(module, forked=forked)

    monkeypatch.setattr(trial, "Child", Counted)
    return found


def model_file(path: Path, *nodes: onnx.NodeProto, **weights: np.ndarray) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes or [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 3] if "a" in weights else None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Let the child run code when it reads a file, as a parser with a fault would."""
    (tmp_path / "planted_child.py").write_text(
        f"import os, signal, sys, time\nfrom edgeproof_export.parsing import child\n"
        f"def read(job):\n    yield {{'imported': True}}\n    {code}\n    yield {{'done': True}}\n"
        "def main():\n    child._read = read\n    child.main()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted_child", raising=False)
    monkeypatch.setattr(trial, "_CHILD", "planted_child")


FAULTS = [
    ("os.kill(os.getpid(), signal.SIGFPE)", "crashes on this model (SIGFPE)"),
    ("os.kill(os.getpid(), signal.SIGSEGV)", "crashes on this model (SIGSEGV)"),
    ("os.abort()", "crashes on this model (SIGABRT)"),
    ("os._exit(3)", "ends the process on this model (exit code 3)"),
    ("time.sleep(60)", "hangs on this model (no result within 2 s)"),
    ("kept = [bytearray(b'x' * (64 << 20)) for _ in range(40)]; time.sleep(9)", "exhausts the memory on this model"),
]


@pytest.mark.parametrize(("code", "text"), FAULTS)
def test_a_parser_that_ends_its_process_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, text: str
) -> None:
    planted(monkeypatch, tmp_path, code)
    monkeypatch.setenv(LIMITS["seconds"], "2" if "hangs" in text else "60")
    monkeypatch.setenv(LIMITS["mib"], "300")
    path = model_file(tmp_path / "m.onnx")
    with pytest.raises(InputError) as caught:
        resolve(str(path))
    assert caught.value.what.startswith(f"{path}: onnx {onnx.__version__} ")
    assert text in caught.value.what
    assert caught.value.exit_code == 2
    assert (LIMITS["seconds"] in str(caught.value.fix)) == ("hangs" in text)


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, tmp_path, FAULTS[0][0])
    path = model_file(tmp_path / "m.onnx")
    before = path.read_bytes()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="SIGFPE"):
        export_bundle(str(path), tmp_path / "out" / "m.edge")
    assert list((tmp_path / "out").iterdir()) == []
    assert path.read_bytes() == before


def test_an_outcome_is_found_once_per_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    path = model_file(tmp_path / "m.onnx")
    read_onnx(path)
    monkeypatch.setattr(trial, "_harmless", set())  # as a later process begins
    read_onnx(path)
    read_onnx(path.rename(tmp_path / "moved.onnx"))
    assert len(started) == 1
    read_onnx(model_file(tmp_path / "other.onnx", helper.make_node("Abs", ["x"], ["y"])))
    assert len(started) == 1  # the child is used again
    trial._close_kept()
    planted(monkeypatch, tmp_path, FAULTS[1][0])
    broken = model_file(tmp_path / "broken.onnx", helper.make_node("Neg", ["x"], ["y"]))
    for _ in range(2):
        with pytest.raises(InputError, match="SIGSEGV"):
            read_onnx(broken)
    assert len(started) == 2


def test_shape_inference_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found with onnx 1.23: functions that call each other twice, thirty deep."""
    monkeypatch.setenv(LIMITS["seconds"], "3")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    functions = []
    for i in range(30):
        calls = [helper.make_node(f"F{i + 1}", [a], [b], domain="f") for a, b in (("a", "c"), ("c", "b"))]
        functions.append(helper.make_function("f", f"F{i}", ["a"], ["b"], calls, opsets))
    last = [helper.make_node("Relu", ["a"], ["b"])]
    functions.append(helper.make_function("f", "F30", ["a"], ["b"], last, opsets[:1]))
    model = onnx.load(model_file(tmp_path / "m.onnx", helper.make_node("F0", ["x"], ["y"], domain="f")))
    model.opset_import.append(opsets[1])
    model.functions.extend(functions)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="hangs on this model"):
        read_onnx(tmp_path / "m.onnx")


@pytest.mark.slow
def test_a_division_that_crashes_onnx_runtime(tmp_path: Path) -> None:
    """Found with ONNX Runtime 1.32: constant folding divides the smallest integer by -1 (SIGFPE)."""
    path = model_file(
        tmp_path / "m.onnx",
        helper.make_node("Div", ["a", "b"], ["c"]),
        helper.make_node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Add", ["f", "d"], ["y"]),
        a=np.array([-(2**31)], np.int32),
        b=np.array([-1], np.int32),
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"onnxruntime .* crashes on this model \(SIGFPE\)"):
        export_bundle(str(path), tmp_path / "out" / "m.edge", **contract())
    assert list((tmp_path / "out").iterdir()) == []


def contract() -> dict[str, object]:
    from edgeproof_export import ContractFlags

    return {"contract": ContractFlags(input_size=(8, 8), mean=(0,), std=(1,))}


def test_where_no_child_starts_the_file_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert read_onnx(model_file(tmp_path / "m.onnx")).model.graph.node


# --- weights in files beside the model


def with_outside(path: Path, location: str) -> Path:
    model = onnx.load(model_file(path, helper.make_node("Add", ["x", "w"], ["y"]), w=np.ones(8, np.float32)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "32"}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "location",
    ["../secret", "{}/secret", "link", "folder/../../secret", "linked/secret", "", "a\0b", ".", "../model/../secret"],
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(np.ones(8, np.float32).tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    path = with_outside(folder / "m.onnx", location.format(tmp_path))
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert caught.value.what.startswith(f"{path}: ")


def test_weights_in_the_folder_are_inside_the_model(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(8, dtype=np.float32).tobytes())
    found = read_onnx(with_outside(tmp_path / "m.onnx", "w.bin"))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(found.model.graph.initializer[0]), np.arange(8))
    digest = found.sha256
    (tmp_path / "w.bin").write_bytes(np.ones(8, np.float32).tobytes())
    assert read_onnx(tmp_path / "m.onnx").sha256 != digest
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(InputError, match="cannot be read"):
        read_onnx(tmp_path / "m.onnx")
    os.truncate(tmp_path / "w.bin", 0)
    (tmp_path / "w.bin").unlink()
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(InputError, match="missing"):
        read_onnx(tmp_path / "m.onnx")


def test_a_compiled_engine_in_the_graph_is_code(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="x.so")
    with pytest.raises(InputError, match="which is code"):
        read_onnx(model_file(tmp_path / "m.onnx", node))


# --- PyTorch's own files


@pytest.mark.slow
def test_an_exported_program_is_loaded_and_run_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    path = tmp_path / "m.pt2"
    with quiet():
        torch.export.save(torch.export.export(nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),)), path)
    for _ in range(2):
        resolve(str(path))
    assert len(started) == 1  # what PyTorch gets is the same each time
    monkeypatch.setattr(trial, "_harmless", set())
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "other"))
    planted(monkeypatch, tmp_path, FAULTS[1][0])
    with pytest.raises(InputError, match=r"m.pt2: PyTorch .* crashes on this model \(SIGSEGV\)"):
        resolve(str(path))


def weights_file(path: Path) -> Path:
    state = nn.Linear(3, 2).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=path.suffix != ".ckpt")
    return path


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        *((name, *fault) for name in ("w.pth", "w.safetensors") for fault in FAULTS),
        *((name, *FAULTS[1]) for name in ("w.ckpt", "w.bin", "w.pt")),
    ],
)
def test_weights_that_end_their_parser_are_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, text: str
) -> None:
    path = weights_file(tmp_path / name)
    assert set(load_tensors(path)) == {"weight", "bias"}
    before = path.read_bytes()
    running = set(psutil.Process().children())  # a resource tracker of an earlier test may live
    planted(monkeypatch, tmp_path, code)
    monkeypatch.setenv(LIMITS["seconds"], "2")
    monkeypatch.setenv(LIMITS["mib"], "300")
    if "memory" in text:
        monkeypatch.setenv(LIMITS["seconds"], "60")
    with pytest.raises(InputError, match=re.escape(text)) as caught:
        load_tensors(path)
    assert caught.value.what.startswith(f"{path}: {'safetensors' if name.endswith('safetensors') else 'PyTorch'} ")
    assert caught.value.exit_code == 2
    assert path.read_bytes() == before
    assert set(psutil.Process().children()) <= running


def test_weights_are_tried_without_a_second_import_of_pytorch(tmp_path: Path, started: list[str]) -> None:
    path = weights_file(tmp_path / "w.pth")
    load_tensors(path)
    assert started == ["edgeproof_export.parsing.child, forked"]


def test_a_shard_and_a_hugging_face_folder_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = weights_file(tmp_path / "model.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"weight": shard.name, "bias": shard.name}}))
    assert set(load_tensors(index)) == {"weight", "bias"}
    planted(monkeypatch, tmp_path, FAULTS[1][0])
    with pytest.raises(InputError, match=r"model\.safetensors: safetensors .* crashes"):
        load_tensors(index)
    with pytest.raises(InputError, match=r"model\.safetensors: safetensors .* crashes"):
        hugging_face._network("hf:x", tmp_path, None)


def test_a_hang_beside_other_threads_is_confirmed_in_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    """A lock that another thread holds while the process forks is never released in the fork."""
    path = weights_file(tmp_path / "w.pth")
    lock = threading.Lock()
    monkeypatch.setattr(child, "_PARSERS", {**child._PARSERS, "checkpoint": lambda: lambda _file: lock.acquire()})
    monkeypatch.setenv(LIMITS["seconds"], "2")
    with lock:
        other = threading.Thread(target=lock.acquire)
        other.start()
        content = load_tensors(path)
    other.join()
    assert set(content) == {"weight", "bias"}
    assert started == ["edgeproof_export.parsing.child, forked", "edgeproof_export.parsing.child"]


class Saves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "MARK")
        return x


class Prints(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print(x)
        return x


class Maps(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_file("MARK", True, 100) + x


class Harmless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            x = nn.functional.interpolate(x, size=[8, 8], mode="bilinear")
        found: torch.Tensor = self.layers(x)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("build", [Saves, Prints, Maps])
def test_torchscript_that_does_more_than_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Callable[[], nn.Module]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    with quiet():
        torch.jit.script(build()).save(str(path))
    with pytest.raises(InputError, match="TorchScript that does more than compute") as caught:
        resolve(str(path))
    assert "--trust" in str(caught.value.fix)
    assert not (tmp_path / "MARK").exists()
    if build is Saves:  # what is refused is what PyTorch does
        load_torchscript(path, trust=True)(torch.zeros(1))
        assert (tmp_path / "MARK").exists()


class Endless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool(x.sum() == x.sum()):
            x = x + 1
        return x


@pytest.mark.slow
def test_torchscript_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMITS["seconds"], "3")
    with quiet():
        torch.jit.script(Endless()).save(str(tmp_path / "m.pt"))
    with pytest.raises(InputError, match="hangs on this model"):
        resolve(str(tmp_path / "m.pt"))


@pytest.mark.slow
def test_torchscript_that_computes_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "good.pt"
    with quiet():
        module = torch.jit.script(Harmless().eval())
        module.save(str(path))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(load_torchscript(path)(x), module(x))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a TorchScript archive"):
        load_torchscript(path)


def test_the_child_reads_each_kind() -> None:
    """The kinds that the parent names are those that the child knows, and time passes only for reading."""
    assert set(child._PARSERS) == {*get_args(trial.Parser), *get_args(trial.WeightsParser)}
    for parser in child._PARSERS:
        begin = time.monotonic()
        messages = list(child._read({"parser": parser, "file": "/absent"}))
        assert messages == [{"imported": True}, {"done": True}]
        assert time.monotonic() - begin < 60
    assert signal.SIGFPE.name == "SIGFPE"
