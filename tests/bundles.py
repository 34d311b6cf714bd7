"""A small bundle made without PyTorch: a random convolutional classifier, its golden answers by ONNX's reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeproof_export.bundle import encode, new_bundle, seal
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.manifest import FileEntry, GoldenEntry, Manifest, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.bundle.task_settings import AnomalySettings, LatentInput, MultilabelSettings
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.contract.contract import FrameDtype, InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.tasks.generate import to_pictures

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


def transposed_onnx(classes: int = len(LABELS), seed: int = 0) -> onnx.ModelProto:
    """`tiny_onnx` with the weights of its last layer transposed, as PyTorch's exporter writes them: OpenCV 4.6 reads
    no others."""
    model = tiny_onnx(classes=classes, seed=seed)
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "fc")
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weights).T), "fc"))
    model.graph.node[-1].attribute.append(helper.make_attribute("transB", 1))
    return model


def frames(count: int = 6, seed: int = 1) -> list[NDArray[np.uint8]]:
    """Smooth random pictures of differing sizes and contents."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        size = (int(rng.integers(24, 60)), int(rng.integers(24, 60)))
        found.append(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8))
    return found


def write_clip(path: Path) -> Path:
    """A video of ten frames, 64x48."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for frame in frames(10, seed=5):
        writer.write(cv2.resize(frame, (64, 48)))
    writer.release()
    return path


def write_sorted(root: Path, bundle: Bundle | Path) -> Path:
    """Class folders whose images lie where the model itself puts them, so that its accuracy is known to be 1."""
    for label in LABELS:
        (root / label).mkdir(parents=True)
    with Classifier(bundle, "onnxruntime", threads=1) as classifier:
        for number, frame in enumerate(frames(12, seed=3)):
            cv2.imwrite(str(root / classifier(frame).label / f"{number:02}.png"), frame)
    return root


def make_bundle(
    out: Path,
    contract: InputContract = CONTRACT,
    labels: tuple[str, ...] = LABELS,
    model: onnx.ModelProto | None = None,
    *,
    task: str = "classify",
    multilabel: MultilabelSettings | None = None,
    golden_frames: Sequence[NDArray[Any]] | None = None,
) -> Bundle:
    """Write a bundle around `tiny_onnx` (or ``model``) whose golden cases are right; a classifier's by default."""
    output = OutputEntry("logits", (len(labels),))
    if multilabel is not None:
        output = OutputEntry("probabilities", (len(labels),), "sigmoid")
    model = model or tiny_onnx(contract, len(labels))
    evaluator = ReferenceEvaluator(model)
    preprocess = Preprocessor(contract)
    with new_bundle(out) as folder:
        onnx.save(model, str(folder / "model.onnx"))
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
        (folder / "golden").mkdir()
        golden = []
        for number, frame in enumerate(frames() if golden_frames is None else golden_frames):
            form = "png" if golden_frames is None else "npy"
            names = tuple(f"golden/{number}.{kind}" for kind in (form, "input.npy", "logits.npy"))
            if golden_frames is None:
                cv2.imwrite(str(folder / names[0]), frame)
            else:
                np.save(folder / names[0], frame)
            tensor = preprocess(frame)
            (logits,) = evaluator.run(None, {"input": tensor[None]})
            np.save(folder / names[1], tensor)
            np.save(folder / names[2], logits[0])
            top1 = int(logits[0].argmax())
            golden.append(GoldenEntry(names[0], names[1], (names[2],), top1, labels[top1]))

        def build(files: dict[str, FileEntry]) -> Manifest:
            return Manifest(
                name=out.stem,
                task=task,
                contract=contract,
                input_name="input",
                outputs=(output,),
                labels="labels.txt",
                class_ids=None,
                provenance={"architecture": "tiny"},
                models={"fp32": "model.onnx"},
                golden=tuple(golden),
                files=files,
                multilabel=multilabel,
            )

        seal(folder, build)
    return Bundle.open(out)


def band_frames(channels: int, dtype: str, count: int = 6, seed: int = 2) -> list[NDArray[Any]]:
    """Smooth random frames of many channels, of differing sizes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = rng.uniform(0, 255 if dtype == "uint8" else 60_000, (6, 6, channels)).astype(np.float32)
        size = (int(rng.integers(24, 60)), int(rng.integers(24, 60)))
        bands = [cv2.resize(band, size, interpolation=cv2.INTER_LINEAR) for band in np.moveaxis(coarse, 2, 0)]
        found.append(np.stack(bands, axis=2).astype(dtype))
    return found


def make_band_bundle(out: Path, channels: int = 4, dtype: FrameDtype = "uint8") -> Bundle:
    """Write a classifier's bundle of many channels."""
    contract = InputContract(
        color="channels",
        frame_dtype=dtype,
        resize_size=(20, 20),
        crop_size=(16, 16),
        filter="bicubic",
        fill=(0,) * channels,
        scale=255.0 if dtype == "uint8" else 10_000.0,
        mean=tuple(0.4 + 0.01 * c for c in range(channels)),
        std=tuple(0.2 + 0.01 * c for c in range(channels)),
    )
    return make_bundle(out, contract, golden_frames=band_frames(channels, dtype, seed=3))


def make_multilabel_bundle(
    out: Path, thresholds: tuple[float, ...] = (0.2, 0.4, 0.5, 0.6, 0.8), labels: tuple[str, ...] = LABELS
) -> Bundle:
    """Write a bundle of task ``multilabel``: `tiny_onnx` with a sigmoid behind it."""
    model = tiny_onnx(CONTRACT, len(labels))
    model.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["probabilities"]))
    model.graph.output[0].name = "probabilities"
    settings = MultilabelSettings(thresholds=thresholds, images=10)
    return make_bundle(out, CONTRACT, labels, model, task="multilabel", multilabel=settings)


def make_defect_bundle(out: Path, threshold: float = 0.5, *, reconstructs: bool = True) -> Bundle:
    """Write a bundle of task ``reconstruct``: a blur is the reconstruction, what the blur takes away is the heat.

    Without ``reconstructs`` the blur is no output.
    """
    contract = InputContract(
        color="gray", resize="squash", resize_size=(16, 16), crop_size=None, fill=(0,), mean=(0.5,), std=(0.25,)
    )
    graph = helper.make_graph(
        [
            helper.make_node(
                "AveragePool", ["input"], ["reconstruction"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]
            ),
            helper.make_node("Sub", ["input", "reconstruction"], ["difference"]),
            helper.make_node("Abs", ["difference"], ["error"]),
            helper.make_node("Squeeze", ["error", "channel"], ["heat_map"]),
            helper.make_node("Flatten", ["error"], ["flat"]),
            helper.make_node("ReduceMax", ["flat", "channel"], ["score"], keepdims=1),
        ],
        "blur",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 16, 16])],
        [
            helper.make_tensor_value_info("reconstruction", TensorProto.FLOAT, ["batch", 1, 16, 16]),
            helper.make_tensor_value_info("heat_map", TensorProto.FLOAT, ["batch", 16, 16]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1]),
        ],
        [numpy_helper.from_array(np.array([1], np.int64), "channel")],
    )
    preprocess = Preprocessor(contract)
    tensors = [(frame, preprocess(frame), None) for frame in frames()]
    outputs: tuple[OutputEntry, ...] = (
        OutputEntry("reconstruction", (1, 16, 16)),
        OutputEntry("heat_map", (16, 16)),
        OutputEntry("score", (1,)),
    )
    if not reconstructs:
        outputs = outputs[1:]
        del graph.output[0]
    settings = AnomalySettings(threshold=threshold, quantile=0.99, good_images=10, score="largest error")
    return _make_unlabelled(
        out, graph, outputs, tensors, task="reconstruct", contract=contract, latent=None, anomaly=settings
    )


def make_generator_bundle(out: Path, size: int = 8) -> Bundle:
    """Write a bundle of task ``generate``: a random linear map and a hyperbolic tangent make 3x6x5 RGB pictures."""
    latent = LatentInput(size=size, color="rgb", low=-1.0, high=1.0)
    weights = np.random.default_rng(0).normal(0, 0.5, (size, 90)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["flat"]),
            helper.make_node("Tanh", ["flat"], ["levels"]),
            helper.make_node("Reshape", ["levels", "shape"], ["picture"]),
        ],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, 6, 5])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-1, 3, 6, 5], np.int64), "shape"),
        ],
    )
    seeds = [(None, latents(seed, 0, 1, size)[0], seed) for seed in (0, 1, 2**40)]
    outputs = (OutputEntry("picture", (3, 6, 5)),)
    return _make_unlabelled(out, graph, outputs, seeds, task="generate", contract=None, latent=latent, anomaly=None)


def _make_unlabelled(
    out: Path,
    graph: onnx.GraphProto,
    outputs: tuple[OutputEntry, ...],
    cases: list[tuple[NDArray[np.uint8] | None, NDArray[np.generic], int | None]],
    *,
    task: Literal["reconstruct", "generate"],
    contract: InputContract | None,
    latent: LatentInput | None,
    anomaly: AnomalySettings | None,
) -> Bundle:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    evaluator = ReferenceEvaluator(model)
    with new_bundle(out) as folder:
        onnx.save(model, str(folder / "model.onnx"))
        (folder / "golden").mkdir()
        golden = []
        for number, (frame, tensor, seed) in enumerate(cases):
            answers = evaluator.run(None, {"input": tensor[None]})
            names = (f"golden/{number}.png", f"golden/{number}.input.npy")
            answered = tuple(f"golden/{number}.{output.name}.npy" for output in outputs)
            cv2.imwrite(str(folder / names[0]), to_pictures(answers[0], latent)[0] if latent is not None else frame)
            np.save(folder / names[1], tensor)
            for name, answer in zip(answered, answers, strict=True):
                np.save(folder / name, answer[0])
            golden.append(GoldenEntry(*names, answered, seed=seed))

        def build(files: dict[str, FileEntry]) -> Manifest:
            return Manifest(
                name=out.stem,
                task=task,
                contract=contract,
                latent=latent,
                anomaly=anomaly,
                input_name="input",
                outputs=outputs,
                labels=None,
                class_ids=None,
                provenance={"architecture": graph.name},
                models={"fp32": "model.onnx"},
                golden=tuple(golden),
                files=files,
            )

        seal(folder, build)
    return Bundle.open(out)


def rewrite(
    bundle: Bundle,
    files: Mapping[str, bytes],
    change: Callable[[Manifest, dict[str, FileEntry]], Manifest],
) -> Bundle:
    """Forge a bundle: replace files and the manifest that lists them, which no command of edgeproof does."""
    table = dict(bundle.manifest.files)
    for name, content in files.items():
        target = bundle.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        table[name] = FileEntry(sha256_of(target), len(content))
    manifest = change(bundle.manifest, table)
    (bundle.path / "bundle.json").write_bytes(encode(manifest.to_json()))
    return Bundle.open(bundle.path)


def evidence_of(bundle: Bundle | str | Path, kind: str) -> dict[str, Any]:
    """Return the report of a kind that a bundle keeps."""
    opened = Bundle.open(bundle.path if isinstance(bundle, Bundle) else bundle)
    found = opened.read_evidence(kind)
    assert found is not None, f"no {kind} in {opened.evidence}"
    return found
