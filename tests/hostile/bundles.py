"""Hostile bundles: damaged, forged and re-hashed ones."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.engine_record import EngineRecord
from edgeproof_runtime.bundle.manifest import SCHEMA_1
from edgeproof_runtime.contract.contract import BatchBounds
from hostile.base import base, copy
from hostile.mutations import (
    HUGE_NAME,
    TEXTS,
    bits,
    document_mutants,
    field_mutants,
    npy_header,
    png_header,
    reseal,
    truncations,
)
from hostile.probe import ANY, REFUSED, Probe

__all__ = ["probes", "tiff_header"]

_OPEN = "hostile.calls:open_bundle"
_B = "in/good.edge"


def probes() -> Iterator[Probe]:
    """Yield the probes of bundles, for the library, the commands and edgeproof-run."""
    yield from _dialects()
    yield from _fields()
    yield from _damage()
    yield from _forged()
    yield from _special_files()
    yield from _external_data()
    yield from _labels()
    yield from _engines()
    yield from _attachments()


def _three(
    kind: str, name: str, plant: Callable[[Path], object], codes: frozenset[int], **more: Any
) -> Iterator[Probe]:
    yield Probe(kind=kind, surface="api", name=name, plant=plant, codes=codes, argv=(_OPEN, _B), **more)
    yield Probe(kind=kind, surface="command", name=name, plant=plant, codes=codes, argv=("inspect", _B), **more)
    yield Probe(kind=kind, surface="edgeproof-run", name=name, plant=plant, codes=codes, argv=(_B, "--verify"), **more)


def _manifest(text: bytes) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        copy(folder, "good.edge")
        (folder / "good.edge/bundle.json").write_bytes(text)

    return plant


def _dialects() -> Iterator[Probe]:
    text = (base() / "good.edge/bundle.json").read_bytes().rstrip()  # cut before its last newline it would be whole
    for number, (name, mutant) in enumerate(document_mutants(text)):
        plant = _manifest(mutant)
        accepted = name in ("unknown field", "16 MB of spaces")
        codes = ANY if accepted else REFUSED
        yield Probe(kind="JSON dialect", surface="api", name=name, plant=plant, codes=codes, argv=(_OPEN, _B))
        yield Probe(
            kind="JSON dialect", surface="edgeproof-run", name=name, plant=plant, codes=codes, argv=(_B, "--verify")
        )
        if number % 4 == 0:
            yield Probe(
                kind="JSON dialect", surface="command", name=name, plant=plant, codes=codes, argv=("inspect", _B)
            )


def _fields() -> Iterator[Probe]:
    for source, count in (("good.edge", 70), ("many.edge", 20), ("defect.edge", 20)):
        document = json.loads((base() / source / "bundle.json").read_text())
        for number, (name, mutant) in enumerate(field_mutants(document, random.Random(source), count)):

            def plant(folder: Path, source: str = source, mutant: Any = mutant) -> None:
                shutil.copytree(base() / source, folder / "good.edge")
                (folder / "good.edge/bundle.json").write_text(json.dumps(mutant))

            yield Probe(
                kind="wrong field of a bundle", surface="api", name=f"{source} {name}", plant=plant, argv=(_OPEN, _B)
            )
            if number % 3 == 0:
                yield Probe(
                    kind="wrong field of a bundle", surface="edgeproof-run", name=f"{source} {name}", plant=plant,
                    argv=(_B, "--verify"), codes=frozenset({0, 1, 2, 3}),
                )  # fmt: skip
            if number % 9 == 0:
                yield Probe(
                    kind="wrong field of a bundle", surface="command", name=f"{source} {name}", plant=plant,
                    argv=("verify", _B, "--engine", "onnxruntime"), codes=frozenset({0, 1, 2, 3}),
                )  # fmt: skip


def _file(name: str, content: bytes, *, sealed: bool = False, source: str = "good.edge") -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        shutil.copytree(base() / source, folder / "good.edge")
        (folder / "good.edge" / name).write_bytes(content)
        if sealed:
            reseal(folder / "good.edge")

    return plant


def _damage() -> Iterator[Probe]:
    for name in ("model.onnx", "labels.txt", "golden/0.png", "golden/0.input.npy", "golden/0.logits.npy"):
        data = (base() / "good.edge" / name).read_bytes()
        for how, mutant in (*list(truncations(data, 3))[:3], *bits(data, 1)):
            plant = _file(name, mutant)
            # What opens need not read: verify reads everything.
            yield Probe(
                kind="damaged file of a bundle", surface="command", name=f"{name} {how}", plant=plant, codes=REFUSED,
                argv=("verify", _B, "--engine", "onnxruntime"),
            )  # fmt: skip
            yield Probe(
                kind="damaged file of a bundle", surface="edgeproof-run", name=f"{name} {how}", plant=plant,
                codes=REFUSED, argv=(_B, "--verify"),
            )  # fmt: skip


def _forged() -> Iterator[Probe]:
    """Files whose hashes are right: whoever made the bundle made them hostile."""
    tensor = (base() / "good.edge/golden/0.input.npy").read_bytes()
    frame = (base() / "good.edge/golden/0.png").read_bytes()
    contents = [
        ("golden/0.input.npy", "shape of terabytes", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }")),
        ("golden/0.input.npy", "negative shape", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 5), }", body=b"\0" * 64)),
        ("golden/0.input.npy", "overflowing shape", npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, 4), }}", body=b"\0" * 64)),
        ("golden/0.input.npy", "huge number in shape", npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 4000},), }}")),
        ("golden/0.input.npy", "objects", npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", body=b"cos\nsystem\n(S'touch out/pwned'\ntR.")),
        ("golden/0.input.npy", "header of 4 GB", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
        ("golden/0.input.npy", "nested header", npy_header("(" * 3000 + ")" * 3000, 2)),
        ("golden/0.input.npy", "structured dtype", npy_header("{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (1,), }", body=b"\0" * 64)),
        ("golden/0.input.npy", "endless dtype", npy_header("{'descr': '<f4'" + "," * 900 + "}")),
        ("golden/0.input.npy", "code in header", npy_header("{'descr': __import__('os').system('touch out/pwned'), 'shape': (1,)}")),
        ("golden/0.input.npy", "dtype of 2 GB", npy_header("{'descr': '|V2000000000', 'fortran_order': False, 'shape': (3,), }")),
        ("golden/0.input.npy", "unicode of 2 GB", npy_header("{'descr': '<U500000000', 'fortran_order': False, 'shape': (1,), }")),
        ("golden/0.input.npy", "version 9", tensor[:6] + b"\x09\x00" + tensor[8:]),
        ("golden/0.input.npy", "NaN tensor", tensor[:-400] + b"\xff" * 400),
        ("golden/0.input.npy", "a zip", b"PK\x03\x04" + b"\0" * 100),
        ("golden/0.png", "60,000x60,000", png_header(60_000, 60_000, body=b"\0" * 1000)),
        ("golden/0.png", "30,000x30,000 whole", png_header(30_000, 30_000, 1, 0, b"\0" * (30_000 * 3_751))),
        ("golden/0.png", "size 0", png_header(0, 0)),
        ("golden/0.png", "size 2**31", png_header(2**31, 2**31)),
        ("golden/0.png", "without pixels", png_header(20, 20)),
        ("golden/0.png", "16 bit", png_header(2, 2, 16, 2, (b"\0" + b"\1" * 12) * 2)),
        ("golden/0.png", "1x1", png_header(1, 1, body=b"\0abc")),
        ("golden/0.png", "an SVG", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
        ("golden/0.png", "EXR header", b"\x76\x2f\x31\x01" + b"\0" * 200),
        ("golden/0.png", "Radiance header", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n"),
        ("golden/0.png", "PPM of 60,000x60,000", b"P6\n60000 60000\n255\n"),
        ("golden/0.png", "TIFF of 60,000x60,000", tiff_header(60_000, 60_000)),
        ("golden/0.png", "two images", frame + frame),
        ("golden/0.logits.npy", "a number", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", body=b"\0" * 4)),
        ("golden/0.logits.npy", "other size", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", body=b"\0" * 12)),
        ("golden/0.logits.npy", "NaN", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", body=b"\0\0\xc0\x7f" * 5)),
        ("golden/0.logits.npy", "Fortran order", npy_header("{'descr': '>f4', 'fortran_order': True, 'shape': (5,), }", body=b"\0" * 20)),
        ("model.onnx", "empty", b""),
        ("model.onnx", "text", b"not a model"),
        ("model.onnx", "bytes", bytes(range(256)) * 40),
        ("model.onnx", "endless varint", b"\xff" * 100_000),
        ("model.onnx", "nested messages", b"\x3a\xff\xff\x03" * 3000),
    ]  # fmt: skip
    codes = frozenset({0, 1, 2, 3})
    for file, name, content in contents:
        plant = _file(file, content, sealed=True)
        title = f"{file}: {name}"
        kind = "forged file of a bundle"
        yield Probe(kind=kind, surface="api", name=title, plant=plant, argv=(_OPEN, _B))
        yield Probe(
            kind=kind,
            surface="command",
            name=title,
            plant=plant,
            argv=("verify", _B, "--engine", "onnxruntime"),
            codes=codes,
        )
        yield Probe(kind=kind, surface="edgeproof-run", name=title, plant=plant, argv=(_B, "--verify"), codes=codes)

    sizes = {
        "side of 2**20": [2**20, 2**20],
        "side of 60,000": [60_000, 60_000],
        "side 0": [0, 0],
        "negative": [-5, -5],
    }
    for name, size in sizes.items():

        def change(manifest: dict[str, Any], size: list[int] = size) -> None:
            manifest["input"]["contract"]["resize_size"] = size
            manifest["input"]["contract"]["crop_size"] = size

        def plant_size(folder: Path, change: Callable[[dict[str, Any]], None] = change) -> None:
            reseal(copy(folder, "good.edge"), change)

        yield from _three("tensor too large", f"contract {name}", plant_size, REFUSED)
    for name, batch in {"batch of 10**9": 10**9, "batch of 2**63": 2**63}.items():

        def grow(manifest: dict[str, Any], batch: int = batch) -> None:
            manifest["input"]["contract"]["batch"] = {"min": 1, "opt": 1, "max": batch}

        def plant_batch(folder: Path, change: Callable[[dict[str, Any]], None] = grow) -> None:
            reseal(copy(folder, "good.edge"), change)

        yield from _three("tensor too large", f"contract {name}", plant_batch, codes)

    def outputs(manifest: dict[str, Any]) -> None:
        manifest["outputs"][0]["shape"] = [2**40]

    yield from _three("tensor too large", "output of 2**40", lambda f: reseal(copy(f, "good.edge"), outputs), codes)


def tiff_header(width: int, height: int) -> bytes:
    """Return a TIFF that declares a size."""
    import struct

    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 2**31 - 1)]  # fmt: skip
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8) + body


def _special_files() -> Iterator[Probe]:
    kind = "special file in place of another"

    def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
        def plant(folder: Path) -> None:
            copy(folder, "good.edge")
            path = folder / "good.edge" / name
            path.unlink()
            make(path)

        return plant

    def link(target: str) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(target)

    for name in ("bundle.json", "model.onnx", "labels.txt", "golden/0.png", "golden/1.input.npy"):
        makers: dict[str, Callable[[Path], object]] = {
            "FIFO": lambda path: os.mkfifo(path),
            "folder": lambda path: path.mkdir(),
            "link to nothing": link("nowhere"),
            "link to itself": lambda path: path.symlink_to(path.name),
            "link to /dev/zero": link("/dev/zero"),
        }
        for what, make in makers.items():
            plant = replaced(name, make)
            yield Probe(kind=kind, surface="api", name=f"{name} {what}", plant=plant, argv=("hostile.calls:load", _B, "onnxruntime"), codes=REFUSED if name in ("bundle.json", "model.onnx") else ANY)  # fmt: skip
            yield Probe(
                kind=kind,
                surface="edgeproof-run",
                name=f"{name} {what}",
                plant=plant,
                argv=(_B, "--verify"),
                codes=REFUSED,
            )
            if what in ("FIFO", "link to /dev/zero"):
                yield Probe(kind=kind, surface="command", name=f"{name} {what}", plant=plant, argv=("verify", _B, "--engine", "onnxruntime"), codes=REFUSED)  # fmt: skip

    def outside(folder: Path) -> None:
        copy(folder, "good.edge")
        (folder / "outside.onnx").write_bytes((folder / "good.edge/model.onnx").read_bytes())
        (folder / "good.edge/model.onnx").unlink()
        (folder / "good.edge/model.onnx").symlink_to("../outside.onnx")

    yield from _three(kind, "model.onnx linked to outside", outside, ANY)
    for what, path in {"a file": "labels.txt", "a folder without manifest": "pics", "nothing": "nowhere", "the root": "/", "a device": "/dev/null", "an empty name": "", "a long name": HUGE_NAME}.items():  # fmt: skip
        argument = path if path.startswith("/") or len(path) > 100 or not path else f"in/{path}"

        def plant_path(folder: Path) -> None:
            copy(folder, "labels.txt", "pics")

        yield Probe(
            kind=kind, surface="api", name=f"bundle is {what}", plant=plant_path, argv=(_OPEN, argument), codes=REFUSED
        )
        yield Probe(
            kind=kind,
            surface="command",
            name=f"bundle is {what}",
            plant=plant_path,
            argv=("inspect", argument),
            codes=REFUSED,
        )
        yield Probe(
            kind=kind,
            surface="edgeproof-run",
            name=f"bundle is {what}",
            plant=plant_path,
            argv=(argument, "--verify"),
            codes=REFUSED,
        )


def _external_data() -> Iterator[Probe]:
    kind = "external data of a model"

    def external(location: str, *, listed: bool) -> Callable[[Path], None]:
        def plant(folder: Path) -> None:
            import onnx
            from onnx import external_data_helper

            copy(folder, "good.edge")
            bundle = folder / "good.edge"
            model = onnx.load(str(bundle / "model.onnx"))
            (folder / "outside.bin").write_bytes(b"\0" * 10_000)
            target = Path(location) if location.startswith("/") else bundle / location
            if location == "weights.bin":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(b"\0" * 10_000)
            for tensor in model.graph.initializer:
                external_data_helper.set_external_data(tensor, location=location, offset=0, length=len(tensor.raw_data))
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
            (bundle / "model.onnx").write_bytes(model.SerializeToString())

            def change(manifest: dict[str, Any]) -> None:
                if listed:
                    manifest["files"][location] = {"sha256": "", "size_bytes": 0}

            reseal(bundle, change)

        return plant

    for name, location in {"unlisted": "weights.bin", "outside": "../outside.bin", "absolute": "/etc/hostname", "a device": "/dev/zero", "nested outside": "a/../../outside.bin", "a long name": HUGE_NAME}.items():  # fmt: skip
        plant = external(location, listed=False)
        for engine in ("onnxruntime", "openvino", "opencv"):
            yield Probe(
                kind=kind,
                surface="command",
                name=f"{name} {engine}",
                plant=plant,
                argv=("verify", _B, "--engine", engine),
                codes=REFUSED,
            )
            yield Probe(
                kind=kind,
                surface="edgeproof-run",
                name=f"{name} {engine}",
                plant=plant,
                argv=(_B, "--verify", "--engine", engine),
                codes=REFUSED,
            )
        yield Probe(kind=kind, surface="command", name=f"{name} run", plant=plant, argv=("run", _B, "--source", "synthetic://64x48@30", "--max-frames", "2"), codes=REFUSED)  # fmt: skip
        yield Probe(
            kind=kind,
            surface="edgeproof-run",
            name=f"{name} run",
            plant=plant,
            argv=(_B, "--source", "/nonexistent.png"),
            codes=REFUSED,
        )


def _labels() -> Iterator[Probe]:
    kind = "names and labels"
    contents = {
        "control characters": b"cat\x1b[2J\ndog\x07\nfish\x9b31m\nbi\xe2\x80\xaerd\nmoth\x00\n",
        "U+2028 in a label": "cat\u2028dog\nb\nc\nd\ne\n".encode(),
        "too many": b"x\n" * 100_000,
        "too few": b"cat\n",
        "the same five times": b"cat\n" * 5,
        "of 10,000 characters": (HUGE_NAME + "\n").encode() * 5,
        "formulas": b'=cmd|" /C calc"!A0\n@SUM(1)\n+1\n-1\n\tx\n',
        "markup": b"<script>alert(1)</script>\n[/bold]\n{{7*7}}\n${HOME}\n%s%n\n",
        "empty lines": b"\n\n\n\n\n",
        **{f"only {name}": content for name, content in TEXTS.items()},
    }
    codes = frozenset({0, 1, 2, 3})
    for name, content in contents.items():
        plant = _file("labels.txt", content, sealed=True)
        yield Probe(kind=kind, surface="api", name=f"labels {name}", plant=plant, argv=(_OPEN, _B))
        yield Probe(kind=kind, surface="command", name=f"labels {name}", plant=plant, argv=("run", _B, "--source", "in/good.edge/golden/0.png", "--engine", "onnxruntime", "--predictions", "out/p.jsonl"), codes=codes)  # fmt: skip
        yield Probe(kind=kind, surface="edgeproof-run", name=f"labels {name}", plant=plant, argv=(_B, "--source", "in/good.edge/golden/0.png", "--predictions", "out/p.jsonl"), codes=codes)  # fmt: skip
    names = {
        "control characters": "a\x1b]0;x\x07\r\n\u202eb",
        "10,000 characters": HUGE_NAME,
        "traversal": "../../x",
        "markup": "<b>[/b]{{1}}",
        "empty": "",
        "surrogate": "\ud800",
    }
    for name, text in names.items():

        def change(manifest: dict[str, Any], text: str = text) -> None:
            manifest["name"] = text
            manifest["provenance"] = {"architecture": text, text[:50] or "k": text}

        def plant_name(folder: Path, change: Callable[[dict[str, Any]], None] = change) -> None:
            reseal(copy(folder, "good.edge"), change)

        yield from _three(kind, f"bundle's name {name}", plant_name, codes)


def _engines() -> Iterator[Probe]:
    """Compiled engines that this machine did not build."""
    kind = "engines are code"

    def planted(target: str, file: str, content: bytes) -> Callable[[Path], None]:
        def plant(folder: Path) -> None:
            bundle = copy(folder, "good.edge")
            (bundle / "engines/x").mkdir(parents=True)
            (bundle / f"engines/x/{file}").write_bytes(content)
            record = EngineRecord(
                target=target,
                version="10.13.0",
                precision="fp32",
                onnx_sha256=hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest(),
                profile=BatchBounds(1, 1, 1),
                gpu=None,
                compute_capabilities=("8.6",),
                options={},
                plan=file,
                plan_sha256=hashlib.sha256(content).hexdigest(),
                plan_size_bytes=len(content),
            )
            (bundle / "engines/x/engine.json").write_text(json.dumps(record.to_json()))

            def change(manifest: dict[str, Any]) -> None:
                plan, info = f"engines/x/{file}", "engines/x/engine.json"
                manifest["files"] |= {name: {"sha256": "", "size_bytes": 0} for name in (plan, info)}
                entry = {"key": "x", "target": target, "precision": "fp32", "path": plan, "info": info}
                # A bundle.json of schema 2 lists no engines.
                manifest.update(schema=SCHEMA_1, engines=[entry], evidence=[])

            reseal(bundle, change)

        return plant

    for target, file in (("tensorrt", "model.plan"), ("tensorrt-rtx", "model.plan"), ("openvino", "model.blob")):
        for name, content in {
            "random bytes": random.Random(1).randbytes(5000),
            "empty": b"",
            "ptrt header": b"ptrt" + b"\xff" * 3000,
        }.items():
            plant = planted(target, file, content)
            yield Probe(
                kind=kind,
                surface="command",
                name=f"{target} {name}",
                plant=plant,
                argv=("verify", _B),
                codes=frozenset({0, 1, 2, 3}),
            )
            yield Probe(
                kind=kind,
                surface="edgeproof-run",
                name=f"{target} {name}",
                plant=plant,
                argv=(_B, "--verify"),
                codes=frozenset({0, 2, 3}),
            )


def _attachments() -> Iterator[Probe]:
    """What was added to a bundle and is damaged never makes its model unloadable."""
    kind = "damaged attachments"
    contents = {"broken JSON": b"{", "empty": b"", "other schema": b'{"schema": "edgeproof.attachment/9"}', "deep": b"[" * 100_000, "list": b"[]", "binary": b"\xff\xfe" * 500, "duplicate": b'{"schema": "edgeproof.attachment/1", "schema": "x"}', "nulls": b'{"schema": "edgeproof.attachment/1", "bundle": null, "kind": null, "files": null}'}  # fmt: skip
    names = {
        "by a hash": "0" * 64 + ".json",
        "by a name": "note.json",
        "traversal": "..%2f.json",
        "control": "a\x1b[2J.json",
    }
    for what, content in contents.items():
        for how, file in names.items():

            def plant(folder: Path, file: str = file, content: bytes = content) -> None:
                bundle = copy(folder, "good.edge")
                (bundle / "attachments").mkdir(exist_ok=True)
                (bundle / "attachments" / file).write_bytes(content)

            fine = frozenset({0})
            yield Probe(kind=kind, surface="api", name=f"{what} {how}", plant=plant, argv=(_OPEN, _B), codes=fine)
            yield Probe(
                kind=kind, surface="edgeproof-run", name=f"{what} {how}", plant=plant, argv=(_B, "--verify"), codes=fine
            )
            if how == "by a hash":
                yield Probe(
                    kind=kind, surface="command", name=f"{what} {how}", plant=plant, argv=("inspect", _B), codes=fine
                )
    special: dict[str, Callable[[Path], object]] = {
        "FIFO": lambda p: os.mkfifo(p), "folder": lambda p: p.mkdir(), "link to /dev/zero": lambda p: p.symlink_to("/dev/zero"), "link to itself": lambda p: p.symlink_to(p.name),
    }  # fmt: skip
    for what, make in special.items():

        def plant_special(folder: Path, make: Callable[[Path], object] = make) -> None:
            bundle = copy(folder, "good.edge")
            (bundle / "attachments").mkdir(exist_ok=True)
            make(bundle / "attachments" / ("1" * 64 + ".json"))

        yield from _three(kind, what, plant_special, frozenset({0}))

    def many(folder: Path) -> None:
        bundle = copy(folder, "good.edge")
        (bundle / "attachments").mkdir(exist_ok=True)
        for number in range(5_000):
            (bundle / "attachments" / f"{number:064x}.json").write_bytes(b"{}")

    yield from _three(kind, "5,000 of them", many, ANY)
