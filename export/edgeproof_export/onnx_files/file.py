"""ONNX files: the contract in their metadata, and bundles' models written as one file with descriptive metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import checker

from edgeproof_export.onnx_files.reading import LARGEST_BYTES, OnnxFile
from edgeproof_runtime.bundle.onnx_graph import MODULE_SCOPES
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import parse_document

__all__ = ["METADATA_SCHEMA", "embedded_contract", "finish_model", "require_size"]

METADATA_SCHEMA = "edgeproof.onnx/1"


def embedded_contract(file: OnnxFile) -> InputContract | None:
    """Return the contract in a model's metadata, or None.

    Raises:
        InputError: the contract is damaged.
    """
    metadata = {item.key: item.value for item in file.model.metadata_props}
    text = metadata.get("edgeproof.contract")
    if text is None:
        return None
    try:
        return InputContract.from_json(parse_document(text.encode(), "edgeproof.contract"))
    except InputError as error:
        raise InputError(f"{file.path}: the contract in its metadata is damaged", got=error) from error


def require_size(size_bytes: int) -> None:
    """Refuse a model that does not fit one ONNX file.

    Raises:
        InputError: names the size.
    """
    if size_bytes > LARGEST_BYTES:
        raise InputError(
            "model: too large for one ONNX file",
            got=f"{size_bytes / 2**30:.2f} GiB of weights",
            expected=f"below {(LARGEST_BYTES + 1) / 2**30:.3g} GiB; a bundle holds no external data",
            fix="export a smaller variant of the architecture",
        )


def finish_model(model: onnx.ModelProto, out: Path, metadata: Mapping[str, str]) -> None:
    """Check a model, add metadata and write it as one file.

    Of the exporter's notes at the nodes only the names of PyTorch's modules stay: others name source files of the
    exporting machine.

    Raises:
        InputError: the model is invalid, or too large for one file.
    """
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        scopes = [prop for prop in item.metadata_props if prop.key == MODULE_SCOPES]
        del item.metadata_props[:]
        item.metadata_props.extend(scopes)
        item.doc_string = ""
    kept = {item.key: item.value for item in model.metadata_props if not item.key.startswith("pkg.")}
    onnx.helper.set_model_props(model, {**kept, **metadata})
    require_size(model.ByteSize())
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # checker and shape inference raise errors without a common base
        raise InputError("exported model: not valid ONNX", got=error) from error
    out.write_bytes(model.SerializeToString(deterministic=True))
