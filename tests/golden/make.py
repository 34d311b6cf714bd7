"""Writes the golden cases: frames, contracts and the tensors they must become; latencies and their summaries; latents.

Run ``python tests/golden/make.py`` after a deliberate change of the arithmetic. The tensors come from the NumPy
reference, which the tests hold against Pillow and torchvision; pytest and ctest read the same files.
"""

from __future__ import annotations

import json
import sys
from itertools import cycle, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from skimage.data import chelsea

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from edgeproof_runtime.contract.contract import Color, Filter, InputContract, ResizeMode  # noqa: E402
from edgeproof_runtime.metrics.latency import summarize  # noqa: E402
from reference import latent  # noqa: E402
from reference.preprocess import ReferencePreprocessor  # noqa: E402


def frames() -> dict[str, NDArray[np.uint8]]:
    """A photograph (scikit-image's cat, CC0), and noise in the shapes that go wrong first."""
    rng = np.random.default_rng(13)
    cat = np.ascontiguousarray(chelsea()[::3, ::3, ::-1])

    def noise(*shape: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    return {
        "cat": cat,
        "cat_gray": np.ascontiguousarray(cat[:, :, 1]),
        "tall": noise(131, 17, 3),  # Pillow 13 filters its columns first
        "wide": noise(9, 140, 3),
        "small": noise(5, 4, 3),  # smaller than a vector register
        "pixel": noise(1, 1, 3),
    }


def contract(mode: ResizeMode, filter_: Filter, color: Color, **more: Any) -> InputContract:
    """A small contract with a float stage that tells the channels apart."""
    channels = 1 if color == "gray" else 3
    values: dict[str, Any] = {
        "resize_size": (26, 26) if mode == "shortest" else (26, 22),
        "crop_size": (20, 21) if mode in ("shortest", "cover") else None,
        "crop_fraction": 0.875 if mode == "crop_fraction" else None,
        "fill": (128, 64, 32)[:channels],
        "mean": (0.485, 0.456, 0.406)[:channels],
        "std": (0.229, 0.224, 0.225)[:channels],
    }
    return InputContract(color=color, resize=mode, filter=filter_, **(values | more))


def cases() -> list[tuple[str, str, InputContract]]:
    """(frame, its colour order, contract)."""
    names = cycle(frames())
    combinations = product(get_args(ResizeMode), get_args(Filter), get_args(Color))
    made = [(next(names), "bgr", contract(*combination)) for combination in combinations]
    plain = {"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    for frame in frames():
        made += [
            (frame, "rgb", contract("squash", "bilinear", "rgb", layout="NHWC")),
            (frame, "bgr", contract("letterbox", "bicubic", "rgb", dtype="float16")),
            (frame, "bgr", contract("letterbox", "lanczos", "bgr", layout="NHWC", dtype="uint8", **plain)),
            (frame, "bgr", contract("squash", "lanczos", "rgb", resampler="pillow-12")),
            (frame, "bgr", contract("squash", "bilinear", "rgb", resize_size=(9, 61))),
        ]
    return made


def main() -> None:
    """Write ``cases.json``, ``frames/``, ``tensors/``, ``latency.json`` and ``latent.json``."""
    for name in ("frames", "tensors"):
        (FOLDER / name).mkdir(exist_ok=True)
        for old in (FOLDER / name).glob("*.npy"):
            old.unlink()
    pictures = frames()
    for name, frame in pictures.items():
        np.save(FOLDER / "frames" / f"{name}.npy", frame)
    rows = []
    for number, (frame, color, made) in enumerate(cases()):
        tensor = ReferencePreprocessor(made)(pictures[frame], color=color)
        np.save(FOLDER / "tensors" / f"{number:03}.npy", tensor)
        rows.append(
            {
                "frame": f"frames/{frame}.npy",
                "color": color,
                "contract": made.to_json(),
                "tensor": f"tensors/{number:03}.npy",
            }
        )
    write_rows("cases.json", rows)
    values = np.random.default_rng(1).lognormal(1, 0.5, 400).round(3).tolist()
    write_rows(
        "latency.json",
        [
            {"values_ms": values[:n], "summary": summarize(values[:n]).to_json()}
            for n in (0, 1, 4, 5, 28, 29, 298, 299, 400)
        ],
    )
    write_rows("latent.json", [latent_row(*case) for case in ((0, 0, 3, 16), (1, 5, 2, 7), (2**53 - 1, 1000, 2, 64))])


def latent_row(seed: int, first: int, count: int, size: int) -> dict[str, Any]:
    """Vectors ``first`` to ``first + count - 1`` of a seed."""
    rows = [[latent.number(seed, (first + i) * size + j) for j in range(size)] for i in range(count)]
    return {"seed": seed, "first": first, "size": size, "numbers": rows}


def write_rows(name: str, rows: list[dict[str, Any]]) -> None:
    """A JSON array, one item a line so that a change shows as one."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    (FOLDER / name).write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
