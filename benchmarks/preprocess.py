"""How long does one frame take to become an input tensor, next to the two ways people do it in Python?

One thread. ImageNet's usual preprocessing: shorter side to 256 (bilinear, antialiased), centre crop 224, normalise.

- torchvision on Pillow: exact by definition; the frame is turned to RGB by OpenCV, the fastest way there.
- cv2.resize + NumPy: what many deployments run; without antialiasing, so its tensor is another one.
- reading once: the maximum over the bytes that the crop needs, the floor under anything that looks at them.

    python benchmarks/preprocess.py [--rounds 30] [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from common import Findings, output_flags, run
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.measure import Plan, measure

SIZES = {"640x480": (480, 640), "1280x720": (720, 1280), "1920x1080": (1080, 1920), "4032x3024": (3024, 4032)}
CONTRACT = InputContract()
MEAN = np.asarray(CONTRACT.mean, np.float32)
STD = np.asarray(CONTRACT.std, np.float32)

Frame = NDArray[np.uint8]
Tensor = NDArray[np.float32]


def torchvision_on_pillow() -> Callable[[Frame], Tensor]:
    """The evaluation transform of torchvision's model zoo, behind OpenCV's colour conversion."""
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(CONTRACT.mean, CONTRACT.std),
        ]
    )

    def run(frame: Frame) -> Tensor:
        tensor: Tensor = transform(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))).numpy()
        return tensor

    return run


def cv2_and_numpy(frame: Frame) -> Tensor:
    """Not antialiased: fast because it skips most of the pixels, and wrong for the same reason."""
    height, width = frame.shape[:2]
    resized = cv2.resize(frame, (256 * width // height, 256), interpolation=cv2.INTER_LINEAR)
    top, left = (round((side - 224) / 2) for side in resized.shape[:2])
    picture = cv2.cvtColor(resized[top : top + 224, left : left + 224], cv2.COLOR_BGR2RGB)
    tensor = (picture.astype(np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(tensor.transpose(2, 0, 1))


def needed_bytes(frame: Frame) -> Frame:
    """The rows and columns that the crop's pixels are made of, as a view: 224 of 256 shares and one around them."""
    height, width = frame.shape[:2]
    share = height / 256
    side = round(226 * share)
    top, left = (height - side) // 2, (width - side) // 2
    return frame.reshape(height, -1)[top : top + side, 3 * left : 3 * (left + side)]


def measure_size(frame: Frame, rounds: int) -> dict[str, Any]:
    """One frame size: medians, ratios, and how far the inexact tensor is from the exact one."""
    preprocess = Preprocessor(CONTRACT)
    reference = torchvision_on_pillow()
    slot = np.empty(CONTRACT.tensor_shape()[1:], np.float32)
    needed = needed_bytes(frame)
    exact = reference(frame)
    assert np.array_equal(preprocess(frame, slot), exact), "the core differs from torchvision on Pillow"
    timings = measure(
        {
            "torchvision on Pillow": lambda: reference(frame),
            "cv2.resize + NumPy": lambda: cv2_and_numpy(frame),
            "edgeproof": lambda: preprocess(frame, slot),
            "reading once": needed.max,
        },
        Plan(turns=rounds),
    )
    ours = timings["edgeproof"]
    return {
        "latency_ms": {name: timing.summary.to_json() for name, timing in timings.items()},
        "times_faster": {
            name: timing.ratio_to(ours).estimate for name, timing in timings.items() if timing is not ours
        },
        "needed_bytes": needed.size,
        "inexact_mean_abs_difference": float(np.abs(cv2_and_numpy(frame) - exact).mean()),
    }


def main() -> None:
    """Measure every size and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="turns of 50 ms for each contender and size")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("preprocess", arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    texture = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    results = []
    rows = []
    for name, (height, width) in SIZES.items():
        frame = cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)
        result = measure_size(np.asarray(frame, np.uint8), arguments.rounds)
        results.append({"frame": name, **result})
        medians = [result["latency_ms"][contender]["p50"] for contender in result["latency_ms"]]
        faster = result["times_faster"]
        ratios = [f"{faster[contender]:.1f}x" for contender in ("torchvision on Pillow", "cv2.resize + NumPy")]
        rows.append([name, *medians, *ratios, f"{1 / faster['reading once']:.1f}x"])
    found.table(
        f"ms per frame, median over {arguments.rounds} turns; one thread; kernels: {_native.simd_levels()[0]}",
        ["frame", "torchvision", "cv2+NumPy", "edgeproof", "reading once", "vs torchvision", "vs cv2", "of reading"],
        rows,
    )
    found.keep({"rounds": arguments.rounds, "contract": CONTRACT.to_json()}, results)


if __name__ == "__main__":
    run(main)
