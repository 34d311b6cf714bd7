# ruff: noqa: N802  # the names are NVIDIA's
"""How a build is set up for TensorRT versions that cannot be installed here, seen through one that only records."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgeproof_export.compile import BuildOptions, BuildWatch
from edgeproof_export.compile.dla import check_dla
from edgeproof_export.compile.target import find_target
from edgeproof_export.compile.tensorrt import build_plan
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import _cuda, _trt
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from fake_tensorrt import FakeCudart

PROFILE = BatchBounds(1, 4, 16)


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    """Let the builder's warnings be seen, whatever a library has set for the process."""
    caplog.set_level(logging.WARNING, "edgeproof.tensorrt")


class _Logger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2


class Recorder:
    """Stands for the module ``tensorrt`` of one version; what was asked of it is in ``log``."""

    ILogger = _Logger
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    DeviceType = SimpleNamespace(DLA="DLA")

    def __init__(self, version: str, *, strong: bool, weak: bool, progress: bool, batch: int = -1) -> None:
        self.__version__ = version
        self.log: dict[str, Any] = {"flags": [], "cleared": [], "shapes": {}}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(
            **({"STRONGLY_TYPED": 1} if strong else {}), **({"EXPLICIT_BATCH": 0} if weak else {})
        )
        names = ["TF32", "VERSION_COMPATIBLE", "GPU_FALLBACK", *(["FP16", "INT8"] if weak else [])]
        self.BuilderFlag = SimpleNamespace(**{name: name for name in names})
        self.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="ampere_plus")
        if progress:
            self.IProgressMonitor = type("IProgressMonitor", (), {})
        self.refused: bool | None = True
        self.timings: Callable[[], Any] = lambda: SimpleNamespace(serialize=lambda: b"timings")
        self.dla_layers: tuple[int, ...] = (0, 2)
        self.progress, self.batch, self.result = progress, batch, b"ftrt the plan"

    def Builder(self, _logger: Any) -> Any:
        config = SimpleNamespace(
            set_flag=self.log["flags"].append,
            clear_flag=self.log["cleared"].append,
            set_memory_pool_limit=lambda pool, size: self.log.update({pool: size}),
            add_optimization_profile=lambda _profile: self.log.update(profile=True),
            create_timing_cache=lambda old: None if old and self.refused is None else SimpleNamespace(old=old),
            set_timing_cache=self._set_timing_cache,
            get_timing_cache=self.timings,
            can_run_on_DLA=lambda layer: layer in self.dla_layers,
        )
        if self.progress:
            config.progress_monitor = None
        self.config = config
        tensor = SimpleNamespace(name="x", shape=(self.batch, 3, 8, 8))

        def network(flags: int) -> Any:
            self.log["network"] = flags
            return SimpleNamespace(
                num_inputs=1, get_input=lambda _index: tensor, num_layers=3, get_layer=lambda index: index
            )

        return SimpleNamespace(
            num_DLA_cores=2,
            create_network=network,
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda name, *shapes: self.log["shapes"].update({name: shapes})
            ),
            build_serialized_network=lambda _network, _config: self.result,
        )

    def _set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self.log["timing"] = (cache.old, ignore_mismatch)
        return not cache.old or bool(self.refused)

    def OnnxParser(self, _network: Any, _logger: Any) -> Any:
        return SimpleNamespace(parse=lambda _model, _path: True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 3, 8, 8))],
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, model: Path) -> Callable[..., dict[str, Any]]:
    """Builds with a recorded version on a machine with a fake GPU (sm86, 1 GiB free); returns what was asked."""
    cudart = FakeCudart()
    monkeypatch.setattr(_cuda, "cudart", lambda: cudart)

    def run(trt: Recorder, precision: str = "fp32", *, integrated: bool = False, **options: Any) -> dict[str, Any]:
        cudart.attributes["integrated"] = int(integrated)
        monkeypatch.setattr(_trt.Flavour, "load", lambda _self: trt)
        monkeypatch.setattr(_trt.Flavour, "unavailable_reason", lambda _self: None)
        target = find_target("tensorrt", ())
        assert (target.gpu, target.compute_capabilities) == ("Fake GPU, 16 SMs, 2 GiB", ("8.6",))
        built = build_plan(model, target, precision, PROFILE, BuildOptions(**options), BuildWatch())
        assert built.plan == b"ftrt the plan"
        run.notes = built.notes  # type: ignore[attr-defined]
        return trt.log

    return run


def _v8() -> Recorder:
    return Recorder("8.6.1", strong=False, weak=True, progress=False)


def _v10(**changes: Any) -> Recorder:
    return Recorder("10.3.0", strong=True, weak=True, progress=True, **changes)


def _v11() -> Recorder:
    return Recorder("11.4.0.106", strong=True, weak=False, progress=True)


@pytest.mark.parametrize(("precision", "flags"), [("fp32", []), ("fp16", ["FP16"]), ("int8", ["INT8", "FP16"])])
def test_eight_has_precision_by_flags_and_an_explicit_batch(build: Any, precision: str, flags: list[str]) -> None:
    log = build(_v8(), precision)
    assert log["network"] == 1 << 0
    assert log["flags"] == flags


@pytest.mark.parametrize("version", [_v10, _v11])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_ten_and_eleven_take_the_graphs_precision(build: Any, version: Callable[[], Recorder], precision: str) -> None:
    log = build(version(), precision)
    assert log["network"] == 1 << 1
    assert log["flags"] == []


def test_ten_is_weakly_typed_where_asked_for_and_eleven_cannot_be(build: Any) -> None:
    log = build(_v10(), "int8", weakly_typed=True)
    assert (log["network"], log["flags"]) == (1 << 0, ["INT8", "FP16"])
    with pytest.raises(UnavailableError, match="weakly typed"):
        build(_v11(), "int8", weakly_typed=True)


def test_the_profile_holds_the_batch_bounds(build: Any) -> None:
    log = build(_v10())
    assert log["shapes"] == {"x": ((1, 3, 8, 8), (4, 3, 8, 8), (16, 3, 8, 8))}
    assert log["profile"] is True


def test_a_fixed_batch_is_not_stretched(build: Any) -> None:
    with pytest.raises(InputError, match="fixed at 2"):
        build(_v10(batch=2))


def test_the_workspace_comes_from_the_free_memory(build: Any) -> None:
    assert build(_v10())["workspace"] == 2**29  # half of 1 GiB
    assert build(_v10(), workspace_mib=7)["workspace"] == 7 * 2**20


def test_progress_is_asked_for_only_where_it_is_known(build: Any) -> None:
    old, new = _v8(), _v10()
    build(old)
    build(new)
    assert not hasattr(old.config, "progress_monitor")
    assert new.config.progress_monitor is not None


def test_the_other_options_reach_the_builder(build: Any, tmp_path: Path) -> None:
    trt, timings = _v10(), tmp_path / "timing.bin"
    timings.write_bytes(b"old timings")
    log = build(
        trt,
        version_compatible=True,
        hardware_compatibility="ampere_plus",
        optimization_level=2,
        tf32=False,
        dla_core=1,
        timing_cache=timings,
    )
    assert log["flags"] == ["GPU_FALLBACK", "VERSION_COMPATIBLE"]
    assert log["cleared"] == ["TF32"]
    assert log["timing"] == (b"old timings", False)
    assert timings.read_bytes() == b"timings"
    config = trt.config
    assert config.hardware_compatibility_level == "ampere_plus"
    assert config.builder_optimization_level == 2
    assert (config.default_device_type, config.DLA_core) == ("DLA", 1)


def test_what_a_version_lacks_is_said(build: Any) -> None:
    with pytest.raises(UnavailableError, match="same_compute_capability"):
        build(_v10(), hardware_compatibility="same_compute_capability")
    with pytest.raises(UnavailableError, match="--dla: core not available"):
        build(_v10(), dla_core=2)


def test_other_gpus_are_for_rtx_alone(build: Any) -> None:
    build(_v10())  # puts the recorded version in place
    with pytest.raises(InputError, match="--target tensorrt-rtx only"):
        find_target("tensorrt", ("8.9",))


def test_a_build_without_a_result_is_an_error_with_advice(build: Any) -> None:
    trt = _v10()
    trt.result = None  # type: ignore[assignment]  # what TensorRT returns
    with pytest.raises(InputError, match="cannot build") as caught:
        build(trt)
    assert "--weakly-typed" in str(caught.value)


def test_the_workspace_of_an_integrated_gpu_is_a_share_of_the_available_memory(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=6 * 2**30))
    assert build(_v10(), integrated=True)["workspace"] == 6 * 2**28  # cudaMemGetInfo says 1 GiB


@pytest.mark.parametrize("refused", [None, False])
def test_timings_of_another_device_are_left_out(
    refused: bool | None, build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trt, timings = _v10(), tmp_path / "timing.bin"
    timings.write_bytes(b"of an Orin NX")
    trt.refused = refused
    log = build(trt, timing_cache=timings)
    assert log["timing"] == (b"", False)
    assert timings.read_bytes() == b"timings"
    assert "timings of another device" in caplog.text


@pytest.mark.parametrize("kept", ["no cache", "no timings", "a folder"])
def test_a_plan_is_not_lost_with_its_timings(
    kept: str, build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trt = _v10()
    if kept != "a folder":
        cache = None if kept == "no cache" else SimpleNamespace(serialize=lambda: None)
        trt.timings = lambda: cache
    else:
        (tmp_path / "timing.bin").mkdir()
    build(trt, timing_cache=tmp_path / "timing.bin")  # compares the plan
    assert "not written" in caplog.text


def test_dla_takes_layers_and_the_rest_runs_on_the_gpu(build: Any) -> None:
    trt = _v10()
    log = build(trt, "fp16", dla_core=0)
    assert (log["network"], log["flags"]) == (1 << 0, ["GPU_FALLBACK", "FP16"])  # as trtexec, by builder flags
    assert build.notes == ("DLA 0: 2 of 3 layers, GPU: 1",)
    trt = _v10()
    trt.dla_layers = ()
    with pytest.raises(GateError, match="no layer of this model can run on DLA") as caught:
        build(trt, "fp16", dla_core=0)
    assert caught.value.exit_code == 1
    assert "0 of 3 layers" in str(caught.value)


BATCH = BatchBounds(4, 4, 4)


@pytest.mark.parametrize(
    ("version", "precision", "profile", "board", "said"),
    [
        ("10.8.0", "fp16", BATCH, "NVIDIA Jetson AGX Orin", "10.8.0 does not support DLA"),
        ("10.16.1", "fp16", BATCH, "NVIDIA Jetson AGX Orin", "does not support DLA"),
        ("11.3.0", "fp16", BATCH, "NVIDIA Jetson AGX Orin", "does not support DLA"),
        ("11.4.1", "fp16", BATCH, "NVIDIA Jetson Orin NX", "on AGX Orin only"),
        ("10.3.0", "fp32", BATCH, None, "computes in fp16 and int8"),
        ("10.3.0", "int8", BATCH, None, "no Q/DQ layers"),
        ("10.3.0", "fp16", BatchBounds(1, 4, 4), None, "one batch size"),
    ],
)
def test_what_dla_cannot_do_is_refused_with_the_reason(
    version: str, precision: str, profile: BatchBounds, board: str | None, said: str
) -> None:
    with pytest.raises((InputError, UnavailableError), match=said):
        check_dla(version, precision, profile, board=board)


@pytest.mark.parametrize(("version", "precision"), [("8.6.1", "fp16"), ("10.7.0", "fp16"), ("11.4.1", "int8")])
def test_what_dla_can_do_is_built(version: str, precision: str) -> None:
    check_dla(version, precision, BATCH, board="NVIDIA Jetson AGX Orin Developer Kit")
