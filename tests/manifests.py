"""Manifests that no reader takes, in Python or C++."""

from __future__ import annotations

import json
from typing import Any

from bundles import CONTRACT
from edgeproof_runtime.bundle.manifest import SCHEMA_1
from edgeproof_runtime.bundle.reader import Bundle

OUTPUT = {"name": "logits", "shape": [5], "activation": "none"}
GOLDEN = {
    "frame": "golden/0.png",
    "tensor": "golden/0.input.npy",
    "outputs": ["golden/0.logits.npy"],
    "top1": 0,
    "label": "cat",
}
ENGINE = {"key": "k", "target": "tensorrt", "precision": "fp32", "path": "model.onnx", "info": "labels.txt"}

# What is changed in the manifest of `bundles.make_bundle`, and what Python says.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"schema": "edgeproof.bundle/9"}, "unsupported schema"),
    ({"task": "detect"}, "unknown task"),
    ({"files": {"../secret": {"sha256": "0" * 64, "size_bytes": 1}}}, "outside the bundle"),
    ({"files": {"/etc/passwd": {"sha256": "0" * 64, "size_bytes": 1}}}, "outside the bundle"),
    ({"files": {"model.onnx": {"sha256": "nonsense", "size_bytes": 1}}}, "invalid sha256"),
    ({"models": {}}, "invalid models"),
    ({"models": {"fp64": "model.onnx"}}, "invalid models"),
    ({"models": {"fp64": "model.onnx"}, "engines": []}, "invalid models"),
    ({"models": {"fp32": "model.onnx", "fp64": "model.onnx"}}, "invalid models"),
    ({"models": {"int8-tensorrt": "model.onnx"}}, "invalid models"),
    ({"labels": "other.txt"}, "unlisted file"),
    ({"outputs": []}, "no outputs"),
    ({"golden": [{"frame": "golden/0.png"}]}, "damaged"),
    ({"input": {"name": "input", "contract": {"color": "rgb"}}}, "invalid input contract"),
    ({"input": {"name": None, "contract": CONTRACT.to_json()}}, "input name must be a string"),
    ({"name": None}, "bundle.json: name must be a string"),
    ({"name": ""}, "bundle.json: name must be a string"),
    ({"name": "../tiny"}, "no path separators"),
    ({"name": "a\\b"}, "no path separators"),
    ({"labels": 7}, "labels must be a string"),
    ({"labels": ["labels.txt"]}, "labels must be a string"),
    ({"class_ids": True}, "class_ids must be a string"),
    ({"models": {"fp32": None}}, r"models\.fp32 must be a string"),
    ({"models": [["fp32", "model.onnx"]]}, "models is list, not an object"),
    ({"evidence": [None]}, "evidence must be a string"),
    ({"evidence": ""}, "evidence is str, not a list"),
    ({"provenance": []}, "provenance is list, not an object"),
    ({"files": {"model.onnx": {"sha256": "0" * 64, "size_bytes": True}}}, "invalid file size"),
    ({"engines": [ENGINE | {"key": None}]}, "engine key must be a string"),
    ({"engines": [ENGINE | {"precision": "fp64"}]}, "unknown precision"),
    ({"outputs": [OUTPUT | {"shape": []}]}, "one score per class"),
    ({"outputs": [OUTPUT | {"shape": [5, 1]}]}, "one score per class"),
    ({"outputs": [OUTPUT | {"shape": [True]}]}, "shape must be fixed"),
    ({"outputs": [OUTPUT | {"shape": "5"}]}, "shape is str, not a list"),
    ({"outputs": [OUTPUT | {"name": None}]}, "output name must be a string"),
    ({"outputs": [OUTPUT | {"name": 7}]}, "output name must be a string"),
    ({"outputs": [OUTPUT | {"shape": []}], "task": "reconstruct"}, "one score per class"),
    ({"golden": [GOLDEN | {"outputs": []}]}, "wrong number of outputs"),
    ({"golden": [GOLDEN | {"outputs": ["golden/0.logits.npy"] * 2}]}, "wrong number of outputs"),
    ({"golden": [GOLDEN | {"outputs": [None]}]}, "golden case output must be a string"),
    ({"golden": [GOLDEN | {"top1": 5}]}, "not a class of the model"),
    ({"golden": [GOLDEN | {"top1": -1}]}, "invalid golden case top1"),
    ({"golden": [GOLDEN | {"top1": "1"}]}, "invalid golden case top1"),
    ({"golden": [GOLDEN | {"top1": 1.0}]}, "invalid golden case top1"),
    ({"golden": [GOLDEN | {"top1": True}]}, "invalid golden case top1"),
    ({"golden": [GOLDEN | {"label": 3}]}, "golden case label must be a string"),
    ({"golden": [GOLDEN | {"frame": None}]}, "golden case frame must be a string"),
]


def edit(bundle: Bundle, **changes: Any) -> None:
    """Change parts of a bundle's manifest; engines and evidence make it one of schema 1."""
    path = bundle.path / "bundle.json"
    parts = {"schema": SCHEMA_1, "engines": [], "evidence": []} if {"engines", "evidence"} & set(changes) else {}
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts, **changes}))
