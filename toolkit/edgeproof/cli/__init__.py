"""The command line. Results go to stdout, everything else to stderr; exit codes as in `edgeproof_runtime.errors`,
70 after a fault of edgeproof, 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from edgeproof.cli._boundary import guarded
from edgeproof.cli._console import out, set_output
from edgeproof.cli._paths import checked
from edgeproof.cli._settings import SettingsCommand
from edgeproof.cli.agent import agent
from edgeproof.cli.bench import bench
from edgeproof.cli.compare import compare
from edgeproof.cli.compile import compile_
from edgeproof.cli.completion import VARIABLE, answer_the_shell, completion
from edgeproof.cli.demo import demo
from edgeproof.cli.doctor import doctor
from edgeproof.cli.evaluate import evaluate
from edgeproof.cli.export import export
from edgeproof.cli.init import init
from edgeproof.cli.inspect import inspect
from edgeproof.cli.label import label
from edgeproof.cli.optimize import optimize
from edgeproof.cli.pull import pull
from edgeproof.cli.push import push
from edgeproof.cli.report import report
from edgeproof.cli.run import run
from edgeproof.cli.sample import sample
from edgeproof.cli.serve import serve
from edgeproof.cli.service import install, status, uninstall
from edgeproof.cli.sign import sign
from edgeproof.cli.train import train
from edgeproof.cli.triton import triton
from edgeproof.cli.tune import tune
from edgeproof.cli.verify import verify
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import command_line
from edgeproof_runtime.system.steps import STEPS

__all__ = ["app", "main"]


class _Group(TyperGroup):
    """Commands whose help leaves out the variables: their names follow from those of the options."""

    def format_help(self, *given: Any) -> None:
        _hide_variables(self.params)
        super().format_help(*given)


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.auto_envvar_prefix is not None:
            _name_variables(self.params, ctx.auto_envvar_prefix)
        return super().parse_args(ctx, args)

    def format_help(self, *given: Any) -> None:
        _hide_variables(self.params)
        super().format_help(*given)


class _LiveCommand(SettingsCommand, _Command):
    """Command that takes a file of settings instead of a bundle."""


def _name_variables(params: Iterable[Any], prefix: str) -> None:
    """Name variables after the options as they are typed, where Typer takes the names of Python's parameters."""
    for param in params:
        typed = max(param.opts, key=len)
        if typed.startswith("--") and getattr(param, "envvar", None) is None:
            param.envvar = f"{prefix}_{typed[2:].replace('-', '_').upper()}"
            param.show_envvar = False


def _hide_variables(params: Iterable[Any]) -> None:
    """Show no variables in the help but those that an option names itself."""
    for param in params:
        if hasattr(param, "show_envvar") and param.envvar is None:
            param.show_envvar = False


app: typer.Typer = typer.Typer(
    cls=_Group,
    name="edgeproof",
    help="From a trained PyTorch model to frames per second that you can prove.",
    epilog="A variable stands for an option: EDGEPROOF_RUN_THRESHOLD=0.7 for --threshold 0.7 of `edgeproof run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # EDGEPROOF_RUN_SOURCE stands for --source of `edgeproof run`, for containers.
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "EDGEPROOF"},
)
_SERVICE = typer.Typer(
    cls=_Group,
    help="Run a bundle as a systemd service: restarted if it hangs or crashes, started with the machine.",
    no_args_is_help=True,
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "init": init,
    "train": train,
    "export": export,
    "optimize": optimize,
    "verify": verify,
    "evaluate": evaluate,
    "run": run,
    "label": label,
    "sample": sample,
    "tune": tune,
    "bench": bench,
    "compare": compare,
    "report": report,
    "serve": serve,
    "service install": install,
    "service status": status,
    "service uninstall": uninstall,
    "push": push,
    "pull": pull,
    "agent": agent,
    "compile": compile_,
    "triton": triton,
    "sign": sign,
    "inspect": inspect,
    "doctor": doctor,
    "completion": completion,
}
_PANELS = {
    "Begin": ("demo", "init", "doctor", "completion"),
    "Make a bundle": ("train", "export", "optimize", "compile", "sign", "inspect"),
    "Prove it": ("verify", "evaluate", "bench", "tune", "compare", "report"),
    "Use it": ("run", "label", "serve", "sample", "service", "triton"),
    "Roll it out": ("push", "pull", "agent"),
}
_LIVE = ("run", "serve", "service install")
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}
app.add_typer(_SERVICE, name="service", rich_help_panel=_PANEL_OF["service"])
for _name, _command in _COMMANDS.items():
    _place, _panel = (_SERVICE, None) if _name.startswith("service ") else (app, _PANEL_OF[_name])
    _kind = _LiveCommand if _name in _LIVE else _Command
    _place.command(_name.rpartition(" ")[2], cls=_kind, rich_help_panel=_panel)(checked(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"edgeproof {metadata.version('edgeproof')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only: no progress, no notes.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print on stderr what is done, and how long each step took.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Print without colours, as with the variable NO_COLOR.")
    ] = False,
) -> None:
    if quiet and verbose:
        raise InputError("--quiet and --verbose: mutually exclusive", fix="leave one of them out, also as a variable")
    set_output(quiet=quiet, color=not no_color, verbose=verbose)
    STEPS.info("edgeproof %s, Python %s: %s", metadata.version("edgeproof"), platform.python_version(), command_line())


def main() -> None:
    """Run the command line and exit the process."""
    if VARIABLE in os.environ:
        answer_the_shell()
    code = guarded(lambda: app(standalone_mode=False))
    STEPS.info("exit code %d", code)
    sys.exit(code)
