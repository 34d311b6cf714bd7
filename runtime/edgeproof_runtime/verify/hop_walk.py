"""Take labelled images along a chain of hops: the drop at each hop, and where a prediction flips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.data.dataset import LabelledData, Sample
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.label_check import check_labels
from edgeproof_runtime.metrics.paired import Paired, class_changes
from edgeproof_runtime.metrics.parity import ParityMeter
from edgeproof_runtime.verify.evaluate import groups
from edgeproof_runtime.verify.hops import NOT_A_NUMBER, Flip, Hop, HopCost, Walk

__all__ = ["walk"]

_VALUES_COMPARED = 500  # images whose outputs are compared; top-1 predictions are compared for all
_SHOWN_PER_HOP = 6


def walk(
    hops: Sequence[Hop],
    data: LabelledData,
    label_of: Callable[[int], str],
    *,
    batch: int = 1,
    limit: int | None = None,
    max_drop: float | None = None,
    notes: Sequence[str] = (),
    kind: Literal["hops", "against"] = "hops",
    advance: Callable[[int, int], None] | None = None,
) -> Walk:
    """Take every image along every hop.

    Args:
        hops: at least two; each differs from the previous one in one thing.
        data: labelled images.
        label_of: label of a class index.
        batch: images at a time.
        limit: stop after this many images.
        max_drop: largest drop of top-1 (0..1) at a hop whose tensors or outputs are compared; None sets no bound.
        notes, kind: passed on to the `Walk`.
        advance: called with (done, total).

    Raises:
        InputError: no image could be read, or two hops have different numbers of classes.
    """
    if len(hops) < 2:
        raise ValueError("a chain has at least two hops")
    total = min(len(data), limit or len(data))
    steps = [_Step(hop, max(1, total // _VALUES_COMPARED)) for hop in hops]
    targets: list[int] = []
    flips: list[Flip] = []
    shown = dict.fromkeys((hop.name for hop in hops), 0)
    for group in groups(data, batch, limit):
        before: _Step | None = None
        for step in steps:
            step.take(group, before)
            before = step
        targets += [sample.target for sample in group]
        answers = np.stack([step.latest for step in steps], axis=1)
        for sample, row in zip(group, answers, strict=True):
            changed = np.flatnonzero(row[1:] != row[:-1])
            if not changed.size:
                continue
            flip = _flip(sample, row, int(changed[0]) + 1, hops, label_of, show=shown)
            shown[flip.hop] += flip.thumbnail is not None
            flips.append(flip)
        if advance is not None:
            advance(len(targets), total)
    if not targets:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in data.skipped[:3])
        raise InputError("dataset: no image could be read", got=reasons or "no images")
    costs = []
    for number, step in enumerate(steps):
        previous = steps[number - 1] if number else None
        costs.append(step.cost(previous, targets, label_of, max_drop))
    whole = Paired.of(steps[0].answers, steps[-1].answers, targets)
    return Walk(tuple(costs), whole, tuple(flips), tuple(notes), kind, _label_notes(steps[0], targets, label_of))


def _label_notes(first: _Step, targets: Sequence[int], label_of: Callable[[int], str]) -> tuple[str, ...]:
    """Say whether the labels are wrong already at the first hop, where no later hop can be at fault."""
    pairs = [pair for pair in zip(targets, first.answers, strict=True) if pair[1] != NOT_A_NUMBER]
    labels = [label_of(index) for index in range(first.classes)]
    return tuple(check_labels((Counter(pairs[::2]), Counter(pairs[1::2])), first.classes, labels).sentences())


def _flip(
    sample: Sample,
    row: NDArray[np.int64],
    first: int,
    hops: Sequence[Hop],
    label_of: Callable[[int], str],
    *,
    show: dict[str, int],
) -> Flip:
    answers = tuple(_said(int(index), label_of) for index in row)
    truth, hop = label_of(sample.target), hops[first].name
    thumbnail = None
    if show[hop] < _SHOWN_PER_HOP:
        thumbnail = Thumbnail.of(sample.name, sample.frame, answers[first], None, truth)
    return Flip(sample.name, truth, hop, answers, thumbnail)


def _said(index: int, label_of: Callable[[int], str]) -> str:
    return "not a number" if index == NOT_A_NUMBER else label_of(index)


class _Step:
    """One hop on its way through the dataset: its predictions, and its differences from the previous hop."""

    def __init__(self, hop: Hop, stride: int) -> None:
        self.hop = hop
        self.answers: list[int] = []
        self.classes = 0
        self.latest: NDArray[np.int64] = np.empty(0, np.int64)
        self._stride = stride
        self._tensors: Tensor = np.empty(0)
        self._scores: Tensor = np.empty(0)
        self._not_finite = 0
        self._parity = ParityMeter()
        self._compared = self._differing = 0
        self._largest = 0.0

    def take(self, group: Sequence[Sample], before: _Step | None) -> None:
        start = len(self.answers)
        shared = before is not None and before.hop.prepare is self.hop.prepare
        self._tensors = (
            before._tensors if before is not None and shared else self.hop.prepare([sample.frame for sample in group])
        )
        self._scores = self.hop.infer(self._tensors)
        self.classes = self._scores.shape[1]
        finite = np.isfinite(self._scores).all(axis=1)
        self._not_finite += int((~finite).sum())
        self.latest = np.where(finite, np.nan_to_num(self._scores).argmax(axis=1), NOT_A_NUMBER).astype(np.int64)
        self.answers += self.latest.tolist()
        if before is None:
            return
        if before._scores.shape != self._scores.shape:
            raise InputError(
                f"hop {self.hop.name}: another number of classes than hop {before.hop.name}",
                got=self._scores.shape[1:],
                expected=before._scores.shape[1:],
                fix="pass the --model that the bundle was exported from",
            )
        if self.hop.compared == "tensors":
            self._compare_tensors(before._tensors)
        elif self.hop.compared == "outputs":
            rows = [i for i in range(len(group)) if (start + i) % self._stride == 0]
            names = [group[i].name for i in rows]
            self._parity.update(before._scores[rows], self._scores[rows], names)

    def _compare_tensors(self, others: Tensor) -> None:
        self._compared += len(self._tensors)
        if others.shape != self._tensors.shape or others.dtype != self._tensors.dtype:
            self._differing += len(self._tensors)
            self._largest = float("inf")
            return
        difference = np.abs(others.astype(np.float64) - self._tensors.astype(np.float64))
        self._differing += int(np.count_nonzero(difference.reshape(len(difference), -1).any(axis=1)))
        self._largest = max(self._largest, float(difference.max()))

    def cost(
        self, before: _Step | None, targets: Sequence[int], label_of: Callable[[int], str], max_drop: float | None
    ) -> HopCost:
        correct = int(np.count_nonzero(np.array(self.answers) == np.array(targets)))
        change, gate = None, None
        classes: tuple[tuple[str, int, int, int], ...] = ()
        if before is not None:
            change = Paired.of(before.answers, self.answers, targets)
            gate = self._gate(before.hop, change, max_drop)
            classes = tuple(
                (label_of(c.index), c.support, c.lost, c.gained)
                for c in class_changes(before.answers, self.answers, targets)
            )
        return HopCost(self.hop.name, self.hop.what, len(targets), correct, self._not_finite, change, gate, classes)

    def _gate(self, before: Hop, change: Paired, max_drop: float | None) -> Gate | None:
        name, what = f"hop {self.hop.name}", f"{self.hop.what}, with the hop {before.name}"
        extra = {"pictures": float(change.n), "drop": change.drop}
        at_most = {} if max_drop is None else {"drop": max_drop}
        if self.hop.compared == "tensors":
            measured = {"differing_tensors": float(self._differing), "max_abs_diff": self._largest}
            return Gate.judge(name, what, {**measured, **extra}, at_most={"differing_tensors": 0.0, **at_most})
        if self.hop.compared == "outputs":
            parity = self._parity.result().gate(name, what, self.hop.precision)
            minima = {quantity: limits["min"] for quantity, limits in parity.bound.items() if "min" in limits}
            if self.hop.precision == "int8":
                del minima["cosine"]  # the worst of hundreds of images; int8 is gated on its predictions
            at_most |= {quantity: limits["max"] for quantity, limits in parity.bound.items() if "max" in limits}
            return Gate.judge(
                name,
                what,
                {**parity.measured, "not_finite": float(self._not_finite), **extra},
                at_most={**at_most, "not_finite": 0.0},
                at_least=minima,
            )
        return None
