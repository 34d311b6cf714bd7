"""``anomalib:CKPT``: the network of a checkpoint, built by the installed anomalib; outputs are heat map and score."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from edgeproof_export.anomalib.record import COMPONENTS, Checkpoint, Scale, read_checkpoint
from edgeproof_export.models import Source
from edgeproof_export.pytorch.tracing import described
from edgeproof_export.quietly import quiet
from edgeproof_runtime.bundle.task_settings import AnomalySettings
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["AnomalyNetwork", "anomalib_model"]


class AnomalyNetwork(nn.Module):
    """A network of anomalib with its normalisation.

    Args:
        network: returns an ``InferenceBatch`` for tensors of its input.
        checkpoint: normalisation of scores and maps.
    """

    def __init__(self, network: nn.Module, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = network
        self._score, self._heat = checkpoint.score, checkpoint.heat

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return heat map ``N x h x w`` and score ``N x 1``."""
        found = self.network(batch)
        heat, score = found.anomaly_map, found.pred_score
        if heat is None:
            raise InputError(
                "anomaly map: not found",
                got="a model of anomalib that gives a score only, such as Dfkde",
                expected="a heat map and a score for each image",
                fix="train a model with anomaly maps, such as Padim, Patchcore, Stfpm or EfficientAd",
            )
        if score is None:
            score = torch.amax(heat, dim=(-2, -1))
        heat = heat.reshape(heat.shape[0], heat.shape[-2], heat.shape[-1])  # some maps have a channel
        return _scaled(heat, self._heat), _scaled(score.reshape(score.shape[0], 1), self._score)


def anomalib_model(spec: str, path: Path) -> Source:
    """Build the network of a checkpoint; nothing is downloaded and none of the checkpoint's code is run.

    Args:
        spec: MODEL as given, ``anomalib:CKPT``.
        path: the checkpoint.

    Raises:
        InputError: the checkpoint cannot be read, is of an unknown class, or does not fit it.
        UnavailableError: anomalib is not installed.
    """
    checkpoint = read_checkpoint(path)
    if util.find_spec("anomalib") is None:
        raise UnavailableError(f"{spec}: requires anomalib, not installed", fix="pip install anomalib")
    with quiet(), redirect_stdout(sys.stderr), redirect_stderr(io.StringIO()):
        try:
            models = import_module("anomalib.models")
            pre_processor = import_module("anomalib.pre_processing").PreProcessor
        except Exception as error:  # a package of many dependencies, any of which may be missing or too new
            raise UnavailableError(
                f"{spec}: anomalib cannot be imported", got=described(error), fix="pip install anomalib"
            ) from error
        kind = _class_of(path, checkpoint, models)
        arguments = dict(checkpoint.hyperparameters)
        if "pre_trained" in arguments:
            arguments["pre_trained"] = False  # all weights are in the checkpoint
        try:
            with _no_downloads():
                made = kind(
                    **arguments,
                    **dict.fromkeys(COMPONENTS[1:], False),
                    pre_processor=pre_processor(transform=checkpoint.preprocessing.module()),
                )
            network: nn.Module = made.model
            network.load_state_dict(dict(checkpoint.tensors))
        except Exception as error:  # code of anomalib and its backbones
            raise InputError(
                f"{path}: does not fit anomalib's {kind.__name__}",
                got=described(error),
                expected=f"a checkpoint of anomalib {metadata.version('anomalib')}",
                fix="install the version of anomalib that trained it",
            ) from error
    complete = AnomalyNetwork(network.eval().requires_grad_(False), checkpoint).eval()
    contract = checkpoint.preprocessing.contract()
    with torch.inference_mode():
        complete(torch.zeros(1, *contract.tensor_shape()[1:]))
    version = metadata.version("anomalib")
    score = "pred_score" if checkpoint.score is None else "pred_score, normalised"
    return Source(
        spec=spec,
        model=complete,
        contract=contract,
        weights=f"in {path.name}, {kind.__name__} of anomalib {version}",
        weights_file=path,
        anomaly=AnomalySettings(
            threshold=checkpoint.threshold,
            quantile=None,
            good_images=None,
            score=f"{score}, of anomalib's {kind.__name__}",
        ),
        transform=checkpoint.preprocessing.transform,
    )


def _class_of(path: Path, checkpoint: Checkpoint, models: Any) -> Any:
    """Return the class whose arguments the hyperparameters are; a checkpoint does not name its class."""
    given = set(checkpoint.hyperparameters)
    classes = {
        name: value for name, value in vars(models).items() if isinstance(value, type) and name in models.__all__
    }
    missing: dict[str, int] = {}
    for name, value in classes.items():
        arguments = set(inspect.signature(value).parameters) - set(COMPONENTS)
        if given <= arguments:
            missing[name] = len(arguments - given)
    if not missing:
        raise InputError(
            f"{path}: no model of the installed anomalib has these hyperparameters",
            got=", ".join(sorted(given)),
            fix="install the version of anomalib that trained it",
        )
    return classes[min(missing, key=lambda name: missing[name])]


def _scaled(values: Tensor, scale: Scale | None) -> Tensor:
    if scale is None:
        return values
    return ((values - scale.middle) / scale.width + 0.5).clamp(0.0, 1.0)


class _NoWeights(dict[str, Tensor]):
    """Stands for weights that are not downloaded."""


@contextmanager
def _no_downloads() -> Iterator[None]:
    """Build networks of timm and torchvision without pretrained weights, which the checkpoint replaces."""
    create, load, fetch = timm.create_model, nn.Module.load_state_dict, WeightsEnum.get_state_dict

    def without(*args: Any, **options: Any) -> Any:
        return create(*args, **{**options, "pretrained": False})

    def loaded(module: nn.Module, state: Any, *args: Any, **options: Any) -> Any:
        return None if isinstance(state, _NoWeights) else load(module, state, *args, **options)

    replaced: list[tuple[Any, str, Any]] = [
        (timm, "create_model", without),
        (WeightsEnum, "get_state_dict", lambda _self, *_args, **_options: _NoWeights()),
        (nn.Module, "load_state_dict", loaded),
    ]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), before in zip(replaced, (create, fetch, load), strict=True):
            setattr(owner, name, before)
