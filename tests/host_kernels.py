"""The CUDA kernels as a library of the CPU, and a CUDA driver that runs them: for tests without a GPU."""

# ruff: noqa: N802, N815  # the names are NVIDIA's

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_tensorrt import FakeCudart, Status
from run_wide import once

HEADER = Path(__file__).resolve().parents[1] / "runtime/cpp/tests/core/host_kernels.h"


def host_kernels() -> ctypes.CDLL:
    """The kernels, compiled by the host's C++ compiler; skips without one."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")

    def build(out: Path) -> None:
        options = ("-x", "c++", "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-include", str(HEADER))
        subprocess.run([compiler, *options, os.devnull, "-o", str(out)], check=True)

    return ctypes.CDLL(str(once("host_kernels.so", build)))


class FakeDriver:
    """The part of `cuda.bindings.driver` in use, beside a `FakeCudart`: kernels run on the CPU, and are captured."""

    def __init__(self, cudart: FakeCudart, kernels: ctypes.CDLL) -> None:
        self.cudart = cudart
        self.kernels = kernels
        self.loaded: list[bytes] = []
        self.launched: list[str] = []
        self.fail: dict[str, list[Status]] = {}

    def _answer(self, name: str, *values: Any) -> tuple[Any, ...]:
        waiting = self.fail.get(name)
        return (waiting.pop(0), None) if waiting else (Status.cudaSuccess, *values)

    def cuModuleLoadData(self, code: bytes) -> tuple[Any, ...]:
        self.loaded.append(code)
        return self._answer("cuModuleLoadData", "module")

    def cuModuleUnload(self, _module: str) -> tuple[Any, ...]:
        return self._answer("cuModuleUnload")

    def cuModuleGetFunction(self, _module: str, name: bytes) -> tuple[Any, ...]:
        return self._answer("cuModuleGetFunction", name)

    def cuCtxGetCurrent(self) -> tuple[Any, ...]:
        return self._answer("cuCtxGetCurrent", "context")

    def cuCtxSetCurrent(self, context: str) -> tuple[Any, ...]:
        assert context == "context"
        return self._answer("cuCtxSetCurrent")

    def cuLaunchKernel(self, name: bytes, *arguments: Any) -> tuple[Any, ...]:
        *numbers, shared, stream, parameters, extra = arguments
        assert (len(numbers), shared, extra) == (6, 0, 0)
        grid, block = (ctypes.c_uint * 3)(*numbers[:3]), (ctypes.c_uint * 3)(*numbers[3:])
        job = ctypes.string_at(ctypes.c_void_p.from_address(parameters).value, JOB_BYTES)
        failed = self._answer("cuLaunchKernel")
        if failed[0]:
            return failed

        def run() -> None:
            assert self.kernels.run_kernel_on_host(name, grid, block, job), name
            self.launched.append(name.decode())

        self.cudart.do(stream, run)
        return failed


JOB_BYTES = 240  # sizeof(GpuJob): `GpuPlan.job` gives as many


class FakeNvrtc:
    """NVRTC that takes any source and gives a line that says for what."""

    def __init__(self) -> None:
        self.compiled: list[list[bytes]] = []
        self.refuse = False

    def nvrtcVersion(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, 13, 0

    def nvrtcGetSupportedArchs(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, [75, 80, 86, 90]

    def nvrtcCreateProgram(self, *_arguments: Any) -> tuple[Any, ...]:
        return Status.cudaSuccess, SimpleNamespace()

    def nvrtcCompileProgram(self, _program: Any, count: int, options: list[bytes]) -> tuple[Any, ...]:
        assert count == len(options)
        self.compiled.append(options)
        return (Status.cudaErrorInvalidValue,) if self.refuse else (Status.cudaSuccess,)

    def nvrtcDestroyProgram(self, _program: Any) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def nvrtcGetProgramLogSize(self, _program: Any) -> tuple[Any, ...]:
        return Status.cudaSuccess, 9

    def nvrtcGetProgramLog(self, _program: Any, log: bytearray) -> tuple[Any, ...]:
        log[:] = b"no such\n\0"
        return (Status.cudaSuccess,)

    def nvrtcGetCUBINSize(self, _program: Any) -> tuple[Any, ...]:
        return Status.cudaSuccess, 5

    def nvrtcGetCUBIN(self, _program: Any, code: bytearray) -> tuple[Any, ...]:
        code[:] = b"cubin"
        return (Status.cudaSuccess,)

    nvrtcGetPTXSize, nvrtcGetPTX = nvrtcGetCUBINSize, nvrtcGetCUBIN
