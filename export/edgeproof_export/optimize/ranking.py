"""Rank quantised layers by what their rounding costs, with more images for the costly ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import onnx

from edgeproof_export.optimize.bench import Bench
from edgeproof_export.optimize.graph import Group, quantized_groups, restore
from edgeproof_export.optimize.inputs import Inputs
from edgeproof_export.optimize.lanes import in_order
from edgeproof_export.optimize.points import Ranked
from edgeproof_export.optimize.tails import Tails
from edgeproof_export.tasks.budget import Scores

__all__ = ["rank_layers"]

# Images that each round adds; after each round the better half remains. With 8 images at first and a quarter kept, the
# costliest layer of EfficientNet-Lite0's graph for TensorRT was lost.
_ROUNDS = (16, 16, 32, 64)
_KEEP, _FEWEST = 2, 4


def rank_layers(bench: Bench, model: onnx.ModelProto, name: str) -> list[tuple[Ranked, Group]]:
    """Rank layers by the reduction of divergence when restored alone, largest first.

    Successive halving (K. Jamieson, A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", AISTATS 2016): all layers are tried on a few calibration images, the better half on more. The graphs
    are computed as they state, each from its layer on, which costs no compilation for each layer and does not depend
    on this CPU. As many are computed at a time as there are cores.

    Args:
        bench: inputs of the search.
        model: quantised graph.
        name: its name, for progress.
    """
    stated = replace(bench.by_arithmetic(), tell=lambda _phase, _done, _total: None)
    images = bench.split.calibration
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    groups = quantized_groups(model)
    tell = partial(bench.tell, f"{name}: ranking layers")
    lanes = stated.judge.lanes(bench.source)
    threads = max(1, stated.judge.cores // lanes)
    sizes = [len(groups)]
    while len(sizes) < len(_ROUNDS):
        sizes.append(min(sizes[-1], max(_FEWEST, sizes[-1] // _KEEP)))
    total = sum(sizes)
    cost = np.zeros(len(groups))
    left = list(range(len(groups)))
    done = seen = 0
    for number, count in enumerate(_ROUNDS):
        left = left[: sizes[number]]
        some = images.only(order[seen : seen + count])
        reference = stated.scores(bench.source, some, "")
        ordered = [groups[place].nodes for place in sorted(left)]
        variants = ((restore(model, bench.source, nodes), nodes) for nodes in ordered)
        tails = Tails(stated.judge, model, some, variants, threads)
        whole = bench.budget.divergence(reference, stated.scores(model, some, "", tails.whole))
        scored = partial(_restored, stated, bench.source, model, some, tails)
        with closing(in_order(scored, [groups[place].nodes for place in left], lanes)) as results:
            for place, scores in zip(left, results, strict=True):
                alone = bench.budget.divergence(reference, scores)
                cost[place] += (whole - alone - cost[place]) * len(some) / (seen + len(some))
                done += 1
                tell(done, total)
        seen += len(some)
        left.sort(key=lambda place: -cost[place])
        if seen >= len(images):
            break
    tell(total, total)
    ranked = [(Ranked(one.name, one.operator, float(value)), one) for one, value in zip(groups, cost, strict=True)]
    return sorted(ranked, key=lambda item: -item[0].cost)


def _restored(
    stated: Bench, source: onnx.ModelProto, model: onnx.ModelProto, images: Inputs, tails: Tails, nodes: Sequence[str]
) -> Scores:
    """Return the scores of the graph with these nodes restored, ``N x C``."""
    other = restore(model, source, nodes)
    return stated.scores(other, images, "", partial(tails.scores, other, nodes))
