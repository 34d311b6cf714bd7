"""Model of Triton's Python backend: images to input tensors, by edgeproof's core.

`edgeproof triton` copies this file. It requires edgeproof in the Python of the backend.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

try:
    from edgeproof_runtime.contract.contract import InputContract
    from edgeproof_runtime.contract.preprocess import Preprocessor
    from edgeproof_runtime.data.encoded import decode_encoded
    from edgeproof_runtime.errors import EdgeproofError, one_line
except ImportError as error:
    raise pb_utils.TritonModelException(
        f"edgeproof is not installed in the Python of Triton's backend ({error}): "
        "run `pip install edgeproof` with that Python, which is /usr/bin/python3 in NVIDIA's containers"
    ) from error

_MOST_THREADS = 8


class TritonPythonModel:
    """Preprocesses the images of all requests that Triton has collected, on several threads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the contract, and replay the golden frame: a machine that computes other tensors must not serve."""
        _require_sound_arrays()
        folder = Path(args["model_repository"], args["model_version"])
        config = json.loads(args["model_config"])
        (self._given,) = config["input"]
        (self._made,) = config["output"]
        self._encoded = self._given["data_type"] == "TYPE_STRING"
        self._contract = InputContract.from_json(json.loads((folder / "contract.json").read_text(encoding="utf-8")))
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS))
        golden = folder / "golden.npz"
        if golden.is_file():
            with np.load(golden, allow_pickle=False) as case:
                one = case["image"].tobytes() if self._encoded else case["image"]
                tensor, expected = self._preprocess(one), case["tensor"]
            if tensor.tobytes() != expected.tobytes():
                raise pb_utils.TritonModelException(
                    "preprocessing: this machine's tensor of the golden frame differs from that of the export; "
                    f"largest difference {np.abs(tensor.astype(float) - expected.astype(float)).max():.3g}"
                )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Preprocess all requests at once; an image that cannot be read fails its own request only."""
        images = [self._images(request) for request in requests]
        tensors = [[self._pool.submit(self._preprocess, image) for image in of] for of in images]
        return [self._answer(of) for of in tensors]

    def finalize(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _images(self, request: Any) -> list[Any]:
        values = pb_utils.get_input_tensor_by_name(request, self._given["name"]).as_numpy()
        return list(values.reshape(-1)) if self._encoded else list(values)

    def _preprocess(self, image: Any) -> Any:
        if not hasattr(self._local, "preprocessor"):
            self._local.preprocessor = Preprocessor(self._contract)
        frame = decode_encoded(image, self._contract) if self._encoded else image
        return self._local.preprocessor(frame)

    def _answer(self, tensors: list[Any]) -> Any:
        try:
            made = pb_utils.Tensor(self._made["name"], np.stack([tensor.result() for tensor in tensors]))
        except EdgeproofError as error:
            return pb_utils.InferenceResponse([], pb_utils.TritonError(one_line(error)))
        return pb_utils.InferenceResponse([made])


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
