"""NumPy's ``.npy`` format: nothing is allocated before header and content are compared."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError

__all__ = ["NPY_MAGIC", "ArrayHeader", "parse_array", "read_array_header"]

NPY_MAGIC = b"\x93NUMPY"

# NumPy evaluates the header as a Python literal.
_DAMAGE = (ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, MemoryError, RecursionError)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """Header of a ``.npy`` file.

    Attributes:
        size_bytes: bytes of values that follow it.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(stream: IO[bytes], name: str, error: type[InputError] = InputError) -> ArrayHeader:
    """Read the header of a ``.npy`` file; the stream is then at its values.

    Raises:
        InputError: damaged, or objects or records. The class is ``error``.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version}")
        # Version 3 differs from 2 by the encoding of field names, which a plain array does not have.
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except _DAMAGE as found:
        raise error(f"{name}: damaged .npy header", got=" ".join(str(found).split())[:200]) from found
    if dtype.hasobject or dtype.names is not None or any(type(side) is not int or side < 0 for side in shape):
        raise error(f"{name}: unsupported dtype", got=dtype.str, expected="an array of plain numbers")
    return ArrayHeader(shape, fortran, dtype)


def parse_array(content: bytes, name: str, error: type[InputError] = InputError) -> NDArray[Any]:
    """Parse a ``.npy`` file without copying; its header must describe exactly the bytes that follow.

    Returns:
        A read-only array, in C order.

    Raises:
        InputError: damaged, truncated, objects or records, or Fortran order. The class is ``error``.
    """
    stream = io.BytesIO(content)
    header = read_array_header(stream, name, error)
    if header.fortran and len(header.shape) > 1:
        raise error(
            f"{name}: unsupported order", got="Fortran order", expected="C order", fix="np.ascontiguousarray(array)"
        )
    found = len(content) - stream.tell()
    if found != header.size_bytes:
        raise error(
            f"{name}: {'truncated' if found < header.size_bytes else 'damaged'}",
            got=f"{found} bytes of values",
            expected=f"{header.size_bytes} for {header.dtype} {'x'.join(map(str, header.shape))}",
            fix="copy the file again",
        )
    if not found:
        return np.zeros(header.shape, header.dtype)
    return np.frombuffer(content, header.dtype, offset=stream.tell()).reshape(header.shape)
