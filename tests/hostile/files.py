"""Hostile files of people: images, videos, datasets, streams, labels, reports."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile.base import base, copy
from hostile.bundles import tiff_header
from hostile.mutations import (
    HUGE_NAME,
    TEXTS,
    bits,
    field_mutants,
    jpeg_header,
    npy_header,
    png_header,
    truncations,
    zip_of,
)
from hostile.probe import ANY, GATES, REFUSED, Probe

__all__ = ["probes"]

_B = "in/good.edge"
_RUN = ("run", _B, "--engine", "onnxruntime", "--workers", "1")
_EVALUATE = ("evaluate", _B, "--engine", "onnxruntime", "--no-evidence")


def probes() -> Iterator[Probe]:
    """Yield the probes of files that are read."""
    yield from _images()
    yield from _videos()
    yield from _datasets()
    yield from _tables()
    yield from _streams()
    yield from _reports()
    yield from _lists()


def _with(name: str, content: bytes, *others: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        copy(folder, "good.edge", *others)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return plant


def _read_and_evaluated(
    kind: str, name: str, plant: Callable[[Path], object], data: str, number: int
) -> Iterator[Probe]:
    """Yield a dataset for the library, every third one also for the command."""
    yield Probe(kind=kind, surface="api", name=name, plant=plant, argv=("hostile.calls:read_dataset", data))
    if number % 3 == 0:
        argv = (*_EVALUATE, "--data", data)
        yield Probe(kind=kind, surface="command", name=name, plant=plant, argv=argv, codes=GATES)


def _images() -> Iterator[Probe]:
    jpeg, png = (base() / "picture.jpg").read_bytes(), (base() / "picture.png").read_bytes()
    contents: dict[str, bytes] = {
        **{f"PNG {name}": data for name, data in (*list(truncations(png, 4)), *bits(png, 4))},
        **{f"JPEG {name}": data for name, data in (*list(truncations(jpeg, 4)), *bits(jpeg, 4))},
        **{
            f"{suffix} {name}": data
            for suffix in ("bmp", "webp", "tiff")
            for name, data in (*list(truncations((base() / f"picture.{suffix}").read_bytes(), 3)), *bits((base() / f"picture.{suffix}").read_bytes(), 2))
        },
        "PNG of 60,000x60,000": png_header(60_000, 60_000),
        "PNG of 2**31": png_header(2**31 - 1, 2**31 - 1),
        "PNG of 30,000x30,000, compressed": png_header(30_000, 30_000, 1, 0, b"\0" * (30_000 * 3_751)),
        "PNG of 1x2**30": png_header(1, 2**30),
        "PNG with negative chunk": png[:8] + b"\xff\xff\xff\xff" + png[12:],
        "JPEG of 65,500x65,500": jpeg_header(jpeg, 65_500, 65_500),
        "JPEG of 0x0": jpeg_header(jpeg, 0, 0),
        "JPEG of 1,000 frames": jpeg[:2] + jpeg[2:4] * 1000 + jpeg[2:],
        "TIFF of 60,000x60,000": tiff_header(60_000, 60_000),
        "BMP of 2**31": b"BM" + (100).to_bytes(4, "little") + b"\0" * 4 + (54).to_bytes(4, "little") + (40).to_bytes(4, "little") + (2**31 - 1).to_bytes(4, "little") * 2 + b"\x01\0\x18\0" + b"\0" * 60,
        "PPM of 60,000x60,000": b"P6\n60000 60000\n255\n",
        "PBM of 10**9": b"P1\n1000000000 1000000000\n",
        "PAM": b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n",
        "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n" + b"\2\2\xea\x60" * 10,
        "EXR": b"\x76\x2f\x31\x01\x02\0\0\0" + b"displayWindow\0box2i\0" + b"\xff" * 40,
        "Sun raster": b"\x59\xa6\x6a\x95" + b"\0\0\xff\xff" * 7,
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\xff" * 200,
        "AVIF": b"\0\0\0\x20ftypavif" + b"\xff" * 200,
        "GIF": b"GIF89a\xff\xff\xff\xff\xf7\0\0" + b"\0" * 900,
        "WebP of 16,383x16,383": b"RIFF" + (100).to_bytes(4, "little") + b"WEBPVP8X" + (10).to_bytes(4, "little") + b"\0\0\0\0" + b"\xfe\x3f\0" * 2 + b"\0" * 80,
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='99999' height='99999'/>",
        **{f"only {name}": data for name, data in TEXTS.items()},
    }  # fmt: skip
    for number, (name, content) in enumerate(contents.items()):
        suffix = "png" if name.startswith("PNG") else "jpg"
        plant = _with(f"hostile.{suffix}", content)
        yield Probe(
            kind="hostile image",
            surface="api",
            name=name,
            plant=plant,
            argv=("hostile.calls:decode", f"in/hostile.{suffix}"),
        )
        yield Probe(
            kind="hostile image",
            surface="edgeproof-run",
            name=name,
            plant=plant,
            argv=(_B, "--source", f"in/hostile.{suffix}"),
            codes=ANY,
        )
        if number % 3 == 0:
            yield Probe(
                kind="hostile image",
                surface="command",
                name=name,
                plant=plant,
                argv=(*_RUN, "--source", f"in/hostile.{suffix}"),
            )

    special: dict[str, Callable[[Path], object]] = {
        "FIFO": lambda p: os.mkfifo(p), "folder": lambda p: p.mkdir(), "link to itself": lambda p: p.symlink_to(p.name),
        "link to /dev/zero": lambda p: p.symlink_to("/dev/zero"), "link to /proc": lambda p: p.symlink_to("/proc/self/mem"),
        "sparse file of 40 GB": lambda p: (p.touch(), os.truncate(p, 40 << 30)),
        "unreadable": lambda p: (p.write_bytes(png), p.chmod(0)),
        "a name of invalid UTF-8": lambda p: os.rename(_written(p, png), os.fsencode(p.parent) + b"/\xff\xfe.png"),
        "a name with an escape sequence": lambda p: p.with_name("a\x1b[2J\u202e\n.png").write_bytes(b"broken"),
        "a link in a circle": lambda p: p.with_name("loop").symlink_to("."),
    }  # fmt: skip
    for what, make in special.items():

        def plant_in_folder(folder: Path, make: Callable[[Path], object] = make) -> None:
            copy(folder, "good.edge", "pics")
            make(folder / "pics/9.png")

        kind = "special file among images"
        uid = 12345 if what == "unreadable" and os.geteuid() == 0 else None
        yield Probe(
            kind=kind, surface="command", name=what, plant=plant_in_folder, argv=(*_RUN, "--source", "in/pics"), uid=uid
        )
        yield Probe(
            kind=kind,
            surface="edgeproof-run",
            name=what,
            plant=plant_in_folder,
            argv=(_B, "--source", "in/pics"),
            uid=uid,
        )
        if not what.startswith(("a ",)):
            yield Probe(
                kind=kind,
                surface="command",
                name=f"{what} alone",
                plant=plant_in_folder,
                argv=(*_RUN, "--source", "in/pics/9.png"),
                uid=uid,
            )
            yield Probe(
                kind=kind,
                surface="edgeproof-run",
                name=f"{what} alone",
                plant=plant_in_folder,
                argv=(_B, "--source", "in/pics/9.png"),
                uid=uid,
            )


def _written(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    return os.fsencode(path)


def _videos() -> Iterator[Probe]:
    clip = (base() / "clip.mp4").read_bytes()
    contents = {
        **dict(truncations(clip, 5)),
        **dict(bits(clip, 5)),
        "box of 2**63": b"\0\0\0\x01ftyp\x7f\xff\xff\xff\xff\xff\xff\xff" + clip[16:],
        "nested boxes": (b"\0\0\x10\0moov" * 500),
        "Matroska": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + b"\xff" * 1000,
        "AVI": b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrlavih" + b"\xff" * 300,
        "playlist of files": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        "playlist of itself": b"#EXTM3U\n" + b"#EXTINF:1,\nhostile.mp4\n" * 2000 + b"#EXT-X-ENDLIST\n",
        "concat script": b"ffconcat version 1.0\nfile /etc/passwd\n" * 10,
        "Y4M of 60,000x60,000": b"YUV4MPEG2 W60000 H60000 F25:1 Ip A1:1 C420jpeg\nFRAME\n",
        **{f"only {n}": TEXTS[n] for n in ("empty", "zeros", "HTML", "brackets", "one long line")},
    }  # fmt: skip
    for number, (name, content) in enumerate(contents.items()):
        plant = _with("hostile.mp4", content)
        yield Probe(kind="hostile video", surface="edgeproof-run", name=name, plant=plant, argv=(_B, "--source", "in/hostile.mp4", "--max-frames", "20"))  # fmt: skip
        if number % 2 == 0 or "playlist" in name:
            yield Probe(kind="hostile video", surface="command", name=name, plant=plant, argv=(*_RUN, "--source", "in/hostile.mp4", "--max-frames", "20", "--duration", "10"))  # fmt: skip


def _datasets() -> Iterator[Probe]:
    kind = "hostile dataset"
    npz = (base() / "data.npz").read_bytes()
    big = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 1000, 1000, 3), }", body=b"\0" * 1000)
    labels = npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (100000,), }", body=b"\0" * 800_000)
    bomb = npy_header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1300, 1000, 1000, 3), }", body=b"\0" * (64 << 20)
    )
    members: dict[str, dict[str, bytes]] = {
        "shape of terabytes": {"x_test.npy": big, "y_test.npy": labels},
        "bomb": {"x_test.npy": bomb, "y_test.npy": labels},
        "objects": {"x_test.npy": npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", body=b"cos\nsystem\n(S'touch out/pwned'\ntR."), "y_test.npy": labels},
        "no labels": {"x_test.npy": npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8, 3), }", body=b"\0" * 384)},
        "empty arrays": {n: npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (0,), }") for n in ("x_test.npy", "y_test.npy")},
        "labels of 2**62": {"x_test.npy": npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8, 3), }", body=b"\0" * 384), "y_test.npy": npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", body=b"\xff" * 8 + b"\x7f" * 8)},
        "other keys": {"a.npy": labels},
        "traversal": {"../../out/pwned.npy": labels, "/tmp/pwned.npy": labels},
        "no arrays": {"readme.txt": b"hello"},
        "NaN labels": {"x_test.npy": npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8, 3), }", body=b"\0" * 384), "y_test.npy": npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", body=b"\xff" * 8)},
    }  # fmt: skip
    contents: dict[str, tuple[str, bytes]] = {
        f"npz {name}": ("d.npz", zip_of(files)) for name, files in members.items()
    }
    contents |= {f"npz {name}": ("d.npz", data) for name, data in (*truncations(npz, 4), *bits(npz, 5))}
    nested = zip_of({"x_test.npy": npz})
    contents["npz nested"] = ("d.npz", nested)
    parquet, tar = (base() / "data.parquet").read_bytes(), (base() / "data.tar").read_bytes()
    contents |= {f"parquet {name}": ("d.parquet", data) for name, data in (*truncations(parquet, 4), *bits(parquet, 8))}
    contents |= {f"parquet {n}": ("d.parquet", b"PAR1" + TEXTS[n] + b"PAR1") for n in ("empty", "zeros", "brackets")}
    contents["parquet footer of 2 GB"] = ("d.parquet", b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\x7fPAR1")
    contents |= {f"tar {name}": ("d.tar", data) for name, data in (*truncations(tar, 4), *bits(tar, 5))}
    contents |= {f"tar {name}": ("d.tar", data) for name, data in _tars().items()}
    for number, (name, (file, content)) in enumerate(contents.items()):
        plant = _with(file, content)
        yield from _read_and_evaluated(kind, name, plant, f"in/{file}", number)

    def deep(folder: Path) -> None:
        copy(folder, "good.edge")
        place = folder / "data"
        for _ in range(150):
            place = place / "deeper"
        place.mkdir(parents=True)

    def many(folder: Path) -> None:
        copy(folder, "good.edge")
        for number in range(2_000):
            (folder / f"data/c{number}").mkdir(parents=True)

    def special(folder: Path) -> None:
        copy(folder, "good.edge", "data")
        os.mkfifo(folder / "data/cat/fifo.png")
        (folder / "data/dog").mkdir(exist_ok=True)
        (folder / "data/dog/loop").symlink_to("..")
        (folder / "data/dog/zero.png").symlink_to("/dev/zero")

    def controls(folder: Path) -> None:
        copy(folder, "good.edge", "data")
        (folder / "data/\x1b[2Jx").mkdir()
        (folder / "data/\x1b[2Jx/\u202ea.png").write_bytes(b"broken")
        (folder / "data" / "cat" / "=cmd|x.png").write_bytes(b"broken")

    for name, plant in {"150 folders deep": deep, "2,000 empty folders": many, "FIFO, loop and device": special, "names with control characters": controls}.items():  # fmt: skip
        yield Probe(kind=kind, surface="api", name=name, plant=plant, argv=("hostile.calls:read_dataset", "in/data"))
        yield Probe(
            kind=kind, surface="command", name=name, plant=plant, argv=(*_EVALUATE, "--data", "in/data"), codes=GATES
        )


def _tars() -> dict[str, bytes]:
    picture = (base() / "picture.png").read_bytes()

    def tar_of(*members: tuple[str, dict[str, Any], bytes]) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, fields, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                for field, value in fields.items():
                    setattr(info, field, value)
                tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
        return file.getvalue()

    return {
        "traversal": tar_of(("../../out/pwned.png", {}, picture), ("../../out/pwned.cls", {}, b"0")),
        "absolute": tar_of(("/etc/pwned.png", {}, picture), ("/etc/pwned.cls", {}, b"0")),
        "links": tar_of(("0.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, b""), ("0.cls", {}, b"0")),
        "hard links": tar_of(("0.png", {"type": tarfile.LNKTYPE, "linkname": "0.png"}, b""), ("0.cls", {}, b"0")),
        "devices": tar_of(("0.png", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, b""), ("0.cls", {}, b"0")),
        "huge label": tar_of(("0.png", {}, picture), ("0.cls", {}, b"9" * 10_000)),
        "label of text": tar_of(("0.png", {}, picture), ("0.cls", {}, b"\x1b[2Jx\xff")),
        "deep JSON": tar_of(("0.png", {}, picture), ("0.json", {}, b"[" * 100_000)),
        "broken image": tar_of(("0.png", {}, b"broken"), ("0.cls", {}, b"0")),
        "names of 10,000 characters": tar_of((HUGE_NAME + ".png", {}, picture), (HUGE_NAME + ".cls", {}, b"0")),
        "the same name twice": tar_of(("0.png", {}, picture), ("0.png", {}, picture), ("0.cls", {}, b"0"), ("0.cls", {}, b"1")),
        "negative size": tar_of(("0.png", {}, picture)).replace(b"00000", b"-0001", 1),
    }  # fmt: skip


def _tables() -> Iterator[Probe]:
    kind = "hostile annotations"
    rows = (base() / "rows.csv").read_text()
    documents: dict[str, tuple[str, bytes]] = {
        "CSV formulas": ("rows.csv", b"path,label\n=HYPERLINK(1),@x\n-1,+1\n"),
        "CSV traversal": ("rows.csv", b"path,label\n../../../../etc/passwd,cat\n/etc/hostname,dog\n"),
        "CSV device": ("rows.csv", b"path,label\n/dev/zero,cat\n/dev/stdin,dog\n"),
        "CSV zero bytes": ("rows.csv", rows.encode().replace(b",", b",\0")),
        "CSV quote without end": ("rows.csv", b'path,label\n"cat/0.png,cat\n' + b"x" * 200_000),
        "CSV of 20,000 columns": ("rows.csv", b",".join(b"c%d" % n for n in range(20_000)) + b"\n" + b"," * 19_999),
        "CSV ragged": ("rows.csv", b"path,label\na\nb,c,d,e\n,,,,\n"),
        "CSV header twice": ("rows.csv", b"path,path,label,label\na,b,c,d\n"),
        "CSV of one cell": ("rows.csv", b"path"),
        "CSV long label": ("rows.csv", b"path,label\ncat/0.png," + b"l" * 10_000 + b"\n"),
        "CSV control characters": ("rows.csv", "path,label\ncat/0.png,\x1b[2J\u202ex\n\x07.png,cat\n".encode()),
        "CSV Latin-1": ("rows.csv", "path,label\ncat/é.png,käse\n".encode("latin1")),
        "CSV of 200,000 rows": ("rows.csv", b"path,label\n" + b"cat/0.png,cat\n" * 200_000),
        "JSON of numbers": ("rows.json", b"[1, 2, 3]"),
        "JSON deep": ("rows.json", b"[" * 100_000),
        "JSON object of lists": ("rows.json", b'{"cat/0.png": ["cat", null, {"a": 1}]}'),
        "JSON NaN": ("rows.json", b'{"cat/0.png": NaN}'),
        "JSON key twice": ("rows.json", b'{"cat/0.png": "cat", "cat/0.png": "dog"}'),
        "JSON surrogate": ("rows.json", b'{"cat/\\ud800.png": "cat"}'),
        "JSON lines broken": ("metadata.jsonl", b'{"file_name": "cat/0.png", "label": "cat"}\n{"file_name": \n'),
        "JSON lines of lists": ("metadata.jsonl", b"[]\n[]\n"),
        "JSON lines wrong types": ("metadata.jsonl", b'{"file_name": 7, "label": {}}\n{"file_name": null, "label": []}\n'),
        "COCO wrong types": ("rows.json", b'{"images": 7, "annotations": "x", "categories": null}'),
        "COCO huge ids": ("rows.json", json.dumps({"images": [{"id": 10**40, "file_name": "cat/0.png"}], "annotations": [{"image_id": 10**40, "category_id": 1e308}], "categories": [{"id": 1e308, "name": "cat"}]}).encode()),
        "COCO without names": ("rows.json", b'{"images": [{"id": 1}], "annotations": [{"image_id": 1, "category_id": 1}], "categories": [{"id": 1}]}'),
        "COCO cycle of types": ("rows.json", b'{"images": [[]], "annotations": [[]], "categories": [[]]}'),
        "list of paths": ("val.txt", b"../../etc/passwd 0\n/dev/zero 1\n\x1b[2J 2\n"),
        "list of huge numbers": ("val.txt", b"cat/0.png 99999999999999999999999\n"),
        **{f"CSV only {name}": ("rows.csv", data) for name, data in TEXTS.items()},
        **{f"JSON only {name}": ("rows.json", data) for name, data in TEXTS.items()},
    }  # fmt: skip
    for number, (name, (file, content)) in enumerate(documents.items()):

        def plant(folder: Path, file: str = file, content: bytes = content) -> None:
            copy(folder, "good.edge", "data")
            (folder / "data" / file).write_bytes(content)

        yield from _read_and_evaluated(kind, name, plant, f"in/data/{file}", number)


def _streams() -> Iterator[Probe]:
    kind = "hostile streams file"
    text = (base() / "streams.toml").read_text()
    documents: dict[str, bytes] = {
        "number for a source": b"[a]\nsource = 7\n",
        "table for a source": b"[a]\n[a.source]\nx = 1\n",
        "list": b"a = [1, 2]\n",
        "unknown option": b'[a]\nsource = "pics"\nunknown = 1\n',
        "key twice": b'[a]\nsource = "pics"\nsource = "clip.mp4"\n',
        "deep": b"a = " + b"[" * 5_000 + b"]" * 5_000,
        "deep tables": b"[a]\nx = " + b"{b = " * 3_000 + b"1" + b"}" * 3_000,
        "traversal in a name": b'["../../x"]\nsource = "pics"\n',
        "control characters in a name": b'["a\\u001b[2J"]\nsource = "pics"\n',
        "name of 10,000": b"[" + HUGE_NAME.encode() + b']\nsource = "pics"\n',
        "20,000 streams": b"".join(b'[s%d]\nsource = "pics"\n' % n for n in range(20_000)),
        "itself": b'[a]\nsource = "streams.toml"\n',
        "device": b'[a]\nsource = "/dev/zero"\n',
        "FIFO": b'[a]\nsource = "fifo"\n',
        "labels from a device": b'[a]\nsource = "pics"\nlabels_from = "/dev/zero"\n',
        "labels from a folder": b'[a]\nsource = "pics"\nlabels_from = "pics"\n',
        "environment": b'[a]\nsource = "${PATH}${HOME}${NOT_SET}"\n',
        "rate infinite": b'[a]\nsource = "pics"\nrate_limit_fps = inf\n',
        "rate NaN": b'[a]\nsource = "pics"\nrate_limit_fps = nan\n',
        "rotate huge": b'[a]\nsource = "pics"\nrotate = 99999999999999999999\n',
        "threads huge": b'[a]\nsource = "clip.mp4"\ndecode_threads = 1000000\n',
        "timeout huge": b'[a]\nsource = "pics"\nopen_timeout_s = 1e300\n',
        "crop huge": b'[a]\nsource = "pics"\ncrop = "0,0,99999999999,99999999999"\n',
        "crop wrong type": b'[a]\nsource = "pics"\ncrop = [1, 2]\n',
        "resolution huge": b'[a]\nsource = "0"\nresolution = "9999999999x9"\n',
        "resolution not ASCII": '[a]\nsource = "0"\nresolution = "²x³"\n'.encode(),
        "synthetic huge": b'[a]\nsource = "synthetic://99999x99999@30"\n',
        "synthetic endless": b'[a]\nsource = "synthetic://64x48@1e308"\n',
        "synthetic words": b'[a]\nsource = "synthetic://axb@c?frames=x"\n',
        "yaml": b"a:\n  source: pics\n",
        **TEXTS,
    }
    for name, content in documents.items():

        def plant(folder: Path, content: bytes = content) -> None:
            copy(folder, "good.edge", "pics", "clip.mp4")
            os.mkfifo(folder / "fifo")
            (folder / "streams.toml").write_bytes(content)

        yield Probe(
            kind=kind, surface="api", name=name, plant=plant, argv=("hostile.calls:read_streams", "in/streams.toml")
        )
        codes = REFUSED if "pics" not in text else ANY
        yield Probe(kind=kind, surface="command", name=name, plant=plant, argv=(*_RUN, "--source", "in/streams.toml", "--max-frames", "3", "--duration", "10"), codes=codes)  # fmt: skip
    yield from _settings(documents)


def _settings(documents: dict[str, bytes]) -> Iterator[Probe]:
    stream = b'[a]\nsource = "pics"\n'
    own = {
        "no bundle": stream,
        "bundle of another type": b"bundle = [1]\n" + stream,
        "bundle a device": b'bundle = "/dev/zero"\n' + stream,
        "bundle with a NUL": b'bundle = "a\\u0000"\n' + stream,
        "bundle itself": b'bundle = "edgeproof.toml"\n' + stream,
        "bundle of 10,000": b'bundle = "' + HUGE_NAME.encode() + b'"\n' + stream,
        **{
            f"{key} = {value[:40]}": f'bundle = "good.edge"\n{key} = {value}\n'.encode() + stream
            for key, value in (
                ("batch", "99999999999999999999"), ("batch", "0x7fffffffffffffff"), ("threshold", "nan"), ("workers", "1e300"),
                ("sink", "[[[1]]]"), ("sink", '["/dev/full", "-", "-"]'), ("predictions", '"good.edge/x.jsonl"'), ("save", '"pics"'),
                ("json", '"edgeproof.toml"'), ("report", '"/dev/null/x.html"'), ("engine", '"\\u001b[2J"'), ("unknown", '"energy:inf"'),
                ("show", "1979-05-27T07:32:00Z"), ("duration", '"9999999999d"'), ("help", "true"), ("bundles", '"x"'), ('"a\\nb"', "1"),
                ("threshold_of", '["cat=1e999", "=", "=="]'), ("keep", '["1d"]'), ("labels_from", '"/dev/zero"'), ("top_k", "-1"),
            )
        },
    }  # fmt: skip
    for name, content in {
        **{name: b'bundle = "good.edge"\n' + text for name, text in documents.items()},
        **own,
    }.items():

        def plant(folder: Path, content: bytes = content) -> None:
            copy(folder, "good.edge", "pics", "clip.mp4")
            os.mkfifo(folder / "fifo")
            (folder / "edgeproof.toml").write_bytes(content)

        argv = ("run", "in/edgeproof.toml", "--engine", "onnxruntime", "--workers", "1", "--max-frames", "3")
        yield Probe(kind="hostile settings file", surface="command", name=name, plant=plant, argv=argv, codes=ANY)


def _reports() -> Iterator[Probe]:
    kind = "hostile report"
    for source, count in (("bench.json", 36), ("report.json", 36)):
        document = json.loads((base() / source).read_text())
        for number, (name, mutant) in enumerate(field_mutants(document, random.Random(source), count)):
            plant = _with("new.json", json.dumps(mutant).encode(), source)
            argv = (
                ("compare", f"in/{source}", "in/new.json")
                if number % 2
                else ("report", "in/new.json", "--out", "out/page.html")
            )
            yield Probe(kind=kind, surface="command", name=f"{source} {name}", plant=plant, argv=argv, codes=GATES)
    for number, (name, content) in enumerate(_report_texts()):
        plant = _with("new.json", content, "report.json", "bench.json")
        yield Probe(
            kind=kind, surface="api", name=f"report {name}", plant=plant, argv=("hostile.calls:report", "in/new.json")
        )
        yield Probe(
            kind=kind,
            surface="command",
            name=f"compare {name}",
            plant=plant,
            argv=("compare", "in/bench.json", "in/new.json"),
            codes=GATES,
        )
        if number % 3 == 0:
            yield Probe(kind=kind, surface="command", name=f"trtexec {name}", plant=_with("times.json", content), argv=("bench", _B, "--import-trtexec", "in/times.json"))  # fmt: skip
    nan = (base() / "bench.json").read_text().replace('"mean":', '"mean": NaN, "x":')
    yield Probe(kind="comparison without facts", surface="command", name="NaN", plant=_with("new.json", nan.encode(), "bench.json"), argv=("compare", "in/bench.json", "in/new.json"), codes=REFUSED)  # fmt: skip
    for name, drop in {"no accuracy": "accuracy", "no bench": "bench", "no engines": "engines"}.items():
        document = json.loads((base() / "bench.json").read_text())
        document.pop(drop, None)
        plant = _with("new.json", json.dumps(document).encode(), "bench.json", "report.json")
        yield Probe(kind="comparison without facts", surface="command", name=f"{name}, strict", plant=plant, argv=("compare", "in/bench.json", "in/new.json", "--strict"), codes=GATES)  # fmt: skip
    yield Probe(kind="comparison without facts", surface="command", name="two kinds", plant=_with("x", b"", "bench.json", "report.json"), argv=("compare", "in/bench.json", "in/report.json", "--strict"), codes=frozenset({1, 2}))  # fmt: skip


def _report_texts() -> Iterator[tuple[str, bytes]]:
    from hostile.mutations import document_mutants

    return document_mutants((base() / "report.json").read_bytes())


def _lists() -> Iterator[Probe]:
    """Files of labels, of class ids and of a clip's ground truth."""
    kind = "hostile label file"
    for number, (name, content) in enumerate(TEXTS.items()):
        for suffix in ("txt", "json", "csv"):
            plant = _with(f"names.{suffix}", content, "data", "model.onnx", "clip.mp4")
            place = f"in/names.{suffix}"
            yield Probe(kind=kind, surface="command", name=f"class ids {suffix} {name}", plant=plant, argv=(*_EVALUATE, "--data", "in/data", "--class-ids", place), codes=GATES)  # fmt: skip
            if suffix != "txt":
                yield Probe(kind=kind, surface="command", name=f"clip {suffix} {name}", plant=plant, argv=(*_RUN, "--source", "in/clip.mp4", "--labels-from", place))  # fmt: skip
        if number % 3 == 0:
            yield Probe(kind=kind, surface="command", name=f"export {name}", plant=_with("names.txt", content, "model.onnx"), argv=("export", "in/model.onnx", "--labels", "in/names.txt", "--out", "out/x.edge", "--input-size", "16", "--engines", "onnxruntime"), codes=GATES)  # fmt: skip
