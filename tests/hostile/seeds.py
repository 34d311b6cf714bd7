"""`python tests/hostile/seeds.py TARGET FOLDER`: write sound inputs for a fuzz target of runtime/cpp/fuzz."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def seeds(target: str) -> Iterator[bytes]:
    """Yield the inputs; none for targets that make their own of random numbers."""
    with zipfile.ZipFile(GOLDEN / "bundles-0.1.0.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    suffix = {"bundle": "bundle.json", "npy": ".npy", "onnx": ".onnx", "labels": "labels.txt"}.get(target)
    if suffix is not None:
        yield from (content for name, content in members.items() if name.endswith(suffix) and len(content) < 65_536)
    if target in ("json", "contract"):
        cases = json.loads((GOLDEN / "cases.json").read_text())
        contracts = [case["contract"] for case in (cases["cases"] if isinstance(cases, dict) else cases)]
        yield from (json.dumps(contract).encode() for contract in contracts)
    if target == "json":
        yield from (content for name, content in members.items() if name.endswith(".json") and len(content) < 65_536)
    if target == "labels":
        yield b"cat\ndog\nfish\n"
    if target == "redact":
        yield from (text.encode() for text in _texts(json.loads((GOLDEN / "redact.json").read_text())))


def _texts(document: object) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)


if __name__ == "__main__":
    for number, content in enumerate(seeds(sys.argv[1])):
        Path(sys.argv[2], f"seed-{number:04}").write_bytes(content)
