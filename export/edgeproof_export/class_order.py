"""Settle the order of a dataset's classes: by the reference's accuracy under each, if that tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.images import Images, evenly, open_images, unlabelled
from edgeproof_export.labels import Labels
from edgeproof_export.tasks.record import Reference
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.class_order import ClassOrder, ClassOrderError
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import wilson_interval
from edgeproof_runtime.metrics.paired import Paired

__all__ = ["Settled", "settle_class_order"]

_IMAGES = 500  # measured; a model that is right at all is told from a wrong order by far fewer


@dataclass(frozen=True, slots=True)
class Settled:
    """Images for the gates, and the labels of the model.

    Attributes:
        images: the images, with class indices if their order is known.
        labels: labels; the dataset's names of the classes are their ids, and their names if nothing else named them.
    """

    images: Images
    labels: Labels


def settle_class_order(
    data: str | None,
    labels: Labels,
    options: DataOptions,
    contract: InputContract,
    reference: Reference,
    *,
    trained: bool | None,
) -> Settled:
    """Open the images of an export, and settle the order of their classes.

    If the class names sort in another order as text than as numbers and nothing names the model's classes, the
    reference is measured under both orders on the same images. An order is taken only if it is better beyond the 95 %
    interval of the paired difference, and better than guessing.

    Args:
        data, labels, options: see `edgeproof_export.images.open_images`.
        contract: input contract.
        reference: model that is measured.
        trained: whether the weights are trained; None if unknown.

    Raises:
        ClassOrderError: the order is not clear, and the weights are trained.
        InputError: the data cannot be read.
    """
    try:
        images = open_images(data, labels, options)
    except ClassOrderError as error:
        images = _measured(str(data), labels, options, contract, reference, error, trained=trained)
    found = images.labelled
    if found is None or found.ids is None or len(found.ids) != len(labels.names):
        return Settled(images, labels)
    if labels.invented:
        return Settled(images, Labels(found.ids, found.ids))
    return Settled(images, replace(labels, ids=found.ids))


def _measured(
    data: str,
    labels: Labels,
    options: DataOptions,
    contract: InputContract,
    reference: Reference,
    error: ClassOrderError,
    *,
    trained: bool | None,
) -> Images:
    orders: tuple[ClassOrder, ...] = get_args(ClassOrder)
    opened = {order: open_images(data, labels, replace(options, class_order=order)) for order in orders}
    labelled = [images.labelled for images in opened.values() if images.labelled is not None]
    right = _right(labelled, contract, reference)
    n, ones = right.shape[1], np.ones(right.shape[1], np.int64)
    paired = Paired.of(right[0], right[1], ones)
    low, high = paired.drop_ci95
    figures = ", ".join(
        f"{order} order {int(row.sum())} of {n} right ({row.mean():.1%})"
        for order, row in zip(orders, right, strict=True)
    )
    winner = orders[0] if low > 0 else orders[1] if high < 0 else None
    if winner is not None:
        best = int(right[orders.index(winner)].sum())
        if wilson_interval(best, n)[0] > 1 / len(labels.names):
            note = f"Class order: {winner}, settled by measuring both: {figures}. --class-order chooses."
            images = opened[winner]
            return replace(images, notes=(*images.notes, note))
    if trained is not False:
        raise ClassOrderError(
            error.what, got=f"{error.got}; measured: {figures}", expected=error.expected, fix=error.fix
        ) from error
    note = (
        f"{data}: used without labels, accuracy was not measured: the order of the classes is not clear ({figures}). "
        "Choose it with --class-order text or natural, or --class-ids FILE."
    )
    return Images(data, unlabelled(data, options), notes=(note,))


def _right(data: Sequence[LabelledData], contract: InputContract, reference: Reference) -> NDArray[np.int64]:
    """Return 1 where the reference is right on an image, by dataset; the datasets differ in their targets only."""
    preprocess = Preprocessor(contract)
    read, predicted = [], []
    for index, picture in data[0].images.indexed(evenly(len(data[0]), _IMAGES)):
        # One at a time: a few hundred images, and a model may take no batches.
        (scores,) = reference(preprocess(picture.frame)[None])
        read.append(index)
        predicted.append(int(scores.argmax()))
    if not read:
        raise InputError("--data: no image could be read", got=f"{len(data[0])} images")
    found: NDArray[np.int64] = np.array(
        [[int(one.targets[index] == answer) for index, answer in zip(read, predicted, strict=True)] for one in data]
    )
    return found
