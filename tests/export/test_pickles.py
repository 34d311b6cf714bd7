"""Checkpoints that would take the process with them: too many, too deep, too large objects."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from edgeproof_export.weights import pickles
from edgeproof_export.weights.file import read_weights
from edgeproof_runtime.errors import InputError

EMPTY = b"\x80\x02}."


def checkpoint(path: Path, pickled: bytes, **storages: bytes) -> Path:
    """Write a checkpoint as torch.save does, around this pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key.removeprefix('s')}", content)
        archive.writestr("archive/version", b"3\n")
    return path


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_weights(path)
    assert caught.value.exit_code == 2
    assert str(path) in caught.value.what
    return caught.value


def test_a_tuple_nested_so_deep_that_its_hash_overflows_the_stack(tmp_path: Path) -> None:
    deep = b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."
    assert "nested deeper than 100" in str(refused(checkpoint(tmp_path / "w.pth", deep)).got)
    memoised = b"\x80\x02})" + b"q\x010h\x01\x85" * 300_000 + b"K\x01s."
    assert "nested deeper than 100" in str(refused(checkpoint(tmp_path / "w.pth", memoised)).got)
    legacy = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + b"\x80\x02M\xe9\x03." + EMPTY + deep
    (tmp_path / "w.pth").write_bytes(legacy)
    assert "nested deeper than 100" in str(refused(tmp_path / "w.pth").got)


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"\x80\x02]" + b"K\x01a" * 1_100_000 + b".", "opcodes"),
        (b"\x80\x02](" + b"".join(b"cmodule_%d\nC\n" % i for i in range(600)) + b"e.", "500 classes"),
        (
            b"\x80\x02}("
            + b"".join(b"\x8a\x09" + b"\xff" * 7 + bytes([i % 256, 1]) + b"N" for i in range(1100))
            + b"u.",
            "64",
        ),
        (b"\x80\x02c_codecs\nencode\nX\x03\x00\x00\x00\xc3\xa41X\x08\x00\x00\x00punycode\x86R.", "quadratic"),
        (b"\x80\x02c_codecs\nencode\nX\x03\x00\x00\x00\xc3\xa41X\x09\x00\x00\x00Puny-Code\x86R.", "quadratic"),
    ],
    ids=["opcodes", "classes", "integers", "codec", "codec by another name"],
)
def test_more_than_checkpoints_have(tmp_path: Path, pickled: bytes, reason: str) -> None:
    assert reason in str(refused(checkpoint(tmp_path / "w.pth", pickled)).got)


def test_memory_by_a_number(tmp_path: Path) -> None:
    """``bytearray(2**33)`` would fill 8 GB with zeros."""
    number = b"\x8a\x05" + (2**33).to_bytes(5, "little")
    for name in (b"c__builtin__\nbytearray\n", b"cbuiltins\nbytearray\n"):
        assert "run code" in refused(checkpoint(tmp_path / "w.pth", b"\x80\x02" + name + number + b"\x85R.")).what


@pytest.mark.parametrize("name", [b"a\0b", b"\xed\xa0\x80", b"x" * 5000, b"", b"a\x1b[31m"])
def test_classes_with_names_that_are_none(tmp_path: Path, name: bytes) -> None:
    refused(checkpoint(tmp_path / "w.pth", b"\x80\x02cmodule\n" + name + b"\n)R."))


def test_containers_that_hold_each_other(tmp_path: Path) -> None:
    content: list[Any] = []
    for _ in range(11):
        content = [content] * 20
    torch.save(content, tmp_path / "w.pth")
    assert "1000000 values" in refused(tmp_path / "w.pth").what
    content.append(content)
    torch.save({"a": content}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth")


def shape_of(path: Path, numel: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Path:
    """Write one tensor whose description does not fit its 16 bytes."""

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, found: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(found, Storage) else None

    class Rebuilt:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, stride, False, {})

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"w": Rebuilt()})
    return checkpoint(path, buffer.getvalue(), s0=b"\0" * 16)


@pytest.mark.parametrize(
    ("numel", "shape", "stride", "offset"),
    [
        (4, (10**6, 10**6), (10**6, 1), 0),
        (10**12, (10**6, 10**6), (10**6, 1), 0),
        (4, (4,), (1,), 10**12),
        (4, (4,), (2**62,), 0),
        (4, (-4,), (1,), 0),
        (4, (2**62, 2**62), (1, 1), 0),
        (-4, (4,), (1,), 0),
    ],
)
def test_tensors_beyond_their_storage(
    tmp_path: Path, numel: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    refused(shape_of(tmp_path / "w.pth", numel, shape, stride, offset))


def test_archives_with_two_pickles(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "w.pth", EMPTY)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/DATA.PKL", EMPTY)
    assert "twice" in str(refused(path).got)


@pytest.mark.parametrize(
    "header",
    [
        b'{"w":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}',
        b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"[" * 100_000,
        b'{"w":null}',
    ],
)
def test_safetensors_that_contradict_themselves(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    refused(path)


def test_ordinary_checkpoints_are_within_the_bounds(tmp_path: Path) -> None:
    """Long lists are filled in batches, which is no nesting; arrays and sets are kept."""
    tensors = {f"layers.{i}.weight": torch.zeros(2) for i in range(3000)}
    content = {
        "state_dict": tensors,
        "history": [float(i) for i in range(200_000)],
        "array": np.arange(9),
        "set": {1, 2},
        "large": [2**70] * 10,
        "nested": [[[[[[[[[[1]]]]]]]]]],
    }
    torch.save(content, tmp_path / "w.pth")
    assert set(read_weights(tmp_path / "w.pth").tensors) >= {f"state_dict.{name}" for name in tensors}
    save_file(tensors, tmp_path / "w.safetensors")
    assert len(read_weights(tmp_path / "w.safetensors").tensors) == 3000


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=100)
@given(VALUES, st.integers(2, 5))
def test_depth_is_at_least_that_of_the_value(value: Any, protocol: int) -> None:
    def depth(found: Any) -> int:
        inner = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list | tuple) else []
        return 1 + max(map(depth, inner), default=-1) if inner else 0

    def only_tuples(found: Any) -> bool:
        return not isinstance(found, list | dict) and (not isinstance(found, tuple) or all(map(only_tuples, found)))

    nesting = pickles._Nesting()
    for opcode, argument, _ in pickletools.genops(pickle.dumps(value, protocol)):
        last = nesting._depths[-1] if nesting._depths else 0
        nesting.follow(opcode, argument)
    if only_tuples(value):  # others cannot be hashed, and are filled after they are noted
        assert last >= depth(value)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_pickles_are_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever bytes change, the file is read or refused."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2), "b": {"c": (1, [2, "x"])}}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = bytearray(archive.read(name))
    for _ in range(data.draw(st.integers(1, 4))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    path = checkpoint(tmp_path_factory.mktemp("fuzz") / "w.pth", bytes(pickled), s0=b"\0" * 8)
    with suppress(InputError):
        read_weights(path)
