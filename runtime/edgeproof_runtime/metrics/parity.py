"""Parity: differences between an engine's outputs and PyTorch's, and their bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import OutputEntry
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system.spec import SPEC

__all__ = ["BOUNDS", "Bound", "OutputsMeter", "Parity", "ParityMeter"]


@dataclass(frozen=True, slots=True)
class Bound:
    """Bounds of the differences of a precision.

    Attributes:
        relative_diff: largest difference, relative to the largest reference value.
        cosine: smallest cosine similarity of any single output.
        top1_agreement: smallest share of equal top-1 predictions.
    """

    relative_diff: float
    cosine: float
    top1_agreement: float


# fp32: accumulation order only (measured on EfficientNet-Lite0, ResNet-18, MobileNetV3: below 1e-4 relative).
# fp16 has 11 bits of significand. int8 is bounded by agreement: `optimize` budgets its differences.
BOUNDS: Mapping[str, Bound] = {precision: Bound(**bound) for precision, bound in SPEC["parity_bounds"].items()}


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences over the outputs for ``n`` inputs.

    Attributes:
        n: outputs compared.
        max_abs_diff: largest difference over all values, in units of the output.
        mean_abs_diff: mean difference over all values, in units of the output.
        relative_diff: ``max_abs_diff`` over the largest absolute reference value.
        cosine: smallest cosine similarity of any output with its reference; None if an output is one number.
        top1_agreement: share of equal top-1 predictions; if the reference's first two lie closer than twice
            ``max_abs_diff`` apart, either counts. None if the values are not scores of classes.
        worst: name of the input with the largest difference.
    """

    n: int
    max_abs_diff: float
    mean_abs_diff: float
    relative_diff: float
    cosine: float | None
    top1_agreement: float | None
    worst: str

    def gate(self, name: str, what: str, precision: str) -> Gate:
        """Compare the differences with the bounds of a precision."""
        return _gate({"": self}, name, what, precision)


class ParityMeter:
    """Compares the values of one output with references, batch by batch.

    Args:
        ranked: whether the values are scores of classes, so that the top-1 prediction counts.
    """

    def __init__(self, *, ranked: bool = True) -> None:
        self._ranked = ranked
        self._references: list[NDArray[np.float64]] = []
        self._answers: list[NDArray[np.float64]] = []
        self._names: list[str] = []

    def update(self, reference: NDArray[np.generic], answer: NDArray[np.generic], names: Iterable[str]) -> None:
        """Add the outputs for ``N`` inputs.

        Args:
            reference, answer: ``N x ...`` of the same shape.
            names: names of the ``N`` inputs.
        """
        if reference.shape != answer.shape:
            raise ValueError(f"reference {reference.shape} and answer {answer.shape} differ in shape")
        for one, other, name in zip(reference, answer, names, strict=True):
            self._references.append(one.astype(np.float64).ravel())
            self._answers.append(other.astype(np.float64).ravel())
            self._names.append(name)

    def result(self) -> Parity:
        """Return the comparison so far. A value that is not finite makes every figure NaN, which passes no bound."""
        if not self._names:
            raise ValueError("nothing was compared")
        reference, answer = np.stack(self._references), np.stack(self._answers)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            difference = np.abs(reference - answer)
        worst = self._names[int(np.argmax(np.nan_to_num(difference.max(axis=1), nan=np.inf)))]
        if not np.isfinite(answer).all() or not np.isfinite(reference).all():
            nan = float("nan")
            return Parity(len(answer), nan, nan, nan, nan, nan if self._ranked else None, worst)
        largest = float(difference.max())
        scale = float(np.abs(reference).max())
        return Parity(
            n=len(answer),
            max_abs_diff=largest,
            mean_abs_diff=float(difference.mean()),
            relative_diff=largest / scale if scale > 0 else largest,
            cosine=float(_cosine(reference, answer).min()) if reference.shape[1] > 1 else None,
            top1_agreement=float(_same_first(reference, answer, 2 * largest).mean()) if self._ranked else None,
            worst=worst,
        )


class OutputsMeter:
    """Compares all outputs of a model with references, batch by batch.

    Args:
        outputs: the manifest's, or the artifact's.
        ranked: whether they are scores of classes, as in the task ``classify``.
    """

    def __init__(self, outputs: Sequence[OutputEntry | TensorSpec], *, ranked: bool) -> None:
        self._meters = {output.name: ParityMeter(ranked=ranked) for output in outputs}

    def update(self, reference: Sequence[NDArray[Any]], answer: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
        """Add the outputs for ``N`` inputs.

        Args:
            reference, answer: one array ``N x ...`` per output, of the same shapes.
            names: names of the ``N`` inputs.
        """
        for meter, one, other in zip(self._meters.values(), reference, answer, strict=True):
            meter.update(one, other, names)

    def gate(self, name: str, what: str, precision: str) -> Gate:
        """Compare every output with the bounds of a precision; several outputs prefix quantities by their names."""
        several = len(self._meters) > 1
        found = {f"{output} " if several else "": meter.result() for output, meter in self._meters.items()}
        return _gate(found, name, what, precision)

    @property
    def worst(self) -> str:
        """Name of the input that differs most, by the output with the largest relative difference."""
        found = [meter.result() for meter in self._meters.values()]
        return max(found, key=lambda parity: float(np.nan_to_num(parity.relative_diff, nan=np.inf))).worst


def _gate(parities: Mapping[str, Parity], name: str, what: str, precision: str) -> Gate:
    bound = BOUNDS[precision]
    measured: dict[str, float] = {}
    at_least: dict[str, float] = {}
    for prefix, parity in parities.items():
        figures = {key: value for key, value in asdict(parity).items() if key not in ("n", "worst")}
        measured |= {"n": parity.n}
        measured |= {f"{prefix}{key}": value for key, value in figures.items() if value is not None}
        lowest = {"cosine": bound.cosine, "top1_agreement": bound.top1_agreement}
        at_least |= {f"{prefix}{key}": value for key, value in lowest.items() if figures[key] is not None}
    at_most = {f"{prefix}relative_diff": bound.relative_diff for prefix in parities}
    return Gate.judge(name, what, measured, at_most=at_most, at_least=at_least)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(axis=1)
    products = np.einsum("ij,ij->i", a, b)
    cosine: NDArray[np.float64] = np.where(same, 1.0, products / np.where(norms > 0, norms, np.inf))
    return cosine


def _same_first(a: NDArray[np.float64], b: NDArray[np.float64], tie: float) -> NDArray[np.bool_]:
    rows = np.arange(len(a))
    first = b.argmax(axis=1)
    # A difference as large as `tie` swaps only classes that the reference itself hardly tells apart. The cap keeps
    # a large error from excusing itself.
    allowed = np.minimum(tie, 1e-3 * np.abs(a).max(axis=1))
    within: NDArray[np.bool_] = a[rows, first] >= a.max(axis=1) - allowed
    return within
