"""What the export asks of the onnx package for a foreign model, all at once: done in a child process first."""

from __future__ import annotations

from contextlib import suppress

import onnx
from onnx import checker, shape_inference

from edgeproof_export.onnx_files.mend import mend_versions
from edgeproof_export.onnx_files.nodes import Graph, copied, nodes_of

__all__ = ["rehearse"]


def rehearse(file: str) -> None:
    """Read, check, infer, inline and convert a model; errors of one step do not keep the next from its turn."""
    model = onnx.load(file)
    graph = Graph(model.graph)
    for name in [name for node in nodes_of(model.graph) for name in node.input][:1000]:
        with suppress(Exception):
            graph.constant(name)
    with suppress(Exception):
        checker.check_model(copied(model), full_check=True)
    with suppress(Exception):
        shape_inference.infer_shapes(model)
    with suppress(Exception):
        mended, _ = mend_versions(copied(model), file)
        checker.check_model(mended, full_check=True)
