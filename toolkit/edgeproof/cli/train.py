"""`edgeproof train`: one of the recipes, from labelled pictures to a checkpoint that export takes as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeproof.cli._shared import (
    HtmlFile,
    JsonFile,
    check_outputs,
    check_report_possible,
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

_AUGMENTATION = "Augmentation, instead of what suits the data"
_SEVERAL = "Where it trains"
_PICTURES = "Autoencoder and GAN"


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
            help="A folder of class folders, an .npz, or cifar10; for multilabel a CSV or JSON file, a folder with "
            "train.csv or train.json, or an .npz.",
            metavar="DATA",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--out", help="Gets checkpoints, logs, pictures, report.", metavar="DIR", show_default=False)
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Fine-tune from this file, or 'pretrained' for the library's own.", metavar="FILE"),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file, a label a line, for an .npz.", metavar="FILE")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data. Else the recipe's.", metavar="N")] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures per step. Else the recipe's.", metavar="N")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, adam or adamw. Else the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate. Else the recipe's.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, step, cosine or one-cycle.")] = None,
    momentum: Annotated[float, typer.Option(help="Of sgd.")] = 0.9,
    weight_decay: Annotated[float | None, typer.Option(help="Else the recipe's.")] = None,
    loss: Annotated[str | None, typer.Option(help="cross-entropy or mse. Else the recipe's.")] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="balanced, or a number per class.", metavar="V,V,...")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Input of this many pixels a side.", metavar="N")] = None,
    color: Annotated[str | None, typer.Option(help="rgb or gray. Else as the data is.")] = None,
    normalize: Annotated[
        str | None, typer.Option(help="255 (0..1), measured (mean and std of the data) or imagenet.")
    ] = None,
    val_share: Annotated[
        float | None,
        typer.Option(help="Share of the pictures to validate by, if the data has no val part."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better validation loss.", metavar="N")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="So many steps per epoch, instead of all the data.", metavar="N")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR/last.ckpt.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a training that is in DIR.")] = False,
    augment: Annotated[bool, typer.Option(help="As suits the data.", rich_help_panel=_AUGMENTATION)] = True,
    flip: Annotated[
        bool | None, typer.Option(help="Mirror left to right.", rich_help_panel=_AUGMENTATION, show_default=False)
    ] = None,
    rotation: Annotated[
        float | None, typer.Option(help="Up to so many degrees.", metavar="DEG", rich_help_panel=_AUGMENTATION)
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Move by up to so many pixels.", metavar="N", rich_help_panel=_AUGMENTATION)
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Zoom by up to this share.", metavar="SHARE", rich_help_panel=_AUGMENTATION)
    ] = None,
    denoise: Annotated[
        str | None,
        typer.Option(
            help="What an autoencoder learns to remove: defects (drawn ones), noise or none.", rich_help_panel=_PICTURES
        ),
    ] = None,
    quantile: Annotated[
        float,
        typer.Option(
            help="Of held-out good pictures' scores that an autoencoder takes for its limit.",
            min=0.01,
            max=1,
            rich_help_panel=_PICTURES,
        ),
    ] = 0.95,
    judge: Annotated[
        Path | None,
        typer.Option(help="A classifier's bundle, for a GAN's pictures.", metavar="BUNDLE", rich_help_panel=_PICTURES),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.", rich_help_panel=_SEVERAL)] = "auto",
    devices: Annotated[int, typer.Option(help="Processes or GPUs per node (DDP).", rich_help_panel=_SEVERAL)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines (DDP).", rich_help_panel=_SEVERAL)] = 1,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Train one of the recipes, or any torchvision or timm classifier, and judge it on the test pictures.

    DIR gets best.ckpt and last.ckpt, metrics.csv, TensorBoard logs, curves, confusion matrix, the most confident
    mistakes and report.json. A checkpoint knows its network and its input contract: export needs no further word.

    Examples:

      edgeproof train cnn --data cifar10 --out runs/cnn

      edgeproof train resnet18 --weights resnet18.pth --data photographs --out runs/resnet18 --epochs 5

      edgeproof train lenet --data mnist.npz --out runs/lenet

      edgeproof train multilabel:resnet18 --weights pretrained --data photographs/train.csv --out runs/tags

      edgeproof train autoencoder --data tiles --out runs/tiles

      edgeproof train gan --data mnist.npz --judge lenet.edge --out runs/gan

      edgeproof export runs/cnn/best.ckpt --data cifar10 --out cnn.edge
    """
    require_train_packages()
    check_report_possible(html_file)
    check_outputs(json_file, html_file, inputs=(data, labels, weights))
    given: dict[str, Any] = {
        "optimizer": optimizer,
        "schedule": schedule,
        "loss": loss,
        "color": color,
        "normalize": normalize,
        "device": device,
        "denoise": denoise,
    }
    options = TrainOptions(
        data=data,
        out=folder,
        weights=weights,
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
        judge=judge,
        **given,
    )
    with progress_bar() as progress:
        trained = train_recipe(recipe, options, progress)
    if trained.report is None:  # another process of a distributed training reports
        return
    _summarise(trained)
    write_reports(trained.report, json_file, html_file)


def _summarise(trained: Trained) -> None:
    report = trained.report
    if report is None or report.training is None:
        raise TypeError("a training without a report")
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
    epochs = count(report.counts["epochs"], "epoch")
    out.print(
        f"{epochs}, {count(report.counts['steps'], 'step')}, {training['elapsed_s']:.0f} s "
        f"({training['cpu_s']:.0f} s of processor time)"
    )
    for path in trained.files:
        err.print(f"wrote {path}")
    out.print(f"next: edgeproof export {trained.checkpoint} --data {report.settings['data']} --out NAME.edge")


def _class_weights(text: str | None) -> Any:
    if text is None or text == "balanced":
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            "--class-weights is not a list of numbers", got=text, expected="balanced, or V,V,..."
        ) from error
