"""docs/schemas: what the runtime writes is valid, and what it refuses for one field's sake is not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

import edgeproof
from bundles import (
    make_band_bundle,
    make_bundle,
    make_defect_bundle,
    make_generator_bundle,
    make_multilabel_bundle,
    write_clip,
    write_sorted,
)
from edgeproof.report.summary import markdown
from edgeproof_runtime.bundle.manifest import Manifest, is_plain
from edgeproof_runtime.errors import BundleError, InputError
from manifests import GOLDEN, WRONG, edit

ROOT = Path(__file__).resolve().parents[1]
# What only a look at several fields shows; the schema's description says that it does not.
RELATIONS = ("unlisted file", "not a class", "one score per class", "wrong number")
WHOLE = {"golden": [GOLDEN | {"top1": 1.0}]}  # an integer to JSON Schema, which knows no floats


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("schemas", ROOT / "scripts/schemas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def errors(name: str, document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator(name).iter_errors(document)]


def test_the_files_are_those_of_the_script() -> None:
    schemas = script()
    for name, schema in schemas.schemas().items():
        written = (ROOT / "docs/schemas" / name).read_text(encoding="utf-8")
        assert written == schemas.text(schema), "python scripts/schemas.py --write"


@pytest.mark.parametrize(
    "make", [make_bundle, make_band_bundle, make_multilabel_bundle, make_defect_bundle, make_generator_bundle]
)
def test_manifests_of_every_task_are_valid(make: Any, tmp_path: Path) -> None:
    bundle = make(tmp_path / "a.edge")
    assert not errors("bundle", json.loads((bundle.path / "bundle.json").read_text()))


def test_what_version_0_1_0_wrote_is_valid(tmp_path: Path) -> None:
    with zipfile.ZipFile(ROOT / "tests/golden/bundles-0.1.0.zip") as archive:
        archive.extractall(tmp_path)
    found = sorted(tmp_path.rglob("*.json"))
    assert len(found) == 5
    for file in found:
        kind = "bundle" if file.name == "bundle.json" else "report"
        assert not errors(kind, json.loads(file.read_text())), file


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_the_runtime_refuses_is_not_valid(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a.edge")
    edit(bundle, **change)
    document = json.loads((bundle.path / "bundle.json").read_text())
    with pytest.raises(BundleError):
        Manifest.from_json(document)
    assert errors("bundle", document) or any(relation in said for relation in RELATIONS) or change == WHOLE


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {"anything": [1]}},
        {"a later field": 1},
        {"labels": None, "golden": []},
        {"outputs": [{"name": "logits", "shape": [5], "activation": "softmax", "more": 1}], "golden": []},
    ],
)
def test_what_the_runtime_takes_is_valid(change: dict[str, Any], tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a.edge")
    document = json.loads((bundle.path / "bundle.json").read_text()) | change
    Manifest.from_json(document)
    assert not errors("bundle", document)


PATHS = ["a", "a/b.c", "..a/b", "a..", "/a", "../a", "a/../b", "a/..", "./a", "a/.", "a//b", "a/", "a\\b", ""]


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_plain_for_both(name: str) -> None:
    pattern = validator("bundle").schema["properties"]["files"]["propertyNames"]
    assert jsonschema.Draft202012Validator(pattern).is_valid(name) == is_plain(name)


@pytest.mark.slow
def test_reports_of_every_kind_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    bundle = make_bundle(tmp_path / "a.edge").path
    data = write_sorted(tmp_path / "sorted", bundle)
    clip = write_clip(tmp_path / "clip.mp4")
    generator = make_generator_bundle(tmp_path / "g.edge").path
    reports = [
        edgeproof.verify(bundle, engine="onnxruntime", layers=True),
        edgeproof.evaluate(bundle, data=data, engine="onnxruntime"),
        edgeproof.run(bundle, [str(clip)], engine="onnxruntime"),
        edgeproof.run(bundle, ["synthetic://64x48?frames=10"], engine="onnxruntime", unknown="margin:0.2"),
        edgeproof.tune(bundle),
        edgeproof.sample(generator, number=4, engine="onnxruntime").report,
        edgeproof.bench(bundle, engine="onnxruntime,openvino", duration_s=1),
    ]
    for report in reports:
        document = json.loads(json.dumps(report.to_json()))
        assert not errors("report", document), report.kind


def test_edgeproof_run_writes_valid_reports(device_program: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a.edge").path
    clip = write_clip(tmp_path / "clip.mp4")
    for options in (["--verify"], ["--source", str(clip)]):
        out = tmp_path / "report.json"
        done = subprocess.run(
            [device_program, bundle, *options, "--json", out], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not errors("report", json.loads(out.read_text()))


REPORT = {"schema": "edgeproof.report/1", "kind": "verify"}


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"schema": "edgeproof.report/9"}, True),
        ({"kind": "cook"}, True),
        ({"gates": [{"passed": True}]}, True),
        ({"latency_ms": {"inference": {"p50": 1.0}}}, False),
        ({"gates": {}}, False),  # shown as no gates
        ({"warnings": "one"}, False),
    ],
)
def test_broken_reports_are_not_valid(change: dict[str, Any], refused: bool) -> None:
    assert not errors("report", REPORT)
    assert errors("report", REPORT | change)
    if refused:
        with pytest.raises(InputError):
            markdown([REPORT | change])
