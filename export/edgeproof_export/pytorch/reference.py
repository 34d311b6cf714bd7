"""The PyTorch model as the reference of all comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgeproof_export.checkpoint import Blueprint
from edgeproof_export.models import Source
from edgeproof_export.pytorch.tracing import described, user_line
from edgeproof_export.quietly import quiet
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["TorchReference", "checkpoint_reference", "network_reference"]


class TorchReference:
    """The PyTorch model as the reference of all comparisons.

    Args:
        model: a module in eval mode, or an exported program, that returns class scores; see `classifier_of`.
        contract: input contract.
        name: name in error messages.
    """

    def __init__(self, model: nn.Module | ExportedProgram, contract: InputContract, name: str) -> None:
        self._call: Any = model.module() if isinstance(model, ExportedProgram) else model
        self._contract = contract
        self._name = name

    def __call__(self, batch: NDArray[np.generic]) -> NDArray[np.generic]:
        """Run the model.

        Args:
            batch: ``N x`` the shape of the contract's tensor.

        Returns:
            Outputs ``N x C``.

        Raises:
            InputError: the model fails on the batch, or its output is not ``N x C``.
        """
        try:
            with torch.inference_mode(), quiet():
                answer = self._call(torch.from_numpy(np.ascontiguousarray(batch)))
        except Exception as error:  # user code may raise anything
            line = user_line(error)
            raise InputError(
                f"{self._name}: fails on the contract's tensor",
                got=described(error) + (f", at {line}" if line else ""),
                expected=f"a model for inputs {batch.dtype} {batch.shape}",
                fix="check size, colour and layout: " + self._contract.summary(),
            ) from error
        if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != len(batch):
            found = f"{tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
            raise InputError(
                f"{self._name}: not a classifier",
                got=f"{found} for a batch of {len(batch)}",
                expected=f"one tensor ({len(batch)}, classes)",
                fix="wrap the model in a module that returns only the scores",
            )
        scores: NDArray[np.generic] = answer.numpy()
        return scores


def checkpoint_reference(
    source: Source,
) -> tuple[Blueprint, nn.Module, Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], ...]]]:
    """Return a checkpoint's network as the reference, with any number of outputs.

    Args:
        source: a checkpoint of `edgeproof train`.

    Returns:
        The blueprint, the network, and a function from a batch to one array ``N x ...`` per output, which raises
        InputError if an output is not a tensor of the batch.
    """
    blueprint, network = source.blueprint, source.model
    if blueprint is None or not isinstance(network, nn.Module):
        raise TypeError(f"{source.spec}: not a checkpoint")

    return blueprint, network, network_reference(network, source.spec)


def network_reference(
    network: nn.Module, name: str
) -> Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], ...]]:
    """Return a function from a batch to one array ``N x ...`` per output of a network.

    It raises InputError if an output is not a tensor of the batch.
    """

    def answer(batch: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
        with torch.inference_mode(), quiet():
            found = network(torch.from_numpy(np.ascontiguousarray(batch)))
        outputs = found if isinstance(found, tuple) else (found,)
        if not all(isinstance(output, Tensor) and len(output) == len(batch) for output in outputs):
            raise InputError(f"{name}: outputs are not tensors of the batch", got=type(found).__name__)
        return tuple(output.numpy() for output in outputs)

    return answer
