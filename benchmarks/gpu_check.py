"""Everything that needs an NVIDIA GPU, in under eight minutes: `make gpu-check`, or this file.

Preprocessing on the GPU against the CPU core (differing bits, time, CUDA graphs), and the tests marked `gpu`. It needs
neither PyTorch nor data. Each part is guarded: one that fails is reported in full, and the others go on. Writes
``gpu-check.json`` and ``gpu-check.md`` into the folder ``--out``; exit code 1 if a bit differs or a part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import USEFUL_THREADS, Preprocessor
from edgeproof_runtime.contract.yuv import YuvFrame
from edgeproof_runtime.engines import _cuda, _kernels
from edgeproof_runtime.engines.gpu_preprocess import FrameLayout, GpuPreprocessor, frame_at

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ("bgr", "nv12", "i420", "yuyv")
SIZES = {"480p": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920)}
ONE = {"mean": (0.449,), "std": (0.226,), "fill": (0,)}
CONTRACTS = [
    InputContract(),
    InputContract(filter="bicubic", layout="NHWC"),
    InputContract(resize="squash", resize_size=(224, 224), crop_size=None, filter="lanczos", dtype="float16"),
    InputContract(color="bgr", resize="letterbox", resize_size=(240, 320), crop_size=None, fill=(114, 113, 112)),
    InputContract(color="gray", resize="letterbox", resize_size=(200, 224), crop_size=None, filter="box", **ONE),
    InputContract(resize="crop_fraction", crop_fraction=0.875, crop_size=None, filter="bicubic", resampler="pillow-12"),
    InputContract(color="gray", resize="squash", resize_size=(300, 96), crop_size=None, filter="nearest", **ONE),
    InputContract(color="bgr", resize="cover", resize_size=(160, 288), crop_size=(128, 256), filter="lanczos"),
]


def photograph(number: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """An image: parts of a photograph, edges, gradients and noise of every strength."""
    rng = np.random.default_rng(number)
    cat = np.load(ROOT / "tests/golden/frames/cat.npy")
    top, left = rng.integers(0, cat.shape[0] - 40), rng.integers(0, cat.shape[1] - 40)
    image = cv2.resize(cat[top:, left:], (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    if number % 3 == 1:
        image += np.linspace(-120, 120, width).astype(np.int16)[None, :, None]
    for _ in range(number % 7):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + height // 5, x : x + width // 9] = rng.integers(0, 256, 3)
    strength = (0, 6, 255)[number % 3]
    if strength:
        image += rng.integers(-strength, strength + 1, image.shape, dtype=np.int16)
    return np.clip(image, 0, 255).astype(np.uint8)


def in_format(image: np.ndarray[Any, Any], name: str, number: int = 0) -> Any:
    """The image as a frame of a format, with each matrix and range in turn."""
    if name == "bgr":
        return image
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    flags: Any = {"matrix": ("bt601", "bt709")[number % 2], "range": ("limited", "full")[number // 2 % 2]}
    if name == "i420":
        return YuvFrame(planes, "i420", **flags)
    if name == "nv12":
        pairs = chroma.transpose(1, 2, 0).reshape(height // 2, width)
        return YuvFrame(np.concatenate([luma, pairs]), "nv12", **flags)
    packed = np.empty((height, width, 2), np.uint8)
    packed[:, :, 0] = luma
    packed[:, 0::2, 1], packed[:, 1::2, 1] = (part.repeat(2, axis=0) for part in chroma)
    return YuvFrame(packed, "yuyv", **flags)


def bits(images: int, most_s: float) -> dict[str, Any]:
    """Compare every bit of the tensors of ``images`` images, 8 contracts and 4 formats with the CPU core's."""
    sizes = [(480, 640), (720, 1280), (361, 500), (1280, 720), (300, 1000), (96, 128), (480, 640), (1080, 1920)]
    pairs = [(Preprocessor(made, threads=4), GpuPreprocessor(made)) for made in CONTRACTS]
    began, done, tensors, items, wrong = time.monotonic(), 0, 0, 0, []
    for number in range(images):
        if time.monotonic() - began > most_s:
            break
        height, width = sizes[number % len(sizes)]
        image = photograph(number, height, width)
        even = image[: height // 2 * 2, : width // 2 * 2]
        for name in FORMATS:
            frame = in_format(image if name == "bgr" else np.ascontiguousarray(even), name, number)
            for index, (cpu, gpu) in enumerate(pairs):
                expected, got = cpu(frame), gpu(frame)
                tensors, items = tensors + 1, items + expected.size
                if expected.tobytes() != got.tobytes():
                    wrong.append(_difference(number, name, index, image.shape, expected, got))
        done += 1
    for _, gpu in pairs:
        gpu.close()
    return {
        "images": done,
        "asked": images,
        "contracts": len(CONTRACTS),
        "formats": len(FORMATS),
        "tensors": tensors,
        "values": items,
        "tensors_that_differ": len(wrong),
        "first_differences": wrong[:6],
        "seconds": round(time.monotonic() - began, 1),
    }


def _difference(number: int, name: str, index: int, shape: Any, expected: Any, got: Any) -> dict[str, Any]:
    raw = [np.frombuffer(part.tobytes(), np.uint16 if part.itemsize == 2 else np.uint32) for part in (expected, got)]
    places = np.nonzero(raw[0] != raw[1])[0]
    first = int(places[0])
    return {
        "image": number,
        "format": name,
        "contract": f"{index}: {CONTRACTS[index].summary()}",
        "frame": list(shape),
        "values_that_differ": len(places),
        "of": int(raw[0].size),
        "first_at": [int(i) for i in np.unravel_index(first, expected.shape)],
        "last_at": [int(i) for i in np.unravel_index(int(places[-1]), expected.shape)],
        "expected": f"{expected.ravel()[first]!r} {raw[0][first]:#x}",
        "got": f"{got.ravel()[first]!r} {raw[1][first]:#x}",
    }


def wide_frames() -> dict[str, Any]:
    """Compare frames of many channels, of uint8, uint16 and float32."""
    rng, wrong, count = np.random.default_rng(3), [], 0
    for dtype in ("uint8", "uint16", "float32"):
        for channels in (1, 4, 13):
            for filter_ in ("nearest", "bilinear", "lanczos"):
                frame = rng.normal(900, 400, (257, 190, channels)).clip(0, 65535).astype(dtype)
                many: Any = {"mean": (0.3,) * channels, "std": (0.7,) * channels, "fill": (0,) * channels}
                many |= {"frame_dtype": dtype, "color": "channels", "resize": "squash", "filter": filter_}
                made = InputContract(resize_size=(99, 64), crop_size=None, scale=1000.0, **many)
                expected = Preprocessor(made)(frame)
                with GpuPreprocessor(made) as gpu:
                    got = gpu(frame)
                count += 1
                if expected.tobytes() != got.tobytes():
                    wrong.append({"dtype": dtype, "channels": channels, "filter": filter_,
                                  "values": int((expected != got).sum()), "of": expected.size})  # fmt: skip
    return {"tensors": count, "tensors_that_differ": len(wrong), "first_differences": wrong[:6]}


def _timed(work: Callable[[], Any], runs: int, most_s: float = 4.0) -> dict[str, float]:
    for _ in range(10):
        work()
    taken, end = [], time.monotonic() + most_s
    while len(taken) < runs and time.monotonic() < end:
        start = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - start) / 1000)
    found = np.percentile(taken, [50, 90, 99])
    return {"p50_us": round(found[0], 1), "p90_us": round(found[1], 1), "p99_us": round(found[2], 1), "n": len(taken)}


def _device_us(stream: _cuda.Stream, enqueue: Callable[[], Any], repeats: int = 50) -> float:
    """Time of one call's work on the device, microseconds: of many in a row, between two events."""
    begin, end = _cuda.Event(), _cuda.Event()
    enqueue()
    stream.synchronize()
    found = []
    for _ in range(9):
        begin.record(stream)
        for _ in range(repeats):
            enqueue()
        end.record(stream)
        stream.synchronize()
        found.append(1000 * end.ms_since(begin) / repeats)
    begin.close()
    end.close()
    return round(float(np.median(found)), 2)


def times() -> list[dict[str, Any]]:
    """Time of a frame by the CPU core, of its copy to the GPU, of the kernels, and of both."""
    made = CONTRACTS[0]
    return [_time_one(made, size, name) for size in SIZES for name in FORMATS]


def _time_one(made: InputContract, size: str, name: str) -> dict[str, Any]:
    frame = in_format(photograph(2, *SIZES[size]), name)
    pixels = frame if name == "bgr" else frame.pixels
    row: dict[str, Any] = {"frame": size, "format": name, "bytes": pixels.nbytes}
    for threads in (1, USEFUL_THREADS):
        cpu = Preprocessor(made, threads=threads)
        slot = cpu(frame)
        row[f"cpu_{threads}_threads"] = _timed(lambda cpu=cpu, slot=slot: cpu(frame, slot), 300)
    kinds = _cuda.cudart().cudaMemcpyKind
    stream = _cuda.Stream()
    pinned = _cuda.HostBuffer(pixels.shape, np.dtype(np.uint8), mapped=False)
    pinned.array[...] = pixels
    on_device = _cuda.DeviceBuffer(pixels.nbytes)
    out = _cuda.DeviceBuffer(slot.nbytes)
    with GpuPreprocessor(made, stream=stream) as gpu:
        layout = FrameLayout(*SIZES[size], format=name)  # type: ignore[arg-type]
        gpu.prepare(layout)
        there = frame_at(layout, on_device.pointer)

        def copy() -> None:
            _cuda.call("cudaMemcpyAsync", on_device.pointer, pinned.pointer, pixels.nbytes,
                       kinds.cudaMemcpyHostToDevice, stream.handle)  # fmt: skip

        def kernels() -> None:
            gpu.enqueue(there, out.pointer)

        def both() -> None:
            copy()
            kernels()

        def waited(work: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                work()
                stream.synchronize()

            return run

        row["copy"] = _timed(waited(copy), 300)
        row["kernels"] = _timed(waited(kernels), 300)
        row["copy_and_kernels"] = _timed(waited(both), 300)
        row["copy_device_us"] = _device_us(stream, copy)
        both()
        stream.synchronize()
        graph = _cuda.Graph(stream, kernels)
        row["kernels_in_graph"] = _timed(waited(lambda: graph.launch(stream)), 300)
        row["kernels_device_us"] = _device_us(stream, lambda: graph.launch(stream))
        whole = _cuda.Graph(stream, both)
        row["copy_and_kernels_in_graph"] = _timed(waited(lambda: whole.launch(stream)), 300)
        tensor = _cuda.HostBuffer(slot.shape, slot.dtype, mapped=False)
        _cuda.call("cudaMemcpyAsync", tensor.pointer, out.pointer, slot.nbytes, kinds.cudaMemcpyDeviceToHost,
                   stream.handle)  # fmt: skip
        stream.synchronize()
        row["same_bits_in_graph"] = tensor.array.tobytes() == slot.tobytes()
        for held in (graph, whole):
            held.close()
    for held in (on_device, out, stream):
        held.close()
    return row


def graphs() -> dict[str, Any]:
    """Replay one CUDA graph (copy, both passes, copy back) over 40 frames of each format and compare every bit."""
    wrong = []
    count = 0
    kinds = _cuda.cudart().cudaMemcpyKind
    for name in FORMATS:
        made = CONTRACTS[0]
        frames = [in_format(photograph(number, 480, 640), name) for number in range(40)]
        pixels = [frame if name == "bgr" else frame.pixels for frame in frames]
        cpu, stream = Preprocessor(made), _cuda.Stream()
        pinned = _cuda.HostBuffer(pixels[0].shape, np.dtype(np.uint8), mapped=False)
        tensor = _cuda.HostBuffer(made.tensor_shape()[1:], np.dtype(np.float32), mapped=False)
        on_device, out = _cuda.DeviceBuffer(pixels[0].nbytes), _cuda.DeviceBuffer(tensor.array.nbytes)
        with GpuPreprocessor(made, stream=stream) as gpu:
            layout = FrameLayout(480, 640, format=name)  # type: ignore[arg-type]
            gpu.prepare(layout)

            def enqueue(
                gpu: Any = gpu, layout: Any = layout, stream: Any = stream, on_device: Any = on_device,
                pinned: Any = pinned, tensor: Any = tensor, out: Any = out,
            ) -> None:  # fmt: skip
                _cuda.call("cudaMemcpyAsync", on_device.pointer, pinned.pointer, pinned.array.nbytes,
                           kinds.cudaMemcpyHostToDevice, stream.handle)  # fmt: skip
                gpu.enqueue(frame_at(layout, on_device.pointer), out.pointer)
                _cuda.call("cudaMemcpyAsync", tensor.pointer, out.pointer, tensor.array.nbytes,
                           kinds.cudaMemcpyDeviceToHost, stream.handle)  # fmt: skip

            graph = _cuda.Graph(stream, enqueue)
            for frame, part in zip(frames, pixels, strict=True):
                pinned.array[...] = part
                graph.launch(stream)
                stream.synchronize()
                count += 1
                if tensor.array.tobytes() != cpu(frame).tobytes():
                    wrong.append(name)
            graph.close()
        for held in (on_device, out, stream):
            held.close()
    return {"replays": count, "tensors_that_differ": len(wrong), "first_differences": wrong[:6]}


def compiled() -> dict[str, Any]:
    """Compile the kernels for this GPU, without the cache."""
    capability = _cuda.device().compute_capability.replace(".", "")
    start = time.perf_counter()
    code = _kernels.compile_kernels(f"sm_{capability}")
    return {"seconds": round(time.perf_counter() - start, 2), "bytes": len(code), "nvrtc": _kernels._nvrtc_version()}


def tests(out: Path, most_s: float) -> dict[str, Any]:
    """Run the tests marked `gpu`; those whose packages are missing are named, not hidden."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    left_out = [] if find_spec("torch") else [path for path in files if path.parent.name == "export"]
    files = [path for path in files if path not in left_out]
    options = (
        "-v",
        "-ra",
        "--durations=5",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-o",
        "minversion=7",
        "-o",
        "filterwarnings=default",
    )
    command = [sys.executable, "-m", "pytest", *options, "--continue-on-collection-errors", *map(str, files)]
    environment = os.environ | {"EDGEPROOF_CACHE": str(out / "cache"), "PYTHONUNBUFFERED": "1"}
    log = out / "gpu-tests.log"
    with log.open("w") as stream:
        try:
            code: int | str = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT, timeout=most_s, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"not done after {most_s:.0f} s"
    lines = log.read_text().splitlines()
    return {
        "exit_code": code,
        "summary": lines[-1] if lines else "",
        "left_out_without_torch": [str(path.relative_to(ROOT)) for path in left_out],
        "end": [line[:200] for line in lines[-45:]],
    }


def onnxruntime_cuda() -> dict[str, Any]:
    """Say whether ONNX Runtime has its CUDA provider here; its tests are among those marked `gpu`."""
    try:
        import onnxruntime
    except ImportError:
        return {"available": False, "reason": "onnxruntime is not installed"}
    providers = onnxruntime.get_available_providers()
    return {"available": "CUDAExecutionProvider" in providers, "version": onnxruntime.__version__, "has": providers}


def host() -> dict[str, Any]:
    """What was measured on."""
    gpu = _cuda.device()
    return {
        "gpu": gpu.identity,
        "compute_capability": gpu.compute_capability,
        "driver_cuda": gpu.driver_cuda,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def lines_of(found: dict[str, Any]) -> Iterator[str]:
    """The report as Markdown."""
    yield "# GPU check\n"
    for part, result in found.items():
        if part == "times" and isinstance(result, list):
            yield "\n## Time of one frame, microseconds, median (p90)\n"
            titles = ("frame", "format", "CPU, 1 thread", f"CPU, {USEFUL_THREADS} threads", "copy", "kernels",
                      "copy and kernels", "kernels in a graph", "both in a graph", "copy, device",
                      "kernels, device")  # fmt: skip
            yield "| " + " | ".join(titles) + " |"
            yield "|" + "---|" * 11
            for row in result:
                named = ("cpu_1_threads", f"cpu_{USEFUL_THREADS}_threads", "copy", "kernels", "copy_and_kernels",
                         "kernels_in_graph", "copy_and_kernels_in_graph")  # fmt: skip
                cells = [f"{row[name]['p50_us']:.0f} ({row[name]['p90_us']:.0f})" for name in named]
                cells += [str(row["copy_device_us"]), str(row["kernels_device_us"])]
                yield "| " + " | ".join((row["frame"], row["format"], *cells)) + " |"
        else:
            yield f"\n## {part}\n\n```json\n{json.dumps(result, indent=1)}\n```"


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build/gpu-check", help="folder of the report")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--bits-seconds", type=float, default=130, help="stop comparing images after this time")
    parser.add_argument("--test-seconds", type=float, default=140)
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    reason = _cuda.unavailable_reason()
    if reason is not None:
        sys.exit(f"no GPU check here: {reason}")
    parts: dict[str, Callable[[], Any]] = {
        "host": host,
        "compiled": compiled,
        "bits": lambda: bits(arguments.images, arguments.bits_seconds),
        "graphs": graphs,
        "wide_frames": wide_frames,
        "times": times,
        "onnxruntime_cuda": onnxruntime_cuda,
        "tests": lambda: tests(out, arguments.test_seconds),
    }
    found: dict[str, Any] = {}
    failed = []
    for name, part in parts.items():
        start = time.monotonic()
        try:
            found[name] = part()
        except Exception:
            found[name] = {"failed": traceback.format_exc()[-3000:]}
            failed.append(name)
        result = found[name]
        print(f"== {name}, {time.monotonic() - start:.1f} s\n{json.dumps(result)[:3000]}", flush=True)
        (out / "gpu-check.json").write_text(json.dumps(found, indent=1) + "\n")
        (out / "gpu-check.md").write_text("\n".join(lines_of(found)) + "\n")
        if isinstance(result, dict) and (result.get("tensors_that_differ") or result.get("exit_code")):
            failed.append(name)
        if isinstance(result, list) and not all(row["same_bits_in_graph"] for row in result):
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "all parts passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
