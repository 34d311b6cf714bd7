"""Writes the golden cases: frames and the tensors they must become, latencies, latents, grabs, quotas, secrets, doctor.

Run ``python tests/golden/make.py`` after a deliberate change of the arithmetic. The tensors come from the NumPy
reference, which the tests hold against Pillow and torchvision; pytest and ctest read the same files.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import cycle, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from skimage.data import chelsea

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import attachments  # noqa: E402

from boards import BOARDS  # noqa: E402
from edgeproof_runtime._native import HealthMonitor, measure_frame  # noqa: E402
from edgeproof_runtime.contract.contract import Color, Filter, InputContract, ResizeMode  # noqa: E402
from edgeproof_runtime.metrics.latency import summarize  # noqa: E402
from machines import doctor_on  # noqa: E402
from reference import capture, intervals, latent, yuv  # noqa: E402
from reference.bands import band_contract  # noqa: E402
from reference.drawn import drawn  # noqa: E402
from reference.preprocess import ReferencePreprocessor  # noqa: E402
from reference.redact import redact, redact_address, without_credentials  # noqa: E402


def frames() -> dict[str, NDArray[Any]]:
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


def band_frames() -> dict[str, NDArray[Any]]:
    """Noise of many channels, and of more than 8 bits."""
    rng = np.random.default_rng(19)
    return {
        "bands1": rng.integers(0, 65_536, (23, 30), dtype=np.uint16),
        "bands2": rng.normal(0, 900, (31, 22, 2)).astype(np.float32),
        "bands4": rng.integers(0, 256, (33, 41, 4), dtype=np.uint8),
        "bands5": rng.integers(0, 65_536, (61, 13, 5), dtype=np.uint16),  # Pillow 13 filters its columns first
        "bands13": rng.integers(0, 256, (12, 47, 13), dtype=np.uint8),
    }


def band_cases() -> list[tuple[str, str, InputContract]]:
    """(frame, an order that is not looked at, contract)."""
    found = []
    filters = cycle(get_args(Filter))
    for name, frame in band_frames().items():
        found += [(name, "bgr", band_contract(frame, mode, next(filters))) for mode in get_args(ResizeMode)]
        found.append((name, "rgb", band_contract(frame, "letterbox", "lanczos", layout="NHWC", dtype="float16")))
        found.append((name, "bgr", band_contract(frame, "squash", "bicubic", resampler="pillow-12")))
    return found


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
    combinations = product(get_args(ResizeMode), get_args(Filter), ("rgb", "bgr", "gray"))
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
    """Write ``frames/`` and ``tensors/``, and each file that is named here.

    The other golden files are written by hand: ``captures_media.json``, ``damage.json``, ``documents.json`` and
    ``printable.json``.
    """
    for name in ("frames", "tensors"):
        (FOLDER / name).mkdir(exist_ok=True)
        for old in (FOLDER / name).glob("*.npy"):
            old.unlink()
    pictures = frames() | band_frames()
    for name, frame in pictures.items():
        np.save(FOLDER / "frames" / f"{name}.npy", frame)
    rows = []
    for number, (frame, color, made) in enumerate(cases() + band_cases()):
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

    write_rows("yuv.json", [yuv_row(*case) for case in product(yuv.FORMATS, ("bt601", "bt709"), ("limited", "full"))])
    write_rows("captures.json", [capture_row(*case) for case in CAPTURES])
    write_rows(
        "stamps.json",
        [{"stamp_ms": ms, "arrived_ns": ns, "captured_ns": capture.stamped_ns(ms, ns)} for ms, ns in STAMPS],
    )
    write_rows("cgroups.json", [{"files": files, "cores": cores, "usable": usable} for files, cores, usable in CGROUPS])
    write_rows("redact.json", redact_rows())
    write_rows("intervals.json", interval_rows())
    write_rows("frame_health.json", [health_row(*case) for case in FRAMES])
    write_rows("attachments.json", list(attachments.cases()))
    for board in BOARDS:
        with tempfile.TemporaryDirectory() as root:
            found = doctor_on(board, Path(root))
        (FOLDER / "doctor" / f"{board}.json").write_text(json.dumps(found, indent=1) + "\n")


# what, width, height, base, amplitude, period, ramp, noise, lights
FRAMES: list[tuple[str, int, int, int, int, int, bool, int, list[list[int]]]] = [
    ("sharp checks", 640, 360, 40, 160, 40, False, 3, []),
    ("small checks", 160, 120, 60, 120, 10, False, 0, []),
    ("odd size", 321, 243, 30, 90, 17, False, 5, []),
    ("too small to be looked at", 64, 48, 0, 0, 8, False, 0, []),
    ("black", 640, 360, 0, 0, 8, False, 0, []),
    ("black with noise", 640, 360, 8, 0, 8, False, 12, []),
    ("night with a light", 640, 360, 6, 0, 8, False, 4, [[301, 207, 5]]),
    ("covered", 640, 360, 70, 60, 320, True, 6, []),
    ("plain wall with a switch", 640, 360, 150, 0, 8, False, 3, [[500, 200, 10]]),
    ("overexposed", 640, 360, 254, 0, 8, False, 1, []),
    ("overexposed with structure", 640, 360, 120, 200, 60, False, 1, []),
    ("defocused", 640, 360, 20, 220, 60, True, 0, []),
    ("defocused, one sharp edge", 640, 360, 20, 160, 60, True, 0, [[100, 100, 60]]),
]


def health_row(*case: Any) -> dict[str, Any]:
    """What the core says of a drawn frame; pytest and ctest hold each other to it."""
    names = ("what", "width", "height", "base", "amplitude", "period", "ramp", "noise", "lights")
    spec = dict(zip(names, case, strict=True))
    image = drawn(spec)
    return spec | {"measures": measure_frame(image), "health": HealthMonitor().look(image)}


def yuv_row(format_: str, matrix: str, range_: str) -> dict[str, Any]:
    """A YUV frame of noise and the BGR image that it stands for."""
    frame = yuv.noise(format_, 4, 6, seed=7)
    bgr = yuv.bgr_of(frame, format_, matrix, range_)
    names = {"format": format_, "matrix": matrix, "range": range_, "height": 4, "width": 6}
    return names | {"frame": frame.ravel().tolist(), "bgr": bgr.ravel().tolist()}


REDACTIONS = {"redacted": redact, "address": redact_address, "name": without_credentials}
# grabs (see `capture.count`), claimed frames, live
CAPTURES = [
    ("o" * 10 + "x", 10, False),
    ("o" * 5 + "x" * 3 + "o" * 12 + "x", 20, False),  # broken packets in the middle
    ("o" * 5 + "dd" + "o" * 5 + "x", 12, False),
    ("o" * 5 + "x" * 100 + "o" * 5 + "x", 1000, False),
    ("o" * 5 + "x" * 101 + "o" * 5, 1000, False),
    ("o" * 97 + "xxxx", 100, False),  # a container that rounds its count
    ("o" * 90 + "x" * 20, 100, False),
    ("o" * 5 + "w" + "o" * 5, 100, False),
    ("ooxxoo" + "x" * 11 + "o", None, True),
    ("oo" + "x" * 10 + "oo" + "x" * 11, None, False),
    ("x" * 11, None, True),
]
STAMPS = [(0.0, 5_000_000_000), (1000.25, 1_010_000_000), (1000.0, 999_999_999), (1000.0, 11_000_000_000), (-5.0, 7)]
_V2 = "/sys/fs/cgroup"
_CPU = "/sys/fs/cgroup/cpu,cpuacct"
# files below a root, cores of the affinity, usable cores
CGROUPS: list[tuple[dict[str, str], int, int]] = [
    ({}, 8, 8),
    ({f"{_V2}/cpu.max": "max 100000\n"}, 8, 8),
    ({f"{_V2}/cpu.max": "250000 100000\n"}, 8, 3),
    ({f"{_V2}/cpu.max": "250000 100000\n"}, 2, 2),
    ({f"{_V2}/cpu.max": "1000 100000\n"}, 8, 1),
    (
        {"/proc/self/cgroup": "0::/a/b\n", f"{_V2}/a/b/cpu.max": "max 100000\n", f"{_V2}/a/cpu.max": "400000 100000"},
        8,
        4,
    ),
    (
        {"/proc/self/cgroup": "0::/a/b\n", f"{_V2}/a/b/cpu.max": "150000 100000", f"{_V2}/a/cpu.max": "400000 100000"},
        8,
        2,
    ),
    ({"/proc/self/cgroup": "0::/host/path\n", f"{_V2}/cpu.max": "300000 100000"}, 8, 3),  # the mount is the container's
    ({"/proc/self/cgroup": "0::/../other\n", "/sys/fs/other/cpu.max": "100000 100000"}, 8, 8),
    (
        {
            "/proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/d/x\n0::/d\n",
            f"{_CPU}/d/x/cpu.cfs_quota_us": "350000\n",
            f"{_CPU}/d/x/cpu.cfs_period_us": "100000\n",
        },
        8,
        4,
    ),
    (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/d/x\n",
            "/sys/fs/cgroup/cpu/d/x/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu/d/x/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "200000\n",
            "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000\n",
        },
        8,
        2,
    ),
    ({"/proc/self/cgroup": "nonsense\n\n0::\n", f"{_V2}/cpu.max": "nonsense"}, 8, 8),
    ({f"{_V2}/cpu.max": "100000 0\n"}, 8, 8),
]


def capture_row(grabs: str, frame_count: int | None, live: bool) -> dict[str, Any]:
    """What a video's grabs come to."""
    return {
        "grabs": grabs,
        "frame_count": frame_count,
        "live": live,
        **capture.count(grabs, frame_count, live=live)._asdict(),
    }


def redact_rows() -> list[dict[str, str]]:
    """What texts with secrets become. The file itself holds the texts; a row has the columns that its test reads.

    To add a text, write a row with it and its columns, which may be empty.
    """
    rows: list[dict[str, str]] = json.loads((FOLDER / "redact.json").read_text(encoding="utf-8"))
    return [
        {"text": row["text"]} | {name: REDACTIONS[name](row["text"]) for name in row if name != "text"} for row in rows
    ]


def interval_rows() -> list[dict[str, Any]]:
    """Wilson's interval of proportions; areas and intervals of scores, with ties."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = [
        {"successes": k, "n": n, "wilson": intervals.wilson_interval(k, n)}
        for k, n in ((0, 1), (1, 1), (7, 10), (9173, 10_000), (999_999, 1_000_000))
    ]
    for n_good, n_defect in ((1, 1), (3, 5), (40, 25)):
        good, defect = rng.integers(0, 20, n_good) / 8, rng.integers(5, 25, n_defect) / 8
        scores = {"good": good.tolist(), "defect": defect.tolist()}
        rows.append({**scores, "auroc": intervals.auroc(good, defect), "ci95": intervals.auroc_ci95(good, defect)})
    return rows


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
