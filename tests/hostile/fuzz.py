"""`python tests/hostile/fuzz.py SECONDS [TARGET] [--seed N]`: fuzz the Python readers, guided by coverage (atheris).

Each target takes any bytes, and returns or raises an `EdgeproofError`. Without atheris the same targets get random
changes of their seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
LABELS = ("cat", "dog", "fish")


def _read(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], None]:
    """Return a target that reads a file of this suffix."""
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-fuzz-", dir=os.environ.get("EDGEPROOF_FUZZ_FOLDER")))

    def target(data: bytes) -> None:
        path = folder / f"input{suffix}"
        path.write_bytes(data)
        read(path)

    return target


def _dataset(path: Path) -> None:
    from edgeproof_runtime.data.dataset import LabelledData

    for _ in LabelledData.open(path, LABELS):
        pass


def _manifest(path: Path) -> None:
    from edgeproof_runtime.bundle.reader import Bundle

    (path.parent / "bundle.json").write_bytes(path.read_bytes())
    Bundle.open(path.parent)


def _make(name: str) -> Callable[[bytes], None]:
    from edgeproof_runtime.data.band_files import decode_bands
    from edgeproof_runtime.data.bands import Bands
    from edgeproof_runtime.data.class_names import read_class_names
    from edgeproof_runtime.data.clip_labels import ClipLabels
    from edgeproof_runtime.data.images import decode_image
    from edgeproof_runtime.evidence.read import read_report
    from edgeproof_runtime.sources.streams_file import read_streams
    from edgeproof_runtime.system.documents import parse_document

    bands = Bands(4, "uint8")
    targets: dict[str, Callable[[], Callable[[bytes], None]]] = {
        "bundle": lambda: _read(_manifest, ".json"),
        "document": lambda: lambda data: parse_document(data, "x"),
        "npy": lambda: lambda data: str(decode_bands(data, "x.npy", bands)) and None,
        "image": lambda: lambda data: str(decode_image(data, "x", apply_orientation=True)) and None,
        "class-names": lambda: _read(lambda path: read_class_names(path, "labels"), ".txt"),
        "class-names-csv": lambda: _read(lambda path: read_class_names(path, "labels"), ".csv"),
        "clip-labels": lambda: _read(ClipLabels.open, ".csv"),
        "report": lambda: _read(read_report, ".json"),
        "streams": lambda: _read(read_streams, ".toml"),
        "npz": lambda: _read(_dataset, ".npz"),
        "csv": lambda: _read(_dataset, ".csv"),
        "json-list": lambda: _read(_dataset, ".json"),
    }
    return targets[name]()


NAMES = (
    "bundle", "document", "npy", "image", "class-names", "class-names-csv", "clip-labels", "report", "streams", "npz", "csv",
    "json-list",
)  # fmt: skip


def seeds(name: str) -> list[bytes]:
    """Return sound inputs of a target."""
    import io

    import numpy as np

    file = io.BytesIO()
    if name == "npy":
        np.save(file, np.zeros((3, 4, 4), np.uint8))
    elif name == "npz":
        np.savez(file, x_test=np.zeros((2, 4, 4, 3), np.uint8), y_test=np.array([0, 1]))
    found = {
        "npy": [file.getvalue()],
        "npz": [file.getvalue()],
        "image": [path.read_bytes() for path in sorted((GOLDEN / "frames").glob("*")) if path.stat().st_size < 65_536],
        "class-names": [b"cat\ndog\nfish\n", b"0 cat\n1 dog\n", b'{"0": "cat", "1": "dog"}', b'["cat", "dog"]'],
        "class-names-csv": [b"index,label\n0,cat\n1,dog\n", b"cat\ndog\n"],
        "clip-labels": [b"start,end,label\n0,30,cat\n30,60,dog|fish\n", b"cat\n\ndog\n"],
        "streams": [b'[door]\nsource = "0"\nrotate = 90\n[gate]\nsource = "rtsp://a:b@c/1"\ncrop = "0,0,4,4"\nfps = 9.5\n'],
        "csv": [b"path,label\na.png,cat\nb.png,dog\n", b"filename;split;class\na.png;test;0\n"],
        "json-list": [b'{"a.png": "cat"}', b'[{"image": "a.png", "label": "cat"}]', b'{"images": [], "annotations": [], "categories": []}'],
    }  # fmt: skip
    if name in found:
        return found[name]
    from hostile.seeds import seeds as of_cpp

    return list(of_cpp("bundle" if name in ("bundle", "report") else "json"))


def _functions(package: str) -> list[FunctionType]:
    """Return the functions and methods of a package's loaded modules."""
    found: dict[int, FunctionType] = {}
    for module in [m for n, m in sys.modules.items() if n.startswith(f"{package}.") and m is not None]:
        for owner in (module, *(value for value in vars(module).values() if isinstance(value, type))):
            for value in vars(owner).values():
                inner = getattr(value, "__func__", value)
                if isinstance(inner, FunctionType) and inner.__module__.startswith(f"{package}."):
                    found[id(inner)] = inner
    return list(found.values())


def run(name: str, seconds: float, seed: int) -> None:
    """Fuzz one target in this process; the same seed gives the same inputs."""
    target = _make(name)
    from edgeproof_runtime.errors import EdgeproofError

    if find_spec("atheris") is not None:
        import atheris

        # Its hook of imports counts nothing for modules that an editable installation redirects.
        for function in _functions("edgeproof_runtime"):
            atheris.instrument_func(function)

    def one(data: bytes) -> None:
        with suppress(EdgeproofError):
            target(data)

    begin = time.monotonic()
    if find_spec("atheris") is None:
        _mutate(one, seeds(name), begin + seconds, seed)
        return
    corpus = Path(tempfile.mkdtemp(dir=os.environ["EDGEPROOF_FUZZ_FOLDER"]))
    for number, sound in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(sound)
    found = Path("build/fuzz/found")
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-seed={seed}",
        f"-max_total_time={int(seconds)}",
        "-max_len=65536",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options, f"-artifact_prefix={found}/{name}-"], one)
    atheris.Fuzz()


def _mutate(one: Callable[[bytes], None], inputs: list[bytes], end: float, seed: int) -> None:
    rng, tried = random.Random(seed), 0
    while time.monotonic() < end:
        data = bytearray(rng.choice(inputs))
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.choice((0, 1, 4))] = rng.randbytes(rng.randint(0, 4))
        try:
            one(bytes(data))
        except BaseException:
            print(f"fails on {bytes(data)!r}")
            raise
        tried += 1
    print(f"{tried} inputs")


def main() -> int:
    """Fuzz the targets one after another, a process each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    seconds, names = asked.seconds, asked.names
    if len(names) == 1 and "EDGEPROOF_FUZZ_FOLDER" in os.environ:
        run(names[0], seconds, asked.seed)
        return 0
    how = (
        "atheris" if find_spec("atheris") is not None else "random changes; coverage-guided where atheris is installed"
    )
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"{name}: {seconds / len(names):.0f} s, {how}", flush=True)
            env = {
                **os.environ,
                "PYTHONPATH": str(HERE.parent),
                "EDGEPROOF_FUZZ_FOLDER": folder,
                "EDGEPROOF_CACHE": folder,
                "PYTHONHASHSEED": "0",
            }
            command = [sys.executable, str(HERE / "fuzz.py"), str(max(1, seconds / len(names))), name]
            command += ["--seed", str(asked.seed)]
            if subprocess.run(command, env=env, check=False).returncode != 0:
                failed.append(name)
    if failed:
        print(json.dumps({"failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
