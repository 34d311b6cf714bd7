"""Training of autoencoders on good images, and evaluation on images with defects."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgeproof.training.anomaly_figures import require_held_out, settle_threshold, tensors_of, write_up
from edgeproof.training.data import BatchModule, Split, hold_out, read_split
from edgeproof.training.defects import draw_defects
from edgeproof.training.fit import LOG, fit, prepare_folder
from edgeproof.training.module import OptimiserSettings, TrainedModule, input_stage
from edgeproof.training.options import Denoise, Loss, TrainOptions
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof.training.unlabelled import plain_contract, training_images
from edgeproof.training.variation import vary
from edgeproof_export.checkpoint import Blueprint, read_checkpoint
from edgeproof_export.networks import build_network
from edgeproof_export.picture_networks import Autoencoder
from edgeproof_runtime.contract.contract import InputContract

__all__ = ["AutoencoderModule", "train_autoencoder"]

_MARKED_SHARE = 0.8  # of the images get defects or noise; the others must be reconstructed unchanged
_CHANGED = 0.05  # of the brightness: a cell counts as defective if a drawn defect changes it by more
_NOISE = 15.0  # standard deviation, in grey levels
_EVALUATION_BATCH = 16


class AutoencoderModule(TrainedModule):
    """Train to reconstruct the clean image from a changed one, and to locate drawn defects.

    The two parts train side by side: the defect part reads the reconstruction without changing it.

    Args:
        network: autoencoder; both parts are trained.
        blueprint: blueprint with a contract.
        settings: optimiser and schedule.
        loss: reconstruction loss: ``mse``, or ``cross-entropy`` of each pixel as a share of brightness.
        denoise: what the reconstruction learns to remove.
        augment: whether images are cropped, mirrored and lit differently.
        seed: seed of the changes to the validation images, which are the same every epoch.
    """

    network: Autoencoder

    def __init__(
        self,
        network: Autoencoder,
        blueprint: Blueprint,
        settings: OptimiserSettings,
        *,
        loss: Loss,
        denoise: Denoise,
        augment: bool,
        seed: int,
    ) -> None:
        super().__init__(network, blueprint, settings)
        self.loss_name: Loss = loss
        self.denoise: Denoise = denoise
        self.augment: bool = augment
        self.seed: int = seed

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one step."""
        del batch_idx
        # Lightning seeds torch; seeding NumPy from it makes a training reproducible.
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        loss = self.finite(self._loss(batch[0], rng))
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the loss of a batch."""
        pictures = batch[0]
        rng = np.random.default_rng((self.seed, batch_idx))
        parts = [pictures[i : i + _EVALUATION_BATCH] for i in range(0, len(pictures), _EVALUATION_BATCH)]
        losses = torch.stack([self._loss(part, rng) * len(part) for part in parts])
        loss = self.finite(losses.sum() / len(pictures), "the validation loss")
        self.log("val_loss", loss, on_epoch=True, sync_dist=True, batch_size=len(pictures))

    def _loss(self, pictures: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the reconstruction loss plus the cross-entropy of each cell: defect or not."""
        contract = self.blueprint.contract
        if contract is None:
            raise TypeError("blueprint: an autoencoder requires an input contract")
        clean, near = pictures.numpy(force=True), self.network.border.numpy(force=True)
        places = np.broadcast_to(near, (len(clean), *near.shape))
        if self.augment:
            clean, places = vary(clean, near, rng)
        chosen = rng.random(len(clean)) < _MARKED_SHARE
        drawn = np.stack([draw_defects(p, rng) if c else p for p, c in zip(clean, chosen, strict=True)])
        seen = drawn if self.denoise == "defects" else clean
        if self.denoise == "noise":
            seen = _noisy(clean, chosen, rng)
        original, marked, given = (
            input_stage(torch.from_numpy(p).to(self.device), contract) for p in (clean, drawn, seen)
        )
        logits = self.network.logits(given)
        if self.loss_name == "cross-entropy":
            rebuilding = F.binary_cross_entropy_with_logits(logits, original)
        else:
            rebuilding = F.mse_loss(torch.sigmoid(logits), original)
        with torch.no_grad():
            rebuilt = torch.sigmoid(logits) if self.denoise == "defects" else self.network.reconstruct(marked)
        doubt = self.network.doubt(marked, rebuilt, torch.from_numpy(places.copy()).to(self.device))
        side = marked.shape[-1] // doubt.shape[-1]
        change = F.avg_pool2d((marked - original).abs().mean(dim=1, keepdim=True), side)
        brightness = original.mean(dim=(1, 2, 3), keepdim=True)
        return rebuilding + F.binary_cross_entropy_with_logits(doubt, (change > _CHANGED * brightness).float())


def train_autoencoder(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train an autoencoder on good images; see `edgeproof.training.train`."""
    images = training_images(options.data, good_only=True)
    prepare_folder(options)
    contract = plain_contract(images, recipe, options)
    denoise: Denoise = options.denoise or "defects"
    L.seed_everything(options.seed, workers=True, verbose=False)
    arguments = {"channels": contract.channels, "size": contract.tensor_size[0], "skips": denoise != "none"}
    network = build_network(recipe.architecture, arguments)
    if not isinstance(network, Autoencoder):
        raise TypeError(f"{recipe.architecture}: not an autoencoder")
    good = read_split(images, None, contract, tell, "reading good images")
    share = recipe.val_share if options.val_share is None else options.val_share
    train, val = hold_out(good, share, options.seed)
    require_held_out(good, val)
    blueprint = Blueprint(
        task="reconstruct", recipe=recipe.name, architecture=recipe.architecture, arguments=arguments, contract=contract
    )
    module = AutoencoderModule(
        network.to(memory_format=torch.channels_last),
        blueprint,
        OptimiserSettings.settle(recipe, options),
        loss=options.loss or recipe.losses[0],
        denoise=denoise,
        augment=options.augment,
        seed=options.seed,
    )
    batch = options.batch or recipe.batch
    fitted = fit(
        module, BatchModule(train, val, batch=batch), options, epochs=options.epochs or recipe.epochs, tell=tell
    )
    if not fitted.first:
        return Trained(fitted.best, None)
    threshold = settle_threshold(fitted.best, val, options.quantile, options.seed, tell)
    chosen = module.settings
    return write_up(
        recipe,
        options,
        fitted.best,
        threshold,
        train,
        val,
        settings={
            "denoise": denoise,
            "loss": module.loss_name,
            "optimizer": chosen.optimizer,
            "lr": chosen.lr,
            "schedule": chosen.schedule,
            "batch": batch,
        },
        counts={"epochs": len(fitted.history), "steps": fitted.steps},
        training={
            "history": list(fitted.history),
            "reconstruction_rmse": _rmse(fitted.best, val, contract, tell),
            "elapsed_s": fitted.elapsed_s,
            "cpu_s": fitted.cpu_s,
            "device": fitted.device,
        },
        files=(options.out / LOG,),
        tell=tell,
    )


def _rmse(checkpoint: Path, split: Split, contract: InputContract, tell: Progress) -> float:
    """Return the root mean square error of the reconstruction of good images, as a share of the range, 0..1."""
    _, network = read_checkpoint(checkpoint)
    if not isinstance(network, Autoencoder):
        raise TypeError(f"{checkpoint}: not an autoencoder")
    with torch.inference_mode():
        squares = [
            (network.reconstruct(tensors) - tensors).square().mean().item() * len(tensors)
            for tensors in tensors_of(split.pictures, contract, tell, "reconstructing")
        ]
    return float(np.sqrt(sum(squares) / len(split)))


def _noisy(pictures: NDArray[np.uint8], chosen: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    noisy = pictures + rng.normal(0, _NOISE, pictures.shape) * chosen[:, None, None, None]
    clipped: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return clipped
