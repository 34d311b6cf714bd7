"""`edgeproof evaluate`: accuracy on labelled data."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edgeproof.cli._evaluate_anomalies import evaluate_defects
from edgeproof.cli._evaluation import Asked
from edgeproof.cli._hops import Question, compared_with, loss_by_hop, print_walk
from edgeproof.cli._shared import (
    BundlePath,
    EngineName,
    HtmlFile,
    JsonFile,
    Precision,
    SampleKeeper,
    Threads,
    check_outputs,
    check_report_possible,
    out,
    progress_bar,
)
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData, Sample
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.accuracy import AccuracyResult
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.classify import Prediction, classify_head
from edgeproof_runtime.verify.camera_codec import CODECS
from edgeproof_runtime.verify.evaluate import evaluate as evaluate_data
from edgeproof_runtime.verify.golden import frame_gates, output_gate

__all__ = ["accuracy_table", "evaluate", "open_data"]


def evaluate(
    bundle: BundlePath,
    data: Annotated[
        str, typer.Option(help="A folder of class folders, an .npz, or cifar10.", metavar="DATA", show_default=False)
    ],
    engine: EngineName = "auto",
    precision: Precision = "auto",
    split: Annotated[str, typer.Option(help="x_SPLIT of an .npz, or a subfolder of that name.")] = "test",
    class_ids: Annotated[
        Path | None,
        typer.Option(help="File of folder names; line number = class index. Else from the bundle.", metavar="FILE"),
    ] = None,
    batch: Annotated[int, typer.Option(help="Pictures per inference.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures.", min=1, metavar="N")] = None,
    min_top1: Annotated[
        float | None, typer.Option(help="Fail below this top-1 accuracy (0..1).", min=0.0, max=1.0)
    ] = None,
    min_auroc: Annotated[
        float | None,
        typer.Option(help="Fail if defects are found worse than this mean AUROC (0..1).", min=0.0, max=1.0),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Fail if top-1 is lower than PyTorch's on the same data by more (0..1).", min=0, max=1)
    ] = 0.01,
    threads: Threads = None,
    hops: Annotated[
        bool, typer.Option("--hops", help="Find the hop that costs accuracy: PyTorch, contract, ONNX, engine, camera.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="MODEL as for export, for the hops in PyTorch. Else as the bundle says.", metavar="MODEL"),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Its weights, as for export.", metavar="FILE")] = None,
    camera: Annotated[
        str, typer.Option(help=f"Codec of the last hop: {', '.join(CODECS)}, or none.", metavar="CODEC")
    ] = "mp4v",
    against: Annotated[
        str | None,
        typer.Option(help="Compare with another engine or precision, picture by picture.", metavar="ENGINE|PRECISION"),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence/--no-evidence", help="Keep the report in the bundle's evidence.")
    ] = True,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure a bundle's accuracy on labelled data: top-1, top-5, precision, recall, F1, confusions.

    First the golden cases are replayed; then every picture goes through the bundle's own preprocessing and engine.
    Where the bundle was exported with the same data, top-1 is held against PyTorch's. Exits 1 if a gate fails.

    Of a bundle that finds defects: AUROC of every folder against the folder good.

    With --hops the same pictures go along the whole chain, from PyTorch with its training's transforms to the engine
    behind a camera that compresses, and the hop that loses accuracy is named.

    Examples:

      edgeproof evaluate model.edge --data photographs/val

      edgeproof evaluate model.edge --data cifar10.npz --engine openvino --min-top1 0.91

      edgeproof evaluate model.edge --data photographs/val --hops --weights best.pth --report hops.html

      edgeproof evaluate model.edge --data photographs/val --precision int8 --against fp32
    """
    check_report_possible(html_file)
    check_outputs(json_file, html_file, inputs=(data, class_ids))
    if hops and against is not None:
        raise InputError("--hops and --against are two questions", fix="ask them one after the other")
    if (model or weights) and not hops:
        raise InputError("--model and --weights are for the hops in PyTorch", fix="add --hops")
    asked = Asked(
        bundle=Bundle.open(bundle),
        data=data,
        host=host_facts(),
        engine=engine,
        precision=precision,
        split=split,
        batch=batch,
        limit=limit,
        threads=threads,
        evidence=evidence,
        json_file=json_file,
        html_file=html_file,
    )
    opened = asked.bundle
    if opened.manifest.task == "reconstruct":
        given = {"--min-top1": min_top1, "--hops": hops or None, "--against": against, "--class-ids": class_ids}
        named = [option for option, value in given.items() if value is not None]
        if named:
            raise InputError(f"{', '.join(named)} is for classifiers", got="task reconstruct", fix="leave it out")
        evaluate_defects(asked, min_auroc=min_auroc)
        return
    if min_auroc is not None:
        raise InputError("--min-auroc is for bundles that find defects", got=f"task {opened.manifest.task}")
    classify_head(opened)
    labelled = open_data(opened, data, class_ids, split)
    cases = load_golden(opened)
    keeper = SampleKeeper()
    found, walked = None, None

    with ExitStack() as stack:
        tell = stack.enter_context(progress_bar())
        loaded = stack.enter_context(asked.load(tell))
        info = loaded.describe()
        parity = output_gate(opened, loaded, cases)
        gates = [*frame_gates(opened, cases), parity]
        total = asked.pictures(labelled)
        question = Question(bundle=opened, engine=loaded, data=labelled, batch=batch, limit=limit, max_drop=max_drop)
        if hops:
            walked = loss_by_hop(question, tell, model=model, weights=weights, camera=camera)
        elif against is not None:
            walked = compared_with(question, tell, against, threads=threads)
        seen = 0

        def on_sample(sample: Sample, prediction: Prediction) -> None:
            nonlocal seen
            seen += 1
            tell(f"evaluating on {info.name}", seen, total)
            if keeper.wants():
                truth = prediction.label_of(sample.target)
                keeper.keep(Thumbnail.of(sample.name, sample.frame, prediction.label, prediction.probability, truth))

        # Where answers are no numbers there is no accuracy to measure, and the walk names the hop they come from.
        if walked is None or not any(cost.not_finite for cost in walked.costs):
            found = evaluate_data(opened, loaded, labelled, batch=batch, limit=limit, on_sample=on_sample)

    n = 0 if walked is None else walked.total.n
    if found is not None:
        n = found.accuracy.n
        gates += _accuracy_gates(opened, labelled, found.accuracy, found.correct, limit, min_top1, max_drop)
        out.print(accuracy_table(found.accuracy, f"{info.name} {info.version}, {info.precision}"))
    if walked is not None:
        gates += walked.gates
        print_walk(walked)
    notes = _class_notes(opened, labelled) if data.endswith(".npz") else []
    asked.conclude(
        info,
        gates,
        parity=parity,
        labelled=labelled,
        n=n,
        timed=found,
        notes=[*notes, *([] if walked is None else walked.notes)],
        samples=keeper.samples,
        counts=None if found is None else {"correct": found.correct},
        settings={"against": against, "camera": camera if hops else None},
        accuracy=None if found is None else found.accuracy.to_json(opened.labels),
        hops=None if walked is None else walked.to_json(),
    )


def open_data(bundle: Bundle, data: str, class_ids: Path | None, split: str) -> LabelledData:
    classes = bundle.manifest.outputs[0].shape[0]
    labels = bundle.labels or tuple(str(i) for i in range(classes))
    if data == "cifar10":
        from edgeproof_export.datasets import CIFAR10_LABELS, cifar10

        return cifar10(split=split).matched(CIFAR10_LABELS, labels)
    ids: Path | None = class_ids
    if ids is None and bundle.manifest.class_ids is not None:
        ids = bundle.path / bundle.manifest.class_ids
    return LabelledData.open(data, labels, class_ids=ids, split=split)


def _class_notes(bundle: Bundle, data: LabelledData) -> list[str]:
    """Numbered classes cannot be held against names: say so where the numbers look like another model's."""
    classes, highest = bundle.manifest.outputs[0].shape[0], max(data.targets, default=0)
    if highest >= classes // 2:
        return []
    return [
        f"The data has classes 0 to {highest}, the model {classes}: class 0 of the data was taken for "
        f"{bundle.labels[0] if bundle.labels else 'class 0'}."
    ]


def _accuracy_gates(
    bundle: Bundle,
    data: LabelledData,
    accuracy: AccuracyResult,
    correct: int,
    limit: int | None,
    min_top1: float | None,
    max_drop: float,
) -> list[Gate]:
    gates = []
    if min_top1 is not None:
        gates.append(
            Gate.judge("top-1", "top-1 accuracy with --min-top1", {"top1": accuracy.top1}, at_least={"top1": min_top1})
        )
    reference = _torch_reference(bundle)
    if limit is None and reference is not None and reference["fingerprint"] == data.fingerprint():
        drop = (reference["torch_correct"] - correct) / accuracy.n
        gates.append(
            Gate.judge(
                "drop from PyTorch",
                "top-1 accuracy with PyTorch's on the same pictures at the export",
                {"n": float(accuracy.n), "torch_top1": reference["torch_correct"] / reference["n"], "drop": drop},
                at_most={"drop": max_drop},
            )
        )
    return gates


def _torch_reference(bundle: Bundle) -> dict[str, Any] | None:
    """PyTorch's own count of right answers, where the export was given labelled data."""
    name = "evidence/export.json"
    if name not in bundle.manifest.evidence:
        return None
    evidence = json.loads((bundle.path / name).read_text(encoding="utf-8"))
    accuracy = evidence.get("accuracy") or {}
    return accuracy if {"torch_correct", "n", "fingerprint"} <= set(accuracy) else None


def accuracy_table(accuracy: AccuracyResult, title: str) -> Table:
    """Accuracy for the terminal."""
    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left", title_style="bold")
    low, high = accuracy.ci95
    table.add_row("top-1", f"{accuracy.top1:.2%}", f"95 % interval {low:.2%} to {high:.2%}, n = {accuracy.n}")
    if accuracy.top5 is not None:
        table.add_row("top-5", f"{accuracy.top5:.2%}", "")
    table.add_row("precision", f"{accuracy.precision:.4f}", f"macro over {accuracy.classes_present} classes")
    table.add_row("recall", f"{accuracy.recall:.4f}", "")
    table.add_row("F1", f"{accuracy.f1:.4f}", "")
    return table
