"""Training of autoencoders on good images, and evaluation on images with defects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgeproof.training.data import BatchModule, Split, hold_out, read_split
from edgeproof.training.defects import draw_defects
from edgeproof.training.fit import LOG, Fitted, fit, prepare_folder
from edgeproof.training.module import OptimiserSettings, TrainedModule, input_stage
from edgeproof.training.options import Denoise, Loss, TrainOptions
from edgeproof.training.pictures import write_plots, write_sheet
from edgeproof.training.recipes import Progress, Recipe, Trained
from edgeproof.training.unlabelled import plain_contract, training_images
from edgeproof.training.variation import vary
from edgeproof_export.checkpoint import Blueprint, add_facts, read_checkpoint
from edgeproof_export.networks import build_network
from edgeproof_export.picture_networks import Autoencoder
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD, AnomalySettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.auroc import AnomalyMeter, AnomalyResult, auroc
from edgeproof_runtime.tasks.reconstruct import ReconstructHead

__all__ = ["AutoencoderModule", "settle_threshold", "train_autoencoder"]

_MARKED_SHARE = 0.8  # of the images get defects or noise; the others must be reconstructed unchanged
_CHANGED = 0.05  # of the brightness: a cell counts as defective if a drawn defect changes it by more
_NOISE = 15.0  # standard deviation, in grey levels
_EVALUATION_BATCH = 16
_SAMPLES = 24
_DRAWN = 3  # images with a drawn defect per held-out good image


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
        self.loss_name, self.denoise, self.augment, self.seed = loss, denoise, augment, seed

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
    if not len(val):
        raise InputError("threshold: requires held-out good images", got=f"{len(good)} good images, none held out")
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
    settings = settle_threshold(fitted.best, val, options.quantile, options.seed, tell)
    return _evaluate(recipe, options, module, fitted, settings, train, val, batch, denoise, tell)


def settle_threshold(checkpoint: Path, val: Split, quantile: float, seed: int, tell: Progress) -> AnomalySettings:
    """Store the threshold in an autoencoder's checkpoint: a quantile of the anomaly scores of held-out good images.

    The checkpoint also gets the AUROC of these images against the same images with a drawn defect. Real defects
    are not used.

    Args:
        checkpoint: checkpoint to change, whole or not at all.
        val: good images that were not trained on.
        quantile: quantile of their anomaly scores that becomes the threshold.
        seed: seed of the drawn defects.
        tell: progress callback.
    """
    blueprint, network = read_checkpoint(checkpoint)
    contract = blueprint.contract
    if not isinstance(network, Autoencoder) or contract is None:
        raise TypeError(f"{checkpoint}: not an autoencoder")
    rng = np.random.default_rng((seed, 1))
    clean = _scores(network, val.pictures, contract, tell, "scoring")
    drawn: list[float] = []
    for number in range(_DRAWN):
        marked = torch.from_numpy(np.stack([draw_defects(p, rng, count=1) for p in val.pictures.numpy()]))
        drawn += _scores(network, marked, contract, tell, f"scoring drawn defects, {number + 1} of {_DRAWN}")
    settings = AnomalySettings(
        threshold=max(float(np.quantile(clean, quantile, method="higher")), 1e-6),
        quantile=quantile,
        good_images=len(clean),
        score=network.score_text,
    )
    add_facts(checkpoint, {"anomaly": settings.to_json(), "drawn_auroc": auroc(clean, drawn)})
    return settings


def _scores(network: Autoencoder, pictures: Tensor, contract: InputContract, tell: Progress, phase: str) -> list[float]:
    with torch.inference_mode():
        return [float(s) for tensors in _tensors(pictures, contract, tell, phase) for s in network(tensors)[2]]


def _evaluate(
    recipe: Recipe,
    options: TrainOptions,
    module: AutoencoderModule,
    fitted: Fitted,
    settings: AnomalySettings,
    train: Split,
    val: Split,
    batch: int,
    denoise: Denoise,
    tell: Progress,
) -> Trained:
    trained, network = read_checkpoint(fitted.best)
    contract = trained.contract
    if not isinstance(network, Autoencoder) or contract is None:
        raise TypeError(f"{fitted.best}: not an autoencoder")
    root = Path(options.data) / "test"
    kinds = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    test = None
    if kinds:
        data = LabelledData.open(options.data, kinds)
        test = read_split(data.images, data.targets, contract, tell, "reading test images")
    result, samples = (None, []) if test is None else _scored(network, test, kinds, settings, contract, tell)
    chosen = OptimiserSettings.settle(recipe, options)
    report = Report(
        kind="train",
        command=command_line(),
        host=host_facts(),
        settings={
            "recipe": recipe.name,
            "data": options.data,
            "contract": contract.summary(),
            "denoise": denoise,
            "loss": module.loss_name,
            "optimizer": chosen.optimizer,
            "lr": chosen.lr,
            "schedule": chosen.schedule,
            "batch": batch,
            "seed": options.seed,
            "torch_threads": torch.get_num_threads(),
        },
        counts={
            "pictures_train": len(train),
            "pictures_val": len(val),
            "pictures_test": 0 if test is None else len(test),
            "pictures_failed": len(train.skipped) + (0 if test is None else len(test.skipped)),
            "parameters": sum(p.numel() for p in network.parameters()),
            "epochs": len(fitted.history),
            "steps": fitted.steps,
        },
        sections={} if result is None else {"anomaly": result.to_json()},
        samples=samples,
        training={
            "history": list(fitted.history),
            "judged_on": "val" if test is None else "test",
            "calibration": None,
            "reconstruction_rmse": _rmse(network, val, contract, tell),
            "threshold": settings.to_json(),
            "drawn_auroc": trained.facts["drawn_auroc"],
            "elapsed_s": fitted.elapsed_s,
            "cpu_s": fitted.cpu_s,
            "device": fitted.device,
            "checkpoint": {"path": fitted.best.name, "sha256": sha256_of(fitted.best)},
        },
        warnings=[
            *([] if test is not None else ["The dataset has no test part with defects: detection was not measured."]),
            *(f"Skipped {item.name}: {item.reason}." for item in train.skipped),
        ],
    )
    files = [options.out / LOG, *write_plots(report.to_json(), options.out)]
    if samples:
        files.append(write_sheet(samples, options.out / "anomalies.png"))
    report.write(options.out / "report.json")
    return Trained(fitted.best, report, None, (*files, options.out / "report.json"))


def _scored(
    network: Autoencoder,
    test: Split,
    kinds: list[str],
    settings: AnomalySettings,
    contract: InputContract,
    tell: Progress,
) -> tuple[AnomalyResult, list[Thumbnail]]:
    """Return the AUROC per kind, and thumbnails with heat maps, evenly spread over the test images."""
    meter, head = AnomalyMeter(settings.threshold), ReconstructHead(settings, contract)
    samples: list[Thumbnail] = []
    shown = set(np.linspace(0, len(test) - 1, min(_SAMPLES, len(test))).astype(int).tolist())
    number = 0
    for tensors in _tensors(test.pictures, contract, tell, "evaluating"):
        with torch.inference_mode():
            outputs = [output.numpy() for output in network(tensors)]
        for index in range(len(tensors)):
            decision = head(tuple(output[index : index + 1] for output in outputs))
            kind = kinds[int(test.targets[number])]
            meter.update(kind, decision.score)
            if number in shown:
                pixels = test.pictures[number].numpy().transpose(1, 2, 0)
                frame = pixels[:, :, 0] if contract.channels == 1 else pixels[:, :, ::-1]
                picture = decision.over(np.ascontiguousarray(frame))
                name, truth = f"{test.names[number]}: {decision.score:.3g}", GOOD if kind == GOOD else DEFECT
                samples.append(Thumbnail.of(name, picture, decision.label, None, truth))
            number += 1
    return meter.result(), samples


def _rmse(network: Autoencoder, split: Split, contract: InputContract, tell: Progress) -> float:
    """Return the root mean square error of the reconstruction of good images, as a share of the range, 0..1."""
    with torch.inference_mode():
        squares = [
            (network.reconstruct(tensors) - tensors).square().mean().item() * len(tensors)
            for tensors in _tensors(split.pictures, contract, tell, "reconstructing")
        ]
    return float(np.sqrt(sum(squares) / len(split)))


def _tensors(pictures: Tensor, contract: InputContract, tell: Progress, phase: str) -> Iterator[Tensor]:
    for start in range(0, len(pictures), _EVALUATION_BATCH):
        yield input_stage(pictures[start : start + _EVALUATION_BATCH], contract)
        tell(phase, min(start + _EVALUATION_BATCH, len(pictures)), len(pictures))


def _noisy(pictures: NDArray[np.uint8], chosen: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    noisy = pictures + rng.normal(0, _NOISE, pictures.shape) * chosen[:, None, None, None]
    clipped: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return clipped
