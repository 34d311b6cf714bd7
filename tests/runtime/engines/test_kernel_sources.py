"""The CUDA kernels compile for every GPU that edgeproof names: by nvcc and by NVRTC, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeproof_runtime import _native
from edgeproof_runtime.engines import _kernels
from edgeproof_runtime.errors import CudaError, UnavailableError

CAPABILITIES = (75, 80, 86, 87, 89, 90, 100, 110, 120)
SOURCES = Path(__file__).resolve().parents[3] / "runtime/cpp/core/src"


def test_the_module_holds_the_sources() -> None:
    found = _native.gpu_sources()
    assert list(found) == ["gpu_kernels.cu", "gpu_passes.h", "arithmetic.h"]
    for name, text in found.items():
        assert text == (SOURCES / name).read_text(), f"{name}: the native module is older than its sources"


@pytest.mark.slow
def test_nvcc_compiles_the_kernels_for_every_gpu(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    targets = [f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in CAPABILITIES if f"sm_{sm}" in known]
    if len(targets) < len(CAPABILITIES):
        pytest.skip(f"this nvcc knows {len(targets)} of {len(CAPABILITIES)} GPUs")
    quick = "Ofast-compile" in subprocess.run([nvcc, "--help"], capture_output=True, text=True, check=True).stdout
    options = (
        *(("--Ofast-compile=max",) if quick else ()),
        "-std=c++17",
        "--fmad=false",
        "-Werror=all-warnings",
        "-fatbin",
        "--threads=2",
    )
    out = tmp_path / "kernels.fatbin"
    done = subprocess.run(
        [nvcc, *options, *targets, str(SOURCES / "gpu_kernels.cu"), "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.stat().st_size > 0


@pytest.mark.slow
def test_nvrtc_compiles_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        code = _kernels.compile_kernels("sm_87")
    except UnavailableError as error:
        pytest.skip(error.what)
    assert code[:4] == b"\x7fELF"
    for kernel in (b"first_x_nv12_luma", b"second_x_wide"):
        assert kernel in code
    monkeypatch.setattr(_kernels._native, "gpu_sources", lambda: {"gpu_kernels.cu": "int broken"})
    with pytest.raises(CudaError, match=r"for sm_87 failed: gpu_kernels\.cu"):
        _kernels.compile_kernels("sm_87")
