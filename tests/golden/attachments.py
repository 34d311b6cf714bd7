"""Golden bundles with attachments: what readers keep and what they leave out. `make.py` writes ``attachments.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

MODEL = "model"
CONTRACT = {
    "color": "rgb", "resize": "shortest", "resize_size": [8, 8], "crop_size": [8, 8], "crop_fraction": None,
    "filter": "bilinear", "resampler": "pillow-13", "fill": [0, 0, 0], "scale": 255.0, "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5], "layout": "NCHW", "dtype": "float32", "batch": {"min": 1, "opt": 1, "max": 1},
}  # fmt: skip
OLD, NEW = "2026-11-27T03:20:18.000001Z", "2026-11-27T03:20:18.000002Z"


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def entries(files: dict[str, str]) -> dict[str, Any]:
    return {name: {"sha256": digest(content), "size_bytes": len(content)} for name, content in files.items()}


def manifest(schema: int = 2, **changes: Any) -> str:
    parts = {"engines": [], "evidence": []} if schema == 1 else {}
    document = {
        "schema": f"edgeproof.bundle/{schema}", "name": "b", "task": "classify",
        "input": {"name": "input", "contract": CONTRACT},
        "outputs": [{"name": "logits", "shape": [2], "activation": "none"}],
        "labels": None, "class_ids": None, "provenance": {}, "models": {"fp32": "model.onnx"}, "golden": [],
        **parts, "files": entries({"model.onnx": MODEL}), **changes,
    }  # fmt: skip
    return json.dumps(document)


BASE = manifest()
LISTED = {"evidence/bench.json": "{}", "e/plan": "plan", "e/info": "info", "model.int8.onnx": "int8"}
FIRST = manifest(
    1,
    models={"fp32": "model.onnx", "int8": "model.int8.onnx"},
    engines=[{"key": "e", "target": "openvino", "precision": "fp32", "path": "e/plan", "info": "e/info"}],
    evidence=["evidence/bench.json"],
    files=entries({"model.onnx": MODEL, **LISTED}),
)


def attachment(
    kind: str, name: str, files: dict[str, str], /, *, at: str = OLD, of: str = BASE, **more: Any
) -> dict[str, str]:
    """The files that an attachment puts into the folder."""
    record = {
        "schema": "edgeproof.attachment/1", "bundle": digest(of), "kind": kind, "name": name, "created_at": at,
        "files": entries(files), **more,
    }  # fmt: skip
    text = json.dumps(record)
    payloads = {f"attachments/{digest(content)}.{name.split('/')[-1]}": content for name, content in files.items()}
    return {**payloads, f"attachments/{digest(text)}.json": text}


def precision(name: str, content: str, /, **more: Any) -> dict[str, str]:
    return attachment("precision", name, {f"model.{name}.onnx": content}, **more)


def evidence(name: str, content: str, /, **more: Any) -> dict[str, str]:
    return attachment("evidence", name, {f"evidence/{name}.json": content}, **more)


def engine(key: str, of_model: str = MODEL, /, **more: Any) -> dict[str, str]:
    facts = {"target": "openvino", "precision": "fp32", "onnx_sha256": digest(of_model)}
    files = {f"engines/{key}/model.blob": f"blob {key}", f"engines/{key}/engine.json": f"record {key}"}
    return attachment("engine", key, files, **{"engine": facts, **more})


def record_of(files: dict[str, str]) -> str:
    """Path of the record."""
    return next(path for path in files if len(path) == len("attachments/.json") + 64)


def payloads_of(files: dict[str, str]) -> list[str]:
    return [path for path in files if path != record_of(files)]


def without(files: dict[str, str], path: str) -> dict[str, str]:
    return {name: content for name, content in files.items() if name != path}


def case(
    what: str,
    files: dict[str, str],
    *,
    of: str = BASE,
    models: tuple[str, ...] = (),
    engines: tuple[str, ...] = (),
    evidence: tuple[str, ...] = (),
    left_out: tuple[tuple[str, str, str], ...] = (),
) -> dict[str, Any]:
    """One bundle; ``left_out`` holds kind, name and words of the reason."""
    return {
        "what": what,
        "files": {"bundle.json": of, "model.onnx": MODEL, **files},
        "models": ["fp32", *models],
        "engines": list(engines),
        "evidence": [f"evidence/{name}.json" for name in evidence],
        "left_out": [list(one) for one in left_out],
    }


def cases() -> Iterator[dict[str, Any]]:
    """Every rule of reading attachments, once."""
    int8, bench, blob = precision("int8", "int8"), evidence("bench", "{}"), engine("k1")
    yield case("no attachments", {})
    yield case("one of each kind", {**int8, **bench, **blob}, models=("int8",), engines=("k1",), evidence=("bench",))
    newer = precision("int8", "newer", at=NEW)
    yield case("the newer one supersedes", {**int8, **newer}, models=("int8",))
    (payload,) = payloads_of(newer)
    yield case(
        "the older one serves while the newer one is damaged",
        {**int8, **newer, payload: "mewer"},
        models=("int8",),
        left_out=(("precision", "int8", "modified"),),
    )
    (payload,) = payloads_of(int8)
    yield case("a missing file", without(int8, payload), left_out=(("precision", "int8", "missing"),))
    yield case("a file of another size", {**int8, payload: "int"}, left_out=(("precision", "int8", "modified"),))
    yield case("a changed file", {**int8, payload: "int9"}, left_out=(("precision", "int8", "modified"),))
    record = record_of(int8)
    changed = {**int8, record: int8[record].replace("int8", "int4")}
    yield case("a changed record", changed, left_out=(("", "", "modified"),))
    yield case("half a record", {**int8, record: int8[record][:50]}, left_out=(("", "", "modified"),))
    yield case("a file without a record", {payload: "int8"})
    yield case("leftovers of a writer", {"attachments/.x.partial": "half", "attachments/README": "mine"})
    other = precision("int8", "int8", of=manifest(name="another"))
    yield case("of another bundle.json", other, left_out=(("precision", "int8", "another bundle.json"),))
    for field, value, says in (
        ("schema", "edgeproof.attachment/2", "unsupported schema"),
        ("kind", "signature", "unknown kind"),
        ("created_at", "yesterday", "created_at"),
        ("bundle", "0", "bundle"),
        ("files", {}, "wrong files"),
    ):
        yield case(
            f"an unknown or invalid {field}", precision("int8", "int8", **{field: value}), left_out=(("", "", says),)
        )
    for name in ("int4", "../int8", ""):
        wrong = attachment("precision", name, {"model.int8.onnx": "int8"})
        yield case(f"precision {name!r}", wrong, left_out=(("", "", "name"),))
    yield case(
        "files of other names",
        attachment("evidence", "bench", {"model.onnx": "evil"}),
        left_out=(("", "", "wrong files"),),
    )
    yield case(
        "the exported model",
        attachment("precision", "fp32", {"model.onnx": "evil"}),
        left_out=(("precision", "fp32", "an export alone"),),
    )
    yield case("an engine of another model", engine("k1", "old"), left_out=(("engine", "k1", "another model"),))
    yield case("engines, newest first", {**blob, **engine("k2", at=NEW)}, engines=("k2", "k1"))
    yield case("an engine without facts", engine("k1", engine=None), left_out=(("", "", "facts"),))
    yield case(
        "an engine outside its folder",
        attachment(
            "engine",
            "k1",
            {"engines/k2/model.blob": "blob", "engines/k1/engine.json": "record"},
            engine={"target": "openvino", "precision": "fp32", "onnx_sha256": digest(MODEL)},
        ),
        left_out=(("", "", "wrong files"),),
    )
    all_listed: dict[str, Any] = {"of": FIRST, "models": ("int8",), "engines": ("e",), "evidence": ("bench",)}
    yield case("schema 1", LISTED, **all_listed)
    yield case(
        "schema 1, superseded",
        {**without(LISTED, "evidence/bench.json"), **evidence("bench", "[]", of=FIRST)},
        **all_listed,
    )
    for path, kind, name in (
        ("evidence/bench.json", "evidence", "bench"),
        ("model.int8.onnx", "precision", "int8"),
        ("e/plan", "engine", "e"),
    ):
        kept: dict[str, Any] = {
            "models": () if kind == "precision" else ("int8",),
            "engines": () if kind == "engine" else ("e",),
            "evidence": () if kind == "evidence" else ("bench",),
        }
        yield case(
            f"schema 1 without {path}", without(LISTED, path), of=FIRST, left_out=((kind, name, "missing"),), **kept
        )
        yield case(
            f"schema 1 with a changed {path}",
            {**LISTED, path: LISTED[path][:-1] + "!"},
            of=FIRST,
            left_out=((kind, name, "modified"),),
            **kept,
        )
        gone = attachment(kind, name, {}, of=FIRST, withdrawn=True)
        yield case(f"schema 1, {kind} withdrawn", {**LISTED, **gone}, of=FIRST, **kept)
