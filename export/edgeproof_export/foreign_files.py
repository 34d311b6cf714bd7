"""Recognise files by their content: what a file is that was given as a model or as weights, and what to do with it.

Reads a few kilobytes and never unpickles. Neither torch nor onnx is imported.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeproof_export.archives import ArchiveError, require_small_directory
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import parse_document
from edgeproof_runtime.system.regular import is_folder, open_regular

__all__ = ["FileKind", "recognise", "what_is"]

_HEAD = 4096  # bytes read from the head of a file
_MOST_LOOKED_AT = 256 << 20
_MOST_HEADER = 32 << 20  # of a safetensors file: some 100 bytes a tensor
_TAR = 257  # offset of "ustar" in a tar archive
_LEGACY_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # torch.save before PyTorch 1.6
_AGAIN = "download it again, and check its size and checksum"
_TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_KERAS = "convert it (python -m tf2onnx.convert --keras FILE --output model.onnx) and export model.onnx"
_TF = "convert it (python -m tf2onnx.convert --help) and export the .onnx file"
_AS_WEIGHTS = "edgeproof export ARCHITECTURE --weights {path}"
_AS_MODEL = "edgeproof export {path} --out NAME.edge"
_JAX = "load it in JAX and save the PyTorch model's tensors as .safetensors, or export ONNX there"


@dataclass(frozen=True, slots=True)
class FileKind:
    """Kind of a file or folder.

    Attributes:
        name: identifier, such as ``git-lfs``; ``torch``, ``safetensors``, ``torchscript``, ``pt2`` and ``onnx`` are
            the kinds that edgeproof reads.
        what: description for the line ``got`` of an error.
        fix: what to do about it.
    """

    name: str
    what: str
    fix: str


# Signatures at the first byte, in the order tried.
_MAGIC: tuple[tuple[bytes, FileKind], ...] = (
    (
        b"version https://git-lfs.github.com/",
        FileKind("git-lfs", "a Git LFS pointer, not the file itself", "git lfs pull --include '*{name}'"),
    ),
    (b"/annex/objects/", FileKind("git-annex", "a git-annex pointer, not the file itself", "git annex get {name}")),
    (b"../.git/annex/", FileKind("git-annex", "a git-annex pointer, not the file itself", "git annex get {name}")),
    (b"\x89HDF\r\n\x1a\n", FileKind("hdf5", "an HDF5 file (Keras .h5)", _KERAS)),
    (_LEGACY_TORCH, FileKind("torch", "a PyTorch checkpoint", _AS_WEIGHTS)),
    (b"GGUF", FileKind("gguf", "a GGUF file of llama.cpp", "use the PyTorch weights that it was made from")),
    (b"\x93NUMPY", FileKind("npy", "a NumPy .npy array", "save tensors by name: safetensors.torch.save_file")),
    (b"ftrt", FileKind("tensorrt", "a TensorRT engine", "export the model that it was built from")),
    (b"ptrt", FileKind("tensorrt", "a TensorRT engine", "export the model that it was built from")),
    (
        b"7767517",
        FileKind("ncnn", "an ncnn model", "export the PyTorch or ONNX model that it was converted from"),
    ),
    (
        b"\x12\x01\x00\x00\x00\x00\x00\x00",
        FileKind("mxnet", "an MXNet .params file", "convert it to ONNX (mxnet.onnx.export_model) and export that"),
    ),
    (b"MATLAB 5.0 MAT-file", FileKind("matlab", "a MATLAB .mat file", "save the weights from PyTorch as .safetensors")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("7z", "a 7-Zip archive", "unpack it: 7z x {path}")),
    (b"Rar!\x1a\x07", FileKind("rar", "a RAR archive", "unpack it: unrar x {path}")),
    (b"\x28\xb5\x2f\xfd", FileKind("zstd", "a Zstandard-compressed file", "unpack it: zstd -d {path}")),
    (b"\x89PNG\r\n\x1a\n", FileKind("image", "a PNG image", "give the file of the model or weights")),
    (b"\xff\xd8\xff", FileKind("image", "a JPEG image", "give the file of the model or weights")),
    (b"%PDF-", FileKind("pdf", "a PDF document", "give the file of the model or weights")),
    (b"PAR1", FileKind("parquet", "a Parquet table", "give the file of the model or weights")),
    (b"SQLite format 3\x00", FileKind("sqlite", "an SQLite database", "give the file of the model or weights")),
    (b"\x7fELF", FileKind("executable", "a program or shared library", "give the file of the model or weights")),
)

_ORIGINAL = "export the PyTorch or ONNX model that it was made from"
_PADDLE = "convert it (paddle2onnx --model_dir FOLDER --save_file model.onnx) and export model.onnx"
# Formats without a signature, by suffix; asked only where the content tells nothing better.
_BY_SUFFIX: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys((".mlmodel", ".mlpackage", ".mlmodelc"), ("coreml", "a Core ML model", _ORIGINAL)),
    **dict.fromkeys((".caffemodel", ".prototxt"), ("caffe", "a Caffe model", "convert it to ONNX and export that")),
    **dict.fromkeys((".pdmodel", ".pdiparams", ".pdparams"), ("paddle", "a Paddle model", _PADDLE)),
    **dict.fromkeys((".weights", ".cfg"), ("darknet", "a Darknet model", "convert it to ONNX and export that")),
    ".ort": ("ort", "a model in ONNX Runtime's own format", "export the .onnx file that it was made from"),
    ".mnn": ("mnn", "an MNN model", _ORIGINAL),
    **dict.fromkeys(
        (".rknn", ".hef", ".dlc", ".om", ".blob", ".xmodel", ".nb", ".kmodel"),
        ("compiled", "a model compiled for one kind of accelerator", _ORIGINAL),
    ),
    ".msgpack": ("flax", "a Flax checkpoint", _JAX),
    ".py": ("python", "Python source", "edgeproof export MODULE:FUNCTION, where the function returns the network"),
    ".ipynb": ("notebook", "a notebook", "save the model's weights there: torch.save(model.state_dict(), FILE)"),
    **dict.fromkeys((".yaml", ".yml"), ("yaml", "a configuration", "give the file of the model or weights")),
}

_PACKED = {
    b"\x1f\x8b": ("gzip", gzip.open, "gunzip"),
    b"BZh": ("bzip2", bz2.open, "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", lzma.open, "unxz"),
}


def what_is(path: Path) -> str | None:
    """Describe what a file or folder is by its content; None if unknown or missing."""
    kind = recognise(path)
    return None if kind is None else kind.what


def recognise(path: Path) -> FileKind | None:
    """Recognise a file or folder by its content; None if unknown or missing."""
    try:
        if is_folder(path):
            kind: FileKind | None = _folder(path)
        else:
            with io.BufferedReader(open_regular(path, sys.maxsize)) as file:
                kind = _file(path, file, file.read(_HEAD))
    except OSError:
        return _special(path)
    if (kind is None or kind.name in ("text", "json", "folder")) and path.suffix.lower() in _BY_SUFFIX:
        kind = FileKind(*_BY_SUFFIX[path.suffix.lower()])
    if kind is None:
        return None
    return FileKind(kind.name, kind.what, kind.fix.replace("{path}", str(path)).replace("{name}", path.name))


def _special(path: Path) -> FileKind | None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode):
        return None
    return FileKind("special", "a FIFO, socket or device, not a file", "give the file of the model or weights")


def _file(path: Path, file: BinaryIO, head: bytes) -> FileKind | None:
    size = path.stat().st_size
    if not head:
        return FileKind("empty", "an empty file", _AGAIN)
    if not head.strip(b"\0") and _all_zero(file):
        return FileKind("zeros", f"{size} bytes, all of them 0", _AGAIN)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    for magic, (name, opener, command) in _PACKED.items():
        if head.startswith(magic):
            return _packed(path, name, opener, command)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path, head)
    if head[_TAR : _TAR + 5] == b"ustar":
        return _tar(path)
    if head[4:8] == b"TFL3":
        return FileKind("tflite", "a TensorFlow Lite model", "convert the original model to ONNX and export that")
    if head[4:6] == b"ET" and head[6:8].isdigit():
        return FileKind("executorch", "an ExecuTorch program (.pte)", "export the PyTorch model that it was made from")
    if path.name.endswith(".index") or re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        whole = path.with_name(re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path.name) + ".index")
        if whole.is_file() and _ends_as_table(whole):
            return FileKind("tensorflow-checkpoint", "a TensorFlow checkpoint", _TF)
    return _safetensors(file, head, size) or _text(head, path) or _pickle(head) or _protobuf(file, head, size, path)


def _ends_as_table(path: Path) -> bool:
    """Return whether a file ends as the index of a TensorFlow checkpoint does, a table of LevelDB's format."""
    with io.BufferedReader(open_regular(path, sys.maxsize)) as file:
        file.seek(max(0, path.stat().st_size - len(_TABLE_END)))
        return file.read() == _TABLE_END


def _all_zero(file: BinaryIO) -> bool:
    """Return whether a file holds zeros only, as far as a look at its head takes no time."""
    read = 0
    while read < _MOST_LOOKED_AT and (block := file.read(1 << 20)):
        read += len(block)
        if block.strip(b"\0"):
            return False
    return True


def _safetensors(file: BinaryIO, head: bytes, size: int) -> FileKind | None:
    """Recognise a safetensors file: the length of its JSON header, then the header."""
    if len(head) < 10 or head[8:9] != b"{" or head[9:10] not in b'"}':
        return None
    (length,) = struct.unpack("<Q", head[:8])
    if length > _MOST_HEADER:
        return None
    if 8 + length > size:
        return FileKind("truncated", f"a safetensors file, cut off within its header at {size} bytes", _AGAIN)
    file.seek(8)
    try:
        entries = parse_document(file.read(length), "header", max_bytes=_MOST_HEADER)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (InputError, LookupError, TypeError, AttributeError):
        return None
    if (whole := 8 + length + max(ends, default=0)) > size:
        return FileKind("truncated", f"a safetensors file, cut off at {size} of {whole} bytes", _AGAIN)
    return FileKind("safetensors", "a safetensors file", _AS_WEIGHTS)


def _text(head: bytes, path: Path) -> FileKind | None:
    try:
        text = head.decode("utf-8-sig", errors="strict" if len(head) < _HEAD else "ignore").lstrip()
    except UnicodeDecodeError:
        return None
    if "\0" in text or not text:
        return None
    low = text[:512].lower()
    if low.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in low:
        return FileKind("html", "an HTML page (of a login, a licence or an error)", f"{_AGAIN}; log in first if asked")
    if low.startswith(("<?xml", "<error>")):
        if "<net " in low:
            return FileKind(
                "openvino", "an OpenVINO IR model", "export the PyTorch or ONNX model that it was converted from"
            )
        return FileKind("xml", "an XML document (an error of a server?)", _AGAIN)
    if text.startswith("model_checkpoint_path:"):
        return FileKind("tensorflow-checkpoint", "the list of a TensorFlow checkpoint", _TF)
    if text[0] in "{[":
        return _json(text, path)
    if not all(char.isprintable() or char in "\t\r\n" for char in text):
        return None
    return FileKind("text", f"a text file that begins with {text.splitlines()[0][:60]!r}", _AGAIN)


def _json(text: str, path: Path) -> FileKind:
    if '"weight_map"' in text:
        return FileKind("safetensors-index", "the index of a sharded checkpoint", _AS_WEIGHTS)
    if '"model_type"' in text or '"architectures"' in text or '"architecture"' in text:
        return FileKind("config", "a model configuration (config.json)", "give the weights file beside it")
    if '"modelTopology"' in text:
        return FileKind("tfjs", "a TensorFlow.js model", _TF)
    message = ""
    try:
        body = json.loads(text) if path.stat().st_size < _HEAD else None
        if isinstance(body, dict):
            found = next((body[key] for key in ("error", "message", "detail", "msg") if body.get(key)), "")
            message = f": {found.get('message', found) if isinstance(found, dict) else found}"[:80] if found else ""
    except ValueError:
        pass
    return FileKind("json", f"a JSON document{message}", f"{_AGAIN}; log in first if asked")


def _pickle(head: bytes) -> FileKind | None:
    if head[:1] != b"\x80" or head[1:2] not in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return None
    packages = {
        b"sklearn": "scikit-learn",
        b"joblib": "joblib",
        b"xgboost": "XGBoost",
        b"lightgbm": "LightGBM",
        b"fastai": "fastai",
        b"jax": "JAX",
        b"flax": "Flax",
        b"paddle": "Paddle",
    }
    package = next((f" of {name}" for word, name in packages.items() if word in head), "")
    return FileKind(
        "pickle",
        f"a Python pickle{package}, not a PyTorch checkpoint",
        "load it where it was made and save its tensors: safetensors.torch.save_file(state_dict, FILE)",
    )


def _zip(path: Path, head: bytes) -> FileKind:
    try:
        with path.open("rb") as file:
            require_small_directory(file)
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
    except ArchiveError as error:
        return FileKind("zip", f"a zip archive with {error}", "unpack it: unzip {path}")
    except (zipfile.BadZipFile, OSError, ValueError):
        what = "a PyTorch checkpoint" if b"/data.pkl" in head or b"/byteorder" in head else "a zip archive"
        return FileKind("truncated", f"{what}, cut off: its last part is missing", _AGAIN)
    inner = {name.partition("/")[2] for name in names}
    if inner & {"constants.pkl"} and any(name.startswith("code/") for name in inner):
        return FileKind("torchscript", "a TorchScript archive (torch.jit.save)", _AS_MODEL)
    if any(name.endswith(("serialized_exported_program.json", "archive_format")) for name in names):
        return FileKind("pt2", "an exported program (torch.export.save)", "name it .pt2 and give it as MODEL")
    if ".data/extern_modules" in inner:
        return FileKind(
            "torch-package", "a torch.package archive, which holds code", "load it and save model.state_dict()"
        )
    if "data.pkl" in inner:
        return FileKind("torch", "a PyTorch checkpoint", _AS_WEIGHTS)
    if {"config.json", "model.weights.h5"} <= set(names):
        return FileKind("keras", "a Keras model (.keras)", _KERAS)
    if names and all(name.endswith(".npy") for name in names):
        return FileKind(
            "npz", f"NumPy arrays (.npz): {_first(names)}", f"{_JAX}; images and labels are given as --data"
        )
    if "MAR-INF/MANIFEST.json" in names:
        return FileKind("torchserve", f"a TorchServe archive (.mar) with {_first(names)}", "unpack it: unzip {path}")
    return FileKind("zip", f"a zip archive with {_first(names)}", "unpack it: unzip {path}")


def _packed(path: Path, name: str, opener: object, command: str) -> FileKind:
    what = f"a {name}-compressed file"
    try:
        with opener(path, "rb") as stream:  # type: ignore[operator]  # gzip.open, bz2.open or lzma.open
            if stream.read(_HEAD)[_TAR : _TAR + 5] == b"ustar":
                kind = _tar(path)
                return FileKind("tar", f"{what}: {kind.what}", kind.fix)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return FileKind("truncated", f"{what}, cut off or damaged", _AGAIN)
    return FileKind(name, what, f"unpack it: {command} < {{path}} > FILE")


def _tar(path: Path) -> FileKind:
    names: list[str] = []
    try:
        with tarfile.open(path) as archive:
            while len(names) < 16 and (member := archive.next()) is not None:
                names.append(member.name.removeprefix("./"))
                if member.offset_data + member.size > _MOST_LOOKED_AT:  # a compressed member is unpacked to pass it
                    break
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return FileKind("truncated", "a tar archive, cut off or damaged", _AGAIN)
    if {"pickle", "storages", "tensors"} <= set(names):
        return FileKind(
            "torch-tar",
            "a checkpoint of PyTorch 0.1 (a tar archive), which holds pickles",
            "load it in its PyTorch and save the state dict as .safetensors",
        )
    return FileKind("tar", f"a tar archive with {_first([n for n in names if n != '.'])}", "unpack it: tar xf {path}")


def _protobuf(file: BinaryIO, head: bytes, size: int, path: Path) -> FileKind | None:
    """Recognise ONNX and TensorFlow by the numbers and types of their protobuf's top-level fields."""
    fields = _fields(file, size)
    if not fields:
        return None
    numbers = [number for number, _, _ in fields]
    first, wire, value = fields[0]
    if wire == 0 and first == 1 and {7, 8} <= set(numbers) and max(numbers) <= 30:
        return FileKind("onnx", "an ONNX model", _AS_MODEL)
    if wire == 0 and first == 1 and 7 in numbers and fields[-1][2] > size:
        return FileKind("truncated", f"an ONNX model, cut off at {size} bytes", _AGAIN)
    if path.suffix == ".mlmodel":
        return FileKind("coreml", "a Core ML model", "export the PyTorch model that it was converted from")
    if path.name == "saved_model.pb" or (wire == 0 and first == 1 and value == 1 and numbers[1:2] == [2]):
        return FileKind("savedmodel", "a TensorFlow SavedModel", _TF)
    if wire == 2 and set(numbers) <= {1, 2, 3, 4} and (b"Const" in head or b"Placeholder" in head):
        return FileKind("tensorflow", "a frozen TensorFlow graph (.pb)", _TF)
    if wire == 2 and 100 in numbers:
        return FileKind("caffe", "a Caffe model", "convert it to ONNX (caffe2onnx) and export that")
    return None


def _fields(file: BinaryIO, size: int) -> list[tuple[int, int, int]]:
    """Return (number, wire type, value or end) of the first top-level fields; empty if not a protobuf."""
    found: list[tuple[int, int, int]] = []
    file.seek(0)
    while file.tell() < size and len(found) < 4096:
        tag = _varint(file)
        if tag is None or not tag >> 3 or tag & 7 not in (0, 2):
            return []
        value = _varint(file)
        if value is None:
            return []
        if tag & 7 == 2:
            value += file.tell()
            file.seek(value)
        found.append((tag >> 3, tag & 7, value))
    whole = file.tell() <= size or found[-1][0] == 7  # the graph of a truncated ONNX file reaches beyond its end
    return found if whole else []


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _folder(path: Path) -> FileKind:
    names = {entry.name for entry in path.iterdir()}
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return FileKind(
            "distcp",
            "a folder of torch.distributed.checkpoint",
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} weights.pth",
        )
    if "zero_to_fp32.py" in names or any(name.startswith(("mp_rank_", "zero_pp_rank_")) for name in names):
        return FileKind("deepspeed", "a DeepSpeed checkpoint", "python {path}/zero_to_fp32.py {path} weights")
    if "saved_model.pb" in names:
        return FileKind("savedmodel", "a TensorFlow SavedModel", _TF.replace("--help", "--saved-model {path}"))
    if names & {"_METADATA", "_CHECKPOINT_METADATA", "_sharding"}:
        return FileKind("orbax", "a JAX checkpoint (Orbax)", _JAX)
    if {"manifest.json", "bundle.json"} & names and path.suffix == ".edge":
        return FileKind("bundle", "a bundle of edgeproof", "use it: edgeproof verify {path}")
    weights = sorted(name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json")))
    weights += sorted(name for name in names if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt")))
    if weights:
        return FileKind("folder", f"a folder with {_first(weights)}", f"--weights {{path}}/{weights[0]}")
    return FileKind("folder", f"a folder with {_first(sorted(names))}", "give the file of the model or weights")


def _first(names: list[str]) -> str:
    return (", ".join(names[:3]) + (", ..." if len(names) > 3 else "")) or "no files"
