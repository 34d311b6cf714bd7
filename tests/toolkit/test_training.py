"""The parts of a training: augmentation, statistics, splits, losses, schedules, calibration, fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from coloured import write_folders
from edgeproof.training.augment import augment, default_augmentation
from edgeproof.training.classify import class_loss
from edgeproof.training.data import Split, channel_statistics, hold_out, open_sources
from edgeproof.training.judge import calibrate
from edgeproof.training.module import OptimiserSettings, input_stage
from edgeproof.training.options import Augmentation, TrainOptions
from edgeproof.training.recipes import RECIPES, find_recipe
from edgeproof_export.checkpoint import KEY, Blueprint, read_checkpoint
from edgeproof_export.networks import build_network
from edgeproof_export.weights.file import Weights
from edgeproof_export.weights.fit import fit_backbone
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import AccuracyMeter


def test_split_folders_have_their_usual_names(tmp_path: Path) -> None:
    for folder in ("Training", "valid", "test_set"):
        write_folders(tmp_path / "d" / folder, ("ants", "bees"), each=2 if folder == "Training" else 1)
    found = open_sources(str(tmp_path / "d"), None)
    assert found.labels == found.class_ids == ("ants", "bees")
    assert (len(found.train), found.val and len(found.val), found.test and len(found.test)) == (4, 2, 2)
    names = tmp_path / "names.json"
    names.write_text('{"id2label": {"0": "ant", "1": "bee"}}')
    plain = open_sources(str(tmp_path / "d" / "valid"), names)
    assert (plain.labels, plain.val, plain.test) == (("ant", "bee"), None, None)


def some_pictures(count: int = 4, channels: int = 3, size: tuple[int, int] = (12, 12)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=generator)


def options(**fields: object) -> TrainOptions:
    return TrainOptions(data="x", out=Path("y"), **fields)  # type: ignore[arg-type]


def test_without_augmentation_nothing_changes() -> None:
    pictures = some_pictures().float()
    assert augment(pictures, Augmentation()) is pictures


def test_a_flip_mirrors_some_pictures_and_leaves_others() -> None:
    torch.manual_seed(0)
    pictures = some_pictures(32).float()
    varied = augment(pictures, Augmentation(flip=True))
    same = (varied == pictures).flatten(1).all(1)
    mirrored = (varied == pictures.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 4 < int(same.sum()) < 28


@pytest.mark.parametrize("size", [(12, 12), (8, 20)])
def test_a_crop_moves_by_whole_pixels_and_fills_with_black(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    pictures = some_pictures(16, size=size).float()
    varied = augment(pictures, Augmentation(crop=2))
    height, width = size
    padded = F.pad(pictures, (2, 2, 2, 2))
    shifts = [
        [(varied[i] - padded[i, :, y : y + height, x : x + width]).abs().max() for y in range(5) for x in range(5)]
        for i in range(16)
    ]
    assert max(min(row) for row in shifts) < 1e-2
    assert len({int(np.argmin(row)) for row in shifts}) > 3


def test_a_turn_keeps_the_middle_and_its_angle_whatever_the_shape() -> None:
    torch.manual_seed(2)
    # A disc in the middle of a picture that is not square is a disc after any turn.
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = 255 * ((y - 19.5) ** 2 + (x - 39.5) ** 2 < 12**2).float()
    turned = augment(disc.expand(8, 1, 40, 80), Augmentation(rotation_deg=90))
    assert float((turned - disc).abs().mean()) < 4


def test_grey_pictures_are_never_mirrored_by_default() -> None:
    assert not default_augmentation(1, (28, 28)).flip
    assert default_augmentation(3, (32, 32)) == Augmentation(flip=True, crop=4)
    assert options(rotation_deg=5.0).augmentation(Augmentation(flip=True)) == Augmentation(flip=True, rotation_deg=5.0)
    assert options(augment=False, crop=1).augmentation(Augmentation(flip=True)) == Augmentation(crop=1)


def test_statistics_are_those_of_the_pixels() -> None:
    pictures = some_pictures(9)
    mean, std = channel_statistics(pictures)
    scaled = pictures.double().numpy() / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), atol=5e-5)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), atol=5e-5)


def test_the_float_stage_is_the_devices_own() -> None:
    contract = InputContract(resize="squash", resize_size=(12, 12), crop_size=None, mean=(0.1, 0.2, 0.3))
    pictures = some_pictures(3)
    expected = [Preprocessor(contract)(p.permute(1, 2, 0).numpy(), color="rgb") for p in pictures]
    assert np.array_equal(input_stage(pictures, contract).numpy(), np.stack(expected))


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.floats(0.01, 0.9), st.integers(0, 99))
def test_holding_out_keeps_every_class_and_loses_nothing(targets: list[int], share: float, seed: int) -> None:
    count = len(targets)
    split = Split(torch.arange(count).view(-1, 1, 1, 1), torch.tensor(targets), tuple(map(str, range(count))))
    left, aside = hold_out(split, share, seed)
    assert sorted(left.names + aside.names, key=int) == list(split.names)
    assert set(left.targets.tolist()) == set(targets)
    assert [int(name) for name in left.names] == left.pictures.flatten().tolist()
    again, _ = hold_out(split, share, seed)
    assert again.names == left.names


def test_losses() -> None:
    scores, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert torch.allclose(class_loss(scores, targets, "cross-entropy"), F.cross_entropy(scores, targets))
    truth = F.one_hot(targets, 4).float()
    brier = ((scores.softmax(1) - truth) ** 2).sum(1)
    assert torch.allclose(class_loss(scores, targets, "mse"), brier.mean())
    own = weights[targets]
    assert torch.allclose(class_loss(scores, targets, "mse", weights), (brier * own).sum() / own.sum())
    equal = torch.full((4,), 7.0)
    assert torch.allclose(class_loss(scores, targets, "mse", equal), brier.mean())


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one-cycle"])
def test_schedules_stay_within_the_rate_and_end_low(schedule: str) -> None:
    settings = OptimiserSettings.settle(RECIPES["cnn"], options(schedule=schedule))
    factors = [settings.factor(100)(step) for step in range(101)]
    assert max(factors) == pytest.approx(1.0, abs=1e-6)
    assert min(factors) >= 0
    assert factors[-1] == (1.0 if schedule == "constant" else pytest.approx(0, abs=0.011))


def test_calibration_error_is_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(500, 5)) * 2
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    targets = rng.integers(0, 5, 500)
    expected = multiclass_calibration_error(torch.tensor(shares), torch.tensor(targets), 5, n_bins=15)
    found = calibrate(shares, targets)
    assert found.ece == pytest.approx(float(expected), abs=1e-6)
    assert sum(row["count"] for row in found.bins) == 500


def test_precision_recall_and_f1_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 7, 400)
    scores = rng.random((400, 7)) + 0.8 * np.eye(7)[targets]
    meter = AccuracyMeter(7)
    meter.update(scores, targets)
    result, answers = meter.result(), scores.argmax(1)
    for average, found in (
        ("macro", (result.precision, result.recall, result.f1)),
        ("weighted", (result.weighted_precision, result.weighted_recall, result.weighted_f1)),
    ):
        expected = precision_recall_fscore_support(targets, answers, average=average, zero_division=0)[:3]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    per_class = precision_recall_fscore_support(targets, answers, zero_division=0)
    np.testing.assert_allclose([m.f1 for m in result.per_class], per_class[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("state", [[1], {1: torch.zeros(1)}, {"network.features.0.weight": 3}, {}])
def test_a_checkpoint_whose_weights_are_none_is_one_message(tmp_path: Path, state: object) -> None:
    blueprint = Blueprint(task="classify", recipe="lenet", architecture="lenet", arguments={"classes": 3})
    torch.save({KEY: blueprint.to_json(), "state_dict": state}, tmp_path / "best.ckpt")
    with pytest.raises(InputError, match=": damaged"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_fine_tuning_starts_only_the_last_layer_anew() -> None:
    donor = build_network("resnet20", {"classes": 7}).state_dict()
    network = build_network("resnet20", {"classes": 3})
    head = network.state_dict()["linear.weight"].clone()
    wrapped = Weights.of({f"module.{name}": value for name, value in donor.items()}, "w.pth")
    fitted, anew = fit_backbone(network, wrapped, 3)
    assert torch.equal(network.state_dict()["conv1.weight"], donor["conv1.weight"])
    assert torch.equal(network.state_dict()["linear.weight"], head)
    assert anew
    assert any("linear.weight, linear.bias start from initial values" in note for note in fitted.notes)
    plain = Weights.of(donor, "w.pth")
    fitted, anew = fit_backbone(build_network("resnet20", {"classes": 7}), plain, 7)
    assert (fitted.notes, anew) == ([], False)
    with pytest.raises(InputError, match="does not fit"):
        fit_backbone(build_network("lenet", {"classes": 3}), plain, 3)


def test_the_text_s_network_has_the_text_s_layers() -> None:
    network = build_network("cnn", {"classes": 10, "size": 224})
    shapes = [tuple(p.shape) for p in network.parameters() if p.ndim > 1]
    assert shapes == [(32, 3, 3, 3), (64, 32, 3, 3), (64, 64 * 54 * 54), (10, 64)]
    kinds = [type(m).__name__ for m in network.modules() if not list(m.children())]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize(
    ("name", "size"), [("cnn", 32), ("cnn", 224), ("cnn", 11), ("lenet", 28), ("lenet", 32), ("resnet20", 32)]
)
def test_networks_of_any_size(name: str, size: int) -> None:
    channels = 1 if name == "lenet" else 3
    network: nn.Module = build_network(name, {"classes": 6, "channels": channels, "size": size})
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 6)


def test_arguments_that_no_network_takes_are_one_message() -> None:
    for name, arguments in (("autoencoder", {"grain": 0}), ("lenet", {"classes": "three"}), ("cnn", {"depth": 3})):
        with pytest.raises(InputError, match=f"{name}: cannot be built"):
            build_network(name, arguments)


def test_recipes_by_name() -> None:
    assert find_recipe("alexnet").architecture == "torchvision:alexnet"
    assert find_recipe("timm:resnet10t").architecture == "timm:resnet10t"
    assert find_recipe("mobilenetv4_conv_small").architecture == "timm:mobilenetv4_conv_small"
    for name in ("alexnett", "torchvision:resnet10t", "timm:nothing", "other:resnet18"):
        with pytest.raises(InputError, match="recipe: unknown name"):
            find_recipe(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"lr": 0.0}, {"lr": -1.0}, {"batch": 0}, {"epochs": 0}, {"optimizer": "lion"}, {"loss": "hinge"},
        {"size": 4}, {"val_share": 1.0}, {"class_weights": (1.0, 0.0)}, {"devices": 0}, {"momentum": 1.0},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        options(**fields)
