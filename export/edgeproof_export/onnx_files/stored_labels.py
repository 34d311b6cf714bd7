"""Labels of the classes in an ONNX file's metadata, as Ultralytics and others store them."""

from __future__ import annotations

import ast
import json
from typing import Any

import onnx

from edgeproof_runtime.data.class_names import names_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.bounds import require_texts

__all__ = ["stored_labels"]

_KEYS = ("names", "labels", "class_names", "classes", "id2label", "label2id", "class_to_idx")
_MOST_CHARACTERS = 1 << 20


def stored_labels(model: onnx.ModelProto, classes: int) -> tuple[tuple[str, ...], str] | None:
    """Return one label per class and the key of the metadata that has them; None if none has.

    A value is a list or mapping, as JSON or as Python writes it (``{0: 'cat', 1: 'dog'}``), or names between commas.
    """
    metadata = {item.key.lower(): item.value for item in model.metadata_props}
    for key in _KEYS:
        text = metadata.get(key, "")
        if not text or len(text) > _MOST_CHARACTERS:
            continue
        names = names_of(_parsed(text), pick=1)
        if names is None or len(names) != classes or len(set(names)) != classes:
            continue
        try:
            require_texts(names, key)
        except InputError:
            continue
        return names, key
    return None


def _parsed(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            raw = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return {str(key): value for key, value in raw.items()} if isinstance(raw, dict) else raw
    return [name.strip() for name in text.split(",")]
