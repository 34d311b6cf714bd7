"""Arrays from outside: what a header claims is compared with what is there, before anything is allocated."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgeproof_runtime.data.store import load_npz
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.arrays import parse_array

DTYPES = st.sampled_from(["uint8", "uint16", "int64", "float16", "float32", "bool", "<U3"])


def npy(array: NDArray[Any], **more: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **more)
    return buffer.getvalue()


def claiming(shape: str, descr: str = "<f4", values: bytes = b"1234") -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0)))
def test_what_numpy_writes_is_read(array: NDArray[Any]) -> None:
    found = parse_array(npy(array), "a")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@given(st.binary(max_size=120).map(lambda tail: npy(np.zeros(3, np.float32))[:90] + tail) | st.binary(max_size=60))
def test_damage_is_one_error(content: bytes) -> None:
    with contextlib.suppress(InputError):
        parse_array(content, "a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy(np.zeros(4, np.float32))[:-1],
        npy(np.zeros(4, np.float32)) + b"x",
        npy(np.array([{"a": 1}], object), allow_pickle=True),
        npy(np.zeros(2, [("a", "<f4")])),
        npy(np.asfortranarray(np.zeros((2, 3), np.float32))),
        claiming("(1099511627776,)"),
        claiming("(9999999999999, 9999999999999, 99999999999)"),
        claiming("(-1,)"),
        claiming("(1.5,)"),
        claiming("(True,)"),
        claiming("(" * 5000),
        claiming("(1,)", "<V999999999999"),
        claiming("[__import__('os').abort()]"),
        b"\x93NUMPY\x09\x00" + bytes(200),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    ],
    ids=range(17),
)
def test_a_header_that_lies_is_refused_without_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BundleError):
            parse_array(content, "a.npy", BundleError)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_an_archive_that_lies_is_refused_without_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in (claiming("(1099511627776,)"), b"not an array", claiming("(2,)")):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.npy", content)
        with pytest.raises(InputError):
            load_npz(path, "x")
    np.savez_compressed(path, x=np.zeros(300 << 20, np.uint8))  # 300 kB that become 300 MB
    with pytest.raises(InputError, match="expands too much"):
        load_npz(path, "x")
    np.savez_compressed(path, x=np.arange(12), **{"y.npy": np.ones(2)})
    assert load_npz(path, "x")[0].tolist() == list(range(12))
    # A directory that claims more than the file holds.
    np.savez(path, x=np.zeros(8, np.uint8))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 0x7FFFFFFF, 0x7FFFFFFF)
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_npz(path, "x")
