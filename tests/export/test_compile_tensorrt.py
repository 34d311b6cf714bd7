"""Real TensorRT-RTX builds without a GPU, and what the bundle keeps of them."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from bundles import rewrite
from edgeproof_export.compile import BuildOptions, BuildWatch, compile_bundle, parse_batch, parse_gpus
from edgeproof_runtime.bundle.engine_record import read_record
from edgeproof_runtime.bundle.manifest import SCHEMA_1, EngineEntry
from edgeproof_runtime.bundle.plan_header import read_header
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines.tensorrt import TensorRtRtxEngine
from edgeproof_runtime.errors import BundleError, InputError, NotInBundleError, UnavailableError
from edgeproof_runtime.selection.compiled import compiled_artifact
from networks import MODELS, write_bundle

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx-cu13 is not installed"
)
GPUS = parse_gpus("sm86,sm89,sm120")
PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture
def seed(bundles: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the seed CNN's bundle."""
    return shutil.copytree(bundles("seed"), tmp_path / "seed.edge")


def _compile(path: Path, precision: str = "fp32", **options: Any) -> Any:
    watch = options.pop("watch", None)
    force = options.pop("force", False)
    return compile_bundle(
        Bundle.open(path), "tensorrt-rtx", precision, BuildOptions(gpus=GPUS, **options), watch=watch, force=force
    )


@needs_rtx
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_plans_are_built_ahead_for_three_gpus_in_three_precisions(
    bundles: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = shutil.copytree(bundles(name), tmp_path / f"{name}.edge")
    sizes = {}
    for precision in PRECISIONS:
        done = _compile(path, precision)
        plan = done.bundle.locate(f"engines/{done.record.key}/model.plan")
        header = read_header(plan.read_bytes(), plan)
        assert header.target == "tensorrt-rtx"
        assert header.version_text == done.record.version
        assert header.compute_capabilities == ("8.6", "8.9", "12.0") == done.record.compute_capabilities
        assert done.record.profile == BatchBounds(1, 8, 32)
        sizes[precision] = plan.stat().st_size
    assert sizes["fp16"] < sizes["fp32"]
    bundle = Bundle.open(path)
    assert {entry.precision for entry in bundle.engines("tensorrt-rtx")} == set(PRECISIONS)
    assert compiled_artifact(bundle, "tensorrt-rtx", "int8", compute_capability="8.9").max_batch == 32


@needs_rtx
def test_a_second_run_finds_the_engine(seed: Path) -> None:
    first = _compile(seed)
    begin = time.perf_counter()
    second = _compile(seed)
    assert second.cached
    assert not first.cached
    assert second.record == first.record
    assert time.perf_counter() - begin < 60  # a hit hashes files, it does not build; no speed is asserted
    assert not _compile(seed, force=True).cached


@needs_rtx
def test_each_change_rebuilds_and_says_what_changed(seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _compile(seed)
    smaller = _compile(seed, profile=parse_batch("1,4,16"))
    assert smaller.changes == ("profile: batch 1..32, optimal 8 is now batch 1..16, optimal 4",)
    level = _compile(seed, profile=parse_batch("1,4,16"), optimization_level=2)
    assert [change.split(":")[0] for change in level.changes] == ["options"]
    assert not _compile(seed, "fp16").cached
    assert len(Bundle.open(seed).engines()) == 2  # the fp32 ones replaced one another

    import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "__version__", "1.7.2.0")
    newer = _compile(seed, profile=parse_batch("1,4,16"), optimization_level=2)
    assert newer.changes[0].startswith("version: ")
    assert newer.changes[0].endswith("is now 1.7.2.0")


@needs_rtx
def test_one_changed_weight_rebuilds(seed: Path, tmp_path: Path) -> None:
    first = _compile(seed)
    model = onnx.load(seed / "model.onnx")
    weight = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "changed.onnx")
    write_bundle(tmp_path / "other.edge", tmp_path / "changed.onnx", 32, 10)
    # The engine lies in the bundle and is listed, as in one of schema 1.
    other = Bundle.open(tmp_path / "other.edge")
    plan, info = (f"engines/{first.record.key}/{name}" for name in ("model.plan", "engine.json"))
    entry = EngineEntry(first.record.key, "tensorrt-rtx", "fp32", plan, info)
    rewrite(
        other,
        {name: first.bundle.read(name) for name in (plan, info)},
        lambda manifest, files: replace(manifest, schema=SCHEMA_1, engines=(entry,), files=files),
    )

    with pytest.raises(BundleError, match="built from another model"):
        compiled_artifact(Bundle.open(tmp_path / "other.edge"), "tensorrt-rtx")
    second = _compile(tmp_path / "other.edge")
    assert [change.split(":")[0] for change in second.changes] == ["onnx_sha256"]
    assert [entry.key for entry in Bundle.open(tmp_path / "other.edge").engines()] == [second.record.key]
    assert compiled_artifact(Bundle.open(tmp_path / "other.edge"), "tensorrt-rtx").path.is_file()


@needs_rtx
def test_engines_for_several_gpus_lie_side_by_side(seed: Path) -> None:
    for gpu in ("8.6", "12.0"):
        compile_bundle(Bundle.open(seed), "tensorrt-rtx", "fp32", BuildOptions(gpus=(gpu,)))
    bundle = Bundle.open(seed)
    assert len(bundle.engines()) == 2
    for gpu in ("8.6", "12.0"):
        plan = compiled_artifact(bundle, "tensorrt-rtx", compute_capability=gpu).path
        assert read_header(plan.read_bytes(), plan).compute_capabilities == (gpu,)
    with pytest.raises(UnavailableError, match="another GPU"):
        compiled_artifact(bundle, "tensorrt-rtx", compute_capability="9.0")
    with pytest.raises(NotInBundleError, match="no fp16 engine for tensorrt-rtx"):
        compiled_artifact(bundle, "tensorrt-rtx", "fp16")


@needs_rtx
def test_a_damaged_engine_is_not_taken_for_a_hit_nor_loaded(seed: Path) -> None:
    done = _compile(seed)
    plan = done.bundle.locate(f"engines/{done.record.key}/model.plan")
    content = plan.read_bytes()
    plan.write_bytes(content[:-7])
    opened = Bundle.open(seed)
    assert opened.engines() == ()
    assert "modified" in opened.left_out[0].note
    with pytest.raises(NotInBundleError, match="modified"):
        compiled_artifact(opened, "tensorrt-rtx")
    artifact = compiled_artifact(done.bundle, "tensorrt-rtx")
    with pytest.raises(BundleError, match=": modified"):
        TensorRtRtxEngine(artifact)


@needs_rtx
def test_progress_is_reported(seed: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    _compile(seed, watch=BuildWatch(lambda *step: seen.append(step)))
    assert len(seen) > 10
    assert all(0 <= done <= total for _, done, total in seen)


@needs_rtx
@pytest.mark.parametrize(
    ("how", "says"), [("stop", "cancel"), ("ctrl-c", "interrupted"), ("starve", "unavailableerror")]
)
@pytest.mark.slow
def test_a_build_that_is_stopped_leaves_the_bundle_as_it_was(seed: Path, how: str, says: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in seed.rglob("*")}
    command = [sys.executable, str(Path(__file__).parents[1] / "stopped_build.py"), how, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert {p: p.stat().st_mtime_ns for p in seed.rglob("*")} == before
    if done.returncode == -signal.SIGSEGV:
        pytest.skip("TensorRT-RTX crashed while it gave up the build; the bundle is as it was")
    assert done.returncode == 0, done.stderr
    assert says in done.stdout.lower()
    assert not _compile(seed, "fp16").cached


@needs_rtx
def test_turing_is_refused_for_fp32_and_built_for_fp16(seed: Path) -> None:
    turing = BuildOptions(gpus=parse_gpus("sm75"))
    with pytest.raises(InputError, match="Turing"):
        compile_bundle(Bundle.open(seed), "tensorrt-rtx", "fp32", turing)
    done = compile_bundle(Bundle.open(seed), "tensorrt-rtx", "fp16", turing)
    assert done.record.compute_capabilities == ("7.5",)


@needs_rtx
def test_a_gpu_that_rtx_does_not_know_is_refused(seed: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        compile_bundle(Bundle.open(seed), "tensorrt-rtx", "fp32", BuildOptions(gpus=("9.0",)))
    assert "9.0" in str(caught.value)
    assert "8.9" in str(caught.value)


@needs_rtx
def test_tensorrts_own_words_reach_the_user(seed: Path) -> None:
    with pytest.raises(InputError, match="cannot build"):
        _compile(seed, version_compatible=True)  # the RTX wheels bring no lean runtime
    with pytest.raises(UnavailableError, match="weakly typed"):
        _compile(seed, weakly_typed=True)
    with pytest.raises(InputError, match="DLA computes in fp16 and int8"):
        _compile(seed, dla_core=0)


@needs_rtx
def test_an_operator_that_tensorrt_lacks_is_found_before_the_build(seed: Path, tmp_path: Path) -> None:
    model = onnx.load(seed / "model.onnx")
    last = model.graph.node[-1]
    last.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("DeepSpace9", ["before"], ["logits"], domain="my.ops"))
    model.opset_import.append(onnx.helper.make_opsetid("my.ops", 1))
    onnx.save(model, tmp_path / "odd.onnx")
    from edgeproof_export.compile.target import find_target
    from edgeproof_export.compile.tensorrt import check_with_parser

    (finding,) = check_with_parser(tmp_path / "odd.onnx", find_target("tensorrt-rtx", GPUS))
    assert finding.severity == "error"
    assert "DeepSpace9" in finding.what


def test_plain_tensorrt_says_what_is_missing(seed: Path) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(UnavailableError) as caught:
        compile_bundle(Bundle.open(seed), "tensorrt")
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert "the Python package tensorrt is not installed" in text
    assert "pip install tensorrt" in text
    assert "JetPack" in text


def test_a_precision_that_the_bundle_lacks(seed: Path) -> None:
    with pytest.raises(InputError, match="unknown precision"):
        _compile(seed, "int4")


@needs_rtx
def test_records_can_be_read_again(seed: Path) -> None:
    done = _compile(seed)
    info = f"engines/{done.record.key}/engine.json"
    record = read_record(done.bundle.read(info), info)
    assert record == done.record
    assert record.build_time_s > 0
    assert record.peak_rss_bytes > 2**20
