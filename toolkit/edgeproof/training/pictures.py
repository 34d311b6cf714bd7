"""Plots beside a checkpoint: curves, confusion matrix, calibration, and a contact sheet of mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.opencv import cv2

__all__ = ["write_plots", "write_sheet"]

_CELL, _TEXT, _COLUMNS = 160, 40, 6


def write_plots(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``curves.png``, ``confusion.png`` and ``calibration.png``, as far as the report has figures for them.

    Args:
        report: from `edgeproof_runtime.evidence.report.Report.to_json`.
        folder: output folder.

    Returns:
        Paths of the written files.
    """
    # Matplotlib takes a second to import.
    from edgeproof.report import plots, training_plots
    from edgeproof.report.svg import Plotter

    training, accuracy = report["training"] or {}, report["accuracy"] or {}
    wanted: list[tuple[str, Any, int, int]] = []
    if training.get("history"):
        wanted.append(("curves.png", training_plots.learning(training["history"]), 900, 340))
    if accuracy.get("confusion"):
        side = 200 + 36 * min(len(accuracy["confusion"]["labels"]), 25)
        wanted.append(("confusion.png", plots.confusion(accuracy["confusion"]), side, side))
    if training.get("calibration"):
        wanted.append(("calibration.png", training_plots.reliability(training["calibration"]), 420, 400))
    for name, draw, width, height in wanted:
        Plotter().write_png(draw, folder / name, width=width, height=height)
    return [folder / name for name, *_ in wanted]


def write_sheet(samples: Sequence[Thumbnail], path: Path) -> Path:
    """Write a contact sheet: each image with the prediction and the ground truth below it."""
    rows = -(-len(samples) // _COLUMNS)
    columns = min(len(samples), _COLUMNS)
    sheet = np.full((rows * (_CELL + _TEXT), columns * _CELL, 3), 255, np.uint8)
    for number, sample in enumerate(samples):
        top, left = number // _COLUMNS * (_CELL + _TEXT), number % _COLUMNS * _CELL
        sheet[top : top + _CELL, left : left + _CELL] = _thumbnail(sample)
        share = "" if sample.probability is None else f" {sample.probability:.0%}"
        _write(sheet, f"{sample.label}{share}", (left + 4, top + _CELL + 15), (55, 60, 200))
        _write(sheet, f"truth: {sample.truth}", (left + 4, top + _CELL + 31), (60, 60, 60))
    _, png = cv2.imencode(".png", sheet)
    write_atomically(path, png.tobytes())
    return path


def _thumbnail(sample: Thumbnail) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"thumbnail of {sample.name}: not a JPEG")
    height, width = picture.shape[:2]
    zoom = (_CELL - 8) / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    # Nearest neighbour keeps the pixels of small images visible.
    small = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA)
    cell = np.full((_CELL, _CELL, 3), 255, np.uint8)
    top, left = (_CELL - size[1]) // 2, (_CELL - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = small
    return cell


def _write(sheet: NDArray[np.uint8], text: str, where: tuple[int, int], color: tuple[int, int, int]) -> None:
    # OpenCV's font has ASCII only.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, plain[:22], where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)
