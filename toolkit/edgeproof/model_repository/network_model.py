"""Model of Triton's Python backend: a bundle's network on one of edgeproof's engines.

`edgeproof triton --engine python` copies this file. It requires edgeproof in the Python of the backend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

try:
    from edgeproof_runtime.bundle.golden import load_golden
    from edgeproof_runtime.bundle.reader import Bundle
    from edgeproof_runtime.errors import EdgeproofError, one_line
    from edgeproof_runtime.selection.auto import load_engine
    from edgeproof_runtime.verify.golden import output_gate
except ImportError as error:
    raise pb_utils.TritonModelException(
        f"edgeproof is not installed in the Python of Triton's backend ({error}): "
        'run `pip install "edgeproof[onnxruntime]"` with that Python, which is /usr/bin/python3 in containers of NVIDIA'
    ) from error


class TritonPythonModel:
    """Computes what waits in one run of the engine, as far as its largest batch allows."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine, and replay the golden cases: an engine that misses its bound must not serve."""
        _require_sound_arrays()
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        try:
            bundle = Bundle.open(Path(args["model_repository"], args["model_version"], "model.edge"))
            precision = parameters["edgeproof.precision"]
            self._engine = load_engine(bundle, parameters["engine"], precision, max_batch=None, judged=True)
            gate = output_gate(bundle, self._engine, load_golden(bundle), batch=bundle.batch.min)
        except EdgeproofError as error:
            raise pb_utils.TritonModelException(one_line(error)) from error
        if not gate.passed:
            raise pb_utils.TritonModelException(f"golden cases: {gate.name} failed: {gate.misses()}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Infer all requests."""
        artifact = self._engine.artifact
        given = [pb_utils.get_input_tensor_by_name(one, artifact.input.name).as_numpy() for one in requests]
        rows = np.ascontiguousarray(np.concatenate(given))
        try:
            starts = range(0, len(rows), artifact.max_batch)
            parts = [self._engine.run(rows[at : at + artifact.max_batch]) for at in starts]
        except EdgeproofError as error:
            failed = pb_utils.TritonError(one_line(error))
            return [pb_utils.InferenceResponse([], failed) for _ in requests]
        outputs = [np.concatenate(of) for of in zip(*parts, strict=True)]
        ends = np.cumsum([len(one) for one in given])
        answers = []
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            named = zip(artifact.outputs, outputs, strict=True)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(of.name, out[begin:end]) for of, out in named]))
        return answers

    def finalize(self) -> None:
        """Release the engine."""
        self._engine.close()


def _require_sound_arrays() -> None:
    """Refuse a backend that was built for NumPy 1 in a Python with NumPy 2: its arrays hold the first value only.

    With NumPy 1 nothing is tried: there Triton's ``from_dlpack`` never returns.
    """
    if int(np.__version__.partition(".")[0]) < 2:
        return
    sent = np.arange(6, dtype=np.float32)
    if not np.array_equal(pb_utils.Tensor.from_dlpack("sent", sent).as_numpy(), sent):
        raise pb_utils.TritonModelException(
            f"this Python backend of Triton was not built for NumPy {np.__version__} and reads wrong values: "
            'run `pip install "numpy<2"` with the Python of the backend'
        )
