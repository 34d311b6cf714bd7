"""Read a checkpoint of anomalib: hyperparameters, tensors, preprocessing, normalisation and threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeproof_export.anomalib.preprocessing import Preprocessing
from edgeproof_export.weights.file import load_tensors
from edgeproof_export.weights.stand_ins import StandIn
from edgeproof_runtime.errors import InputError

__all__ = ["COMPONENTS", "Checkpoint", "Scale", "read_checkpoint"]

COMPONENTS = ("pre_processor", "post_processor", "evaluator", "visualizer")
"""Arguments of every model of anomalib that are not the network's."""

_PRE, _POST = "anomalib_pre_processor_config", "anomalib_post_processor_config"
_STATE, _NETWORK, _STATISTICS = "state_dict", "model.", "post_processor."


@dataclass(frozen=True, slots=True)
class Scale:
    """Normalisation of scores: ``(score - middle) / width + 0.5``, within 0..1.

    Attributes:
        middle: score that becomes 0.5.
        width: largest minus smallest score of the validation images.
    """

    middle: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Content of a checkpoint.

    Attributes:
        hyperparameters: arguments of the model's class, without the components.
        tensors: state dict of the network.
        preprocessing: preprocessing of the training.
        score, heat: normalisation of scores and anomaly maps; None without one.
        threshold: a score above it is a defect, in units of the bundle's score.
    """

    hyperparameters: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    preprocessing: Preprocessing
    score: Scale | None
    heat: Scale | None
    threshold: float


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of anomalib 2.7 or later; its pickle runs no code.

    Raises:
        InputError: not a checkpoint of anomalib, or one without preprocessing or threshold.
    """
    content = load_tensors(path)
    state = content.get(_STATE) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not isinstance(content.get(_PRE), Mapping):
        raise _foreign(path, content)
    parts = content.get("anomalib_components_enabled") or {}
    if not parts.get("post_processor", True) or not isinstance(content.get(_POST), Mapping):
        raise InputError(
            f"{path}: no threshold", got="a model without post-processor", fix="train it with anomalib's post-processor"
        )
    fitted = state.get("_is_fitted")
    if isinstance(fitted, Tensor) and not bool(fitted.all()):
        raise InputError(f"{path}: the model is not fitted", fix="engine.fit(model, datamodule) of anomalib")
    spec = content[_PRE].get("transform") if parts.get("pre_processor", True) else None
    score, heat, threshold = _statistics(path, state, content[_POST])
    return Checkpoint(
        hyperparameters=_hyperparameters(path, content.get("hyper_parameters") or {}),
        tensors={
            name.removeprefix(_NETWORK): tensor
            for name, tensor in state.items()
            if isinstance(tensor, Tensor) and name.startswith(_NETWORK)
        },
        preprocessing=Preprocessing.of(spec, str(path)),
        score=score,
        heat=heat,
        threshold=threshold,
    )


def _statistics(
    path: Path, state: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Scale | None, Scale | None, float]:
    """Return the normalisation of scores and maps, and the threshold, as `PostProcessor` of anomalib applies them."""
    limits = {kind: _number(state, f"_{kind}_threshold") for kind in ("image", "pixel")}
    if config.get("enable_threshold_matching", True):
        image, pixel = limits["image"], limits["pixel"]
        limits = {"image": pixel if math.isnan(image) else image, "pixel": image if math.isnan(pixel) else pixel}
    scales: dict[str, Scale | None] = {}
    for kind, limit in limits.items():
        low, high = (_number(state, f"{kind}_{end}") for end in ("min", "max"))
        usable = bool(config.get("enable_normalization", True)) and math.isfinite(high - low)
        if usable and high == low:
            raise InputError(
                f"{path}: its normalisation is degenerate",
                got=f"all {kind} scores of the validation images are {low:.6g}",
                expected="validation images with different scores",
            )
        scales[kind] = Scale((low + high) / 2 if math.isnan(limit) else limit, high - low) if usable else None
    sensitivity = config.get("image_sensitivity", 0.5)
    threshold = limits["image"] if scales["image"] is None else 1.0 - float(sensitivity)
    if not threshold > 0:
        raise InputError(
            f"{path}: no threshold",
            got="never validated" if math.isnan(threshold) else f"a score of {threshold:.6g}",
            expected="a score above 0, which anomalib chooses on validation images",
            fix="engine.fit(model, datamodule) of anomalib, with validation images, then export its checkpoint",
        )
    return scales["image"], scales["pixel"], threshold


def _number(state: Mapping[str, Any], name: str) -> float:
    value = state.get(_STATISTICS + name)
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 else math.nan


def _hyperparameters(path: Path, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{path}: damaged hyperparameters", got=type(given).__name__)
    return {str(name): _plain(path, str(name), value) for name, value in given.items() if name not in COMPONENTS}


def _plain(path: Path, name: str, value: Any) -> Any:
    """Return a value of plain types; a member of an enumeration is its value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return type(value)(_plain(path, name, item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): _plain(path, name, item) for key, item in value.items()}
    if isinstance(value, StandIn) and value.state is None and len(value.args) == 1:
        return _plain(path, name, value.args[0])
    got = value.path if isinstance(value, StandIn) else type(value).__name__
    raise InputError(f"{path}: hyperparameter {name} holds an object", got=got, expected="plain values")


def _foreign(path: Path, content: Any) -> InputError:
    keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
    return InputError(
        f"{path}: not a checkpoint of anomalib 2.7 or later",
        got=keys or "nothing",
        expected=f"{_STATE} and {_PRE}, as engine.fit saves them in weights/lightning/model.ckpt",
        fix="of an older anomalib: export it there with model.to_onnx(..., input_size=(H, W))",
    )
