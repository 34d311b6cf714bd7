"""Files that were given as a model or as weights are recognised by their content."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors.torch import save

from edgeproof_export.foreign_files import recognise, what_is
from edgeproof_export.models import resolve
from edgeproof_export.weights.bare import not_a_model
from edgeproof_export.weights.file import read_weights
from edgeproof_runtime.errors import InputError


def torch_bytes(content: object, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


def tarred(*names: str, mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]  # mode is a str
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return stream.getvalue()


def onnx_bytes() -> bytes:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def npz_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, kernel=np.zeros(3))
    return stream.getvalue()


WEIGHTS = {"fc.weight": torch.zeros(3, 2)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46827520\n"
GRAPH_DEF = b"\x0a\x14\x0a\x05input\x12\x0bPlaceholder"

KINDS: list[tuple[str, bytes, str, str]] = [
    ("git-lfs", LFS, "a Git LFS pointer", "git lfs pull"),
    ("html", b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page", "log in"),
    ("html", b"\xef\xbb\xbf<HTML lang=en>", "an HTML page", "download it again"),
    ("json", b'{"error": "Repository not found"}', "a JSON document: Repository not found", "log in"),
    ("json", b'{"error": {"code": 404, "message": "no such file"}}', "no such file", "download it again"),
    ("xml", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document", "download it again"),
    ("openvino", b'<?xml version="1.0"?>\n<net name="m" version="11">', "an OpenVINO IR model", "converted from"),
    ("text", b"Not Found\n", "a text file that begins with 'Not Found'", "download it again"),
    ("empty", b"", "an empty file", "download it again"),
    ("zeros", bytes(10_000), "10000 bytes, all of them 0", "download it again"),
    ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file (Keras .h5)", "tf2onnx"),
    ("keras", zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras model", "tf2onnx"),
    ("tflite", b"\x1c\0\0\0TFL3" + bytes(64), "a TensorFlow Lite model", "ONNX"),
    ("tensorflow", GRAPH_DEF, "a frozen TensorFlow graph", "tf2onnx"),
    ("savedmodel", b"\x08\x01\x12\x04\x0a\x02\x0a\x00", "a TensorFlow SavedModel", "tf2onnx"),
    ("onnx", onnx_bytes(), "an ONNX model", "edgeproof export"),
    ("truncated", onnx_bytes()[:-20], "an ONNX model, cut off", "download it again"),
    ("npz", npz_bytes(), "NumPy arrays (.npz): kernel.npy", "safetensors"),
    ("zip", zipped("best.pth", "readme.txt"), "a zip archive with best.pth, readme.txt", "unzip"),
    ("truncated", torch_bytes(WEIGHTS)[:-100], "a PyTorch checkpoint, cut off", "download it again"),
    ("truncated", save(WEIGHTS)[:-5], "a safetensors file, cut off at", "download it again"),
    ("gzip", gzip.compress(torch_bytes(WEIGHTS)), "a gzip-compressed file", "gunzip"),
    ("truncated", gzip.compress(torch_bytes(WEIGHTS))[:-200], "a gzip-compressed file, cut off", "download it again"),
    ("tar", tarred("run/best.pth"), "a tar archive with run/best.pth", "tar xf"),
    ("tar", tarred("run/best.pth", mode="w:gz"), "a gzip-compressed file: a tar archive", "tar xf"),
    ("torch-tar", tarred("sys_info", "pickle", "tensors", "storages"), "PyTorch 0.1", "safetensors"),
    ("safetensors-index", json.dumps({"weight_map": {"a": "b"}}).encode(), "the index of a sharded", "--weights"),
    ("config", b'{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}', "config", "beside it"),
    ("gguf", b"GGUF\3\0\0\0", "a GGUF file", "PyTorch weights"),
    ("npy", b"\x93NUMPY\1\0", "a NumPy .npy array", "safetensors"),
    ("pickle", b"\x80\x04\x95\0\0\0\0\0\0\0\0\x8c\x0fsklearn.pipeline", "a Python pickle of scikit-learn", "tensors"),
    ("tensorrt", b"ftrt" + bytes(64), "a TensorRT engine", "built from"),
    ("image", b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG image", "model or weights"),
    ("torchserve", zipped("MAR-INF/MANIFEST.json", "model.pth"), "a TorchServe archive", "unzip"),
]


@pytest.mark.parametrize(("kind", "content", "what", "fix"), KINDS, ids=[f"{i}-{k[0]}" for i, k in enumerate(KINDS)])
def test_foreign_files_are_named_with_the_mend(tmp_path: Path, kind: str, content: bytes, what: str, fix: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    found = recognise(path)
    assert found is not None
    assert found.name == kind
    assert what in str(what_is(path))
    errors = [not_a_model(path)] if kind != "safetensors-index" else []
    if kind != "safetensors-index":
        with pytest.raises(InputError) as caught:
            read_weights(path)
        errors.append(caught.value)
    for error in errors:
        assert what in str(error.got)
        assert fix in str(error.fix)
        assert "weights_only" not in str(error)
        assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("m.mlmodel", b"\x08\x04\x12\x10image", "coreml"),
        ("deploy.prototxt", b'name: "VGG"\n', "caffe"),
        ("inference.pdiparams", bytes(12) + b"\x02\0\0\0\x08\x05", "paddle"),
        ("yolo.cfg", b"[net]\nbatch=1\n", "darknet"),
        ("m.ort", b"\x18\0\0\0ORTM" + bytes(60), "ort"),
        ("m.RKNN", b"RKNN" + bytes(80), "compiled"),
        ("model.py", b"import torch\n", "python"),
        ("train.ipynb", b'{"cells": []}', "notebook"),
        ("config.yaml", b"model:\n", "yaml"),
        ("m.mlmodel", LFS, "git-lfs"),
        ("m.mnn", torch_bytes(WEIGHTS), "torch"),
    ],
)
def test_formats_without_a_signature_are_named_by_suffix(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = recognise(path)
    assert found is not None
    assert found.name == kind
    assert found.fix


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("torch", torch_bytes(WEIGHTS)),
        ("torch", torch_bytes(WEIGHTS, legacy=True)),
        ("safetensors", save(WEIGHTS)),
        ("safetensors", save(WEIGHTS, metadata={"format": "pt"})),
    ],
)
def test_weights_are_recognised(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    found = recognise(path)
    assert found is not None
    assert (found.name, found.fix) == (kind, f"edgeproof export ARCHITECTURE --weights {path}")


def test_archives_of_torch(tmp_path: Path) -> None:
    linear = torch.nn.Linear(2, 2)
    torch.export.save(torch.export.export(linear, (torch.zeros(1, 2),)), tmp_path / "a.pt2")
    (tmp_path / "a.pt2").rename(tmp_path / "a.pth")
    kind = recognise(tmp_path / "a.pth")
    assert kind is not None
    assert kind.name == "pt2"
    (tmp_path / "b.pth").write_bytes(zipped("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py", "m/version"))
    kind = recognise(tmp_path / "b.pth")
    assert kind is not None
    assert kind.name == "torchscript"


def folder(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"x")

    return make


@pytest.mark.parametrize(
    ("make", "what", "fix"),
    [
        (folder(".metadata", "__0_0.distcp"), "torch.distributed.checkpoint", "dcp_to_torch"),
        (folder("zero_to_fp32.py", "latest"), "a DeepSpeed checkpoint", "zero_to_fp32.py"),
        (folder("saved_model.pb", "variables/variables.index"), "a TensorFlow SavedModel", "--saved-model"),
        (folder("_METADATA", "d/0"), "a JAX checkpoint", "JAX"),
        (folder("model-1.safetensors", "model.safetensors.index.json"), "a folder with", "index.json"),
        (folder("notes.md"), "a folder with notes.md", "file of the model"),
        (folder(), "a folder with no files", "file of the model"),
    ],
)
def test_folders_are_named(tmp_path: Path, make: Callable[[Path], None], what: str, fix: str) -> None:
    make(tmp_path)
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path)
    for error in (caught.value, not_a_model(tmp_path)):
        assert what in str(error.got)
        assert fix in str(error.fix)


def test_real_onnx_files_of_the_package() -> None:
    files = sorted(Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx"))
    if not files:
        pytest.skip("onnx ships no light models here")
    for file in files:
        kind = recognise(file)
        assert kind is not None
        assert kind.name == "onnx", file


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([content for _, content, _, _ in KINDS]), st.integers(0, 4000))
def test_no_content_raises(tmp_path_factory: pytest.TempPathFactory, noise: bytes, content: bytes, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.bin"
    for data in (noise, content[:cut], content[:cut] + noise, struct.pack("<Q", cut) + b"{" + noise):
        path.write_bytes(data)
        recognise(path)


def test_files_that_would_take_for_ever_to_recognise(tmp_path: Path) -> None:
    (tmp_path / "zeros.pth").touch()
    os.truncate(tmp_path / "zeros.pth", 1 << 40)
    begin = time.monotonic()
    kind = recognise(tmp_path / "zeros.pth")
    assert kind is not None
    assert kind.name == "zeros"
    # A member of 1 TB in a compressed archive: 1 GB of zeros follow, then nothing.
    member = tarfile.TarInfo("big")
    member.size = 1 << 40
    with gzip.open(tmp_path / "bomb.tgz", "wb", compresslevel=1) as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(1024):
            file.write(bytes(1 << 20))
    kind = recognise(tmp_path / "bomb.tgz")
    assert kind is not None
    assert "tar archive with big" in kind.what
    assert time.monotonic() - begin < 30


def test_the_files_of_a_tensorflow_checkpoint_are_named(tmp_path: Path) -> None:
    index = tmp_path / "model.ckpt-100.index"
    index.write_bytes(bytes(40) + b"\x01" + bytes.fromhex("57fb808b247547db"))
    weights = tmp_path / "model.ckpt-100.data-00000-of-00001"
    weights.write_bytes(bytes(range(256)))
    listed = tmp_path / "checkpoint"
    listed.write_text('model_checkpoint_path: "model.ckpt-100"\n')
    for path in (index, weights, listed):
        with pytest.raises(InputError) as caught:
            read_weights(path)
        assert "a TensorFlow checkpoint" in str(caught.value.got)
        assert "tf2onnx" in str(caught.value.fix)
    index.unlink()
    assert recognise(weights) is None


@pytest.mark.parametrize("zip64", [False, True])
def test_archives_of_very_many_entries(tmp_path: Path, zip64: bool) -> None:
    path = tmp_path / "many.pt2"
    directory = 1 << 25
    length = 0xFFFFFFFF if zip64 else directory
    with path.open("wb") as file:
        file.write(b"PK\x03\x04" + bytes(directory))
        if zip64:
            at = file.tell()
            file.write(b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 1, 1, directory, 4))
            file.write(b"PK\6\7" + struct.pack("<LQL", 0, at, 1))
        file.write(b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, length, 4, 0))
    kind = recognise(path)
    assert kind is not None
    assert f"{directory} bytes" in kind.what


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".pt", ".ckpt", ".pth"])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    os.mkfifo(path)
    kind = recognise(path)
    assert kind is not None
    assert kind.name == "special"
    with pytest.raises(InputError):
        resolve(str(path))
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError):
        resolve(str(path))
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(InputError):
        resolve(str(path))
