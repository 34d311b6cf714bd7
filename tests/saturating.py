"""A CPU without VNNI, emulated at its worst: graphs with fused Q/DQ pairs give the same score to every class."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

__all__ = ["SaturatingSession"]


class SaturatingSession(ort.InferenceSession):  # type: ignore[misc]  # onnxruntime has no type hints
    """A session whose int8 kernels saturate; Q/DQ pairs in float32 are computed as they state."""

    def __init__(self, model: str, sess_options: ort.SessionOptions | None = None, **others: Any) -> None:
        super().__init__(model, sess_options, **others)
        fused = sess_options is None or not _stated(sess_options)
        quantized = any(node.op_type == "QuantizeLinear" for node in onnx.load(model).graph.node)
        self.saturates = fused and quantized

    def run(self, *arguments: Any) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = super().run(*arguments)
        return [np.zeros_like(values) for values in found] if self.saturates else found


def _stated(options: ort.SessionOptions) -> bool:
    try:
        return str(options.get_session_config_entry("session.disable_quant_qdq")) == "1"
    except RuntimeError:  # not set
        return False
