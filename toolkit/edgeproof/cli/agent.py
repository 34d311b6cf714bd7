"""`edgeproof agent`: keep a device on the newest bundle of a tag that is proven on it."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes
from edgeproof.cli._shared import EngineName, Precision, Threads, Trust, err, out, progress_bar, seconds_of
from edgeproof.cli.compare import share_of
from edgeproof.cli.push import PlainHttp
from edgeproof.fleet.agent import Agent, AgentSettings, Decision
from edgeproof.fleet.metrics import metrics_text, serve_metrics
from edgeproof.fleet.proof import ProofOptions
from edgeproof_runtime.errors import GateError, InputError
from edgeproof_runtime.system.files import write_atomically, write_json

__all__ = ["agent"]

_TOKEN = "EDGEPROOF_TOKEN"  # noqa: S105 - the variable that `serve` reads
_BAD = ("rejected", "rolled back")


def agent(
    reference: Annotated[
        str, typer.Option("--ref", help="Tag to follow, oci://host[:port]/name[:tag].", metavar="REF")
    ],
    bundle_dir: Annotated[
        Path,
        typer.Option(help="Folder of the device's bundles; current.edge in it is the one in use.", metavar="DIR"),
        Writes("folder", owns=("current.edge", "by-digest/*", "state.json", "decisions/*", "agent.lock")),
    ],
    once: Annotated[
        bool,
        typer.Option("--once", help="Look once, and exit: 1 if the bundle is refused, 2 if it cannot be tried now."),
    ] = False,
    interval: Annotated[str, typer.Option(help="Time between two looks at the registry.", metavar="TIME")] = "60s",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_slowdown: Annotated[
        str, typer.Option(help="Largest permitted growth of the time per frame, such as 5% or 0.05.")
    ] = "5%",
    trust: Trust = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Take a bundle of another task or with other labels.")
    ] = False,
    percent: Annotated[
        float,
        typer.Option(help="Take new bundles only if the device is within this share of the fleet.", min=0, max=100),
    ] = 100.0,
    device: Annotated[
        str | None,
        typer.Option(
            "--device-id", help="Id of this device in the fleet (default: a hash of /etc/machine-id).", metavar="ID"
        ),
    ] = None,
    health_url: Annotated[
        str | None,
        typer.Option(help="Live service whose metrics are watched after a switch, such as http://127.0.0.1:8080."),
    ] = None,
    watch: Annotated[str, typer.Option(help="How long the service is watched.", metavar="TIME")] = "60s",
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Forget which digests were rejected, and try them again.")
    ] = False,
    metrics_file: Annotated[
        Path | None,
        typer.Option(help="Write metrics for node_exporter's textfile collector.", metavar="FILE.prom"),
        Writes("file"),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve metrics on http://127.0.0.1:PORT/metrics.", min=0, max=65535)
    ] = None,
    plain_http: PlainHttp = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the report of the newest decision as JSON; - is stdout.", metavar="FILE"),
        Writes("file"),
    ] = None,
) -> None:
    """Keep a device on the newest bundle of a tag that is proven on it: pull, check, prove, switch, watch, roll back.

    A new bundle is pulled by digest. Its signature is checked (--trust), and task and labels must stay. In a child
    process its golden cases are replayed on the engine that will run it, and its time per frame is compared with the
    running bundle's. Then DIR/current.edge, a symbolic link, is replaced at once, and the service of --health-url is
    watched. If it becomes worse, the link goes back. A digest that was refused is not tried again.

    Each decision is a report in DIR/decisions. The agent may be killed at any moment: current.edge stays usable.

    Examples:

      edgeproof agent --ref oci://registry.example/site/model:stable --bundle-dir /var/lib/edgeproof

      edgeproof agent --ref oci://127.0.0.1:5000/model:stable --bundle-dir bundles --once --json decision.json

      edgeproof agent --ref oci://registry.example/model:stable --bundle-dir bundles --percent 10 --trust site.pub
    """
    pause = seconds_of(interval, "--interval") or 60.0
    settings = AgentSettings(
        reference=reference,
        folder=bundle_dir,
        proof=ProofOptions(
            engine=engine, precision=precision, threads=threads, max_slowdown=share_of(max_slowdown, "--max-slowdown")
        ),
        trust=trust,
        allow_changes=allow_changes,
        percent=percent,
        device=device,
        health_url=health_url,
        health_token=os.environ.get(_TOKEN),
        watch_s=seconds_of(watch, "--watch") or 60.0,
        plain_http=plain_http,
    )
    page = None if metrics_port is None else serve_metrics(metrics_port)
    if page is not None:
        err.print(f"metrics http://127.0.0.1:{page.port}/metrics")
    try:
        with progress_bar() as tell, Agent(settings, tell=err.print, progress=tell) as running:
            if retry_rejected:
                running.store.state.rejected.clear()
                running.store.save()
            while True:
                decision = _looked(running, once=once)
                if decision is not None:
                    _show(decision, json_file, always=once)
                    text = metrics_text(running, decision)
                    if metrics_file is not None:
                        write_atomically(metrics_file, text.encode())
                    if page is not None:
                        page.text = text
                if once:
                    break
                time.sleep(pause * random.uniform(0.9, 1.1))
    finally:
        if page is not None:
            page.close()
    if decision is not None and decision.outcome == "postponed":
        raise InputError("bundle not tried yet", got=decision.reason, fix="call the agent again")
    if decision is not None and decision.outcome in _BAD:
        raise GateError(f"bundle {decision.outcome}", got=decision.reason)


def _looked(running: Agent, *, once: bool) -> Decision | None:
    """Look once. An agent that goes on says what is wrong with its folder, and tries again later."""
    try:
        return running.look()
    except (InputError, OSError) as error:
        if once:
            raise
        err.print(str(error), style="yellow")
        return None


def _show(decision: Decision, json_file: Path | None, *, always: bool) -> None:
    if decision.report is None and not always:
        return
    digest = "" if decision.digest is None else f" {decision.digest[:19]}"
    out.print(f"{decision.outcome}{digest}: {decision.reason}")
    if decision.report is not None and json_file is not None:
        write_json(json_file, decision.report.to_json())
