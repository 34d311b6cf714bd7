"""A small bundle made without PyTorch: a random convolutional classifier, its golden answers by ONNX's reference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeproof_export.bundle import new_bundle, seal
from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.contract import InputContract
from edgeproof_runtime.manifest import FileEntry, GoldenEntry, Manifest, OutputEntry
from edgeproof_runtime.preprocess import Preprocessor

LABELS = ("cat", "dog", "fish", "bird", "moth")
CONTRACT = InputContract(resize_size=(20, 20), crop_size=(16, 16), filter="bicubic")


def tiny_onnx(contract: InputContract = CONTRACT, classes: int = len(LABELS), seed: int = 0) -> onnx.ModelProto:
    """Conv 3x3, ReLU, global average pooling, fully connected; dynamic batch."""
    rng = np.random.default_rng(seed)
    channels, (height, width) = contract.channels, contract.tensor_size
    weights = {
        "conv": rng.normal(0, 0.4, (8, channels, 3, 3)),
        "fc": rng.normal(0, 2.0, (8, classes)),
        "bias": rng.normal(0, 0.1, (classes,)),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "conv"], ["features"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["features"], ["active"]),
            helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc", "bias"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", channels, height, width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def frames(count: int = 6, seed: int = 1) -> list[NDArray[np.uint8]]:
    """Smooth random pictures of differing sizes and contents."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        size = (int(rng.integers(24, 60)), int(rng.integers(24, 60)))
        found.append(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8))
    return found


def make_bundle(
    out: Path,
    contract: InputContract = CONTRACT,
    labels: tuple[str, ...] = LABELS,
    model: onnx.ModelProto | None = None,
) -> Bundle:
    """Write a bundle around `tiny_onnx` (or ``model``) whose golden cases are right."""
    model = model or tiny_onnx(contract, len(labels))
    evaluator = ReferenceEvaluator(model)
    preprocess = Preprocessor(contract)
    with new_bundle(out) as folder:
        onnx.save(model, str(folder / "model.onnx"))
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
        (folder / "golden").mkdir()
        golden = []
        for number, frame in enumerate(frames()):
            names = tuple(f"golden/{number}.{kind}" for kind in ("png", "input.npy", "logits.npy"))
            cv2.imwrite(str(folder / names[0]), frame)
            tensor = preprocess(frame)
            (logits,) = evaluator.run(None, {"input": tensor[None]})
            np.save(folder / names[1], tensor)
            np.save(folder / names[2], logits[0])
            top1 = int(logits[0].argmax())
            golden.append(GoldenEntry(names[0], names[1], (names[2],), top1, labels[top1]))

        def build(files: dict[str, FileEntry]) -> Manifest:
            return Manifest(
                name=out.stem,
                task="classify",
                contract=contract,
                input_name="input",
                outputs=(OutputEntry("logits", (len(labels),)),),
                labels="labels.txt",
                class_ids=None,
                provenance={"architecture": "tiny"},
                models={"fp32": "model.onnx"},
                golden=tuple(golden),
                files=files,
            )

        seal(folder, build)
    return Bundle.open(out)
