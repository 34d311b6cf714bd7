"""One contender of `peers.py` in a process of its own: it classifies the clip whenever it reads a line.

    python peer_scripts.py CONTENDER MODEL.onnx WEIGHTS.pt BUNDLE.edge CLIP.mp4 THREADS

Each is written as its own documentation has it. All decode the clip themselves, and answer with the first class of
each frame.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Run = Callable[[], list[int]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every contender is given: paths, and how many threads it may use."""

    model: str
    weights: str
    bundle: str
    clip: str
    threads: int


def frames(clip: str) -> Iterator[Any]:
    capture = cv2.VideoCapture(clip)
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame


def session(model: str, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def transform() -> Any:
    from torchvision import transforms

    return transforms.Compose([transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()])


def edgeproof(given: Inputs, engine: str = "onnxruntime") -> Run:
    """As `edgeproof run` has it: a worker per core, each with an engine of one thread."""
    from edgeproof_runtime.bundle.reader import Bundle
    from edgeproof_runtime.contract.preprocess import Preprocessor
    from edgeproof_runtime.live.pipeline import Pipeline, Worker
    from edgeproof_runtime.live.stream import Stream
    from edgeproof_runtime.selection.auto import load_engine
    from edgeproof_runtime.sources import open_source
    from edgeproof_runtime.tasks.registry import head_of

    opened = Bundle.open(given.bundle)
    workers = [
        Worker(Preprocessor(opened.contract), load_engine(opened, engine, "fp32", threads=1), head_of(opened))
        for _ in range(given.threads)
    ]

    def run() -> list[int]:
        with Pipeline([Stream("clip", lambda: open_source(given.clip))], workers) as running:
            return [int(decided.decision.top_indices(1)[0]) for decided in running]

    return run


def edgeproof_on_openvino(given: Inputs) -> Run:
    return edgeproof(given, "openvino")


def ultralytics(given: Inputs) -> Run:
    from ultralytics import YOLO

    yolo = YOLO(given.model, task="classify")
    return lambda: [result.probs.top1 for result in yolo.predict(given.clip, stream=True, imgsz=224, verbose=False)]


def ort_vision_sdk(given: Inputs) -> Run:
    import onnxruntime as ort
    from ort_vision_sdk import Classifier

    options = ort.SessionOptions()
    options.intra_op_num_threads = given.threads
    labels = [str(i) for i in range(1000)]
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    classifier = Classifier(
        given.model,
        labels=labels,
        session_options=options,
        input_size=(224, 224),
        mean=zero,
        std=one,
        apply_softmax=False,
    )
    return lambda: [classifier.predict(frame[:, :, ::-1])[0].probs.top1 for frame in frames(given.clip)]


def openvino_model_api(given: Inputs) -> Run:
    from model_api.models import Model

    configuration = {
        "labels": [str(i) for i in range(1000)],
        "resize_type": "crop",
        "reverse_input_channels": True,
        "scale_values": [255.0] * 3,
        "topk": 1,
        "output_raw_scores": True,
    }
    wrapped = Model.create_model(given.model, "Classification", configuration, device="CPU", nthreads=given.threads)
    return lambda: [int(wrapped(frame).top_labels[0].id) for frame in frames(given.clip)]


def torchvision_and_onnxruntime(given: Inputs) -> Run:
    from PIL import Image

    runner, prepare = session(given.model, given.threads), transform()
    name = runner.get_inputs()[0].name

    def classify(frame: Any) -> int:
        tensor = prepare(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
        return int(runner.run(None, {name: tensor[None].numpy()})[0].argmax())

    return lambda: [classify(frame) for frame in frames(given.clip)]


def cv2_and_onnxruntime(given: Inputs) -> Run:
    runner = session(given.model, given.threads)
    name = runner.get_inputs()[0].name

    def classify(frame: Any) -> int:
        height, width = frame.shape[:2]
        small = cv2.resize(frame, (224 * width // height, 224))
        left = (small.shape[1] - 224) // 2
        tensor = cv2.dnn.blobFromImage(small[:, left : left + 224], 1 / 255, swapRB=True)
        return int(runner.run(None, {name: tensor})[0].argmax())

    return lambda: [classify(frame) for frame in frames(given.clip)]


def pytorch_eager(given: Inputs, *, compiled: bool = False) -> Run:
    import torch
    from PIL import Image
    from ultralytics import YOLO

    torch.set_num_threads(given.threads)
    network = YOLO("yolo11n-cls.yaml").model
    network.load_state_dict(torch.load(given.weights, weights_only=True))
    network.eval()
    network.model[-1].export = True  # probabilities alone, as in the exported file
    call = torch.compile(network) if compiled else network
    prepare = transform()

    def classify(frame: Any) -> int:
        with torch.inference_mode():
            answer = call(prepare(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))[None])
        return int(answer.argmax())

    return lambda: [classify(frame) for frame in frames(given.clip)]


def pytorch_compile(given: Inputs) -> Run:
    """`torch.compile` with its defaults: C++ for the CPU by Inductor, written in the warm-up."""
    return pytorch_eager(given, compiled=True)


def bare_onnxruntime(given: Inputs) -> Run:
    """No decoding, no preprocessing: one ready tensor as often as the clip has frames."""
    runner = session(given.model, given.threads)
    name = runner.get_inputs()[0].name
    tensor = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    count = sum(1 for _ in frames(given.clip))
    return lambda: [int(runner.run(None, {name: tensor})[0].argmax()) for _ in range(count)]


CONTENDERS = {
    function.__name__: function
    for function in (
        edgeproof,
        edgeproof_on_openvino,
        bare_onnxruntime,
        cv2_and_onnxruntime,
        torchvision_and_onnxruntime,
        openvino_model_api,
        ort_vision_sdk,
        pytorch_eager,
        pytorch_compile,
        ultralytics,
    )
}


def main() -> None:
    name, model, weights, bundle, clip, threads = sys.argv[1:]
    given = Inputs(model, weights, bundle, clip, int(threads))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print; only answers go to the parent
    run = CONTENDERS[name](given)
    run()
    answers.write("ready\n")
    answers.flush()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        top1 = run()
        document = {"top1": top1, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        answers.write(f"{json.dumps(document)}\n")
        answers.flush()


if __name__ == "__main__":
    main()
