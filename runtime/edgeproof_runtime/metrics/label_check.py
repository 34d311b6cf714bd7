"""Whether labels can be right: top-1 at chance level, or far better if the classes had another order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeproof_runtime.data.class_order import in_order
from edgeproof_runtime.metrics.accuracy import wilson_interval
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.paired import mcnemar_p

__all__ = ["AnotherOrder", "LabelCheck", "Pairs", "check_labels"]

Pairs = Mapping[tuple[int, int], int]
"""Number of images by (true class, predicted class)."""

_FEWEST = 30  # images; fewer cannot tell chance from skill
_GAIN = 0.10  # top-1 that another order must gain
_P = 1e-3


@dataclass(frozen=True, slots=True)
class AnotherOrder:
    """Another order of the classes with a far better top-1.

    Attributes:
        top1: top-1 under that order, on images that did not choose it.
        what: the order, in one clause.
    """

    top1: float
    what: str


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """Result of `check_labels`.

    Attributes:
        n: labelled images.
        correct: images predicted right.
        classes: classes of the model.
        better: another order of the classes that is far better; None if there is none.
    """

    n: int
    correct: int
    classes: int
    better: AnotherOrder | None

    @property
    def at_chance(self) -> bool:
        """Whether top-1 is not better than guessing, on enough images to tell."""
        if self.n < _FEWEST:
            return False
        low, high = wilson_interval(self.correct, self.n)
        return low <= 1 / self.classes and high < (1 + 1 / self.classes) / 2

    def sentences(self) -> list[str]:
        """Say what is suspicious, in sentences for people."""
        top1 = self.correct / self.n if self.n else 0.0
        if self.better is not None:
            return [
                f"Under another order of the classes top-1 would be {self.better.top1:.1%} instead of {top1:.1%}: the "
                f"labels are probably in another order ({self.better.what}). Check --class-ids, --class-order and the "
                "labels."
            ]
        if self.at_chance:
            return [
                f"Top-1 {top1:.1%} on {self.n} images is not better than guessing among {self.classes} classes: check "
                "the labels, the order of the classes, the weights and the input contract."
            ]
        return []

    def gates(self, *, trained: bool | None = True) -> list[Gate]:
        """Return the failed gate of what is suspicious; empty if nothing is.

        Args:
            trained: whether the weights are trained; None if unknown. Random weights fail no gate, unknown ones only if
                another order is better.
        """
        if trained is False:
            return []
        if self.better is not None:
            top1 = self.correct / self.n
            return [
                Gate.judge(
                    "class order",
                    "top-1 accuracy with that under another order of the classes",
                    {
                        "n": float(self.n),
                        "top1": top1,
                        "reordered_top1": self.better.top1,
                        "gain": self.better.top1 - top1,
                    },
                    at_most={"gain": _GAIN},
                )
            ]
        if self.at_chance and trained:
            low, _ = wilson_interval(self.correct, self.n)
            return [
                Gate.judge(
                    "above chance",
                    "lower end of the 95 % interval of top-1 with guessing among the classes",
                    {"n": float(self.n), "top1": self.correct / self.n, "top1_low": low},
                    at_least={"top1_low": 1 / self.classes},
                )
            ]
        return []


def check_labels(halves: tuple[Pairs, Pairs], classes: int, labels: Sequence[str] = ()) -> LabelCheck:
    """Check the labels of an evaluated dataset.

    Orders that people mix up are tried first: indices off by one, and names sorted as text or as numbers. Then the
    order that fits the predictions of one half of the images best (greedily, most frequent pair first) is tried on the
    other half, and the reverse, so that an order is never tried on the images that chose it. An order counts if it
    gains at least 10 points and the exact McNemar test has p < 0.001.

    Args:
        halves: pairs of two halves of the images.
        classes: classes of the model.
        labels: the model's labels; may be empty.
    """
    whole: Counter[tuple[int, int]] = Counter(halves[0])
    whole.update(halves[1])
    n = sum(whole.values())
    correct = sum(count for (true, predicted), count in whole.items() if true == predicted)
    found: list[AnotherOrder] = []
    for what, order in _usual_mistakes(classes, labels):
        if _far_better([(whole, order)], n, correct):
            found.append(AnotherOrder(_right(whole, order) / n, what))
    fitted = [_greedy(half) for half in halves]
    crossed = [(halves[1], fitted[0]), (halves[0], fitted[1])]
    usual = max((one.top1 for one in found), default=-1.0)
    # A usual mistake explains more than some order, unless that fits much better.
    if _far_better(crossed, n, correct) and sum(_right(*one) for one in crossed) / n > usual + _GAIN:
        names = list(labels) or [str(index) for index in range(classes)]
        moved = [f"{names[a]} as {names[b]}" for a, b in sorted(_greedy(whole).items()) if a != b]
        what = f"predicted: {', '.join(moved[:3])}{', ...' if len(moved) > 3 else ''}"
        found.append(AnotherOrder(sum(_right(pairs, order) for pairs, order in crossed) / n, what))
    return LabelCheck(n, correct, classes, max(found, key=lambda one: one.top1, default=None))


def _usual_mistakes(classes: int, labels: Sequence[str]) -> list[tuple[str, dict[int, int]]]:
    """Return (what, order) of mistakes that people make; an order maps a class of the dataset to the model's."""
    orders = [
        ("every class index one higher", {i: (i + 1) % classes for i in range(classes)}),
        ("every class index one lower", {i: (i - 1) % classes for i in range(classes)}),
    ]
    names = list(labels) or [str(index) for index in range(classes)]
    if len(set(names)) == classes:
        text, natural = (in_order(names, order, classes) for order in ("text", "natural"))
        if text != natural:
            as_text, as_natural = ({name: i for i, name in enumerate(order)} for order in (text, natural))
            orders.append(("names sorted as text", {as_natural[name]: as_text[name] for name in names}))
            orders.append(("names sorted as numbers", {as_text[name]: as_natural[name] for name in names}))
    return orders


def _greedy(pairs: Pairs) -> dict[int, int]:
    """Return one predicted class for each true class, most frequent pairs first."""
    order: dict[int, int] = {}
    taken: set[int] = set()
    # Of equal counts the diagonal comes first.
    for (true, predicted), _ in sorted(pairs.items(), key=lambda item: (-item[1], item[0][0] != item[0][1], item[0])):
        if true not in order and predicted not in taken:
            order[true] = predicted
            taken.add(predicted)
    return order


def _right(pairs: Pairs, order: Mapping[int, int]) -> int:
    return sum(count for (true, predicted), count in pairs.items() if order.get(true, true) == predicted)


def _far_better(tried: Sequence[tuple[Pairs, Mapping[int, int]]], n: int, correct: int) -> bool:
    if not n:
        return False
    both = sum(
        count
        for pairs, order in tried
        for (true, predicted), count in pairs.items()
        if true == predicted == order.get(true, true)
    )
    right = sum(_right(pairs, order) for pairs, order in tried)
    return (right - correct) / n >= _GAIN and mcnemar_p(correct - both, right - both) < _P
