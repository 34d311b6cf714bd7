"""Write docs/schemas: JSON Schema of bundle.json and of reports, from the records that the runtime validates with.

    python scripts/schemas.py --write

Without `--write` both are printed.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.manifest import MODEL_FILES, EngineEntry, FileEntry, GoldenEntry, Manifest, OutputEntry
from edgeproof_runtime.bundle.task_settings import AnomalySettings, LatentInput, MultilabelSettings
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.evidence.report import BundleFacts, Report
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import LatencySummary
from edgeproof_runtime.system.spec import SPEC

FOLDER = Path(__file__).resolve().parents[1] / "docs/schemas"
Schema = dict[str, Any]

_BOUNDS, _ENUMS = SPEC["bounds"], SPEC["enums"]
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": _BOUNDS["text_characters"]}
_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_INDEX: Schema = {"type": "integer", "minimum": 0}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_PLAIN_PATH = r"^(?!.*(^|/)\.{0,2}(/|$))[^\\\u0000]+$"  # no part is empty, a dot or two
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, Schema]:
    """Return both schemas by the names of their files."""
    return {"bundle.schema.json": _bundle(), "report.schema.json": _report()}


def text(schema: Schema) -> str:
    """Return a schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _bundle() -> Schema:
    properties = {
        "schema": {"enum": [SPEC["schemas"]["bundle_1"], SPEC["schemas"]["bundle"]]},
        "name": {**_TEXT, "pattern": r"^[^/\\\u0000]+$"},
        "task": {"enum": [*SHAPES]},
        "input": _record(
            {"name": _TEXT, "contract": _or_null(_contract()), "latent": _or_null(_latent())},
            needed=("name", "contract"),
        ),
        "outputs": {"type": "array", "minItems": 1, "items": _output()},
        "labels": _or_null(_TEXT),
        "class_ids": _or_null(_TEXT),
        "provenance": _OBJECT,
        "models": {
            "type": "object",
            "propertyNames": {"enum": [*MODEL_FILES]},
            "additionalProperties": _TEXT,
            "anyOf": [{"required": [precision]} for precision in _ENUMS["precision"]],
        },
        "golden": {"type": "array", "maxItems": _BOUNDS["golden_cases"], "items": _golden()},
        "anomaly": _or_null(_anomaly()),
        "multilabel": _or_null(_multilabel()),
        "engines": {"type": "array", "items": _engine_entry()},
        "evidence": {"type": "array", "items": _TEXT},
        "files": {
            "type": "object",
            "propertyNames": {"pattern": _PLAIN_PATH},
            "additionalProperties": _closed(FileEntry, sha256=_SHA256, size_bytes=_INDEX),
        },
    }
    optional = {"anomaly", "multilabel", "engines", "evidence"}
    return {
        "$schema": _DIALECT,
        "title": "bundle.json",
        "description": _first(Manifest) + " Relations between fields are checked by edgeproof only.",
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "allOf": [
            {
                "if": {"properties": {"schema": {"const": SPEC["schemas"]["bundle_1"]}}},
                "then": {"required": ["engines", "evidence"]},
            },
            *_by_task(),
        ],
    }


def _by_task() -> list[Schema]:
    """Return what each task requires and what it does not allow."""
    rules = []
    for task, shape in SHAPES.items():
        frames = {"contract": _OBJECT, "latent": {"type": "null"}}
        latent = {"contract": {"type": "null"}, "latent": _OBJECT}
        then: Schema = {
            "properties": {"input": {"properties": frames if shape.takes_frames else latent}},
            "required": [],
        }
        if not shape.takes_frames:
            then["properties"]["input"]["required"] = ["latent"]
        for settings in ("anomaly", "multilabel"):
            then["properties"][settings] = _OBJECT if shape.settings == settings else {"type": "null"}
            then["required"] += [settings] if shape.settings == settings else []
        rules.append({"if": {"properties": {"task": {"const": task}}}, "then": then})
    return rules


def _contract() -> Schema:
    size = {"type": "integer", "minimum": 1, "maximum": _BOUNDS["side"]}
    pair = {"type": "array", "items": size, "minItems": 2, "maxItems": 2}
    channels = {"minItems": 1, "maxItems": _BOUNDS["channels"]}
    above_zero = {"type": "number", "exclusiveMinimum": 0}
    return _closed(
        InputContract,
        color={"enum": _ENUMS["color"]},
        resize={"enum": _ENUMS["resize"]},
        resize_size=pair,
        crop_size=_or_null(pair),
        crop_fraction=_or_null({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        filter={"enum": _ENUMS["filter"]},
        resampler={"enum": _ENUMS["resampler"]},
        frame_dtype={"enum": _ENUMS["frame_dtype"]},
        fill={"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 65535}, **channels},
        scale=above_zero,
        mean={"type": "array", "items": _NUMBER, **channels},
        std={"type": "array", "items": above_zero, **channels},
        layout={"enum": _ENUMS["layout"]},
        dtype={"enum": _ENUMS["dtype"]},
        batch=_batch(),
        optional=("frame_dtype",),
    )


def _batch() -> Schema:
    bound = {**_COUNT, "maximum": _BOUNDS["batch"]}
    return _closed(BatchBounds, min=bound, opt=bound, max=bound, optional=("min", "opt", "max"))


def _latent() -> Schema:
    return _closed(
        LatentInput,
        size={**_COUNT, "maximum": _BOUNDS["latent_size"]},
        normal={"enum": _ENUMS["normal"]},
        color={"enum": ["gray", "rgb"]},
        low=_NUMBER,
        high=_NUMBER,
        batch=_batch(),
    )


def _output() -> Schema:
    return _record(
        {"name": _TEXT, "shape": {"type": "array", "items": _COUNT}, "activation": {"enum": _ENUMS["activation"]}},
        about=OutputEntry,
    )


def _golden() -> Schema:
    return _closed(
        GoldenEntry,
        frame=_TEXT,
        tensor=_TEXT,
        outputs={"type": "array", "items": _TEXT},
        top1=_or_null(_INDEX),
        label=_or_null(_TEXT),
        seed=_or_null(_INDEX),
        optional=("top1", "label", "seed"),
    )


def _engine_entry() -> Schema:
    precision = {"enum": _ENUMS["precision"]}
    return _closed(EngineEntry, key=_TEXT, target=_TEXT, precision=precision, path=_TEXT, info=_TEXT)


def _anomaly() -> Schema:
    return _closed(
        AnomalySettings,
        threshold={"type": "number", "exclusiveMinimum": 0},
        quantile=_or_null({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        good_images=_or_null(_COUNT),
        score={"type": "string", "minLength": 1},
    )


def _multilabel() -> Schema:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    return _closed(
        MultilabelSettings,
        thresholds={"type": "array", "items": share, "minItems": 1},
        criterion={"enum": ["best-f1", "default"]},
        images=_INDEX,
    )


def _report() -> Schema:
    known: Schema = {
        "schema": {"const": SPEC["schemas"]["report"]},
        "edgeproof": {**_STRING, "description": "version that wrote the report"},
        "passed": {**_or_null(_BOOLEAN), "description": "whether every gate passed; null if no gate ran"},
        "kind": {"enum": _ENUMS["report_kind"]},
        "command": _STRING,
        "host": _OBJECT,
        "created": _STRING,
        "bundle": _or_null(_bundle_facts()),
        "settings": _OBJECT,
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "latency_ms": _stages(_latency()),
        "distribution_ms": _stages({"type": "object", "additionalProperties": {"type": "array", "items": _NUMBER}}),
        "throughput_fps": _or_null(_NUMBER),
        "gates": {"type": "array", "items": _gate()},
        "engines": {"type": "array", "items": _engine_row()},
        "samples": {"type": "array", "items": _thumbnail()},
        "streams": {"type": "array", "items": _OBJECT},
        "sinks": {"type": "array", "items": _OBJECT},
        "warnings": {"type": "array", "items": _STRING},
    }
    told = _attributes(Report)
    required = ("schema", "kind")
    properties = {}
    for key in SPEC["report_keys"]:
        found = known.get(key, _or_null(_OBJECT))
        about = {"description": told[key]} if key in told else {}
        properties[key] = {**(found if key in required else _or_null(found)), **about}
    return {
        "$schema": _DIALECT,
        "title": "Report",
        "description": "What one command measured. An absent key means null. A task may add sections of its own.",
        "type": "object",
        "required": [*required],
        "properties": properties,
    }


def _bundle_facts() -> Schema:
    artifact = _record({"path": _STRING, "sha256": _SHA256, "size_bytes": _INDEX})
    return _record(
        {
            "name": _STRING,
            "manifest_sha256": _SHA256,
            "contract": _STRING,
            "artifacts": {"type": "array", "items": artifact},
            "provenance": _OBJECT,
        },
        about=BundleFacts,
    )


def _stages(of: Schema) -> Schema:
    return {"type": "object", "propertyNames": {"enum": _ENUMS["stage"]}, "additionalProperties": of}


def _latency() -> Schema:
    told = _attributes(LatencySummary)
    times = {
        name: {**_or_null(_NUMBER), "description": f"ms; {told[f'{name}_ms']}"}
        for name in ("mean", *SPEC["percentiles"], "max")
    }
    reasons = {"type": "object", "additionalProperties": _STRING}
    properties = {"count": _INDEX, **times, "unsupported": reasons, "sampled": _INDEX}
    return _record(properties, needed=("count", *times), about=LatencySummary)


def _gate() -> Schema:
    limits = _record({"min": _NUMBER, "max": _NUMBER}, needed=())
    return _record(
        {
            "name": _STRING,
            "passed": _BOOLEAN,
            "what": _STRING,
            "measured": {"type": "object", "additionalProperties": _or_null(_NUMBER)},
            "bound": {"type": "object", "additionalProperties": limits},
        },
        about=Gate,
    )


def _engine_row() -> Schema:
    return _record(
        {
            "name": _STRING,
            "version": _or_null(_STRING),
            "median_ms": _or_null(_NUMBER),
            "passed": _or_null(_BOOLEAN),
            "reason": _or_null(_STRING),
            "chosen": _BOOLEAN,
            "precision": _or_null(_STRING),
            "threads": _or_null({"type": "integer"}),
        },
        needed=("name",),
        about=EngineRow,
    )


def _thumbnail() -> Schema:
    return _record(
        {
            "name": _STRING,
            "jpeg": {**_STRING, "contentEncoding": "base64", "contentMediaType": "image/jpeg"},
            "width": _COUNT,
            "height": _COUNT,
            "label": _STRING,
            "probability": _or_null(_NUMBER),
            "truth": _or_null(_STRING),
        },
        needed=("name", "jpeg", "width", "height", "label"),
        about=Thumbnail,
    )


def _or_null(schema: Schema) -> Schema:
    null = {"type": "null"}
    return schema if null in schema.get("anyOf", ()) else {"anyOf": [schema, null]}


def _record(properties: Schema, *, needed: tuple[str, ...] | None = None, about: type | None = None) -> Schema:
    told = {} if about is None else _attributes(about)
    described = {name: {**one, "description": told[name]} if name in told else one for name, one in properties.items()}
    required = [*properties] if needed is None else [*needed]
    return {"type": "object", "required": required, "properties": described}


def _closed(of: type, *, optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """Return the schema of a record that allows no other field; its fields must be those of ``of``."""
    names = [field.name for field in dataclasses.fields(of)]
    if names != [*properties]:
        raise ValueError(f"{of.__name__} has the fields {names}, the schema {[*properties]}")
    needed = tuple(name for name in names if name not in optional)
    return {**_record(properties, needed=needed, about=of), "additionalProperties": False}


def _attributes(of: type) -> dict[str, str]:
    """Return what a docstring says of each attribute, on one line."""
    _, _, rest = (inspect.getdoc(of) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in rest.splitlines():
        if begun := re.match(r" {4}((?:\w+(?:, )?)+): (.*)", line):
            names = begun[1].split(", ")
            found |= dict.fromkeys(names, begun[2].strip())
        elif line.startswith(" " * 8):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        elif line.strip():
            break
    return {name: said.replace("``", "`") for name, said in found.items()}


def _first(of: type) -> str:
    return " ".join((inspect.getdoc(of) or "").split("\n\n")[0].split()).replace("``", "`")


if __name__ == "__main__":
    for file, schema in schemas().items():
        if sys.argv[1:] == ["--write"]:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / file).write_text(text(schema), encoding="utf-8")
        else:
            sys.stdout.write(text(schema))
