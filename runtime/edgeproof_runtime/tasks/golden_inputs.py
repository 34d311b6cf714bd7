"""Inputs of golden cases: frames through the contract, or latent vectors of seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system.spec import SPEC

__all__ = ["FrameInputs", "SeedInputs"]


class FrameInputs:
    """Golden frames through the bundle's contract; implements `edgeproof_runtime.tasks.record.GoldenInputs`."""

    def __init__(self, bundle: Bundle) -> None:
        self._labels = bundle.labels
        self._preprocess = Preprocessor(bundle.contract)

    def fill(self, case: GoldenCase, slot: Tensor) -> None:
        self._preprocess(case.frame, out=slot)

    def gates(self, cases: Sequence[GoldenCase]) -> list[Gate]:
        """Compare preprocessing bit for bit, and the labels if the cases have some."""
        labels = self._label_gate(cases)
        return [self._preprocessing_gate(cases), *([] if labels is None else [labels])]

    def _preprocessing_gate(self, cases: Sequence[GoldenCase]) -> Gate:
        differing = wrong_shape = 0
        largest = 0.0
        for case in cases:
            tensor = self._preprocess(case.frame)
            if tensor.shape != case.tensor.shape or tensor.dtype != case.tensor.dtype:
                wrong_shape += 1
                continue
            different = tensor.view(np.uint8) != case.tensor.view(np.uint8)
            differing += int(different.any(axis=-1).sum()) if different.any() else 0
            largest = max(largest, float(np.abs(tensor.astype(np.float64) - case.tensor.astype(np.float64)).max()))
        return Gate.judge(
            "preprocessing",
            "this machine's input tensors with those of the export, bit for bit",
            {
                "n": float(len(cases)),
                "differing_rows": float(differing),
                "wrong_shape": float(wrong_shape),
                "max_abs_diff": largest,
            },
            at_most={"differing_rows": 0.0, "wrong_shape": 0.0},
        )

    def _label_gate(self, cases: Sequence[GoldenCase]) -> Gate | None:
        named = [case for case in cases if case.top1 is not None and case.label is not None]
        if not named or not self._labels:
            return None
        other = sum(self._labels[case.top1] != case.label for case in named if case.top1 is not None)
        return Gate.judge(
            "labels",
            "labels.txt with the labels of PyTorch's top-1 predictions at the export",
            {"n": float(len(named)), "differing": float(other)},
            at_most={"differing": 0.0},
        )


class SeedInputs:
    """Golden seeds as latent vectors; implements `edgeproof_runtime.tasks.record.GoldenInputs`."""

    def __init__(self, bundle: Bundle) -> None:
        self._size = bundle.latent.size

    def fill(self, case: GoldenCase, slot: Tensor) -> None:
        slot[...] = self._latent(case)

    def gates(self, cases: Sequence[GoldenCase]) -> list[Gate]:
        """Compare every seed's latent vector, equal but for the last bit (see `latents`)."""
        largest = 0.0
        for case in cases:
            vector, expected = self._latent(case), case.tensor.astype(np.float32)
            fits = vector.shape == expected.shape
            largest = max(largest, float(np.abs(vector - expected).max()) if fits else float("inf"))
        gate = Gate.judge(
            "latent vectors",
            "this machine's latent vectors with those of the export, seed by seed",
            {"n": float(len(cases)), "max_abs_diff": largest},
            at_most={"max_abs_diff": SPEC["latent_max_abs_diff"]},
        )
        return [gate]

    def _latent(self, case: GoldenCase) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = latents(case.seed or 0, 0, 1, self._size)[0]
        return vector
