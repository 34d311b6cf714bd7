"""Outputs whose shape TensorRT knows only after a run, such as those of non-maximum suppression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.engines import _cuda
from edgeproof_runtime.errors import CudaError, UnavailableError

__all__ = ["GrowingOutput", "grow"]


class GrowingOutput:
    """Device memory that TensorRT may ask to grow, and the shape that it reports after a run."""

    def __init__(self) -> None:
        self._buffer: _cuda.DeviceBuffer | None = None
        self._shape: tuple[int, ...] = ()

    def reallocate(self, size_bytes: int) -> int:
        """Return the address of at least this much memory; 0 without memory, which TensorRT takes as a failure."""
        if self._buffer is None or self._buffer.size_bytes < size_bytes:
            self.close()
            try:
                self._buffer = _cuda.DeviceBuffer(size_bytes)
            except CudaError:
                return 0
        return self._buffer.pointer

    def set_shape(self, shape: tuple[int, ...]) -> None:
        """Set the shape of the last batch's output."""
        self._shape = shape

    def read(self, dtype: np.dtype[Any], stream: _cuda.Stream) -> NDArray[Any]:
        """Copy the last output to the host. The stream must be synchronised after the batch."""
        if self._buffer is None:
            raise UnavailableError("output of unknown size: TensorRT requested no memory for it")
        result = np.empty(self._shape, dtype)
        kind = _cuda.cudart().cudaMemcpyKind.cudaMemcpyDeviceToHost
        if result.nbytes:
            _cuda.call("cudaMemcpyAsync", result.ctypes.data, self._buffer.pointer, result.nbytes, kind, stream.handle)
            stream.synchronize()
        return result

    def close(self) -> None:
        """Free the memory."""
        if self._buffer is not None:
            buffer, self._buffer = self._buffer, None
            buffer.close()


def grow(
    trt: Any, context: Any, name: str, known: dict[str, GrowingOutput], own: Callable[[GrowingOutput], Any]
) -> GrowingOutput:
    """Give an output of unknown size an allocator, or keep the one that it has.

    Raises:
        UnavailableError: TensorRT rejects the allocator.
    """
    if name in known:
        return known[name]
    output = GrowingOutput()

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]  # a class of a module found at run time
        def reallocate_output(self, _name: str, _memory: int, size: int, _alignment: int) -> int:
            return output.reallocate(size)

        def reallocate_output_async(self, _name: str, _memory: int, size: int, _alignment: int, _stream: int) -> int:
            return output.reallocate(size)

        def notify_shape(self, _name: str, shape: Any) -> None:
            output.set_shape(tuple(shape))

    allocator = Allocator()
    output.allocator = allocator  # type: ignore[attr-defined]  # TensorRT keeps no reference
    if not context.set_output_allocator(name, allocator):
        raise UnavailableError(f"output {name}: TensorRT rejected the allocator")
    own(output)
    return output
