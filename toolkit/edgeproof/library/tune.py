"""Measure once which engine, precision and number of threads is the fastest on this machine, and remember it."""

from __future__ import annotations

from pathlib import Path

from edgeproof.library.evidence import settings_of
from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.selection.auto import choose, remembered
from edgeproof_runtime.selection.choices import Scope
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import require_parallel
from edgeproof_runtime.system.host import cpu_features, host_warnings

__all__ = ["tune"]


@bounded
def tune(
    bundle: str | Path | Bundle,
    *,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measure the candidates of ``auto`` on this machine, and remember the fastest that passes the golden cases.

    Later processes of this user take it wherever they ask for the same ``engine``, ``precision`` and ``threads``.

    Args:
        bundle: path of a bundle, or an opened one.
        engine: name of an engine, or ``auto`` for all of this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto`` for all in the bundle.
        threads: CPU threads; None tries several.
        again: measure also where a choice is remembered.
        progress: called with (phase, done, total).

    Returns:
        A report whose ``engines`` are the candidates, the chosen one first; ``settings["measured_at"]`` says when.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the engine or precision is unknown, or not in the bundle.
        UnavailableError: no engine loads the model and passes the golden cases on this machine.
    """
    require_parallel(threads, "--threads")
    host = host_facts()
    opened = open_bundle(bundle)
    scope = Scope(engine, precision, threads)
    choice = (None if again else remembered(opened, scope)) or choose(opened, scope, progress=progress)
    best = choice.best
    return Report(
        kind="tune",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(
            opened,
            engine=best.name,
            precision=best.precision,
            threads=best.threads,
            measured_at=choice.measured_at,
        ),
        engines=list(choice.rows),
        warnings=[*host_warnings(host), *not_worth_it(choice.rows, cpu_features())],
    )
