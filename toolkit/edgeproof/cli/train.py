"""`edgeproof train`: train a recipe on labelled images; export reads its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import (
    AveragedWeights,
    HtmlFile,
    JsonFile,
    count,
    err,
    out,
    progress_bar,
    write_reports,
)
from edgeproof.cli._tables import coverage_table, distance_line, print_sections
from edgeproof.training import RECIPES, TrainOptions, require_train_packages
from edgeproof.training import train as train_recipe
from edgeproof_runtime.errors import InputError

if TYPE_CHECKING:
    from edgeproof.training import Trained

__all__ = ["train"]

_AUGMENTATION = "Augmentation (default: depends on the data)"
_SEVERAL = "Devices"
_IMAGES = "Anomaly models and GAN"


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(f'{r.name} ({r.summary})' for r in RECIPES.values())}; or a classifier of torchvision "
            "or timm, such as resnet18 or timm:NAME; multilabel:NAME trains a classifier for several labels per image.",
            metavar="RECIPE",
            show_default=False,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Class folders, an .npz, or cifar10; for multilabel a CSV or JSON file, a folder with "
            "train.csv or train.json, or an .npz.",
            metavar="DATA",
            show_default=False,
        ),
        Reads(),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder for checkpoints, logs, plots and the report.", metavar="DIR", show_default=False
        ),
        Writes("folder", owns=("*.ckpt",)),
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Fine-tune from this file, or 'pretrained' for the library's weights.", metavar="FILE"),
        Reads(),
    ] = None,
    ema: AveragedWeights = None,
    labels: Annotated[
        Path | None, typer.Option(help="Text file, one label per line, for an .npz.", metavar="FILE"), Reads()
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data (default: the recipe's).", metavar="N")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step (default: the recipe's).", metavar="N")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Optimizer: sgd, adam or adamw (default: the recipe's).")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate (default: the recipe's).")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Learning rate schedule: constant, step, cosine or one-cycle.")
    ] = None,
    momentum: Annotated[float, typer.Option(help="Momentum of sgd.")] = 0.9,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay (default: the recipe's).")] = None,
    loss: Annotated[str | None, typer.Option(help="Loss: cross-entropy or mse (default: the recipe's).")] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="Class weights: balanced, or a number per class.", metavar="V,V,...")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Input height and width, pixels.", metavar="N")] = None,
    color: Annotated[str | None, typer.Option(help="rgb or gray (default: as the data).")] = None,
    normalize: Annotated[
        str | None, typer.Option(help="Normalise by 255 (0..1), measured (mean and std of the data) or imagenet.")
    ] = None,
    val_share: Annotated[
        float | None,
        typer.Option(help="Share of images for validation if the data has no val part."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after this many epochs without a better validation loss.", metavar="N")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps per epoch (default: all the data).", metavar="N")] = None,
    seed: Annotated[int, typer.Option(help="Seed for weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from DIR/last.ckpt.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing training in DIR.")] = False,
    augment: Annotated[bool, typer.Option(help="Augment the training images.", rich_help_panel=_AUGMENTATION)] = True,
    flip: Annotated[
        bool | None,
        typer.Option(help="Mirror images horizontally at random.", rich_help_panel=_AUGMENTATION, show_default=False),
    ] = None,
    rotation: Annotated[
        float | None,
        typer.Option(help="Rotate by up to this many degrees.", metavar="DEG", rich_help_panel=_AUGMENTATION),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Shift by up to this many pixels.", metavar="N", rich_help_panel=_AUGMENTATION)
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Zoom by up to this share.", metavar="SHARE", rich_help_panel=_AUGMENTATION)
    ] = None,
    anomaly_recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Anomaly: patchcore, autoencoder, or auto, which trains both and takes the better AUROC of drawn "
            "defects (default: auto).",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    denoise: Annotated[
        str | None,
        typer.Option(
            help="What an autoencoder learns to remove: defects (drawn ones), noise or none.", rich_help_panel=_IMAGES
        ),
    ] = None,
    quantile: Annotated[
        float,
        typer.Option(
            help="Anomaly models: quantile of the scores of held-out good images that becomes the threshold.",
            min=0.01,
            max=1,
            rich_help_panel=_IMAGES,
        ),
    ] = 0.95,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Patchcore: classifier of torchvision or timm whose features are compared "
            "(default: timm:tf_efficientnet_lite0).",
            metavar="NAME",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    bank: Annotated[
        int | None,
        typer.Option(help="Patchcore: patches to compare with (default: 4000).", metavar="N", rich_help_panel=_IMAGES),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="Classifier bundle that measures a GAN's images.", metavar="BUNDLE", rich_help_panel=_IMAGES),
        Reads(),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu or gpu.", rich_help_panel=_SEVERAL)] = "auto",
    devices: Annotated[int, typer.Option(help="Processes or GPUs per node (DDP).", rich_help_panel=_SEVERAL)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines (DDP).", rich_help_panel=_SEVERAL)] = 1,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Train a recipe, or any torchvision or timm classifier, and evaluate it on the test images.

    DIR gets best.ckpt and last.ckpt, metrics.csv, TensorBoard logs, curves, confusion matrix, the most confident
    mistakes and report.json. A checkpoint holds network and input contract: export needs no further options.

    Examples:

      edgeproof train cnn --data cifar10 --out runs/cnn

      edgeproof train resnet18 --weights resnet18.pth --data photographs --out runs/resnet18 --epochs 5

      edgeproof train lenet --data mnist.npz --out runs/lenet

      edgeproof train multilabel:resnet18 --weights pretrained --data photographs/train.csv --out runs/tags

      edgeproof train autoencoder --data tiles --out runs/tiles

      edgeproof train patchcore --data tiles --out runs/tiles

      edgeproof train anomaly --recipe auto --data tiles --out runs/better

      edgeproof train gan --data mnist.npz --judge lenet.edge --out runs/gan

      edgeproof export runs/cnn/best.ckpt --data cifar10 --out cnn.edge
    """
    require_train_packages()
    given: dict[str, Any] = {
        "optimizer": optimizer,
        "schedule": schedule,
        "loss": loss,
        "color": color,
        "normalize": normalize,
        "device": device,
        "denoise": denoise,
        "recipe": anomaly_recipe,
    }
    options = TrainOptions(
        data=data,
        out=folder,
        weights=weights,
        ema=ema,
        labels=labels,
        epochs=epochs,
        batch=batch,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        class_weights=_class_weights(class_weights),
        size=size,
        val_share=val_share,
        patience=patience,
        steps=steps,
        seed=seed,
        resume=resume,
        force=force,
        augment=augment,
        flip=flip,
        rotation_deg=rotation,
        crop=crop,
        scale=scale,
        devices=devices,
        nodes=nodes,
        quantile=quantile,
        backbone=backbone,
        bank=bank,
        judge=judge,
        **given,
    )
    with progress_bar() as progress:
        trained = train_recipe(recipe, options, progress)
    if trained.report is None:  # in a distributed training, rank 0 reports
        return
    _summarise(trained)
    write_reports(trained.report, json_file, html_file)


def _summarise(trained: Trained) -> None:
    report = trained.report
    if report is None or report.training is None:
        raise TypeError("training: has no report")
    for warning in report.warnings:
        err.print(f"note: {warning}")
    training = report.training
    images = "test" if training["judged_on"] == "test" else "validation"
    print_sections(report.sections, f"{images} images", title=f"{report.settings['recipe']} on the {images} images")
    if (calibration := training.get("calibration")) is not None:
        out.print(f"calibration error {calibration.ece:.2%}")
    generation = report.generation or {}
    if (coverage := generation.get("coverage")) is not None:
        out.print(coverage_table(coverage))
    if (nearest := generation.get("nearest")) is not None:
        out.print(distance_line(nearest))
    if (drawn := training.get("drawn_auroc")) is not None:
        found = training.get("candidates") or {report.settings["recipe"]: drawn}
        figures = ", ".join(f"{name} {area:.3f}" for name, area in found.items())
        chosen = f"; chosen: {report.settings['chosen']}" if len(found) > 1 else ""
        out.print(f"AUROC of defects drawn onto held-out good images: {figures}{chosen}")
    done = [count(report.counts[f"{part}s"], part) for part in ("epoch", "step") if f"{part}s" in report.counts]
    out.print(", ".join([*done, f"{training['elapsed_s']:.0f} s ({training['cpu_s']:.0f} s of CPU time)"]))
    for path in trained.files:
        err.print(f"wrote {path}")
    out.print(f"next: edgeproof export {trained.checkpoint} --data {report.settings['data']} --out NAME.edge")


def _class_weights(text: str | None) -> Any:
    if text is None or text == "balanced":
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError("--class-weights: not a list of numbers", got=text, expected="balanced, or V,V,...") from error
