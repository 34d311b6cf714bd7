"""The command line. Results go to stdout, everything else to stderr; exit codes as in `edgeproof_runtime.errors`,
70 after a fault of edgeproof, 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated

import typer

from edgeproof.cli._boundary import guarded
from edgeproof.cli._console import out
from edgeproof.cli._paths import checked
from edgeproof.cli.bench import bench
from edgeproof.cli.compare import compare
from edgeproof.cli.compile import compile_
from edgeproof.cli.demo import demo
from edgeproof.cli.doctor import doctor
from edgeproof.cli.evaluate import evaluate
from edgeproof.cli.export import export
from edgeproof.cli.inspect import inspect
from edgeproof.cli.optimize import optimize
from edgeproof.cli.report import report
from edgeproof.cli.run import run
from edgeproof.cli.sample import sample
from edgeproof.cli.serve import serve
from edgeproof.cli.service import install, status, uninstall
from edgeproof.cli.train import train
from edgeproof.cli.tune import tune
from edgeproof.cli.verify import verify

__all__ = ["app", "main"]

app: typer.Typer = typer.Typer(
    name="edgeproof",
    help="From a trained PyTorch model to frames per second that you can prove.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SERVICE = typer.Typer(
    help="Run a bundle as a systemd service: restarted if it hangs or crashes, started with the machine.",
    no_args_is_help=True,
)
app.add_typer(_SERVICE, name="service")
_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "export": export,
    "optimize": optimize,
    "verify": verify,
    "evaluate": evaluate,
    "run": run,
    "sample": sample,
    "tune": tune,
    "bench": bench,
    "compare": compare,
    "report": report,
    "serve": serve,
    "service install": install,
    "service status": status,
    "service uninstall": uninstall,
    "compile": compile_,
    "inspect": inspect,
    "doctor": doctor,
}
for _name, _command in _COMMANDS.items():
    (_SERVICE if _name.startswith("service ") else app).command(_name.rpartition(" ")[2])(checked(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"edgeproof {metadata.version('edgeproof')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit the process."""
    sys.exit(guarded(lambda: app(standalone_mode=False)))
