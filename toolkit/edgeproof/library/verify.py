"""Replay a bundle's golden cases on the engines of this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from edgeproof.library.evidence import settings_of
from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress, no_progress
from edgeproof.remote.engine import open_server
from edgeproof.remote.gate import remote_gates
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow, reason_of
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import artifact_for, candidates, load_engine, missed_at_export, try_engines
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.verify.golden import compiled_gate, frame_gates, output_gate
from edgeproof_runtime.verify.layers import LayerTrace, require_intermediate_values, trace_layers
from edgeproof_runtime.verify.saturation import saturation

__all__ = ["replay_golden", "verify"]


@bounded
def verify(
    bundle: str | Path | Bundle,
    *,
    engine: str = "all",
    precision: str = "all",
    layers: bool = False,
    url: str | None = None,
    model: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Replay a bundle's golden cases on this machine, or on a server.

    Args:
        bundle: path of a bundle, or an opened one.
        engine: one or several engines (``a,b``), or ``all`` available on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``all`` in the bundle.
        layers: also compare the intermediate values of each engine with the exported model's on ONNX Runtime without
            graph optimisation. ``layers["drift"]`` of the report then holds `LayerTrace.to_json` of each engine
            and precision. No gate depends on it.
        url: address of a server of the Open Inference Protocol (``edgeproof serve``, Triton, KServe) that is verified
            instead of this machine: ``http://host:8000`` or ``grpc://host:8001``.
        model: name of the server's model; None means the bundle's.
        token: token of the server.
        progress: called with (phase, done, total).

    Returns:
        A report whose ``passed`` is False if a golden case failed. An engine that was left out is a row of
        ``engines`` with the reason: ``passed`` is None if it did not run, and False if it misses a bound that it
        missed at the export.

    Raises:
        BundleError: the bundle is damaged.
        InputError: an engine or precision is unknown; the server has no such model, or its inputs, outputs or labels
            are others.
        UnavailableError: the server cannot be reached; a named engine, or with ``all`` every engine, does not run the
            model; its notes (``__notes__``) say why each engine was left out.
    """
    host = host_facts()
    opened = open_bundle(bundle)
    if url is not None:
        if engine != "all" or layers:
            raise InputError("--url: excludes --engine and --layers", fix="leave them out: the server chose its engine")
        return _verify_server(opened, url, model, token, "auto" if precision == "all" else precision)
    if model is not None or token is not None:
        raise InputError("--model and --token: require --url", fix="leave them out")
    opened.check()
    precisions = opened.precisions if precision == "all" else (precision,)
    for one in precisions:
        opened.artifact(one)
    if layers:
        require_intermediate_values(engine)
    pairs = _pairs(opened, engine, precisions)
    gates, rows = replay_golden(opened, pairs, required=engine != "all", progress=progress)
    gated = {gate.name for gate in gates}
    ran = list(dict.fromkeys(row.name for row in rows if f"parity {row.name} {row.precision}" in gated))
    if not ran:
        error = UnavailableError(
            f"{opened.path}: no available engine runs its {' or '.join(precisions)} model",
            fix='pip install "edgeproof[onnxruntime,openvino]"',
        )
        # What add_note does from Python 3.11 on.
        error.__notes__ = [f"{row.name} {row.precision}: left out: {row.reason}" for row in rows]  # type: ignore[attr-defined]
        raise error
    drift, notes = ([], []) if not layers else _drift(opened, gated, rows, required=engine != "all", progress=progress)
    return Report(
        kind="verify",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(opened, engine=", ".join(ran), precision=", ".join(precisions)),
        counts={"golden_cases": len(opened.manifest.golden)},
        gates=gates,
        engines=rows,
        layers={"drift": [trace.to_json() for trace in drift]} if layers else None,
        warnings=[*host_warnings(host), *notes],
    )


def _verify_server(bundle: Bundle, url: str, model: str | None, token: str | None, precision: str) -> Report:
    cases = load_golden(bundle)
    host = host_facts()
    with open_server(bundle, url, model, token, precision) as engine:
        gates, notes = remote_gates(bundle, engine, cases)
        info = engine.describe()
    passed = all(gate.passed for gate in gates)
    return Report(
        kind="verify",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings_of(bundle, url=url, model=engine.model, engine=info.version, precision=info.precision),
        counts={"golden_cases": len(cases)},
        gates=gates,
        engines=[EngineRow(info.name, info.version, None, passed, precision=info.precision)],
        warnings=notes,
    )


def replay_golden(
    bundle: Bundle, pairs: Sequence[tuple[str, str]], *, required: bool = True, progress: Progress | None = None
) -> tuple[list[Gate], list[EngineRow]]:
    """Replay the golden cases on engines.

    Args:
        bundle: an opened bundle.
        pairs: (engine, precision) pairs.
        required: whether an engine that does not run the model is an error or a row with the reason.
        progress: called with (phase, done, total).

    Returns:
        All gates, and a row for each pair.

    Raises:
        InputError, UnavailableError: a required engine does not run the model.
    """
    tell = progress or no_progress
    cases = load_golden(bundle)
    compiled = compiled_gate(bundle)
    gates = [*frame_gates(bundle, cases), *([] if compiled is None else [compiled])]
    rows = []
    tell("replaying the golden cases", 0, len(pairs))
    try_engines(bundle, pairs)
    for number, (name, precision) in enumerate(pairs):
        tell("replaying the golden cases", number, len(pairs))
        try:
            with load_engine(bundle, name, precision, judged=True) as engine:
                gate = output_gate(bundle, engine, cases)
                why = None if gate.passed else saturation(bundle, engine, cases)
                version = engine.describe().version
                missed_before = missed_at_export(bundle, engine) is not None
        except (InputError, UnavailableError) as error:
            if required:
                raise
            rows.append(EngineRow(name, None, None, None, reason=reason_of(error), precision=precision))
            continue
        if missed_before and not gate.passed and not required:
            reason = f"missed its bound at the export, and here: {gate.misses()}"
            rows.append(EngineRow(name, version, None, False, reason=reason, precision=precision))
            continue
        gates.append(gate)
        rows.append(EngineRow(name, version, None, gate.passed, reason=why, precision=precision))
    tell("replaying the golden cases", len(pairs), len(pairs))
    return gates, rows


def _drift(
    bundle: Bundle, gated: Collection[str], rows: Sequence[EngineRow], *, required: bool, progress: Progress | None
) -> tuple[list[LayerTrace], list[str]]:
    """Trace the engines that ran; return the traces, and why others have none."""
    tell = progress or no_progress
    cases, traces, notes = load_golden(bundle), [], []
    for row in rows:
        if row.precision is None or f"parity {row.name} {row.precision}" not in gated:
            continue
        phase = f"comparing the layers of {row.name} {row.precision}"
        try:
            artifact = artifact_for(bundle, row.name, row.precision, max_batch=1)
            traces.append(trace_layers(bundle, row.name, artifact, cases, advance=partial(tell, phase)))
        except (InputError, UnavailableError) as error:
            if required:
                raise
            notes.append(f"{row.name} {row.precision}: layers not compared: {reason_of(error)}")
    return traces, notes


def _pairs(bundle: Bundle, engine: str, precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Return (engine, precision) pairs to verify; with several precisions, those a named engine supports."""
    if engine == "all":
        return [(name, precision) for precision in precisions for name in candidates(bundle, precision)]
    names = [name.strip() for name in engine.split(",") if name.strip()]
    supported = {name: catalog.find(name).precisions for name in names}
    return [
        (name, precision)
        for precision in precisions
        for name in names
        if len(precisions) == 1 or precision in supported[name]
    ]
