"""Weights: by name, in order where only names differ, refused with the reason otherwise, and never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from edgeproof_export.weights import fit_weights, read_weights, weights_digest
from edgeproof_runtime.errors import InputError


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def state(seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in net().state_dict().items()}


def assert_holds(module: nn.Module, expected: dict[str, Tensor]) -> None:
    for got, want in zip(module.state_dict().values(), expected.values(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "model._orig_mod.", "module.model."])
def test_checkpoints_as_training_scripts_save_them(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    named = {prefix + name: tensor for name, tensor in state().items()}
    content: Any = named if wrapper is None else {wrapper: named, "epoch": 3, "best": 0.9}
    torch.save(content, tmp_path / "w.pth")
    module = net()
    notes = fit_weights(module, read_weights(tmp_path / "w.pth"), "w.pth")
    assert_holds(module, state())
    assert bool(notes) == bool(prefix)


def test_safetensors(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.safetensors")
    module = net()
    assert fit_weights(module, read_weights(tmp_path / "w.safetensors"), "w") == []
    assert_holds(module, state())


def test_other_names_in_the_same_order_are_taken_and_said(tmp_path: Path) -> None:
    module = net()
    notes = fit_weights(module, {f"x{i}": t for i, t in enumerate(state().values())}, "w.pth")
    assert_holds(module, state())
    assert notes == [
        "w.pth: the names of the 9 tensors differ from the model's; number, order and shapes agree, so they were "
        "assigned in order"
    ]


def test_known_names_in_another_order_do_not_count_as_an_order() -> None:
    given_ = {f"x{name}" if name == "3.bias" else name: tensor for name, tensor in reversed(state().items())}
    with pytest.raises(InputError, match="does not fit"):
        fit_weights(net(), given_, "w.pth")


def test_counters_of_training_steps_may_be_absent() -> None:
    module = net()
    fit_weights(module, {n: t for n, t in state().items() if not n.endswith("num_batches_tracked")}, "w.pth")
    assert_holds(module, state())


def test_what_does_not_fit_is_named() -> None:
    weights = state()
    weights["3.weight"] = torch.zeros(7, 4)
    with pytest.raises(InputError, match=r"1 of another shape: 3\.weight \(7, 4\) instead of \(2, 4\)") as caught:
        fit_weights(net(), weights, "w.pth")
    assert "--num-classes" in str(caught.value.fix)
    del weights["3.weight"]
    weights["extra"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"1 missing: 3\.weight; 1 unexpected: extra"):
        fit_weights(net(), weights, "w.pth")


class Pickled:
    """Something whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state(), "extra": Pickled()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="more than tensors"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".th"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half a zip"])
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_weights(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, {"state_dict": {}}, [torch.zeros(1)], {"a": {"b": {}}}])
def test_files_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(InputError, match="weights not found"):
        read_weights(tmp_path / "absent.pth")


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
