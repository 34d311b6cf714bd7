"""Fit weights: under any prefix, in order where only names differ, refused with the reason otherwise."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgeproof_export.weights.file import Weights, read_weights
from edgeproof_export.weights.fit import Fitted, fit_weights, weights_digest
from edgeproof_export.weights.sub_trees import role_of
from edgeproof_runtime.errors import InputError


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def state(seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in net().state_dict().items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def assert_holds(module: nn.Module, expected: Mapping[str, Tensor]) -> None:
    for got, want in zip(module.state_dict().values(), expected.values(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def saved(content: Any, folder: Path) -> Weights:
    torch.save(content, folder / "w.pth")
    return read_weights(folder / "w.pth")


def fit(tensors: Mapping[str, Tensor], ema: bool | None = None) -> tuple[nn.Module, Fitted]:
    module = net()
    return module, fit_weights(module, Weights.of(tensors, "w.pth"), ema=ema)


def refused(tensors: Mapping[str, Tensor]) -> InputError:
    with pytest.raises(InputError) as caught:
        fit(tensors)
    return caught.value


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "net", "weights", "params", "student", "a.b"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "backbone.", "model.module.", "net._orig_mod."])
def test_checkpoints_as_training_scripts_save_them(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    named = under(prefix, state())
    content: Any = named if wrapper is None else {wrapper: named, "epoch": 3, "best": 0.9}
    module = net()
    fitted = fit_weights(module, saved(content, tmp_path))
    assert_holds(module, state())
    assert bool(fitted.notes) == (prefix not in ("", "_orig_mod."))


prefixes = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=8).filter(
        lambda part: role_of(part) == "model"  # such as encoder, not ema
    ),
    max_size=4,
).map(lambda parts: "".join(f"{part}." for part in parts))


@given(prefixes, prefixes, st.booleans())
def test_any_prefix_is_found_and_the_rest_is_named(prefix: str, other: str, before: bool) -> None:
    rest = {f"other.{other}weight": torch.zeros(7), "n_averaged": torch.tensor(3), "criterion.weight": torch.ones(2)}
    mine = under(f"root.{prefix}", state())
    module, fitted = fit({**rest, **mine} if before else {**mine, **rest})
    assert_holds(module, state())
    assert fitted.prefix == f"root.{prefix}"
    assert fitted.ema is None
    assert all(any(name in note for note in fitted.notes) for name in rest)


def test_lightning_checkpoint_with_a_loss_and_an_average_inside(tmp_path: Path) -> None:
    raw, average = state(1), state(2)
    content = {
        "epoch": 1,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {
            **under("backbone.", raw),
            "criterion.weight": torch.ones(2),
            **under("ema_model.module.backbone.", average),
            "ema_model.n_averaged": torch.tensor(5),
        },
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": []}],
    }
    weights = saved(content, tmp_path)
    module = net()
    fitted = fit_weights(module, weights, ema=False)
    assert_holds(module, raw)
    assert fitted.ema is False
    assert fitted.notes == [
        "w.pth: the raw, not averaged weights under 'state_dict.backbone.' were taken; --ema takes those under "
        "'state_dict.ema_model.module.backbone.'.",
        "w.pth: not used, as part of the training: state_dict.criterion.weight, state_dict.ema_model.n_averaged, "
        "optimizer_states.0.state.0.exp_avg.",
    ]
    assert fit_weights(module, weights).ema is True
    assert_holds(module, average)


@pytest.mark.parametrize(
    ("raw_at", "average_at"),
    [
        (("state_dict",), ("state_dict_ema",)),  # timm
        (("model",), ("model_ema",)),  # torchvision's references, DeiT, ConvNeXt
        (("model",), ("ema",)),
        (("params",), ("params_ema",)),  # BasicSR
        (("state_dict",), ("callbacks", "EMAWeightAveraging", "average_model")),
        (("model",), ("swa_model",)),
        (("net",), ("netEma",)),
    ],
)
def test_averaged_weights_are_taken_as_timm_does(
    tmp_path: Path, raw_at: tuple[str, ...], average_at: tuple[str, ...]
) -> None:
    raw, average = state(1), state(2)
    content: dict[str, Any] = {}
    for path, tensors in ((raw_at, raw), (average_at, average)):
        inner = content
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = tensors
    weights = saved(content, tmp_path)
    for ema, expected in ((None, average), (True, average), (False, raw)):
        module = net()
        fitted = fit_weights(module, weights, ema=ema)
        assert_holds(module, expected)
        assert fitted.ema is (ema is not False)
        assert ("--ema" if ema is False else "--no-ema") in fitted.notes[0]
        assert ("raw" if ema is False else "averaged (EMA)") in fitted.described("w.pth")


def test_lightning_moves_the_raw_weights_away(tmp_path: Path) -> None:
    # `WeightAveraging.on_save_checkpoint`: state_dict holds the average.
    content = {
        "state_dict": under("model.", state(2)),
        "current_model_state": under("model.", state(1)),
        "averaging_state": {"n_averaged": torch.tensor(4)},
    }
    module = net()
    assert fit_weights(module, saved(content, tmp_path)).ema is True
    assert_holds(module, state(2))
    assert fit_weights(module, saved(content, tmp_path), ema=False).prefix == "current_model_state.model."
    assert_holds(module, state(1))


def test_an_averaged_model_alone(tmp_path: Path) -> None:
    averaged = AveragedModel(net())
    averaged.module.load_state_dict(state(3))
    weights = saved(averaged.state_dict(), tmp_path)
    module = net()
    fitted = fit_weights(module, weights)
    assert_holds(module, state(3))
    assert fitted.ema is None
    assert "w.pth: holds averaged (EMA) weights, under 'module.'." in fitted.notes
    with pytest.raises(InputError, match="only averaged"):
        fit_weights(module, weights, ema=False)
    with pytest.raises(InputError, match="no averaged"):
        fit(state(), ema=True)


def test_an_average_without_names_is_said(tmp_path: Path) -> None:
    # torch_ema, diffusers: a list in the order of the parameters.
    content = {"model": state(), "ema": {"decay": 0.99, "shadow_params": [torch.zeros(4), torch.zeros(2)]}}
    module = net()
    fitted = fit_weights(module, saved(content, tmp_path))
    assert_holds(module, state())
    assert any("ema.shadow_params have no names" in note for note in fitted.notes)


def test_the_student_is_taken_and_the_teacher_named(tmp_path: Path) -> None:
    module = net()
    content = {"student": under("module.backbone.", state(1)), "teacher": under("module.backbone.", state(2))}
    fitted = fit_weights(module, saved(content, tmp_path))
    assert_holds(module, state(1))
    told = next(note for note in fitted.notes if "a teacher's weights, under 'teacher.module.backbone.', fit" in note)
    spec = str(tmp_path / "w.pth:teacher.module.backbone")
    assert told.endswith("--weights w.pth:teacher.module.backbone.")
    fitted = fit_weights(module, read_weights(spec))
    assert_holds(module, state(2))
    assert not any("a teacher's" in note for note in fitted.notes)


def test_two_sets_that_fit_are_a_question(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several sets of weights fit") as caught:
        fit_weights(net(), saved({"first": state(1), "second": state(2)}, tmp_path))
    assert caught.value.got == "'first.', 'second.'"
    assert caught.value.fix == "--weights w.pth:first"
    module = net()
    fit_weights(module, read_weights(f"{tmp_path / 'w.pth'}:second"))
    assert_holds(module, state(2))
    # Equal ones are no question.
    fit_weights(module, saved({"first": state(1), "second": copy.deepcopy(state(1))}, tmp_path))
    assert_holds(module, state(1))


@pytest.mark.parametrize("inserted", ["_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module", "module"])
def test_components_that_wrappers_insert(inserted: str) -> None:
    names = {name: f"{name.partition('.')[0]}.{inserted}.{name.partition('.')[2]}" for name in state()}
    # VGG of the ImageNet example: only some modules are wrapped.
    names["3.weight"] = "3.weight"
    module, _ = fit({names[name]: tensor for name, tensor in state().items()})
    assert_holds(module, state())


def test_layers_beside_the_model_are_named() -> None:
    module, fitted = fit({**under("backbone.", state()), "head.weight": torch.zeros(3, 2)})
    assert_holds(module, state())
    assert (
        "w.pth: not used, the model has no such layers: head.weight. If they belong to it, MODEL must be another "
        "architecture." in fitted.notes
    )


@pytest.mark.parametrize("extra", ["4.weight", "1.gamma", "aux.weight", "0.conv.weight"])
def test_layers_that_the_model_lacks_are_refused(extra: str) -> None:
    error = refused({**state(), extra: torch.zeros(2)})
    assert error.got == f"1 unexpected: {extra}"
    assert "architecture" in str(error.fix)


def test_a_head_beside_the_backbone_is_pointed_at() -> None:
    names = {name: ("head." if name.startswith("3.") else "backbone.") + name for name in state()}
    reordered = dict(reversed(state().items()))  # else they would be assigned in order
    error = refused({names[name].replace("head.3", "head.fc"): tensor for name, tensor in reordered.items()})
    assert error.got == "2 missing: 3.weight, 3.bias"
    assert str(error.fix).startswith("head.fc.bias has the shape of 3.bias: build MODEL")


def test_names_of_a_timm_model_s_origin_are_converted() -> None:
    """ConvNeXt as published by its authors; timm 1.0 names its layers otherwise, and orders them otherwise."""
    timm = pytest.importorskip("timm")
    source = timm.create_model("test_convnext2", num_classes=7)
    names = (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d+)\.blocks\.(\d+)", r"stages.\1.\2"),
        (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
    )
    published: dict[str, Tensor] = {}
    for name, tensor in sorted(source.state_dict().items()):
        for pattern, old in names:
            name = re.sub(pattern, old, name)
        published[f"model.{name}"] = tensor
    module = timm.create_model("test_convnext2", num_classes=7)
    weights = Weights(source="w.pth", tensors=published, containers=dict.fromkeys(published, "model."))
    fitted = fit_weights(module, weights)
    assert_holds(module, source.state_dict())
    assert "w.pth: timm converted the names, which are not those of its model" in fitted.notes
    # What timm would interpolate is another model.
    published["model.norm.weight"] = torch.zeros(3)
    with pytest.raises(InputError, match="does not fit"):
        fit_weights(module, weights)


@pytest.mark.parametrize(
    "extra", ["total_ops", "0.total_params", "loss_fn.weight", "acc.total", "class_weights", "0.attn_mask"]
)
def test_tensors_without_meaning_for_inference_are_dropped(extra: str) -> None:
    module, fitted = fit({**state(), extra: torch.zeros(2)})
    assert_holds(module, state())
    assert extra in fitted.notes[0]


def test_safetensors(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.safetensors")
    module = net()
    assert fit_weights(module, read_weights(tmp_path / "w.safetensors")).notes == []
    assert_holds(module, state())


def test_other_names_in_the_same_order_are_taken_and_said() -> None:
    for tensors in (state(), {name: t for name, t in state().items() if not name.endswith("num_batches_tracked")}):
        module, fitted = fit({f"x{i}": t for i, t in enumerate(tensors.values())})
        assert_holds(module, state())
        assert fitted.notes == [
            "w.pth: the names of the 9 tensors differ from the model's; number, order and shapes agree, so they were "
            "assigned in order"
        ]


def test_known_names_in_another_order_do_not_count_as_an_order() -> None:
    tensors = {f"x{name}" if name == "3.bias" else name: tensor for name, tensor in reversed(state().items())}
    assert "does not fit" in str(refused(tensors))


def test_counters_of_training_steps_may_be_absent() -> None:
    module, _ = fit({n: t for n, t in state().items() if not n.endswith("num_batches_tracked")})
    assert_holds(module, state())


def test_scalars_of_another_shape() -> None:
    weights = state()
    weights["1.num_batches_tracked"] = torch.tensor([7])
    module, _ = fit(weights)
    assert module.state_dict()["1.num_batches_tracked"].item() == 7


def test_what_does_not_fit_is_named() -> None:
    weights = state()
    weights["3.weight"] = torch.zeros(7, 4)
    error = refused(weights)
    assert error.got == "1 of another shape: 3.weight (7, 4) instead of (2, 4)"
    assert error.fix == "add --num-classes 7 (a factory: build it for 7 classes)"
    del weights["3.weight"]
    weights["extra"] = torch.zeros(1)
    assert refused(weights).got == "1 missing: 3.weight; 1 unexpected: extra"
    del weights["extra"], weights["3.bias"]
    assert "lacks the last layer, 3" in str(refused(weights).fix)
    assert "no name agrees" in str(refused({"a": torch.zeros(1)}).fix)


def test_missing_statistics_of_batchnorm_are_named() -> None:
    error = refused({name: tensor for name, tensor in state().items() if "running" not in name})
    assert error.what == "w.pth: the running statistics of BatchNorm are missing"
    assert error.got == "2 missing: 1.running_mean, 1.running_var"
    assert "model.state_dict()" in str(error.fix)


def test_an_optimizer_is_not_a_model(tmp_path: Path) -> None:
    module = net()
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.rand(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    for content in (optimizer.state_dict(), {"optimizer": optimizer.state_dict(), "epoch": 3}):
        with pytest.raises(InputError, match="only the state of an optimizer"):
            fit_weights(net(), saved(content, tmp_path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_converted_and_said(dtype: torch.dtype) -> None:
    given_ = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state().items()}
    module, fitted = fit(given_)
    assert_holds(
        module, {name: t.to(own.dtype) for (name, t), own in zip(given_.items(), state().values(), strict=True)}
    )
    assert fitted.notes == [f"w.pth: 8 tensors were converted from {str(dtype).removeprefix('torch.')} to float32."]


@pytest.mark.parametrize(
    "changed",
    [
        {"3.weight": torch.zeros(2, 4, dtype=torch.int8)},
        {"3.weight": torch.zeros(2, 4).to(torch.float8_e4m3fn)},
        {"3.SCB": torch.zeros(2)},
        {"3.zero_point": torch.tensor(0), "3.scale": torch.tensor(1.0)},
    ],
)
def test_quantised_weights_are_named(changed: dict[str, Tensor]) -> None:
    error = refused({**state(), **changed})
    assert error.what == "w.pth: quantised weights"
    assert "edgeproof optimize" in str(error.fix)


@pytest.mark.parametrize(
    ("names", "call"),
    [
        (("base_layer.weight", "lora_A.default.weight", "lora_B.default.weight"), "merge_and_unload"),
        (("parametrizations.weight.original0", "parametrizations.weight.original1"), "remove_parametrizations"),
        (("weight_orig", "weight_mask"), "prune.remove"),
        (("weight_orig", "weight_u", "weight_v"), "remove_spectral_norm"),
        (("weight_g", "weight_v"), "remove_weight_norm"),
    ],
)
def test_weights_that_layers_compute_name_the_call(names: tuple[str, ...], call: str) -> None:
    tensors = state()
    weight = tensors.pop("3.weight")
    assert call in str(refused({**tensors, **{f"3.{name}": weight for name in names}}).fix)


def test_tensors_on_the_meta_device_are_named() -> None:
    error = refused({name: torch.empty_like(tensor, device="meta") for name, tensor in state().items()})
    assert error.what == "w.pth: holds shapes without values"


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("names", [["first.weight"], ["second.weight"], ["first.weight", "second.weight"]])
def test_a_shared_tensor_may_be_stored_once(names: list[str]) -> None:
    value = torch.rand(3, 3)
    module = Tied()
    fit_weights(module, Weights.of(dict.fromkeys(names, value), "w.pth"))
    assert torch.equal(module.first.weight, value)
    assert torch.equal(module.second.weight, value)


def test_tensors_that_the_model_shares_must_agree() -> None:
    tensors = {"first.weight": torch.zeros(3, 3), "second.weight": torch.ones(3, 3)}
    with pytest.raises(InputError, match=r"first\.weight and second\.weight differ"):
        fit_weights(Tied(), Weights.of(tensors, "w.pth"))


@given(st.integers(0, 8), st.floats(-1, 1, width=32))
def test_the_digest_sees_every_value(index: int, value: float) -> None:
    weights = state()
    before = weights_digest(weights)
    assert weights_digest(state()) == before
    name = list(weights)[index]
    changed = weights[name].clone()
    changed.view(-1)[-1] += 1 if not changed.is_floating_point() or value == 0 else value
    same = torch.equal(changed, weights[name])
    weights[name] = changed
    assert (weights_digest(weights) == before) == same
