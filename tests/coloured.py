"""A classifier that is right without training: classes are colours, and the model names the nearest one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Colours far from each other, RGB 0..255; class k of the world has colour k, whatever index a model gives it.
COLOURS = np.array([[r, g, b] for r in (20, 128, 235) for g in (40, 215) for b in (40, 215)], np.float64)
SIDE = 16
FLAGS = ("--input-size", SIDE, "--mean", "0,0,0", "--std", "1,1,1")


def write_model(path: Path, order: Sequence[int]) -> Path:
    """An ONNX file whose class i is the world's class ``order[i]``: input NCHW RGB 0..1, output logits.

    Only the upper half of an image decides, so that one upside down is another image.
    """
    colours = COLOURS[list(order)] / 255
    by_half = np.stack([colours.T, np.zeros_like(colours.T)], axis=1).reshape(6, -1)
    weights = {"w": 40 * by_half, "b": -20 * (colours**2).sum(axis=1)}
    halves = {"kernel_shape": [SIDE // 2, SIDE], "strides": [SIDE // 2, SIDE]}
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["input"], ["pooled"], **halves),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        ],
        "coloured",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(order)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def picture(which: int, seed: int = 0) -> NDArray[np.uint8]:
    """A noisy image of the world's class ``which``, BGR."""
    rng = np.random.default_rng((which, seed))
    pixels = COLOURS[which] + rng.normal(0, 12, (SIDE, SIDE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)[..., ::-1]


def write_folders(root: Path, names: Sequence[str], each: int = 4, *, seed: int = 0) -> Path:
    """Class folders: the folder ``names[k]`` holds images of the world's class k."""
    for which, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            cv2.imwrite(str(root / name / f"{number}.png"), picture(which, seed + number))
    return root


def encoded(which: int, seed: int = 0) -> bytes:
    """A PNG file of `picture`."""
    return bytes(cv2.imencode(".png", picture(which, seed))[1])
