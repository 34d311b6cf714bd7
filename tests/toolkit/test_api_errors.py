"""The library on what a person gave: every reader raises an error of edgeproof, never a raw one."""

from __future__ import annotations

import errno
import inspect
import io
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgeproof
from bundles import LABELS, make_bundle
from edgeproof.library.bench import import_trtexec
from edgeproof.library.compare import compare
from edgeproof.library.sources import specs_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.class_names import read_class_names
from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.images import read_image
from edgeproof_runtime.data.label_table import read_label_table
from edgeproof_runtime.data.multilabel import MultilabelData
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.evidence.read import read_report
from edgeproof_runtime.sources import open_source, read_streams


def frames_of(path: Path) -> None:
    with open_source(str(path)) as source:
        for _ in source:
            pass


READERS: dict[str, Callable[[Path], Any]] = {
    "image": lambda path: read_image(path, apply_orientation=True),
    "source": frames_of,
    "labelled data": lambda path: list(LabelledData.open(path, LABELS)),
    "images": lambda path: list(ImageList.open(path)),
    "multilabel data": lambda path: list(MultilabelData.open(path, LABELS)),
    "label table": read_label_table,
    "names": lambda path: read_class_names(path, "labels"),
    "clip labels": lambda path: ClipLabels.open(path, known=LABELS),
    "streams": read_streams,
    "sources": lambda path: specs_of([str(path)]),
    "report": read_report,
    "compare": lambda path: compare(path, path),
    "trtexec": lambda path: import_trtexec(path, None),
    "bundle": Bundle.open,
}
OF_JSON = ("report", "compare", "trtexec", "bundle")
SUFFIXES = (
    ".json",
    ".csv",
    ".tsv",
    ".txt",
    ".npz",
    ".png",
    ".jpg",
    ".tif",
    ".npy",
    ".toml",
    ".tar",
    ".parquet",
    ".mp4",
)


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return out.getvalue()


def arrays(**values: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **values)
    return out.getvalue()


_PNG = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
_IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(1000),
    "not UTF-8": b"\xff\xfe\xfd" * 50,
    "UTF-16": "image,label\na.png,cat\n".encode("utf-16"),
    "control characters": "start,end,label\n0,1,\x1b[2J\x00\u202e\n".encode(),
    "NUL in a table": b"image,label\na\0b.png,cat\n",
    "one field of 1 MB": b"image,label\n" + b"a" * 1_000_000 + b",cat\n",
    "quotes": b'image,labels\n"a.png,cat\n',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep TOML": b"a = " + b"[" * 100_000,
    "deep tables": b"[" + b".".join([b"a"] * 5000) + b"]\n",
    "5,000 digits": b'[{"image": "a.png", "label": ' + b"9" * 5000 + b"}]",
    "NaN": b'{"schema": "edgeproof.report/1", "kind": "bench", "x": NaN}',
    "infinity": b'{"schema": "edgeproof.report/1", "kind": "bench", "x": 1e999}',
    "lone surrogate": b'{"\\ud800": "\\udfff"}',
    "duplicate": b'{"a.png": ["cat"], "a.png": ["dog"]}',
    "an array of everything": b'[null, true, 1, "a", [], {}]',
    "an object of everything": b'{"a": null, "b": true, "c": 1, "d": "x", "e": [], "f": {}}',
    "a list of lists": b"[[1, 2], [3, 4]]",
    "a number": b"1",
    "a text": b'"x"',
    "a report of nothing": b'{"schema": "edgeproof.report/1"}',
    "a report of lists": b'{"schema": "edgeproof.report/1", "kind": [], "host": [], "bench": []}',
    "an evaluation of nothing": b'{"schema": "edgeproof.report/1", "kind": "evaluate", "host": {}}',
    "a bench of nothing": b'{"schema": "edgeproof.report/1", "kind": "bench", "host": {}, "bench": {"configurations": [1]}}',  # noqa: E501
    "streams of numbers": b"[a]\nsource = 1\n[b]\n",
    "a stream of everything": b'[a]\nsource = "x"\nrotate = "x"\nfps = nan\ncrop = [1e400]\n',
    "a date": b"a = 1979-05-27\n[b]\nsource = 1979-05-27T07:32:00Z\n",
    "a cut PNG": _PNG[:40],
    "a PNG of noise": _PNG[:50] + b"\xff" * 100,
    "a PNG of 65,535 squared": _PNG[:16] + b"\0\0\xff\xff\0\0\xff\xff" + _PNG[24:],
    "JPEG of nothing": b"\xff\xd8\xff\xe0" + bytes(20),
    "TIFF of nothing": b"II*\0\xff\xff\xff\xff",
    "TIFF in a circle": b"II*\0\x08\0\0\0\x01\0\0\1\3\0\1\0\0\0\1\0\0\0\x08\0\0\0",
    "not a zip": b"PK\3\4" + bytes(100),
    "an empty archive": archive(),
    "an archive of noise": archive(x_train=b"noise", y_train=b"\x93NUMPY\x01\0\xff\xff"),
    "a header of code": archive(x_test=b"\x93NUMPY\x01\0\x10\0__import__('os')", y_test=b""),
    "a huge header": archive(
        x_test=b"\x93NUMPY\x01\0\x76\0"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999), }".ljust(117)
        + b"\n"
    ),
    "objects": arrays(x_test=np.array([{}, []], object), y_test=np.zeros(2)),
    "texts": arrays(x_test=np.array(["a", "b"]), y_test=np.array(["x", "y"])),
    "complex numbers": arrays(x_test=np.zeros((2, 8, 8, 3), complex), y_test=np.zeros(2, complex)),
    "no dimensions": arrays(x_test=np.float64(1), y_test=np.int64(1)),
    "dates": arrays(x_test=_IMAGES, y_test=np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")),
    "negative classes": arrays(x_test=_IMAGES, y_test=np.array([-1, 10**9])),
    "NaN classes": arrays(x_test=_IMAGES, y_test=np.array([np.nan, np.inf])),
    "more classes than images": arrays(x_test=_IMAGES, y_test=np.zeros(3, int)),
    "a structure": arrays(x_test=np.zeros(2, [("a", "u1")]), y_test=np.zeros(2, [("a", "u1")])),
    "empty arrays": arrays(x_test=np.zeros((0, 8, 8, 3), np.uint8), y_test=np.zeros(0, int)),
    "a tar of nothing": b"\0" * 10240,
    "a tar of noise": b"a.png".ljust(100, b"\0") + b"0000644\0" * 3 + b"99999999999\0" + bytes(8192),
    "parquet of noise": b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_readers_raise_errors_of_edgeproof_only(folder: Path, reader: str) -> None:
    raw = []
    for name, content in CONTENTS.items():
        for suffix in (".json",) if reader in OF_JSON else SUFFIXES:
            path = folder / f"x{suffix}"
            path.write_bytes(content)
            try:
                READERS[reader](path)
            except EdgeproofError:
                continue
            except Exception as error:
                raw.append(f"{name} as {suffix}: {type(error).__name__}: {str(error)[:200]}")
    assert raw == []


@pytest.mark.parametrize("reader", READERS)
def test_names_that_cannot_be_read(folder: Path, reader: str) -> None:
    (folder / "loop").unlink(missing_ok=True)
    (folder / "loop").symlink_to("loop")
    (folder / "empty").mkdir(exist_ok=True)
    raw = []
    for name in ("missing.json", "loop", "empty", "x" * 300, "a\0b.json", "x.json/below", "caf\udce9.csv"):
        try:
            READERS[reader](folder / name)
        except EdgeproofError:
            continue
        except Exception as error:
            raw.append(f"{name[:20]!r}: {type(error).__name__}: {str(error)[:200]}")
    assert raw == []


class Failing(os.PathLike[str]):
    """A path on which the system fails as soon as it is used."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __fspath__(self) -> str:
        raise self.error

    @property
    def loss(self) -> str:
        """Fail for `train`, which looks at its options first."""
        raise self.error


CALLS: dict[str, Callable[[Any], object]] = {
    "Bundle.open": edgeproof.Bundle.open,
    "Classifier": edgeproof.Classifier,
    "agent": lambda path: edgeproof.agent("oci://127.0.0.1:1/a", path),
    "bench": edgeproof.bench,
    "compare": lambda path: edgeproof.compare(path, path),
    "compile": lambda path: edgeproof.compile(path, "openvino"),
    "evaluate": lambda path: edgeproof.evaluate(path, "data"),
    "evaluate_all": lambda path: edgeproof.evaluate_all([path], "data"),
    "export": lambda path: edgeproof.export("x.onnx", path),
    "import_trtexec": import_trtexec,
    "label": lambda path: edgeproof.label(path, "data", "labels"),
    "optimize": lambda path: edgeproof.optimize(path, "data"),
    "pull": lambda path: edgeproof.pull("oci://127.0.0.1:1/a", path),
    "push": lambda path: edgeproof.push(path, "oci://127.0.0.1:1/a"),
    "run": lambda path: edgeproof.run(path, "pics"),
    "sample": edgeproof.sample,
    "sign": lambda path: edgeproof.sign(path, "key.pem"),
    "train": lambda path: edgeproof.train("cnn", path),
    "triton": lambda path: edgeproof.triton(path, "models"),
    "tune": edgeproof.tune,
    "verify": edgeproof.verify,
}
ERRORS: tuple[tuple[Exception, str], ...] = (
    (OSError(errno.EIO, "Input/output error", "/x/y"), "/x/y: Input/output error"),
    (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
    (MemoryError(), "out of memory"),
    (RuntimeError("can't start new thread"), "no more threads can be started"),
    (RecursionError("maximum recursion depth exceeded"), "an input is nested too deeply"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "an input cannot be read"),
    (zipfile.BadZipFile("not a zip"), "an input cannot be read"),
    (zlib.error("Error -3"), "an input cannot be read"),
    (cv2.error("bad image"), "an input cannot be read"),
    (OSError(errno.EACCES, "Permission denied", "rtsp://u:s3cret@h/x"), "Permission denied"),
)


@pytest.mark.parametrize("name", CALLS)
def test_errors_of_libraries_are_errors_of_edgeproof(name: str) -> None:
    for error, said in ERRORS:
        with pytest.raises(InputError) as caught:
            CALLS[name](Failing(error))
        assert said in caught.value.what
        assert caught.value.__cause__ is error
        assert "s3cret" not in str(caught.value)
    for fault in (ZeroDivisionError(), RuntimeError("other")):  # a fault of edgeproof stays one
        with pytest.raises(type(fault)):
            CALLS[name](Failing(fault))


def test_every_public_function_has_the_boundary() -> None:
    public = {name for name in edgeproof.__all__ if inspect.isfunction(getattr(edgeproof, name))}
    assert public <= set(CALLS)


def read_whole(path: Path) -> None:
    bundle = Bundle.open(path)
    bundle.check()  # opening leaves the model's hash to the engine that reads it
    list(bundle.golden())


def test_a_damaged_bundle_in_every_file(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    for file in sorted(path for path in bundle.path.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"\xff" + whole[1:], b"[" * 100_000, os.urandom(64)):
            file.write_bytes(content)
            with pytest.raises(EdgeproofError):
                read_whole(bundle.path)
        file.write_bytes(whole)
