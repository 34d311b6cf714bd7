"""CUDA kernels compiled where they run: NVRTC, a cache of machine code, and launches through the driver's API."""

from __future__ import annotations

import ctypes
import hashlib
import logging
from functools import cache
from typing import Any

from edgeproof_runtime import _native
from edgeproof_runtime.engines import _cuda
from edgeproof_runtime.errors import CudaError, InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder, write_atomically

__all__ = ["OPTIONS", "Kernels", "compile_kernels"]

_LOG = logging.getLogger("edgeproof.cuda")

OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true")
"""How the kernels are compiled, besides the architecture: no operation may be contracted or approximated."""


@cache
def nvrtc() -> Any:
    """Import NVIDIA's Python bindings of NVRTC, also in the layout of cuda-python before 12.6."""
    return _cuda.binding("NVRTC", "cuda.bindings.nvrtc", "cuda.nvrtc")


@cache
def driver() -> Any:
    """Import NVIDIA's Python bindings of the CUDA driver, also in the layout of cuda-python before 12.6."""
    return _cuda.binding("the CUDA driver", "cuda.bindings.driver", "cuda.cuda")


def _call(function: str, *arguments: Any) -> Any:
    code, value = _cuda.answer(getattr(driver(), function)(*arguments))
    if code is not None:
        raise CudaError(f"{function} failed", code)
    return value


def _compiler(function: str, *arguments: Any) -> Any:
    try:
        code, value = _cuda.answer(getattr(nvrtc(), function)(*arguments))
    except RuntimeError as error:  # the bindings load the library at the first call
        raise UnavailableError(
            "NVRTC is not installed", got=str(error).split("\n")[0], fix="pip install nvidia-cuda-nvrtc"
        ) from None
    if code is not None:
        raise CudaError(f"{function} failed", code)
    return value


def compile_kernels(architecture: str) -> bytes:
    """Compile the kernels; needs NVRTC and no GPU.

    Args:
        architecture: ``sm_87`` for machine code, ``compute_87`` for PTX, which the driver compiles.

    Raises:
        UnavailableError: NVRTC is not installed.
        CudaError: NVRTC refused the sources or the architecture; the log is in the message.
    """
    (name, text), *headers = _native.gpu_sources().items()
    program = _compiler(
        "nvrtcCreateProgram",
        text.encode(),
        name.encode(),
        len(headers),
        [header.encode() for _, header in headers],
        [title.encode() for title, _ in headers],
    )
    try:
        options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS)]
        try:
            _compiler("nvrtcCompileProgram", program, len(options), options)
        except CudaError as error:
            log = bytearray(int(_compiler("nvrtcGetProgramLogSize", program)))
            _compiler("nvrtcGetProgramLog", program, log)
            said = bytes(log).rstrip(b"\0\n").decode(errors="replace")
            raise CudaError(f"compiling the kernels for {architecture} failed: {said}", error.code) from None
        kind = "CUBIN" if architecture.startswith("sm_") else "PTX"
        code = bytearray(int(_compiler(f"nvrtcGet{kind}Size", program)))
        _compiler(f"nvrtcGet{kind}", program, code)
        return bytes(code)
    finally:
        nvrtc().nvrtcDestroyProgram(program)


def _architecture(capability: str) -> str:
    """``sm_87`` where NVRTC knows the GPU, else the PTX of the newest that it knows."""
    wanted = int(capability.replace(".", ""))
    known = [int(number) for number in _compiler("nvrtcGetSupportedArchs")]
    older = [number for number in known if number <= wanted]
    if wanted in known or not older:
        return f"sm_{wanted}"
    return f"compute_{max(older)}"


class Kernels:
    """The kernels as machine code of the current GPU.

    They are compiled at the first use and kept in the user's cache folder, by sources, options, GPU, driver and NVRTC.

    Raises:
        UnavailableError: NVRTC or NVIDIA's Python bindings are not installed.
        CudaError: no GPU, or the code did not compile or load.
    """

    def __init__(self) -> None:
        gpu = _cuda.device()
        architecture = _architecture(gpu.compute_capability)
        sources = "\0".join(part for item in _native.gpu_sources().items() for part in item)
        version = ".".join(map(str, _compiler("nvrtcVersion")))
        key = "\0".join((sources, *OPTIONS, architecture, gpu.name, gpu.driver_cuda, version))
        path = cache_folder() / "kernels" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.{architecture}"
        self.architecture = architecture
        self.compiled = False
        try:
            self._module = _call("cuModuleLoadData", path.read_bytes())
        except (CudaError, OSError):  # not there, or damaged
            self.compiled = True
            code = compile_kernels(architecture)
            self._module = _call("cuModuleLoadData", code)
            try:
                write_atomically(path, code)
            except InputError as error:
                _LOG.debug("kernels not kept: %s", error)
        self._context = _call("cuCtxGetCurrent")
        self._functions: dict[str, Any] = {}

    def launch(
        self, name: str, grid: tuple[int, int, int], block: tuple[int, int, int], argument: bytes, stream: Any
    ) -> None:
        """Launch a kernel whose only argument is a structure; neither allocates nor waits.

        Args:
            name: the kernel.
            grid: blocks.
            block: threads of each.
            argument: the structure's bytes, which are copied.
            stream: the CUDA stream's handle.
        """
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = _call("cuModuleGetFunction", self._module, name.encode())
        _call("cuCtxSetCurrent", self._context)  # of this thread
        held = ctypes.create_string_buffer(argument, len(argument))
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(held))
        _call("cuLaunchKernel", function, *grid, *block, 0, int(stream), ctypes.addressof(pointers), 0)

    def close(self) -> None:
        """Unload the code."""
        _call("cuModuleUnload", self._module)
