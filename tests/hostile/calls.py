"""The library as a program calls it, with paths only: what a probe of the surface ``api`` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_bundle(path: str) -> None:
    """Open a bundle, read its labels and its golden cases."""
    from edgeproof import Bundle

    bundle = Bundle.open(path)
    str(bundle.labels)
    for case in bundle.golden():
        str(case.tensor.shape)


def classify(bundle: str, image: str) -> None:
    """Classify an image file."""
    from edgeproof import Classifier
    from edgeproof_runtime.data.images import decode_image

    with Classifier(bundle, "onnxruntime", threads=1) as classifier:
        classifier(decode_image(Path(image).read_bytes(), "image", apply_orientation=True))


def load(bundle: str, engine: str) -> None:
    """Load a bundle's model on an engine."""
    from edgeproof import Classifier

    with Classifier(bundle, engine, threads=1):
        pass


def decode(path: str) -> None:
    """Decode an image file."""
    from edgeproof_runtime.data.images import decode_image

    decode_image(Path(path).read_bytes(), "image", apply_orientation=True)


def read_dataset(path: str) -> None:
    """Read all images of a labelled dataset."""
    from edgeproof_runtime.data.dataset import LabelledData

    data = LabelledData.open(Path(path), ["cat", "dog", "fish", "bird", "moth"])
    for sample in data:
        str(sample)


def read_streams(path: str) -> None:
    """Read a file of streams."""
    from edgeproof_runtime.sources import read_streams

    read_streams(path)


def compare(old: str, new: str) -> None:
    """Compare two reports."""
    from edgeproof import compare

    compare(old, new)


def report(path: str) -> None:
    """Write the page of a report."""
    from edgeproof.report import write_html
    from edgeproof_runtime.evidence.read import read_report

    write_html(read_report(Path(path)), Path("out/page.html"))


def contract(document: Any) -> None:
    """Read an input contract from JSON."""
    from edgeproof import InputContract

    InputContract.from_json(document)


def export(model: str, arguments: dict[str, Any]) -> None:
    """Export a model."""
    from edgeproof import export

    export(model, "out/new.edge", **arguments)
