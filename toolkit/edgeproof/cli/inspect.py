"""`edgeproof inspect`: show the contents of a bundle."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from rich.table import Table

from edgeproof.cli._shared import BundlePath, JsonFile, Trust, out, print_engines
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import FOLDER
from edgeproof_runtime.selection.choices import Scope, kept_choices
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.files import write_json
from edgeproof_runtime.system.host import cpu_features
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["inspect"]


def inspect(bundle: BundlePath, trust: Trust = None, json_file: JsonFile = None) -> None:
    """Show the contents of a bundle after checking every file's hash.

    Examples:

      edgeproof inspect model.edge

      edgeproof inspect model.edge --json model.json
    """
    opened = Bundle.open(bundle, trust=trust)
    opened.check()
    manifest = opened.manifest
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("bundle", f"{manifest.name}, task {manifest.task}")
    table.add_row("input", f"{manifest.input_name}: {opened.input_summary}")
    spec, bounds = opened.input_spec, opened.batch
    table.add_row("", f"batch {bounds.min}..{bounds.max}, {spec.dtype} ({', '.join(map(str, ('N', *spec.shape)))})")
    for output in manifest.outputs:
        applied = task_of(opened).unactivated if output.activation == "none" else f"after {output.activation}"
        table.add_row("output", f"{output.name}: {'x'.join(str(n) for n in output.shape)}, {applied}")
    if manifest.settings is not None:
        table.add_row(*manifest.settings.summary())
    if opened.labels:
        table.add_row("labels", f"{len(opened.labels)}: {', '.join(opened.labels[:3])}, ...")
    for precision, name in opened.models.items():
        entry = opened.files[name]
        table.add_row(
            precision, f"{_place(opened, name)}, {entry.size_bytes / 2**20:.1f} MiB, sha256 {entry.sha256[:16]}"
        )
    for compiled in opened.engines():
        size = opened.files[compiled.path].size_bytes / 2**20
        table.add_row(
            "engine", f"{compiled.target} {compiled.precision}, {size:.1f} MiB, {_place(opened, compiled.path)}"
        )
    table.add_row("golden", f"{len(manifest.golden)} cases")
    for name in opened.evidence:
        table.add_row("evidence", f"{name}: {_verdict(opened.read_evidence(PurePosixPath(name).stem))}")
    table.add_row("signatures", _signatures(opened))
    for part in opened.left_out:
        table.add_row("left out", part.note)
    for missed in manifest.engines_left_out:
        which = missed.name if missed.version is None else f"{missed.name} {missed.version}"
        table.add_row("left out", missed.reason if which in missed.reason else f"{which}: {missed.reason}")
    for key, value in manifest.provenance.items():
        if key == "engines_left_out":
            continue
        table.add_row(key.replace("_", " "), _in_words(value))
    out.print(table)
    for choice in kept_choices(opened):
        out.print(f"\nmeasured on this machine ({choice.machine}) at {choice.measured_at}{_scope(choice.scope)}:")
        print_engines(choice.rows)
        for sentence in not_worth_it(choice.rows, cpu_features()):
            out.print(sentence)
    if json_file is not None:
        write_json(json_file, opened.to_json())


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items())
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)


def _signatures(bundle: Bundle) -> str:
    if bundle.signed is not None:
        return f"{bundle.signed.note}, {bundle.signed.signature}"
    found = sorted(path.relative_to(bundle.path).as_posix() for path in (bundle.path / FOLDER).glob("*"))
    return f"{', '.join(found)}; not checked (--trust)" if found else "none"


def _place(bundle: Bundle, name: str) -> str:
    return bundle.locate(name).relative_to(bundle.path).as_posix()


def _scope(scope: Scope) -> str:
    named = (
        "" if scope.engine == "auto" else f"engine {scope.engine}",
        "" if scope.precision == "auto" else scope.precision,
        "" if scope.threads is None else f"threads {scope.threads}",
    )
    return "".join(f", {part}" for part in named if part)


def _verdict(evidence: dict[str, Any] | None) -> str:
    gates = (evidence or {}).get("gates") or []
    passed = sum(bool(gate.get("passed")) for gate in gates)
    return f"{passed} of {len(gates)} gates passed, {(evidence or {}).get('created', 'no date')}"
