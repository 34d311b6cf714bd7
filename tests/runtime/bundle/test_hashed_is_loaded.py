"""What was hashed is what an engine loads: swapped files, files that are none, data outside the model."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, helper
from onnx.reference import ReferenceEvaluator

from bundles import make_bundle, tiny_onnx
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system import private_copy as module
from edgeproof_runtime.system.private_copy import private_copy
from exchanging import exchanging, opened

CPU_ENGINES = [entry.name for entry in catalog.entries() if entry.device == "cpu"]
BATCH = np.random.default_rng(3).normal(size=(1, 3, 16, 16)).astype(np.float32)


def require(name: str) -> None:
    reason = catalog.find(name).load_class().unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))


def answer_of(model: onnx.ModelProto) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(model).run(None, {"input": BATCH})[0])


def artifact_of(path: Path, *listed: Path) -> ModelArtifact:
    """An artifact as of a bundle that lists these files."""
    digests = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, *listed)}
    outputs = (TensorSpec("logits", (5,)),)
    return ModelArtifact(path, "fp32", TensorSpec("input", (3, 16, 16)), outputs, digests=digests)


def save_outside(model: onnx.ModelProto, path: Path, location: str) -> Path:
    """Save a model whose weights are in another file; returns that file."""
    external_data_helper.convert_model_to_external_data(model, location=Path(location).name, size_threshold=0)
    onnx.save(model, path)
    data = path.parent / Path(location).name
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return data


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_listed_external_data_is_read_and_checked(name: str, tmp_path: Path) -> None:
    require(name)
    data = save_outside(tiny_onnx(), tmp_path / "model.onnx", "weights.bin")
    artifact = artifact_of(tmp_path / "model.onnx", data)
    with engines.load(name, artifact) as engine:
        np.testing.assert_allclose(engine.run(BATCH)[0], answer_of(tiny_onnx()), rtol=1e-4, atol=1e-5)
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(BundleError, match=r"weights\.bin: modified"):
        engines.load(name, artifact)
    data.unlink()
    with pytest.raises(BundleError, match=r"weights\.bin: cannot be read"):
        engines.load(name, artifact)


@pytest.mark.parametrize("name", CPU_ENGINES)
@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname", "a/../weights.bin", "./w.bin"])
def test_external_data_that_is_not_listed_is_refused(
    name: str, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(name)
    folder = tmp_path / "m.edge"
    folder.mkdir()
    data = save_outside(tiny_onnx(), folder / "model.onnx", location)
    shutil.copy(data, tmp_path / data.name)
    monkeypatch.chdir(folder)
    with pytest.raises(BundleError, match="refers to external data"):
        engines.load(name, artifact_of(folder / "model.onnx"))


def test_external_data_through_a_link_to_outside_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    data = save_outside(tiny_onnx(), folder / "model.onnx", "weights.bin")
    shutil.move(data, tmp_path / "elsewhere.bin")
    data.symlink_to(tmp_path / "elsewhere.bin")
    plain = ModelArtifact(folder / "model.onnx", "fp32", TensorSpec("input", (3, 16, 16)), ())
    for artifact in (plain, artifact_of(folder / "model.onnx", data)):
        with pytest.raises(InputError, match="outside its folder"), artifact.onnx():
            pass


def test_a_compiled_engine_within_a_model_is_refused(tmp_path: Path) -> None:
    model = tiny_onnx()
    model.graph.node.append(helper.make_node("EPContext", ["input"], ["x"], domain="com.microsoft", embed_mode=1))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="EPContext"), artifact_of(tmp_path / "model.onnx").onnx():
        pass


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "missing", "empty", "text"])
def test_what_is_no_model_file_is_refused_without_waiting(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx().SerializeToString())
    artifact = artifact_of(path)
    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "empty" | "text":
            path.write_text("" if kind == "empty" else "not a model")
    with pytest.raises(BundleError, match=r"model\.onnx: (cannot be read|modified)"), artifact.onnx():
        pass


def test_a_private_copy_cannot_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(700_000))
    before = path.read_bytes()
    monkeypatch.setattr(module, "_lease", lambda _: False)
    with private_copy(path, 1 << 20) as copy:
        path.write_bytes(b"other")
        assert Path(copy.path).read_bytes() == bytes(copy.content) == before
        assert copy.sha256 == hashlib.sha256(before).hexdigest()
        with pytest.raises(PermissionError), Path(copy.path).open("r+b") as file:
            file.write(b"x")
    with pytest.raises(OSError, match="at most"), private_copy(path, 4):
        pass


def test_writers_of_a_leased_file_wait(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(before := os.urandom(700_000))
    with private_copy(path, 1 << 20) as copy:
        if "memfd" in os.readlink(copy.path):  # noqa: PTH115 - of a descriptor
            pytest.skip("the file system of the temporary folder has no leases")
        writer = threading.Thread(target=path.write_bytes, args=[b"other"])
        writer.start()
        other = tmp_path / "other"
        other.write_bytes(b"renamed")
        time.sleep(0.05)
        other.rename(path)  # another file, which the lease does not concern
        assert Path(copy.path).read_bytes() == bytes(copy.content) == before
        assert writer.is_alive()
    writer.join(10)
    assert not writer.is_alive()
    with path.open("r+b"), private_copy(path, 1 << 20) as copy:  # open for writing: no lease
        assert "memfd" in os.readlink(copy.path)  # noqa: PTH115


def test_a_lease_that_the_kernel_ended_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    monkeypatch.setattr(module, "_lease", lambda _: True)
    monkeypatch.setattr(module, "_break_time_s", lambda: 0.0)
    with pytest.raises(InputError, match="changed while it was read"), private_copy(path, 1 << 20):
        pass


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Path]:
    bundle = make_bundle(tmp_path / "tiny.edge")
    with exchanging(bundle.path / "model.onnx", tiny_onnx(seed=1).SerializeToString()):
        yield bundle.path


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_swapped_model_is_never_loaded(name: str, swapped: Path) -> None:
    require(name)
    right = answer_of(tiny_onnx())
    loaded = 0
    for _ in range(40):
        try:
            with engines.load(name, Bundle.open(swapped).artifact()) as engine:
                np.testing.assert_allclose(engine.run(BATCH)[0], right, rtol=1e-4, atol=1e-5)
                loaded += 1
        except BundleError:
            continue
    assert loaded < 40


LOAD = """
import sys
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.reader import Bundle
artifact = Bundle.open(sys.argv[1]).artifact()
open("/dev/zero").close()
for name in sys.argv[2:]:
    engines.load(name, artifact).close()
"""


def test_a_model_is_opened_once_between_hash_and_engine(tmp_path: Path) -> None:
    names = engines.available()
    bundle = make_bundle(tmp_path / "tiny.edge")
    command = [sys.executable, "-c", LOAD, str(bundle.path), *names]
    subprocess.run(command, check=True)  # tries them in a child, once
    calls = [call for _, call in opened(command, tmp_path / "opens")]
    begin = next(number for number, call in enumerate(calls) if '"/dev/zero"' in call)
    opens = [call for call in calls[begin:] if "model.onnx" in call]
    assert len(opens) == len(names), "\n".join(opens)
