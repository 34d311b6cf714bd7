"""Training of autoencoders on good pictures, and judging what they find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

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
from edgeproof.training.unlabelled import plain_contract, training_pictures
from edgeproof_export.checkpoint import KEY, PREFIX, Blueprint, read_checkpoint
from edgeproof_export.networks import build_network
from edgeproof_export.picture_networks import Autoencoder
from edgeproof_runtime.anomaly import AnomalyMeter, AnomalyResult, auroc
from edgeproof_runtime.bundle import sha256_of
from edgeproof_runtime.contract import InputContract
from edgeproof_runtime.data import LabelledData
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.host import host_facts
from edgeproof_runtime.reconstruct import DEFECT, GOOD, ReconstructHead
from edgeproof_runtime.report import Report, Sample, command_line
from edgeproof_runtime.task_settings import AnomalySettings

__all__ = ["AutoencoderModule", "fit_anomaly_score", "train_autoencoder"]

_LARGEST_CROP = 128  # texture needs no whole picture: a quarter of the work, and more variety
_MARKED_SHARE = 0.8  # of the pictures get defects or noise; the others must come back as they are
_NOISE = 15.0  # standard deviation, in grey levels
_BRIGHTNESS = (0.8, 1.25)
_JUDGE_BATCH = 16
_SAMPLES = 24
_DRAWN = 3  # marked pictures per held-out good one, by which the score is chosen
_MEASURED = 400  # most pictures of each kind that are held in memory with their reconstructions
_GRAINS = ("none", "columns", "rows")
_SCALES = (4, 8, 16, 32)
_SCALE_SETS = ((4,), (8,), (16,), (32,), (4, 8), (8, 16), (16, 32), (4, 8, 16), (8, 16, 32), _SCALES)


class AutoencoderModule(TrainedModule):
    """Learns to give back the clean picture, whatever was put onto it.

    Args:
        network: whose reconstruction is trained; its score is fitted afterwards.
        blueprint: with a contract.
        settings: optimiser and schedule.
        loss: ``mse``, or ``cross-entropy`` of each pixel as a share of brightness.
        denoise: what is put onto the pictures.
        augment: whether pictures are mirrored, cropped and made brighter or darker.
        seed: of what is put onto the validation pictures, the same every epoch.
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
        """One step's loss."""
        del batch_idx
        # Lightning seeds torch; NumPy's draws follow from it, so that a seed means one training.
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        pictures = batch[0].numpy(force=True)
        loss = self.finite(self._loss(_varied(pictures, rng) if self.augment else pictures, rng))
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(pictures))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss of a batch."""
        pictures = batch[0].numpy(force=True)
        rng = np.random.default_rng((self.seed, batch_idx))
        parts = [pictures[i : i + _JUDGE_BATCH] for i in range(0, len(pictures), _JUDGE_BATCH)]
        losses = torch.stack([self._loss(part, rng) * len(part) for part in parts])
        loss = self.finite(losses.sum() / len(pictures), "the validation loss")
        self.log("val_loss", loss, on_epoch=True, sync_dist=True, batch_size=len(pictures))

    def _loss(self, clean: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        contract = self.blueprint.contract
        if contract is None:
            raise TypeError("an autoencoder has an input contract")
        marked = _marked(clean, self.denoise, rng)
        seen, wanted = (input_stage(torch.from_numpy(p).to(self.device), contract) for p in (marked, clean))
        logits = self.network.logits(seen)
        if self.loss_name == "cross-entropy":
            return F.binary_cross_entropy_with_logits(logits, wanted)
        return F.mse_loss(torch.sigmoid(logits), wanted)


def train_autoencoder(recipe: Recipe, options: TrainOptions, tell: Progress) -> Trained:
    """Train an autoencoder on good pictures; see `edgeproof.training.train`."""
    images = training_pictures(options.data, good_only=True)
    prepare_folder(options)
    contract = plain_contract(images, recipe, options)
    denoise: Denoise = options.denoise or "defects"
    L.seed_everything(options.seed, workers=True, verbose=False)
    arguments = {"channels": contract.channels, "size": contract.tensor_size[0], "skips": denoise != "none"}
    network = build_network(recipe.architecture, arguments)
    if not isinstance(network, Autoencoder):
        raise TypeError(f"{recipe.architecture} is no autoencoder")
    good = read_split(images, None, contract, tell, "reading good pictures")
    share = recipe.val_share if options.val_share is None else options.val_share
    train, val = hold_out(good, share, options.seed)
    if not len(val):
        raise InputError("the threshold is chosen on good pictures that were not learnt from", got=f"{len(good)}")
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
    settings = fit_anomaly_score(fitted.best, train, val, options.quantile, options.seed, tell)
    return _judge(recipe, options, module, fitted, settings, train, val, batch, denoise, tell)


def fit_anomaly_score(
    checkpoint: Path, train: Split, val: Split, quantile: float, seed: int, tell: Progress
) -> AnomalySettings:
    """Put the score's definition, what is usual on good pictures, and the threshold into an autoencoder's checkpoint.

    Mean and deviation of each averaged residual come from the pictures it learnt from, per position and smoothed over
    an eighth of the side. The score's grain, scales and unit are those that tell held-out good pictures best from the
    same with drawn defects; the threshold is a quantile of the held-out good pictures' scores. No real defect is
    looked at.

    Args:
        checkpoint: changed, whole or not at all.
        train, val: good pictures.
        quantile: of the held-out pictures' scores that becomes the threshold.
        seed: of the drawn defects.
        tell: progress.
    """
    blueprint, network = read_checkpoint(checkpoint)
    contract = blueprint.contract
    if not isinstance(network, Autoencoder) or contract is None:
        raise TypeError(f"{checkpoint} holds no autoencoder")
    rng = np.random.default_rng((seed, 1))
    good, held_out = (split.take(np.arange(min(len(split), _MEASURED))).pictures for split in (train, val))
    marked = np.stack([draw_defects(p, rng, count=1) for p in held_out.numpy() for _ in range(_DRAWN)])
    parts = {"good": good, "held-out": held_out, "marked": torch.from_numpy(marked)}
    rebuilt = {
        name: list(_rebuilt(network, pictures, contract, tell, f"measuring {name} pictures"))
        for name, pictures in parts.items()
    }
    best: tuple[float, dict[str, Any], Autoencoder] | None = None
    for grain, relative in product(_GRAINS, (False, True)):
        candidate = _variant(blueprint, network, {"grain": grain, "relative": relative, "scales": _SCALES})
        _fit_usual(candidate, rebuilt["good"], len(good))
        clean, drawn = (_maxima(candidate, rebuilt[name]) for name in ("held-out", "marked"))
        for scales in _SCALE_SETS:
            columns = [_SCALES.index(scale) for scale in scales]
            area = auroc(clean[:, columns].max(axis=1), drawn[:, columns].max(axis=1))
            if best is None or area > best[0]:
                definition = {"grain": grain, "relative": relative, "scales": scales}
                best = (area, definition, _variant(blueprint, candidate, definition))
    if best is None:
        raise TypeError("no score to choose from")
    area, definition, found = best
    with torch.inference_mode():
        scores = [float(s) for tensors in _tensors(val.pictures, contract, tell, "scoring") for s in found(tensors)[2]]
    settings = AnomalySettings(
        threshold=max(float(np.quantile(scores, quantile, method="higher")), 1e-6),
        quantile=quantile,
        good_images=len(scores),
        score=found.score_text,
    )
    arguments = {**blueprint.arguments, **definition, "scales": list(found.scales)}
    facts = {**blueprint.facts, "anomaly": settings.to_json(), "drawn_auroc": area}
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    content[KEY] = replace(blueprint, arguments=arguments, facts=facts).to_json()
    kept = {name: tensor for name, tensor in content["state_dict"].items() if not name.startswith(PREFIX)}
    content["state_dict"] = kept | {PREFIX + name: t.contiguous() for name, t in found.state_dict().items()}
    partial = checkpoint.with_name(f".{checkpoint.name}.partial")
    try:
        torch.save(content, partial)
        partial.replace(checkpoint)
    finally:
        partial.unlink(missing_ok=True)
    return settings


def _variant(blueprint: Blueprint, network: Autoencoder, definition: Mapping[str, Any]) -> Autoencoder:
    """The same weights under another score; what is usual comes along for the scales that stay."""
    made = build_network(blueprint.architecture, {**blueprint.arguments, **definition})
    if not isinstance(made, Autoencoder):
        raise TypeError(f"{blueprint.architecture} is no autoencoder")
    known, fresh = network.state_dict(), made.state_dict()
    made.load_state_dict({name: known.get(name, tensor) for name, tensor in fresh.items()})
    return made.eval()


def _fit_usual(network: Autoencoder, rebuilt: list[tuple[Tensor, Tensor]], count: int) -> None:
    sums = [torch.zeros(2, 1, 1) for _ in network.scales]
    for tensors, reconstruction in rebuilt:
        for index, residual in enumerate(network.residuals(tensors, reconstruction)):
            sums[index] = sums[index] + torch.stack([residual.sum(0), residual.square().sum(0)])[:, 0]
    means = [_smooth(total[0] / count) for total in sums]
    squares = [_smooth(total[1] / count) for total in sums]
    deviations = [(s - m.square()).clamp(min=1e-8).sqrt() for m, s in zip(means, squares, strict=True)]
    network.fit_score([m[None] for m in means], [d[None] for d in deviations])


def _maxima(network: Autoencoder, rebuilt: list[tuple[Tensor, Tensor]]) -> NDArray[np.float64]:
    """Each picture's score at each scale alone, ``N x scales``."""
    rows = [torch.stack([u.amax(dim=(1, 2, 3)) for u in network.unusual(*pair)], dim=1) for pair in rebuilt]
    maxima: NDArray[np.float64] = torch.cat(rows).double().numpy()
    return maxima


def _rebuilt(
    network: Autoencoder, pictures: Tensor, contract: InputContract, tell: Progress, phase: str
) -> Iterator[tuple[Tensor, Tensor]]:
    for tensors in _tensors(pictures, contract, tell, phase):
        with torch.inference_mode():
            yield tensors, network.reconstruct(tensors)


def _judge(
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
        raise TypeError(f"{fitted.best} holds no autoencoder")
    root = Path(options.data) / "test"
    kinds = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    test = None
    if kinds:
        data = LabelledData.open(options.data, kinds)
        test = read_split(data.images, data.targets, contract, tell, "reading test pictures")
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
        anomaly=result,
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
            *([] if test is not None else ["The data has no test part with defects: nothing says how well they show."]),
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
) -> tuple[AnomalyResult, list[Sample]]:
    """AUROC per kind, and pictures with their heat maps, evenly spread over the test."""
    meter, head = AnomalyMeter(settings.threshold), ReconstructHead(settings, contract)
    samples: list[Sample] = []
    shown = set(np.linspace(0, len(test) - 1, min(_SAMPLES, len(test))).astype(int).tolist())
    number = 0
    for tensors in _tensors(test.pictures, contract, tell, "judging"):
        with torch.inference_mode():
            answers = [output.numpy() for output in network(tensors)]
        for index in range(len(tensors)):
            decision = head(tuple(answer[index : index + 1] for answer in answers))
            kind = kinds[int(test.targets[number])]
            meter.update(kind, decision.score)
            if number in shown:
                pixels = test.pictures[number].numpy().transpose(1, 2, 0)
                frame = pixels[:, :, 0] if contract.channels == 1 else pixels[:, :, ::-1]
                picture = decision.over(np.ascontiguousarray(frame))
                name, truth = f"{test.names[number]}: {decision.score:.3g}", GOOD if kind == GOOD else DEFECT
                samples.append(Sample.of(name, picture, decision.label, None, truth))
            number += 1
    return meter.result(), samples


def _rmse(network: Autoencoder, split: Split, contract: InputContract, tell: Progress) -> float:
    """Root mean square error of the reconstruction of good pictures, 0..1 of the range."""
    with torch.inference_mode():
        squares = [
            (network.reconstruct(tensors) - tensors).square().mean().item() * len(tensors)
            for tensors in _tensors(split.pictures, contract, tell, "reconstructing")
        ]
    return float(np.sqrt(sum(squares) / len(split)))


def _tensors(pictures: Tensor, contract: InputContract, tell: Progress, phase: str) -> Iterator[Tensor]:
    for start in range(0, len(pictures), _JUDGE_BATCH):
        yield input_stage(pictures[start : start + _JUDGE_BATCH], contract)
        tell(phase, min(start + _JUDGE_BATCH, len(pictures)), len(pictures))


def _smooth(values: Tensor) -> Tensor:
    """Averaged over squares of an eighth of the side; at the border over what there is."""
    window = max(3, values.shape[-1] // 8 | 1)
    padded = F.pad(values[None, None], (window // 2,) * 4, mode="replicate")
    return F.avg_pool2d(padded, window, 1)[0, 0]


def _marked(pictures: NDArray[np.uint8], how: Denoise, rng: np.random.Generator) -> NDArray[np.uint8]:
    if how == "none":
        return pictures
    chosen = rng.random(len(pictures)) < _MARKED_SHARE
    if how == "defects":
        return np.stack([draw_defects(p, rng) if c else p for p, c in zip(pictures, chosen, strict=True)])
    noisy = pictures + rng.normal(0, _NOISE, pictures.shape) * chosen[:, None, None, None]
    clipped: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return clipped


def _varied(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cropped, mirrored both ways, brighter or darker; each picture by its own draw but for the crop."""
    height, width = pictures.shape[2:]
    crop = min(_LARGEST_CROP, height, width)
    top, left = (int(rng.integers(side - crop + 1)) for side in (height, width))
    cropped = pictures[:, :, top : top + crop, left : left + crop]
    flips = rng.random((len(pictures), 2)) < 0.5
    mirrored = [
        p[:, :: -1 if down else 1, :: -1 if across else 1] for p, (down, across) in zip(cropped, flips, strict=True)
    ]
    bright = np.stack(mirrored) * rng.uniform(*_BRIGHTNESS, (len(pictures), 1, 1, 1))
    varied: NDArray[np.uint8] = np.clip(np.rint(bright), 0, 255).astype(np.uint8)
    return varied
