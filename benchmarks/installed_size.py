"""How much does `pip install` of each put on a disk?

What a package requires is followed through the metadata of what lies in this environment and in `.venv-peers`, extras
and markers included, and the files that each RECORD names are added up as they lie there, bytecode left out. What is
not there, or not in the version asked for, is fetched into a folder that is deleted again. edgeproof lies here as an
editable install: to its RECORD come the source files that its wheel would hold.

    python benchmarks/installed_size.py [--json FILE] [--write]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import tomllib
from common import HERE, Findings, output_flags, run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from peer_environment import peers_packages, peers_python, versions

PRESENT = "edgeproof, OpenCV already there"
INSTALLS = {
    PRESENT: ("edgeproof",),
    "edgeproof[onnxruntime]": ("edgeproof[onnxruntime]",),
    "edgeproof[openvino]": ("edgeproof[openvino]",),
    "edgeproof[export]": ("edgeproof[export]",),
    "opencv-python onnxruntime": ("opencv-python", "onnxruntime"),
    "ort-vision-sdk": ("ort-vision-sdk",),
    "openvino-model-api": ("openvino-model-api",),
    "torchvision onnxruntime opencv-python": ("torchvision", "onnxruntime", "opencv-python"),
    "ultralytics onnxruntime": ("ultralytics", "onnxruntime"),
}
CUDA = ("nvidia-", "cuda-", "triton")


class Environment:
    """The packages of this environment and the peers', and what had to be fetched beside them."""

    def __init__(self, fetched: Path) -> None:
        self._fetched = fetched
        self._searched = [str(peers_packages()), *sys.path]

    def find(self, wanted: Requirement) -> metadata.Distribution:
        """The installed package that satisfies a requirement, fetched if there is none."""
        for folder in (self._searched, [str(self._fetched)]):
            for one in metadata.distributions(name=wanted.name, path=folder):
                if wanted.specifier.contains(one.version, prereleases=True):
                    return one
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        plain = f"{wanted.name}{wanted.specifier}"
        subprocess.run([*command, "--upgrade", "--target", str(self._fetched), plain], check=True)
        (found,) = metadata.distributions(name=wanted.name, path=[str(self._fetched)])
        return found

    def closure(self, roots: Iterable[str]) -> dict[str, metadata.Distribution]:
        """Everything that pip would install for these, by name."""
        found: dict[str, metadata.Distribution] = {}
        open_ends, seen = [Requirement(text) for text in roots], set()
        while open_ends:
            wanted = open_ends.pop()
            name, extras = canonicalize_name(wanted.name), ("", *sorted(wanted.extras))
            if (name, extras) in seen:
                continue
            seen.add((name, extras))
            found.setdefault(name, self.find(wanted))
            for text in found[name].requires or ():
                further = Requirement(text)
                if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                    open_ends.append(further)
        return found


def size_bytes(package: metadata.Distribution) -> int:
    """Of the files that its RECORD names."""
    files = [Path(str(file.locate())) for file in package.files or ()]
    if package.name == "edgeproof":
        project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
        folders = project["tool"]["scikit-build"]["wheel"]["packages"]
        files += [file for folder in folders for file in (HERE.parent / folder).rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    output_flags(parser)
    arguments = parser.parse_args()
    peers_python()
    found = Findings("installed_size", arguments, packages=versions())
    rows: list[list[object]] = []
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(Path(folder))
        for title, roots in INSTALLS.items():
            packages = environment.closure(roots)
            if title == PRESENT:  # a Jetson's, or a distribution's
                del packages["opencv-python"]
            sizes = {name: size_bytes(one) for name, one in packages.items()}
            whole = sum(sizes.values())
            cuda = sum(size for name, size in sizes.items() if name.startswith(CUDA))
            largest = sorted(sizes, key=lambda name: -sizes[name] if not name.startswith(CUDA) else 0)[:3]
            named = ", ".join(f"{name} {sizes[name] / 1e6:.0f}" for name in largest)
            install, _, condition = title.partition(",")
            rows.append(
                [
                    f"`pip install {install}`{condition and ','}{condition}",
                    len(sizes),
                    f"{whole / 1e6:,.0f}",
                    f"{(whole - cuda) / 1e6:,.0f}",
                    named,
                ]
            )
            results.append({"install": title, "size_bytes": whole, "cuda_bytes": cuda, "packages": sizes})
    heads = ["", "packages", "MB", "MB without nvidia-* and triton", "largest of these, MB"]
    found.table("Files as RECORD lists them, bytecode left out", heads, rows)
    found.keep({}, results)


if __name__ == "__main__":
    run(main)
