"""`edgeproof export`: convert a trained PyTorch model into a gated bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import (
    AveragedWeights,
    ClassOrder,
    Exif,
    HtmlFile,
    JsonFile,
    Split,
    err,
    out,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.data.bands import bands_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import whole_number
from edgeproof_runtime.tasks.registry import task_of

if TYPE_CHECKING:
    from edgeproof_export import Exported

__all__ = ["export"]

_SHOWN = 60
_CONTRACT = "Input contract (default: the model's)"


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="torchvision:NAME, timm:NAME, hf:FOLDER, anomalib:CKPT, package.module:factory (your code, which "
            "runs), or a .ckpt, .pt2, .onnx or TorchScript file (data, of which no code runs).",
            metavar="MODEL",
            show_default=False,
        ),
        Reads(),
    ],
    out_path: Annotated[
        Path,
        typer.Option("--out", help="Bundle to write.", metavar="NAME.edge", show_default=False),
        Writes("bundle"),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint (FILE or FILE:PREFIX), 'pretrained' (the library's weights, default) or 'random'.",
            metavar="FILE",
        ),
        Reads(),
    ] = None,
    ema: AveragedWeights = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Load a .pt2 or TorchScript file that holds code; its code may then run.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels in class order: text with one per line, CSV, TSV, JSON such as id2label, or a folder of class "
            "folders (default: the library's).",
            metavar="FILE",
        ),
        Reads(),
    ] = None,
    class_ids: Annotated[
        Path | None,
        typer.Option(
            help="Class folder names in class order, in the forms of --labels (default for ImageNet: wnids).",
            metavar="FILE",
        ),
        Reads(),
    ] = None,
    class_order: ClassOrder = None,
    data: Annotated[
        str | None,
        typer.Option(help="Images for the gates: a dataset as for evaluate, or images without labels.", metavar="DATA"),
        Reads(),
    ] = None,
    split: Split = None,
    exif: Exif = False,
    num_classes: Annotated[
        int | None,
        typer.Option(help="Number of classes of a torchvision or timm model (default: the library's).", min=2),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(help="Activation of the model's output: none, softmax or sigmoid (default: by graph or values)."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classify or multilabel, for models that do not record it (default: classify).", metavar="TASK"
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="Output with the class scores, for models with several (default: the one that is clearly it).",
            metavar="NAME",
        ),
    ] = None,
    gate_images: Annotated[int, typer.Option(help="Most images for the parity gate.", min=1, metavar="N")] = 200,
    engines: Annotated[
        str | None,
        typer.Option(
            help="Engines that must pass (default: onnxruntime); others that fail are left out.", metavar="E[,E]"
        ),
    ] = None,
    opset: Annotated[
        int, typer.Option(help="ONNX opset version; TensorRT 8 supports up to 17.", min=13, metavar="N")
    ] = 18,
    exporter: Annotated[
        str, typer.Option(help="PyTorch's exporter: dynamo, torchscript, or auto, which tries one after the other.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    input_size: Annotated[
        str | None,
        typer.Option(
            help="Resize to this size without keeping the aspect ratio, no crop.",
            metavar="N|HxW",
            rich_help_panel=_CONTRACT,
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(help="Channel order: rgb, bgr, gray, or channels (as in the file).", rich_help_panel=_CONTRACT),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            help="Number of channels, for multispectral, RGB-D or infrared images.",
            metavar="N",
            rich_help_panel=_CONTRACT,
        ),
    ] = None,
    frame_dtype: Annotated[
        str | None,
        typer.Option(help="Values of the images: uint8, uint16 or float32.", rich_help_panel=_CONTRACT),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            help="Resize mode: shortest, cover, squash, letterbox or crop_fraction.", rich_help_panel=_CONTRACT
        ),
    ] = None,
    resize_size: Annotated[
        str | None, typer.Option(help="Size after the resize.", metavar="N|HxW", rich_help_panel=_CONTRACT)
    ] = None,
    crop_size: Annotated[
        str | None, typer.Option(help="Centre crop after the resize.", metavar="N|HxW", rich_help_panel=_CONTRACT)
    ] = None,
    crop_fraction: Annotated[
        float | None, typer.Option(help="Centre crop before the resize, 0..1.", rich_help_panel=_CONTRACT)
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter", help="Resize filter: nearest, box, bilinear, bicubic or lanczos.", rich_help_panel=_CONTRACT
        ),
    ] = None,
    fill: Annotated[
        str | None, typer.Option(help="Letterbox colour, 0..255.", metavar="V[,V,V]", rich_help_panel=_CONTRACT)
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Divide pixel values by this; 255 gives 0..1.", rich_help_panel=_CONTRACT)
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="Subtract this mean per channel, after the scale.", metavar="V[,V,V]", rich_help_panel=_CONTRACT
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            help="Divide by this standard deviation per channel, after the mean.",
            metavar="V[,V,V]",
            rich_help_panel=_CONTRACT,
        ),
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Tensor layout: NCHW or NHWC.", rich_help_panel=_CONTRACT)] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Tensor dtype: float32, float16 or uint8 (default: an ONNX file's own).", rich_help_panel=_CONTRACT
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Batch bounds.", metavar="MIN,OPT,MAX", rich_help_panel=_CONTRACT)
    ] = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Export a trained model into a bundle that has passed every gate.

    Compares the outputs of PyTorch, ONNX Runtime and the other CPU engines of this machine on the same images, and
    the runtime's input tensors with torchvision's, bit for bit. If a bound is missed, no bundle is written and the
    exit code is 1. An engine that need not pass (see --engines) and fails is left out; the bundle says why.

    Examples:

      edgeproof export torchvision:resnet18 --out resnet18.edge

      edgeproof export timm:tf_efficientnet_lite0 --weights lite0.pth --data photographs/val --out lite0.edge

      edgeproof export my_package.models:build --weights best.safetensors --labels labels.txt --input-size 32
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --data cifar10.npz --out mine.edge
    """
    # Importing torch takes seconds; --help does not need it.
    from edgeproof_export import ContractFlags, export_bundle

    if color is not None and (number := whole_number(color)) is not None and channels is None:  # --color 4
        channels, color = number, None
    flags = ContractFlags(
        input_size=_size("--input-size", input_size),
        channels=channels,
        frame_dtype=frame_dtype,  # type: ignore[arg-type]
        color=color,  # type: ignore[arg-type]  # checked by ContractFlags, as the next ones are
        resize=resize,  # type: ignore[arg-type]
        resize_size=_size("--resize-size", resize_size),
        crop_size=_size("--crop-size", crop_size),
        crop_fraction=crop_fraction,
        filter=filter_,  # type: ignore[arg-type]
        fill=None if fill is None else tuple(int(v) for v in _numbers("--fill", fill, whole=True)),
        scale=scale,
        mean=None if mean is None else _numbers("--mean", mean),
        std=None if std is None else _numbers("--std", std),
        layout=layout,  # type: ignore[arg-type]
        dtype=dtype,  # type: ignore[arg-type]
        batch=_batch(batch),
    )
    with progress_bar() as progress:
        exported = export_bundle(
            model,
            out_path,
            weights=weights,
            ema=ema,
            trust=trust,
            labels=labels,
            class_ids=class_ids,
            class_order=class_order,
            exif=exif,
            data=data,
            split=split,
            contract=flags,
            num_classes=num_classes,
            activation=activation,  # type: ignore[arg-type]  # checked by export_bundle
            output=output,
            task=task,
            gate_images=gate_images,
            engines=engines,
            opset=opset,
            exporter=exporter,
            force=force,
            progress=progress,
        )
    _summarise(exported)
    write_reports(exported.report, json_file, html_file)


def _summarise(exported: Exported) -> None:
    bundle, report = exported.bundle, exported.report
    for warning in report.warnings:
        err.print(f"note: {warning}")
    size_bytes = sum(entry.size_bytes for entry in bundle.files.values())
    what = f"{len(bundle.labels)} classes" if bundle.labels else f"task {bundle.manifest.task}"
    out.print(f"{bundle.path}: {size_bytes / 2**20:.1f} MiB, {what}")
    out.print(f"input: {bundle.input_summary}")
    print_gates(report.gates)
    accuracy = report.sections.get("accuracy")
    if accuracy is not None:
        correct, n = accuracy["torch_correct"], accuracy["n"]
        reference = report.settings["reference"]
        out.print(f"{reference} on {report.settings['data']}: {correct} of {n} correct, top-1 {correct / n:.2%}")
    for sample in report.samples:
        share = "" if sample.probability is None else f" {sample.probability:.0%}"
        out.print(f"  {sample.name}: {sample.label}{share}")
    out.print(f"next: edgeproof verify {bundle.path}")
    use = task_of(bundle).first_use.format(bundle=bundle.path)
    if bands_of(bundle.manifest.contract) is not None:  # no camera gives such frames
        use = f"evaluate {bundle.path} --data DATA"
    out.print(f"      edgeproof {use}")


def _size(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = [whole_number(part.strip()) for part in text.lower().replace("x", ",").split(",")]
    height, width = sides[0], sides[-1]
    if len(sides) > 2 or height is None or width is None:
        raise InputError(f"{option}: not a size", got=text[:_SHOWN], expected="N or HEIGHTxWIDTH, in pixels")
    return height, width


def _numbers(option: str, text: str, *, whole: bool = False) -> tuple[float, ...]:
    try:
        return tuple(int(part) if whole else float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option}: not a list of numbers", got=text, expected="one number per channel, such as 0.485,0.456,0.406"
        ) from error


def _batch(text: str | None) -> BatchBounds | None:
    if text is None:
        return None
    numbers = [number for part in text.split(",") if (number := whole_number(part.strip())) is not None]
    if len(numbers) != 3 or text.count(",") != 2:
        raise InputError("--batch: not three integers", got=text[:_SHOWN], expected="MIN,OPT,MAX, such as 1,8,32")
    return BatchBounds(*numbers)
