"""What is known of a plan before TensorRT or a driver is asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.engine_record import (
    EngineRecord,
    read_record,
    same_version,
    verify_gpu,
    verify_plan,
    verify_version,
    version_numbers,
)
from edgeproof_runtime.bundle.plan_header import read_header
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import _cuda
from edgeproof_runtime.engines.tensorrt import TensorRtRtxEngine
from edgeproof_runtime.errors import BundleError, EdgeproofError, InputError, UnavailableError
from fake_tensorrt import fake_plan


@pytest.fixture(autouse=True)
def _no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused here is refused without asking the driver anything."""

    def asked() -> Any:
        raise AssertionError("the CUDA driver was asked")

    monkeypatch.setattr(_cuda, "cudart", asked)


def _record(plan: bytes, **changes: Any) -> EngineRecord:
    record = EngineRecord(
        target="tensorrt-rtx",
        version="1.7.1.116",
        precision="fp32",
        onnx_sha256="a" * 64,
        profile=BatchBounds(1, 8, 32),
        gpu=None,
        compute_capabilities=("8.6", "8.9"),
        options={"version_compatible": False},
        plan="model.plan",
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_size_bytes=len(plan),
    )
    return replace(record, **changes)


def _put(folder: Path, plan: bytes, record: EngineRecord) -> Path:
    (folder / "model.plan").write_bytes(plan)
    (folder / "engine.json").write_text(json.dumps(record.to_json()))
    return folder / "model.plan"


def _load(plan: Path) -> None:
    spec = TensorSpec("in", (3, 32, 32))
    TensorRtRtxEngine(ModelArtifact(plan, "fp32", spec, (TensorSpec("out", (10,)),)))


def test_header_of_both_flavours(tmp_path: Path) -> None:
    file = tmp_path / "plan"
    file.write_bytes(fake_plan("tensorrt-rtx", "1.7.1.116", 0b11100))
    header = read_header(file.read_bytes(), file)
    assert (header.target, header.version_text) == ("tensorrt-rtx", "1.7.1.116")
    assert header.compute_capabilities == ("8.6", "8.9", "12.0")
    file.write_bytes(fake_plan("tensorrt", "10.3.0.30"))
    header = read_header(file.read_bytes(), file)
    assert (header.target, header.version_text) == ("tensorrt", "10.3.0.30")
    assert header.compute_capabilities is None


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_header(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.plan"
    file.write_bytes(content)
    try:
        header = read_header(file.read_bytes(), file)
    except BundleError:
        return
    assert content[:4] in (b"ftrt", b"vtrt")
    assert len(header.version) == 4


def test_each_wrong_plan_is_refused_with_its_own_message(tmp_path: Path) -> None:
    whole = fake_plan("tensorrt-rtx", "1.7.1.116")
    messages = {}
    for name, plan, record in (
        ("truncated", whole[:-100], _record(whole)),
        ("empty", b"", _record(whole)),
        ("another file", b"\x08\x07\x12\x07pytorch" + bytes(4000), _record(whole)),
        ("another plan", whole[:-1] + b"x", _record(whole)),
        ("another flavour", fake_plan("tensorrt"), _record(fake_plan("tensorrt"))),
        (
            "another version than recorded",
            fake_plan("tensorrt-rtx", "1.6.1.120"),
            _record(fake_plan("tensorrt-rtx", "1.6.1.120")),
        ),
    ):
        with pytest.raises(BundleError) as caught:
            _load(_put(tmp_path, plan, record))
        assert caught.value.fix is not None
        messages[name] = f"{caught.value.what} {caught.value.got} {caught.value.expected}"
    assert "truncated" in messages["truncated"]
    assert "empty" in messages["empty"]
    assert "not a TensorRT plan" in messages["another file"]
    assert "not the plan that was built" in messages["another plan"]
    assert "does not match its engine.json" in messages["another flavour"]
    assert "1.6.1.120" in messages["another version than recorded"]
    assert len(set(messages.values())) == len(messages)


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp16"},
        {"onnx_sha256": "b" * 64},
        {"compute_capabilities": ["9.0"]},
        {"options": {"version_compatible": True}},
        {"version": "1.8.0.1"},
        {"profile": {"min": 1, "opt": 1, "max": 64}},
    ],
)
def test_a_sidecar_changed_after_the_build_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    plan = fake_plan("tensorrt-rtx", "1.7.1.116")
    path = _put(tmp_path, plan, _record(plan))
    raw = json.loads((tmp_path / "engine.json").read_text())
    (tmp_path / "engine.json").write_text(json.dumps({**raw, **change}))
    with pytest.raises(BundleError, match="changed after the build"):
        _load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edgeproof.engine/9"},
        {"profile": None},
        {"profile": {"min": 4, "opt": 1, "max": 2}},
        {"plan": "../../other.plan"},
        {"surprise": 1},
        {"options": 3},
    ],
)
def test_a_damaged_sidecar_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    plan = fake_plan("tensorrt-rtx", "1.7.1.116")
    path = _put(tmp_path, plan, _record(plan))
    raw = json.loads((tmp_path / "engine.json").read_text())
    (tmp_path / "engine.json").write_text(json.dumps({**raw, **change}))
    with pytest.raises(BundleError):
        _load(path)
    (tmp_path / "engine.json").write_text("[" * 100_000)
    with pytest.raises(BundleError):
        _load(path)
    (tmp_path / "engine.json").unlink()
    with pytest.raises(InputError, match=r"engine\.json: cannot be read"):
        _load(path)


def test_record_round_trip(tmp_path: Path) -> None:
    record = _record(b"")
    (tmp_path / "engine.json").write_text(json.dumps(record.to_json()))
    assert read_record((tmp_path / "engine.json").read_bytes(), "engine.json") == record


def test_key_holds_all_that_an_engine_depends_on() -> None:
    record = _record(b"")
    keys = {record.key}
    for change in (
        {"target": "tensorrt"},
        {"version": "1.7.1.117"},
        {"precision": "fp16"},
        {"onnx_sha256": "b" * 64},
        {"profile": BatchBounds(1, 8, 64)},
        {"gpu": "NVIDIA GeForce RTX 3060"},
        {"compute_capabilities": ("8.6",)},
        {"options": {"version_compatible": True}},
    ):
        other = replace(record, **change)  # type: ignore[arg-type]  # the fields differ in type
        assert len(other.changes_from(record)) == 1
        assert next(iter(change)) in other.changes_from(record)[0]
        keys.add(other.key)
    assert len(keys) == 9
    assert replace(record, build_time_s=9.0, built_at="now").key == record.key


def test_another_version_is_refused_and_a_compatible_one_taken() -> None:
    record = _record(b"", version="10.3.0.30")
    verify_version(record, "10.3.0.30")
    verify_version(record, "10.3.0")  # Debian's Python package leaves the build number out
    for other in ("10.3.0.31", "10.4.0", "11.0.0.114", "8.6.1"):
        with pytest.raises(UnavailableError, match="another version"):
            verify_version(record, other)
    compatible = _record(b"", version="10.3.0.30", options={"version_compatible": True})
    verify_version(compatible, "10.13.3.9")
    for other in ("10.0.1", "11.0.0.114"):
        with pytest.raises(UnavailableError):
            verify_version(compatible, other)


@pytest.mark.parametrize(
    ("built", "installed", "loads"),
    [
        ("8.6.1", "10.3.0", True),
        ("8.6.1", "11.0.0", False),
        ("10.3.0", "11.0.0.114", True),
        ("10.3.0", "12.0.0", False),
        ("10.3.0", "10.0.1", False),
    ],
)
def test_compatible_plans_of_tensorrt_cross_to_the_next_major_version(built: str, installed: str, loads: bool) -> None:
    record = _record(b"", target="tensorrt", version=built, options={"version_compatible": True})
    if loads:
        verify_version(record, installed)
    else:
        with pytest.raises(UnavailableError, match="another version"):
            verify_version(record, installed)


def test_another_gpu_is_refused_and_a_compatible_one_taken() -> None:
    record = _record(b"")
    verify_gpu(record, "8.9", "a GPU")
    with pytest.raises(UnavailableError, match="another GPU") as caught:
        verify_gpu(record, "9.0", "NVIDIA H100")
    assert "NVIDIA H100" in str(caught.value)
    ampere = _record(b"", options={"hardware_compatibility": "ampere_plus"})
    verify_gpu(ampere, "12.0", "a GPU")
    with pytest.raises(UnavailableError):
        verify_gpu(ampere, "7.5", "a GPU")


def test_version_texts() -> None:
    assert version_numbers("8.6.1.post1") == (8, 6, 1)
    assert version_numbers("10.14.1.48.post1") == (10, 14, 1, 48)
    assert version_numbers("10.²") == version_numbers(f"10.{'9' * 5000}") == (10,)
    assert same_version((10, 3, 0), (10, 3, 0, 30))
    assert not same_version((), (10, 3))


def test_a_whole_plan_passes_and_then_the_driver_is_asked(tmp_path: Path) -> None:
    plan = fake_plan("tensorrt-rtx", "1.7.1.116")
    path = _put(tmp_path, plan, _record(plan))
    verify_plan(plan, path, _record(plan))
    with pytest.raises((AssertionError, EdgeproofError)) as caught:
        _load(path)
    assert "driver was asked" in str(caught.value) or isinstance(caught.value, UnavailableError)
