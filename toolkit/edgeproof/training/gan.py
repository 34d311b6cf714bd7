"""Training of GANs, and evaluation of the generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof.generation import ClassCoverage, Distances, classify_pictures
from edgeproof.training.data import BatchModule, Split, hold_out, read_split
from edgeproof.training.fit import LOG, Fitted, fit, prepare_folder
from edgeproof.training.module import OptimiserSettings, TrainedModule, input_stage
from edgeproof.training.options import TrainOptions
from edgeproof.training.pictures import write_plots
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof.training.unlabelled import plain_contract, training_images
from edgeproof_export.checkpoint import Blueprint, read_checkpoint
from edgeproof_export.networks import build_network
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.bundle.task_settings import LatentInput
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.tasks.generate import contact_sheet, to_pictures

__all__ = ["Discriminator", "GanModule", "train_gan"]

LATENT = 64

_ADAM_BETAS = (0.5, 0.999)  # Radford et al., "Unsupervised representation learning with DCGANs" (2016), section 4
_REAL = 0.9  # one-sided label smoothing: Salimans et al., "Improved techniques for training GANs" (2016), section 3.4
_AVERAGE = 0.998  # of the averaged weights, per step: Yaz et al., "The unusual effectiveness of averaging" (2019)
_WARM_UP_STEPS = 10.0
_GRID, _COLUMNS = 64, 8
_EVALUATED = 1000
_BATCH = 250
_EVALUATION_SEED = 0
_SAMPLES = 12


class Discriminator(nn.Module):
    """Tell real from generated images: ``N x C x H x W`` to ``N`` logits.

    Two 4x4 convolutions of stride 2 and a dense layer.
    """

    def __init__(self, *, channels: int, size: int, width: int = 32) -> None:
        super().__init__()
        self.layers: nn.Sequential = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(2 * width * (size // 4) ** 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)[:, 0]
        return logits


class GanModule(TrainedModule):
    """A generator trained against a discriminator.

    The discriminator's loss is ``(L_real + L_fake) / 2``, the generator's ``-log D(G(z))``. The running average of the
    generator's weights is exported.

    Args:
        network: network that holds the average of the weights.
        discriminator: discriminator; not exported.
        blueprint: blueprint with the latent input.
        settings: settings of both optimisers.
        contract: contract whose float stage is applied to real images.
        latent: length of a latent vector.
    """

    def __init__(
        self,
        network: nn.Module,
        discriminator: nn.Module,
        blueprint: Blueprint,
        settings: OptimiserSettings,
        contract: Any,
        latent: int,
    ) -> None:
        super().__init__(network, blueprint, settings)
        self.automatic_optimization = False
        self.generator: nn.Module = build_network(blueprint.architecture, blueprint.arguments)
        self.generator.load_state_dict(network.state_dict())
        self.discriminator = discriminator
        for part in (self.generator, discriminator):
            part.to(memory_format=torch.channels_last)  # 2 x speed-up on a CPU
        self.contract: Any = contract
        self.latent: int = latent
        network.eval().requires_grad_(False)

    def configure_optimizers(self) -> Any:
        """Return the optimisers of discriminator and generator."""
        return [self._optimiser(net) for net in (self.discriminator, self.generator)]

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        if self.settings.optimizer == "adam":
            return torch.optim.Adam(network.parameters(), lr=self.settings.lr, betas=_ADAM_BETAS)
        return self.settings.build(network.parameters())

    def on_train_epoch_start(self) -> None:
        """Keep the averaged network in eval mode."""
        self.network.eval()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Train discriminator and generator for one step."""
        del batch_idx
        optimisers: Any = self.optimizers()
        of_discriminator, of_generator = optimisers
        real = input_stage(batch[0], self.contract).contiguous(memory_format=torch.channels_last)
        fake = self.generator(torch.randn(len(real), self.latent, device=self.device))
        # L_real and L_fake, each the cross-entropy of the discriminator's output
        said_real, said_fake = self.discriminator(real), self.discriminator(fake.detach())
        l_real = F.binary_cross_entropy_with_logits(said_real, torch.full_like(said_real, _REAL))
        l_fake = F.binary_cross_entropy_with_logits(said_fake, torch.zeros_like(said_fake))
        d_loss = self.finite((l_real + l_fake) / 2, "the discriminator's loss")
        self._step(of_discriminator, d_loss)
        said = self.discriminator(fake)
        g_loss = self.finite(F.binary_cross_entropy_with_logits(said, torch.ones_like(said)), "the generator's loss")
        self._step(of_generator, g_loss)
        self._average()
        figures = {"discriminator_loss": d_loss, "generator_loss": g_loss}
        self.log_dict(figures, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(real))
        # No logged figure tells which generator is best, so the latest is kept.
        self.log("epochs_done", float(self.current_epoch + 1), on_step=False, on_epoch=True, batch_size=len(real))

    def _step(self, optimiser: Any, loss: Tensor) -> None:
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()

    @torch.no_grad()
    def _average(self) -> None:
        step = self.global_step / 2
        keep = min(_AVERAGE, 1 - _WARM_UP_STEPS / (step + _WARM_UP_STEPS + 1))
        for mean, value in zip(self.network.state_dict().values(), self.generator.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


class _Grids(L.Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Images of the same latent vectors after every epoch."""

    def __init__(self, folder: Path, latent: LatentInput) -> None:
        self._folder, self._latent = folder, latent

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            pictures = draw(pl_module.network, self._latent, _GRID)
            write_grid(list(pictures), self._folder / f"epoch-{trainer.current_epoch + 1:03}.png")


def draw(network: nn.Module, latent: LatentInput, count: int) -> NDArray[np.uint8]:
    """Generate images 0 to ``count - 1`` of the evaluation seed: uint8 ``N x H x W`` or ``N x H x W x 3`` BGR."""
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, count, _BATCH):
            vectors = torch.from_numpy(latents(_EVALUATION_SEED, start, min(_BATCH, count - start), latent.size))
            parts.append(to_pictures(network(vectors.to(device)).numpy(force=True), latent))
    return np.concatenate(parts)


def write_grid(pictures: list[NDArray[np.uint8]], path: Path) -> Path:
    """Write a contact sheet as PNG, whole or not at all."""
    _, png = cv2.imencode(".png", contact_sheet(pictures, _COLUMNS))
    write_atomically(path, png.tobytes())
    return path


def train_gan(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train a GAN on images; see `edgeproof.training.train`."""
    if options.devices * options.nodes > 1:
        raise InputError(
            "--devices, --nodes: a GAN trains in one process",
            got=f"{options.devices} devices, {options.nodes} nodes",
            fix="--devices 1",
        )
    judge = None if options.judge is None else Bundle.open(options.judge)
    images = training_images(options.data)
    prepare_folder(options)
    contract = plain_contract(images, recipe, options)
    color = "gray" if contract.channels == 1 else "rgb"
    latent = LatentInput(size=LATENT, color=color)  # type: ignore[arg-type]  # one of the two
    L.seed_everything(options.seed, workers=True, verbose=False)
    size = contract.tensor_size[0]
    arguments = {"latent": LATENT, "channels": contract.channels, "size": size}
    network = build_network(recipe.architecture, arguments)
    share = recipe.val_share if options.val_share is None else options.val_share
    train, unseen = hold_out(read_split(images, None, contract, tell, "reading images"), share, options.seed)
    blueprint = Blueprint(
        task="generate",
        recipe=recipe.name,
        architecture=recipe.architecture,
        arguments=arguments,
        facts={"latent": latent.to_json()},
    )
    settings = OptimiserSettings.settle(recipe, options)
    discriminator = Discriminator(channels=contract.channels, size=size)
    module = GanModule(network, discriminator, blueprint, settings, contract, LATENT)
    batch = options.batch or recipe.batch
    fitted = fit(
        module,
        BatchModule(train, unseen, batch=batch),
        options,
        epochs=options.epochs or recipe.epochs,
        tell=tell,
        monitor=("epochs_done", "max"),
        callbacks=[_Grids(options.out / "samples", latent)],
    )
    if not fitted.first:
        return Trained(fitted.best, None)
    return _evaluate(recipe, options, fitted, settings, latent, train, unseen, batch, judge, tell)


def _evaluate(
    recipe: Recipe,
    options: TrainOptions,
    fitted: Fitted,
    settings: OptimiserSettings,
    latent: LatentInput,
    train: Split,
    unseen: Split,
    batch: int,
    judge: Bundle | None,
    tell: Progress,
) -> Trained:
    _, network = read_checkpoint(fitted.best)
    made = draw(network, latent, _EVALUATED)
    learnt, real = (_frames(split.pictures[:limit]) for split, limit in ((train, None), (unseen, _EVALUATED)))
    distances = Distances.between(
        made, learnt, real if len(real) else None, lambda done, total: tell("nearest neighbours", done, total)
    )
    coverage: ClassCoverage | None = None
    if judge is not None:
        coverage = classify_pictures(list(made), judge, lambda done, total: tell("evaluating", done, total))
    report = Report(
        kind="train",
        command=command_line(),
        host=host_facts(),
        settings={
            "recipe": recipe.name,
            "data": options.data,
            "input": latent.summary(),
            "optimizer": settings.optimizer,
            "lr": settings.lr,
            "batch": batch,
            "seed": options.seed,
            "judge": None if judge is None else str(judge.path),
            "torch_threads": torch.get_num_threads(),
        },
        counts={
            "pictures_train": len(train),
            "pictures_unseen": len(unseen),
            "pictures_failed": len(train.skipped),
            "parameters": sum(p.numel() for p in network.parameters()),
            "epochs": len(fitted.history),
            "steps": fitted.steps,
        },
        samples=[Thumbnail.of(f"number {i}", made[i], f"seed {_EVALUATION_SEED}") for i in range(_SAMPLES)],
        training={
            "history": list(fitted.history),
            "judged_on": f"{_EVALUATED} images of seed {_EVALUATION_SEED}",
            "calibration": None,
            "elapsed_s": fitted.elapsed_s,
            "cpu_s": fitted.cpu_s,
            "device": fitted.device,
            "checkpoint": {"path": fitted.best.name, "sha256": sha256_of(fitted.best)},
        },
        generation={"coverage": coverage, "nearest": distances},
        warnings=[
            *([] if judge is not None else ["No classifier evaluated the images: pass one with --judge BUNDLE."]),
            *(f"Skipped {item.name}: {item.reason}." for item in train.skipped),
        ],
    )
    files = [options.out / LOG, options.out / "samples", *write_plots(report.to_json(), options.out)]
    files.append(write_grid(list(made[:_GRID]), options.out / "samples.png"))
    report.write(options.out / "report.json")
    return Trained(fitted.best, report, None, (*files, options.out / "report.json"))


def _frames(pictures: Tensor) -> NDArray[np.uint8]:
    """Convert uint8 ``N x C x H x W`` RGB to the layout that `draw` returns."""
    pixels = pictures.numpy()
    if pixels.shape[1] == 1:
        return pixels[:, 0]
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[..., ::-1])
