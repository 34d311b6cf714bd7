"""Autoencoder and GAN from an empty folder to a running bundle, on a small budget; and what is refused on the way."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles import evidence_of, rewrite
from command_line import Cli
from edgeproof.generation import Distances, nearest_distances
from edgeproof.training.defects import MATERIALS, SHAPES, draw_defect, draw_defects
from edgeproof.training.variation import vary
from edgeproof_export.checkpoint import read_checkpoint
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.manifest import Manifest
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available, load
from edgeproof_runtime.verify.sampling import sample_pictures
from growing_files import predictions_in

CPU = [name for name in ("onnxruntime", "openvino", "opencv") if name in available()]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars across and down, in a file as Keras has them."""
    pictures = np.zeros((40, 16, 16), np.uint8)
    pictures[::2, 6:9], pictures[1::2, :, 6:9] = 220, 220
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    targets = np.arange(40) % 2
    np.savez(path, x_train=pictures, y_train=targets, x_test=pictures[:8], y_test=targets[:8])
    return path


@pytest.mark.slow
def test_an_autoencoder_in_two_commands(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    code, said, error = cli("train", "autoencoder", "--data", tiles, "--out", "run", "--size", 64, "--epochs", 2)
    assert code == 0, error
    assert "hole" in said
    code, said, error = cli("export", "run/best.ckpt", "--data", tiles, "--out", "tiles.edge")
    assert code == 0, error
    trained = json.loads((tmp_path / "run/report.json").read_text())
    areas = []
    for engine in CPU:
        code, said, error = cli("evaluate", "tiles.edge", "--data", tiles, "--engine", engine, "--json", "found.json")
        assert code == 0, error
        report = json.loads(Path("found.json").read_text())
        assert evidence_of("tiles.edge", "evaluate") == report
        found = report["anomaly"]
        areas.append(found["mean_auroc"])
        assert found["good_n"] == 6
    assert areas == pytest.approx([trained["anomaly"]["mean_auroc"]] * len(CPU), abs=0.005)
    assert areas[0] > 0.9, "a white square on stripes"

    seen = ("--source", tiles / "test", "--labels-from", "parent", "--engine", "onnxruntime")
    code, said, error = cli("run", "tiles.edge", *seen, "--save", "heat.avi", "--predictions", "seen.jsonl")
    assert code == 0, error
    assert "AUROC" in said
    lines = predictions_in("seen.jsonl")
    assert {line["label"]: line["anomaly"]["threshold"] for line in lines}.keys() == {"good", "hole"}
    assert Path("heat.avi").stat().st_size > 1000
    assert cli("verify", "tiles.edge")[0] == 0
    assert "score above" in cli("inspect", "tiles.edge")[1]
    assert cli("evaluate", "tiles.edge", "--data", tiles, "--engine", CPU[0], "--min-auroc", 1, "--limit", 9)[0] in (
        0,
        1,
    )
    shutil.copytree(tiles / "test/hole", "mixed/crack")
    shutil.copytree(tiles / "test/good", "mixed/good")
    code, _, error = cli("evaluate", "tiles.edge", "--data", "mixed", "--engine", CPU[0], "--limit", 6)
    assert code == 0, error
    assert "AUROC is not available" in error
    for arguments, word in (
        (("evaluate", "tiles.edge", "--data", tiles, "--min-top1", 0.5), "use --min-auroc"),
        (("evaluate", "tiles.edge", "--data", tiles / "train"), "kind of defect"),
        (("run", "tiles.edge", *seen, "--min-top1", 0.5), "use --min-auroc"),
        (("sample", "tiles.edge", "--grid", "grid.png"), "generates no images"),
        (("export", "run/best.ckpt", "--out", "b.edge", "--color", "rgb"), "input contract"),
        (("export", "run/last.ckpt", "--out", "b.edge"), "threshold"),
    ):
        code, _, error = cli(*arguments)
        assert code == 2
        assert word in error
    assert not Path("b.edge").exists()


@pytest.mark.parametrize("denoise", ["noise", "none"])
def test_an_autoencoder_that_removes_noise_or_nothing_still_tells_defects(cli: Cli, tiles: Path, denoise: str) -> None:
    how = ("--denoise", denoise, "--loss", "cross-entropy", "--no-augment", "--size", 32, "--epochs", 1)
    code, _, error = cli("train", "autoencoder", "--data", tiles, "--out", "run", *how)
    assert code == 0, error
    blueprint, network = read_checkpoint(Path("run/best.ckpt"))
    assert blueprint.arguments["skips"] == (denoise != "none")
    assert 0 <= blueprint.facts["drawn_auroc"] <= 1
    reconstruction, heat, score = network(torch.zeros(2, 1, 32, 32))
    assert (reconstruction.shape, heat.shape, score.shape) == ((2, 1, 32, 32), (2, 8, 8), (2, 1))


@pytest.mark.slow
def test_a_gan_in_two_commands(cli: Cli, digits: Path) -> None:
    code, said, error = cli(
        "train", "gan", "--data", digits, "--out", "run", "--size", 16, "--epochs", 2, "--batch", 16
    )
    assert code == 0, error
    assert "nearest of" in said
    assert len(list(Path("run/samples").glob("epoch-*.png"))) == 2
    code, said, error = cli("export", "run/best.ckpt", "--out", "gan.edge")
    assert code == 0, error
    assert "edgeproof sample gan.edge --grid grid.png" in said
    bundle = Bundle.open("gan.edge")
    _, network = read_checkpoint(Path("run/best.ckpt"))
    with torch.inference_mode():
        made = network(torch.from_numpy(latents(7, 0, 5, bundle.latent.size))).numpy()
    for engine in CPU:
        with load(engine, bundle.artifact("fp32", max_batch=3)) as loaded:
            pictures = np.stack(list(sample_pictures(bundle, loaded, seed=7, count=5, batch=3)))
        assert np.abs(pictures / 255 - made[:, 0]).max() <= 1 / 255
    code, said, error = cli("sample", "gan.edge", "--n", 9, "--grid", "grid.png", "--out", "each", "--data", digits)
    assert code == 0, error
    assert len(list(Path("each").glob("*.png"))) == 9
    assert cv2.imread("grid.png").shape == (56, 56, 3)
    for arguments, word in (
        (("run", "gan.edge", "--source", "each"), "takes no frames"),
        (("evaluate", "gan.edge", "--data", "each"), "task generate"),
        (("sample", "gan.edge", "--seed", 2**64), "out of range"),
        (("sample", "gan.edge", "--min-confidence", 0.5), "--judge"),
        (("sample", "gan.edge", "--judge", "gan.edge"), "classifier"),
        (("sample", "gan.edge", "--out", "each"), "empty"),
    ):
        code, _, error = cli(*arguments)
        assert code == 2
        assert word in error
    text = json.loads(Path("gan.edge/bundle.json").read_text())
    text["input"]["latent"]["normal"] = "another"
    Path("gan.edge/bundle.json").write_text(json.dumps(text))
    assert "input.latent.normal: unknown" in cli("verify", "gan.edge")[2]


def test_an_old_bundle_has_neither_field(cli: Cli, tmp_path: Path) -> None:
    from bundles import make_bundle

    raw = json.loads((make_bundle(tmp_path / "tiny.edge").path / "bundle.json").read_text())
    del raw["anomaly"], raw["input"]["latent"]
    for case in raw["golden"]:
        del case["seed"]
    assert Manifest.from_json(raw).task == "classify"
    assert cli("verify", "tiny.edge", "--engine", CPU[0])[0] == 0


@pytest.mark.slow
def test_another_seed_fails_the_golden_cases(cli: Cli, digits: Path) -> None:
    assert cli("train", "gan", "--data", digits, "--out", "run", "--size", 8, "--epochs", 1)[0] == 0
    assert cli("export", "run/best.ckpt", "--out", "gan.edge")[0] == 0
    bundle = Bundle.open("gan.edge")
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(bundle.latent.size, np.float32))
    name = bundle.manifest.golden[0].tensor

    rewrite(bundle, {name: zeros.getvalue()}, lambda manifest, files: replace(manifest, files=files))
    code, said, _ = cli("verify", "gan.edge", "--engine", CPU[0])
    assert code == 1
    assert "latent vectors" in said


def test_what_a_gan_cannot_do_is_said_first(cli: Cli, digits: Path) -> None:
    for option, value, word in (
        ("--devices", 2, "one process"),
        ("--size", 30, "multiple of 4"),
        ("--normalize", "measured", "0..1"),
    ):
        code, _, error = cli("train", "gan", "--data", digits, "--out", "c", "--force", option, value)
        assert code == 2
        assert word in error


def test_data_without_good_pictures_is_refused(cli: Cli, tiles: Path) -> None:
    code, _, error = cli("train", "autoencoder", "--data", tiles / "test/good", "--out", "a", "--loss", "adversarial")
    assert code == 2
    assert "--loss: unsupported" in error
    (tiles / "bad" / "train" / "crack").mkdir(parents=True)
    code, _, error = cli("train", "autoencoder", "--data", tiles / "bad", "--out", "b")
    assert code == 2
    assert "good" in error


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("material", sorted(MATERIALS))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_defect_is_drawn_where_its_shape_is(shape: str, material: str, channels: int) -> None:
    clean = np.full((channels, 48, 40), 100, np.float32)
    clean[:, :, ::7] = 140
    seeds = range(8)
    drawn = [draw_defect(clean, shape, material, np.random.default_rng(seed)) for seed in seeds]
    masks = [SHAPES[shape](48, 40, np.random.default_rng(seed)) for seed in seeds]
    assert all(mask.min() >= 0 and mask.max() <= 1 for mask in masks)
    changed = [np.abs(picture - clean).max(axis=0) > 1 for picture in drawn]
    assert any(change.any() for change in changed)
    for change, mask in zip(changed, masks, strict=True):
        assert not change[cv2.dilate(mask, np.ones((15, 15))) == 0].any()


@given(
    seed=st.integers(0, 2**32), height=st.integers(16, 70), width=st.integers(16, 70), channels=st.sampled_from([1, 3])
)
@settings(max_examples=25)
def test_what_is_drawn_and_varied_is_the_same_for_a_seed(seed: int, height: int, width: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (2, channels, height, width), dtype=np.uint8)
    border = rng.random((2, height, width), dtype=np.float32)
    once, again = (draw_defects(clean[0], np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(once, again)
    assert (once.shape, once.dtype) == (clean[0].shape, np.uint8)
    (varied, places), (as_before, _) = (vary(clean, border, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(varied, as_before)
    assert (varied.shape, varied.dtype) == ((2, channels, min(height, width), min(height, width)), np.uint8)
    assert places.shape == (2, 2, *varied.shape[2:])
    assert set(places.ravel()) <= set(border.ravel())


def test_distances_find_a_copy() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (30, 6, 6), dtype=np.uint8)
    made = np.concatenate([known[4:5], rng.integers(0, 256, (3, 6, 6), dtype=np.uint8)])
    found = nearest_distances(made, known)
    exact = [min(np.sqrt(np.mean((one / 255.0 - other / 255.0) ** 2)) for other in known) for one in made]
    assert found == pytest.approx(exact, abs=1e-6)
    distances = Distances.between(made, known, known[:2])
    assert (distances.copies, distances.least, distances.real_median) == (1, 0.0, 0.0)
