"""Modules whose layers are not in inference mode are refused by name; heads of modules are described as of files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeproof_export.contract_checks import statistics_note
from edgeproof_export.heads import find_head
from edgeproof_export.numbers import require_numbers
from edgeproof_export.pytorch.module_checks import module_statistics, nan_tensors, require_inference_mode
from edgeproof_runtime.errors import InputError


class AlwaysTraining(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> AlwaysTraining:
        return super().train(True)


def test_batch_norm_without_statistics_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    with pytest.raises(InputError, match="BatchNorm without running statistics") as caught:
        require_inference_mode(module, "factories:model")
    assert caught.value.got == "1 (BatchNorm2d), track_running_stats=False"


def test_layers_that_stay_in_training_mode_are_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), AlwaysTraining(4)).eval()
    with pytest.raises(InputError, match="stay in training mode") as caught:
        require_inference_mode(module, "factories:model")
    assert caught.value.got == "1 (AlwaysTraining)"
    dropout = nn.Sequential(nn.Flatten(), nn.Dropout()).eval()
    dropout[1].training = True
    with pytest.raises(InputError, match="stay in training mode") as caught:
        require_inference_mode(dropout, "factories:model")
    assert caught.value.got == "1 (Dropout)"


def test_weights_that_are_nan_are_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    module.register_buffer("mask", torch.full((2, 2), -torch.inf))
    require_numbers(nan_tensors(module), "factories:model")
    with torch.no_grad():
        module[1].running_var[2] = torch.nan
    with pytest.raises(InputError, match="weights that are not numbers") as caught:
        require_numbers(nan_tensors(module), "factories:model")
    assert caught.value.got == "1.running_var"


def test_usual_modules_pass() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.Dropout()
    )
    require_inference_mode(module.eval(), "factories:model")


def test_inputs_unlike_those_of_the_training() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.ReLU())
    images = torch.rand(16, 3, 12, 12)
    with torch.no_grad():
        module(images)
    module.eval()
    found = module_statistics(module, images[:4].numpy())
    assert found is not None
    assert found.name == "1"
    assert statistics_note(found) is None
    far = module_statistics(module, (images[:4] * 255).numpy())
    assert far is not None
    assert "standard deviations from the mean of the training" in str(statistics_note(far))
    fresh = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    as_initialised = module_statistics(fresh, images[:4].numpy())
    assert as_initialised is not None
    assert statistics_note(as_initialised) is None


def test_heads_of_arrays() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 5)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    def taken(**outputs: object) -> str:
        return find_head("m", list(outputs), list(outputs.values()), 4).output

    assert taken(probabilities=shares, scores=logits) == "scores"
    assert taken(scores=logits, gates=1 / (1 + np.exp(-logits))) == "gates"
    assert taken(out=logits, aux=logits[:, ::-1]) == "out"
    assert taken(x=rng.normal(size=(4, 9)).astype(np.float32), logits=logits) == "logits"
    assert taken(maps=np.zeros((4, 8, 7, 7), np.float32), y=logits, hidden=(logits,)) == "y"
    with pytest.raises(InputError, match="several outputs"):
        taken(a=logits, b=rng.normal(size=(4, 5)).astype(np.float32))
    with pytest.raises(InputError, match="not a classifier"):
        taken(a=np.zeros((4, 8, 7, 7), np.float32))


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (np.zeros((4, 8, 7, 7), np.float32), "segmentation"),
        (np.zeros((4, 84, 5), np.float32), "detection"),
        (np.zeros((5, 4), np.float32), "transpose"),
        (np.zeros((4, 5), np.int64), "before they are rounded"),
        (np.zeros((4, 5), np.bool_), "before they are rounded"),
    ],
)
def test_an_output_that_is_no_class_scores_names_the_mend(value: object, mend: str) -> None:
    with pytest.raises(InputError, match="not a classifier") as caught:
        find_head("m", ["y"], [value], 4)
    assert mend in (caught.value.fix or "")


def test_an_embedding_is_noted() -> None:
    values = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    assert "vectors of length 1" in find_head("m", ["y"], [values / lengths], 4).notes[0]
    assert find_head("m", ["y"], [values], 4).notes == ()
    one_hot = np.eye(4, 9, dtype=np.float32)
    assert find_head("m", ["y"], [one_hot], 4).notes == ()
