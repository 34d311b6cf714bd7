"""Say why weights do not fit a model, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from edgeproof_export.weights.file import Weights
from edgeproof_export.weights.sub_trees import COUNTER, SubTree, role_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import some

__all__ = ["misfit", "require_floats"]

_STATISTICS = ("running_mean", "running_var")
# Names that only quantised state dicts have: PyTorch's packed layers, bitsandbytes, GPTQ and AWQ.
_QUANTISED = ("_packed_params", "qweight", "qzeros", "SCB", "weight_scale", "quant_map", "zero_point")
# Parts of names that layers have while something computes their weights, and how they become plain ones.
_COMPUTED = (
    (("lora_A", "lora_B"), "model.merge_and_unload() of peft"),
    (("parametrizations",), "torch.nn.utils.parametrize.remove_parametrizations(LAYER, 'weight') for each layer"),
    (("weight_mask",), "torch.nn.utils.prune.remove(LAYER, 'weight') for each layer"),
    (("weight_u",), "torch.nn.utils.remove_spectral_norm(LAYER) for each layer"),
    (("weight_g",), "torch.nn.utils.remove_weight_norm(LAYER) for each layer"),
)
# Tensors of PyTorch's optimizers.
_OPTIMIZER = frozenset(
    {"acc_delta", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "step"}
)


def require_floats(given: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    """Require real floating-point weights wherever the model has them.

    Raises:
        InputError: weights are quantised, whole or complex numbers, or have no values.
    """
    for name, tensor in given.items():
        if name in own and tensor.is_meta:
            raise InputError(
                f"{source}: holds shapes without values",
                got=f"{name} on the meta device",
                expected="tensors with values",
                fix="save model.state_dict() once the weights are loaded, on cpu or cuda",
            )
        if name in own and own[name].is_floating_point() and not _is_float(tensor):
            raise _quantised(source, f"{name} is {str(tensor.dtype).removeprefix('torch.')}")


def misfit(weights: Weights, nearest: SubTree, own: Mapping[str, Tensor]) -> InputError:
    """Return the error for weights that fit under no prefix.

    Args:
        weights: the checkpoint.
        nearest: its sub-tree that has most of the model's names.
        own: the model's tensors.
    """
    given, source = nearest.tensors, weights.source
    packed = [name for name in weights.tensors if name.rpartition(".")[2] in _QUANTISED]
    packed += [name for name, tensor in weights.tensors.items() if tensor.is_quantized]
    if packed:
        return _quantised(source, f"has {some(packed, 4)}")
    if any("_flat_param" in name or name == "flat_param" for name in weights.tensors):
        return InputError(
            f"{source}: holds FSDP's flattened shards, not the model's tensors",
            fix="save it with a FULL_STATE_DICT: FullyShardedDataParallel.state_dict_type",
        )
    if all(_of_optimizer(name) for name in weights.tensors):
        return InputError(
            f"{source}: holds only the state of an optimizer",
            got=some(list(weights.tensors), 4),
            expected="tensors with the model's names",
            fix="give the file of the model's weights",
        )
    missing = [name for name in own if name not in given and not name.endswith(COUNTER)]
    unexpected = [name for name in given if name not in own]
    other = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    under = f" (nearest: the tensors under {nearest.prefix!r})" if nearest.prefix else ""
    what = f"{source}: does not fit the model{under}"
    if missing and not other and not unexpected and all(name.endswith(_STATISTICS) for name in missing):
        what = f"{source}: the running statistics of BatchNorm are missing"
    return InputError(
        what,
        got="; ".join(f"{len(names)} {kind}: {some(names, 4)}" for kind, names in parts if names),
        expected=f"{len(own)} tensors with the model's names and shapes",
        fix=_elsewhere(weights, nearest, own, missing) or _fix(given, own, missing, unexpected, bool(other)),
    )


def _elsewhere(weights: Weights, nearest: SubTree, own: Mapping[str, Tensor], missing: Sequence[str]) -> str | None:
    """Return the advice for layers that lie under another prefix than the rest, such as a head beside a backbone."""
    if not nearest.prefix or not missing or len(missing) > 4:
        return None
    rest = [name for name in weights.tensors if name not in nearest.full_names and not _of_optimizer(name)]
    for name in missing:
        found = next((full for full in rest if weights.tensors[full].shape == own[name].shape), None)
        if found is None:
            return None
    return f"{found} has the shape of {name}: build MODEL with the names of the file, in a factory"


def _fix(
    given: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    other_shapes: bool,
) -> str:
    parts = {part for name in unexpected for part in name.split(".")}
    for marks, call in _COMPUTED:
        if parts.intersection(marks):
            return f"save the weights that its layers compute: {call}, then model.state_dict()"
    if not any(name in own for name in given):
        return "check that MODEL is the architecture of these weights: no name agrees"
    if missing and not unexpected and not other_shapes:
        if all(name.endswith(_STATISTICS) for name in missing):
            return (
                "save model.state_dict(), which has them, not only the parameters; a model that was trained with "
                "track_running_stats=False must be built so"
            )
        last = list(own)[-1].rpartition(".")[0]
        if all(name.startswith(f"{last}.") for name in missing):
            return f"the file lacks the last layer, {last}: train it first, then export the whole model's weights"
    if other_shapes and not missing and not unexpected:
        classes = _classes(given, own)
        if classes is not None:
            return f"add --num-classes {classes} (a factory: build it for {classes} classes)"
    if unexpected and not missing and not other_shapes:
        return "choose the architecture that has these layers; if they are not layers, remove them from the file"
    return "check that the weights belong to this architecture"


def _classes(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes of the weights, if only the rows of tensors by class differ."""
    rows: set[tuple[int, int]] = set()
    for name, wanted in own.items():
        tensor = given.get(name)
        if tensor is not None and tensor.shape != wanted.shape:
            if not tensor.ndim or not wanted.ndim or tensor.shape[1:] != wanted.shape[1:]:
                return None
            rows.add((len(tensor), len(wanted)))
    return rows.pop()[0] if len(rows) == 1 else None


def _of_optimizer(name: str) -> bool:
    return name.rpartition(".")[2] in _OPTIMIZER or any(role_of(part) == "training" for part in name.split("."))


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not tensor.is_quantized and tensor.dtype.itemsize > 1


def _quantised(source: str, got: str) -> InputError:
    return InputError(
        f"{source}: quantised weights",
        got=got,
        expected="the float model's weights",
        fix="export the float weights; edgeproof optimize quantises the bundle",
    )
