"""ONNX files: load other people's with their weights, write those of bundles as one file with descriptive metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx import AttributeProto, checker, external_data_helper

from edgeproof_export.foreign_files import recognise
from edgeproof_export.onnx_files.nodes import nodes_of
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import parse_document

__all__ = [
    "METADATA_SCHEMA",
    "digest_of",
    "embedded_contract",
    "finish_model",
    "first_line",
    "load_model",
    "require_size",
]

METADATA_SCHEMA = "edgeproof.onnx/1"

# Operators that ONNX or ONNX Runtime defines; engines that lack some of them are left out by the gates.
_DOMAINS = ("ai.onnx", "com.microsoft")
_LARGEST_BYTES = 2**31 - 1  # protobuf's limit for one message


def load_model(path: Path) -> onnx.ModelProto:
    """Load a model with its external weights, if any, so that it can be saved as one file.

    Raises:
        InputError: the file is damaged, not an ONNX model, needs operators that no engine has, or its external weights
            are missing.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        readable = bool(model.graph.node)
    except Exception as error:  # protobuf's errors have no common base with onnx's
        raise _not_onnx(path, first_line(error)) from error
    if not readable:
        raise _not_onnx(path, "a graph without nodes")
    _load_weights(model, path)
    _refuse_custom_operators(model, path)
    return model


def _not_onnx(path: Path, reason: str) -> InputError:
    kind = recognise(path)
    if kind is None or kind.name == "onnx":
        return InputError(f"{path}: not a valid ONNX model", got=reason, fix="download or export it again")
    return InputError(f"{path}: not an ONNX model", got=kind.what, expected="an ONNX model", fix=kind.fix)


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read weights that are stored in files beside the model."""
    outside = _files_beside(model)
    missing = [name for name in outside if not (path.parent / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: its weights are in a file that is missing",
            got=f"no {path.parent / missing[0]}",
            expected=f"{', '.join(outside)} beside {path.name}",
            fix=f"copy {missing[0]} to {path.resolve().parent}",
        )
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        external_data_helper.convert_model_from_external_data(model)
    except Exception as error:  # onnx raises its own errors, and ValueError
        raise InputError(
            f"{path}: its external weights cannot be read",
            got=first_line(error),
            fix="copy the model and its weights again, both from one export",
        ) from error


def _files_beside(model: onnx.ModelProto) -> list[str]:
    """Return the names of the files that hold a model's weights, as long as they are not loaded."""
    entries = [entry for tensor in _tensors_of(model.graph) for entry in tensor.external_data]
    return list(dict.fromkeys(entry.value for entry in entries if entry.key == "location"))


def digest_of(path: Path) -> str:
    """Return the sha256 of a model file; with weights in files beside it, of the digests of all of them."""
    beside = _files_beside(onnx.load(path, load_external_data=False))
    digests = [sha256_of(file) for file in (path, *(path.parent / name for name in beside))]
    return digests[0] if not beside else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the tensors of a graph: initialisers, and attributes of its nodes and subgraphs."""
    yield from graph.initializer
    for node in nodes_of(graph):
        for item in node.attribute:
            yield from (item.t, *item.tensors) if item.type in (AttributeProto.TENSOR, AttributeProto.TENSORS) else ()
            for inner in (item.g, *item.graphs):
                yield from inner.initializer


def _refuse_custom_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse operators of domains that neither ONNX nor ONNX Runtime defines, by name."""
    own = {function.domain for function in model.functions}
    foreign: dict[str, list[str]] = {}
    for node in nodes_of(model.graph):
        if node.domain not in own and not node.domain.startswith(_DOMAINS) and node.domain:
            foreign.setdefault(node.domain, []).append(node.op_type)
    if foreign:
        found = "; ".join(f"{', '.join(dict.fromkeys(names))} of {domain}" for domain, names in foreign.items())
        raise InputError(
            f"{path}: has custom operators, which no engine has",
            got=found,
            expected="operators of ONNX (ai.onnx)",
            fix="replace them in the model by standard operations, and export it again",
        )


def embedded_contract(path: Path) -> InputContract | None:
    """Return the contract in a model's metadata, or None.

    Raises:
        InputError: the file is not an ONNX model, or its contract is damaged.
    """
    metadata = {item.key: item.value for item in load_model(path).metadata_props}
    text = metadata.get("edgeproof.contract")
    if text is None:
        return None
    try:
        return InputContract.from_json(parse_document(text.encode(), "edgeproof.contract"))
    except InputError as error:
        raise InputError(f"{path}: the contract in its metadata is damaged", got=error) from error


def require_size(size_bytes: int) -> None:
    """Refuse a model that does not fit one ONNX file.

    Raises:
        InputError: names the size.
    """
    if size_bytes > _LARGEST_BYTES:
        raise InputError(
            "model: too large for one ONNX file",
            got=f"{size_bytes / 2**30:.2f} GiB of weights",
            expected=f"below {(_LARGEST_BYTES + 1) / 2**30:.3g} GiB; a bundle holds no external data",
            fix="export a smaller variant of the architecture",
        )


def finish_model(model: onnx.ModelProto, out: Path, metadata: Mapping[str, str]) -> None:
    """Check a model, add metadata and write it as one file.

    Removes the exporter's notes at the nodes, which name source files of the exporting machine.

    Raises:
        InputError: the model is invalid, or too large for one file.
    """
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del item.metadata_props[:]
        item.doc_string = ""
    kept = {item.key: item.value for item in model.metadata_props if not item.key.startswith("pkg.")}
    onnx.helper.set_model_props(model, {**kept, **metadata})
    require_size(model.ByteSize())
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # checker and shape inference raise errors without a common base
        raise InputError("exported model: not valid ONNX", got=error) from error
    out.write_bytes(model.SerializeToString(deterministic=True))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its type if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
