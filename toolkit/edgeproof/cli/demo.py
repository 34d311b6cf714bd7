"""`edgeproof demo`: the whole chain on a built-in model, with real weights and real photographs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._live import TerminalObserver, print_run
from edgeproof.cli._paths import Writes
from edgeproof.cli._shared import (
    err,
    fail_on,
    out,
    print_engines,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof.demo import DEMO_MODEL, Photograph, photographs, render_clip, weights_file
from edgeproof.library.run import run
from edgeproof.library.verify import replay_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import candidates, choose

__all__ = ["demo", "next_commands"]


def demo(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for the bundle, the clip and the report."), Writes("folder")
    ] = Path("edgeproof-demo"),
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Also write the report as JSON to this file; - is stdout.", metavar="FILE"),
        Writes("file"),
    ] = None,
) -> None:
    """Run the whole chain on a built-in model: EfficientNet-Lite0 with its ImageNet weights.

    Exports and gates the model, verifies it on every installed engine, measures the fastest, classifies
    photographs and a short labelled "camera" clip, and writes a report. Downloads nothing.

    Examples:

      edgeproof demo

      edgeproof demo --out /tmp/demo
    """
    shown, weights = photographs(), weights_file()
    host = host_facts()
    bundle_path = folder / "efficientnet-lite0.edge"

    _step(1, "export EfficientNet-Lite0 from PyTorch and gate every hop")
    bundle, gates = _export(bundle_path, weights)
    print_gates(gates)

    _step(2, "verify the bundle as a device does")
    names = candidates(bundle, "fp32")
    verified, _ = replay_golden(bundle, [(name, "fp32") for name in names], required=False)
    print_gates(verified)
    fail_on(verified, bundle.name)

    _step(3, "measure the engines of this machine")
    choice = choose(bundle)
    print_engines(choice.rows)

    _step(4, f"classify photographs on {choice.best.name}")
    samples, photograph_gate = _classify(bundle, choice.best.name, shown)

    _step(5, "classify a labelled clip, frame by frame")
    clip, truth = folder / "clip.mp4", folder / "clip.labels.csv"
    render_clip(shown, bundle.labels, clip, truth)
    labelled, predictions = folder / "clip.labelled.mp4", folder / "clip.predictions.jsonl"
    for earlier in (labelled, predictions):  # `run` would keep them and add to them
        earlier.unlink(missing_ok=True)
    ran = run(
        bundle,
        str(clip),
        labels_from=str(truth),
        engine=choice.best.name,
        threads=choice.best.threads,
        save=labelled,
        predictions=predictions,
        host=host,
        observer=TerminalObserver(),
    )
    print_run(ran)
    report = replace(
        ran,
        kind="demo",
        gates=[*gates, *(g for g in verified if g.name not in {e.name for e in gates}), photograph_gate],
        engines=choice.rows,
        samples=[*samples, *ran.samples],
    )
    write_reports(report, folder / "report.json", folder / "report.html")
    if json_file is not None:
        report.write(json_file)
    fail_on([photograph_gate], "the demo")
    if ran.failure is not None:
        raise ran.failure
    out.print(f"\nThe report is {folder / 'report.html'}", style="bold")
    out.print(f"(the labelled clip: {labelled})")
    out.print("\nNext:", *(f"\n  {command}" for command in next_commands(bundle_path, clip)), sep="")
    out.print(
        '\nThe file of settings then takes your camera (source = "0"), and another bundle:\n'
        "edgeproof export --help says how your own model becomes one."
    )


def next_commands(bundle: Path, clip: Path) -> list[str]:
    """Return three commands to go on with, as a shell takes them: each works where the demo ran, in this order."""
    settings = bundle.parent / "edgeproof.toml"
    commands = (
        ("inspect", bundle),
        # A demo that runs again has left one; it is the user's by now.
        ("init", bundle, "--source", clip, "--out", settings) if not settings.exists() else ("verify", bundle),
        ("run", settings),
    )
    return [shlex.join(["edgeproof", *map(str, command)]) for command in commands]


def _step(number: int, what: str) -> None:
    out.print(f"\n{number}/5 {what}", style="bold")


def _export(path: Path, weights: Path) -> tuple[Bundle, list[Gate]]:
    # Importing PyTorch takes seconds; --help does not need it.
    from edgeproof_export import export_bundle

    with progress_bar() as progress:
        exported = export_bundle(DEMO_MODEL, path, weights=str(weights), force=True, progress=progress)
    return exported.bundle, list(exported.report.gates)


def _classify(bundle: Bundle, engine: str, shown: list[Photograph]) -> tuple[list[Thumbnail], Gate]:
    samples, right = [], 0
    with Classifier(bundle, engine) as classifier:
        for photograph in shown:
            prediction = classifier(photograph.frame)
            good = prediction.top_indices(1)[0] in photograph.classes
            right += good
            truth = prediction.label if good else bundle.labels[photograph.classes[0]]
            name = photograph.path.name
            samples.append(Thumbnail.of(name, photograph.frame, prediction.label, prediction.probability, truth))
            mark = "correct" if good else f"wrong, label {truth}"
            out.print(f"  {name:<20} {prediction.headline}  {mark}")
    err.print(f"{right} of {len(shown)} correct")
    gate = Gate.judge(
        "photographs",
        "the top-1 prediction with each photograph's label",
        {"n": float(len(shown)), "right": float(right)},
        at_least={"right": float(len(shown))},
    )
    return samples, gate
