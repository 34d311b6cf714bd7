"""Generate images with a generator's bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof.generation import ClassCoverage, Distances, classify_pictures
from edgeproof.library.evidence import settings_of
from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.data.splits import TRAINING
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import require_at_most
from edgeproof_runtime.system.files import is_stream, write_atomically
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.tasks.generate import contact_sheet
from edgeproof_runtime.verify.golden import frame_gates, output_gate
from edgeproof_runtime.verify.sampling import sample_pictures

__all__ = ["Sampled", "sample"]

_MOST_SHOWN = 12
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampled:
    """Generated images and their report.

    Attributes:
        images: uint8 ``HxW`` gray or ``HxWx3`` BGR, in order.
        report: its ``passed`` is False if a gate failed.
        coverage: a classifier's predictions for the images; None without a classifier.
        distances: distances to the nearest training images; None without ``data``.
    """

    images: Sequence[NDArray[np.uint8]]
    report: Report
    coverage: ClassCoverage | None = None
    distances: Distances | None = None


@bounded
def sample(
    bundle: str | Path | Bundle,
    *,
    number: int = 64,
    seed: int = 0,
    grid: str | Path | None = None,
    folder: str | Path | None = None,
    judge: str | Path | Bundle | None = None,
    data: str | Path | None = None,
    min_confidence: float | None = None,
    min_per_class: int | None = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Sampled:
    """Replay the golden cases of a generator's bundle, then generate images.

    Args:
        bundle: path of a bundle of task ``generate``, or an opened one.
        number: images to generate.
        seed: seed; the same seed gives the same images on every engine.
        grid: PNG file for all images as one grid.
        folder: empty or new folder for the images as PNG files.
        judge: classifier bundle that measures class coverage and confidence.
        data: training images (a folder or an ``.npz``), for the nearest neighbours.
        min_confidence: with ``judge``: bound of a gate on the mean confidence, 0..1.
        min_per_class: with ``judge``: bound of a gate on the number of images of the rarest class.
        engine: engine name, or ``auto`` for the fastest that passes the golden cases on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto``.
        threads: CPU threads of the engine; None lets the engine choose.
        progress: called with (phase, done, total).

    Raises:
        InputError: an argument is invalid, the data cannot be read, or a file cannot be written.
        UnavailableError: the engine is not available on this machine.
    """
    require_at_most(number, "samples", "--n")
    sheet, each = (None if path is None else Path(path) for path in (grid, folder))
    if (min_confidence is not None or min_per_class is not None) and judge is None:
        raise InputError("--min-confidence and --min-per-class: require --judge", fix="add --judge BUNDLE")
    if each is not None and each.exists() and (not each.is_dir() or any(each.iterdir())):
        raise InputError(f"{each}: not an empty folder", fix="choose another --out")
    if sheet is not None and sheet.suffix.lower() != ".png" and not is_stream(sheet):
        raise InputError(f"{sheet}: not an image file name", expected="a name that ends in .png")
    tell = progress or no_progress
    host = host_facts()
    opened = open_bundle(bundle)
    latent = opened.latent
    if number * math.prod(opened.manifest.outputs[0].shape) > _MOST_BYTES:  # a byte for each value of an image
        raise InputError("--n: too many images of this size", got=number, expected="at most 1 GiB of pixels")
    judging = None if judge is None else open_bundle(judge)
    cases = load_golden(opened)
    batch = min(latent.batch.max, number)
    coverage = distances = None
    with load_engine(
        opened, engine, precision, max_batch=batch, threads=threads, judged=True, progress=progress
    ) as loaded:
        info = loaded.describe()
        gates = [*frame_gates(opened, cases), output_gate(opened, loaded, cases)]
        parity = gates[-1]
        images = []
        for image in sample_pictures(opened, loaded, seed=seed, count=number, batch=batch):
            images.append(image)
            tell(f"generating on {info.name}", len(images), number)
        if judging is not None:
            coverage = classify_pictures(images, judging, lambda done, total: tell("judging", done, total))
        if data is not None:
            known = _training_images(str(data), images[0].shape)
            distances = Distances.between(
                np.stack(images), known, tell=lambda done, total: tell("nearest neighbours", done, total)
            )
    if coverage is not None:
        gates += _coverage_gates(coverage, min_confidence, min_per_class)
    if sheet is not None:
        _write_png(contact_sheet(images, math.ceil(math.sqrt(len(images)))), sheet)
    if each is not None:
        width = len(str(len(images) - 1))
        for index, image in enumerate(images):
            _write_png(image, each / f"{index:0{width}}.png")
    report = Report(
        kind="sample",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(
            opened, engine=info.name, precision=info.precision, seed=seed, threads=info.threads, data=data
        ),
        counts={"pictures": number},
        generation={"coverage": coverage, "nearest": distances},
        gates=gates,
        engines=[EngineRow(info.name, info.version, None, parity.passed, chosen=True)],
        samples=[Thumbnail.of(f"number {i}", p, f"seed {seed}") for i, p in enumerate(images[:_MOST_SHOWN])],
        warnings=host_warnings(host),
    )
    return Sampled(images=images, report=report, coverage=coverage, distances=distances)


def _coverage_gates(coverage: ClassCoverage, min_confidence: float | None, min_per_class: int | None) -> list[Gate]:
    gates = []
    if min_confidence is not None:
        measured = {"mean_confidence": coverage.mean_confidence}
        gates.append(Gate.judge("confidence", "the judge's", measured, at_least={"mean_confidence": min_confidence}))
    if min_per_class is not None:
        label, fewest = coverage.rarest
        gates.append(
            Gate.judge(
                "coverage",
                f"images of the rarest class, {label}",
                {"fewest": float(fewest)},
                at_least={"fewest": float(min_per_class)},
            )
        )
    return gates


def _training_images(data: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Load training images in the generator's size and channels."""
    path = Path(data)
    images = ImageList.open(path, prefer=TRAINING)
    frames = []
    for image in images:
        frame = image.frame
        if frame.ndim == 3 and len(shape) == 2:
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        if frame.shape[:2] != shape[:2]:
            size = (shape[1], shape[0])
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if frame.ndim != len(shape):
            raise InputError(f"{image.name}: channels differ from the generated images'", got=frame.shape)
        frames.append(frame)
    if not frames:
        raise InputError(f"{data}: no image could be read")
    return np.stack(frames)


def _write_png(image: NDArray[np.uint8], path: Path) -> None:
    _, png = cv2.imencode(".png", image)
    write_atomically(path, png.tobytes())
