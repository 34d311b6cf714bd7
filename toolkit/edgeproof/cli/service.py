"""`edgeproof service`: install, show and remove a systemd service that runs a bundle."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgeproof import systemd
from edgeproof.cli._paths import Reads, Writes, marks_of
from edgeproof.cli._settings import settings_of
from edgeproof.cli._shared import LiveBundle, err, out, seconds_of
from edgeproof.cli.run import run
from edgeproof.cli.serve import serve
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.redact import redact_address

__all__ = ["install", "status", "uninstall"]

_COMMANDS: dict[str, Callable[..., None]] = {"run": run, "serve": serve}
_RUNNING = Path("/run/systemd/system")  # sd_booted(3)
_SHOWN = ("ActiveState", "SubState", "StatusText", "Result", "NRestarts", "MainPID", "MemoryCurrent", "ExecMainStatus")

Name = Annotated[str, typer.Option(help="Name of the service.")]


def install(
    ctx: typer.Context,
    bundle: LiveBundle,
    source: Annotated[
        list[str],
        typer.Option(
            help="Camera, stream, video or streams.toml. Repeat for several. ${NAME} is read from the environment.",
            metavar="SRC",
            show_default=False,
        ),
        Reads(),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="After --: more options of run or serve, such as -- --sink mqtt://broker/site."),
    ] = None,
    command: Annotated[str, typer.Option(help="What the service does: run or serve.")] = "run",
    name: Name = "edgeproof",
    user: Annotated[
        str | None, typer.Option(help="User that runs it (default: one that systemd makes while it runs).")
    ] = None,
    memory_max: Annotated[
        str, typer.Option(help="Memory at which the service is ended and started again, such as 2G.", metavar="SIZE")
    ] = "2G",
    watchdog: Annotated[
        str,
        typer.Option(
            help="Restart after this time without progress; longer than the longest time between two frames.",
            metavar="TIME",
        ),
    ] = "60s",
    environment_file: Annotated[
        Path | None,
        typer.Option(help="File of NAME=VALUE lines, such as passwords of cameras, for ${NAME}.", metavar="FILE"),
        Reads(),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the unit to this file instead, and start nothing.", metavar="FILE"),
        Writes("file"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit; write and start nothing.")] = False,
) -> None:
    """Install a systemd service that runs a bundle on streams, survives crashes and starts with the machine.

    Writes /etc/systemd/system/NAME.service, which explains its settings, and starts it. Requires root, unless
    --dry-run or --output. The service reconnects cameras that are away; systemd restarts it if an engine or a driver
    hangs, and after a crash.

    Examples:

      sudo edgeproof service install model.edge --source streams.toml -- --sink mqtt://broker/site

      sudo edgeproof service install edgeproof.toml

      edgeproof service install model.edge --source 0 --command serve --dry-run
    """
    if command not in _COMMANDS:
        raise InputError("--command: unknown", got=command, expected=" or ".join(_COMMANDS))
    Bundle.open(bundle)
    settings = settings_of(ctx)
    more = list(arguments or ())
    given = any(word.partition("=")[0] == "--reconnect" for word in more)
    if command == "run" and not given and (settings is None or "reconnect" not in settings.names):
        more += ["--reconnect", "always"]  # a camera that is away at the start is waited for
    sources = [_absolute(one) for one in source]
    words = [str(bundle.resolve() if settings is None else Path(settings.file).absolute())]
    if settings is None or source != [settings.file]:
        words += [word for one in sources for word in ("--source", one)]
    words += more
    files, folders = _paths_of(command, words)
    if user is None and any(one.lower().startswith("csi://") for one in sources):
        raise InputError(
            "--source csi://: requires --user",
            got="a DynamicUser, whose private /tmp hides /tmp/argus_socket",
            fix="pass --user with a user of the group video",
        )
    start = systemd.program()
    unit = systemd.Unit(
        name=name,
        command=[*start, command, *words],
        description=f"edgeproof {command} {bundle.stem}",
        user=user,
        memory_max=_size(memory_max),
        watchdog_s=seconds_of(watchdog, "--watchdog") or 60.0,
        environment_file=None if environment_file is None else environment_file.resolve(),
        writes=folders,
        reloads=any(one.lower().endswith(".toml") for one in sources),
    )
    python = Path(sys.executable).resolve()
    for sentence in unit.problems([Path(start[0]), python, bundle.resolve(), bundle.resolve() / "bundle.json", *files]):
        err.print(f"note: {sentence}", style="yellow")
    if any(redact_address(one) != one for one in sources):
        err.print(
            "note: every user of this machine can read the unit, with the password of a source in it: write ${NAME} in "
            "the address, and pass --environment-file with a file that only root can read",
            style="yellow",
        )
    _verify(unit)
    if dry_run:
        out.print(unit.text, end="")
        return
    if output is not None:
        write_atomically(output, unit.text.encode())
        err.print(f"unit {output}; install it with: sudo cp {output} {systemd.UNITS / f'{name}.service'}")
        return
    _require_systemd()
    place = systemd.UNITS / f"{name}.service"
    if place.exists() and not systemd.is_ours(place):
        raise InputError(f"{place}: exists", got="a unit that edgeproof did not write", fix="pass another --name")
    _write(place, unit.text)
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", place.name)
    _systemctl("restart", "--no-block", place.name)
    out.print(f"{place}: written, enabled and starting")
    out.print(f"state: edgeproof service status --name {name}    log: journalctl -u {name} -f")


def status(name: Name = "edgeproof") -> None:
    """Show whether the service runs, how its streams are, how often it was restarted, and its memory.

    Examples:

      edgeproof service status
    """
    _require_systemd()
    _require_unit(name)
    shown = _systemctl("show", f"{name}.service", f"--property={','.join(_SHOWN)}")
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    out.print(f"{name}: {values.get('ActiveState', 'unknown')} ({values.get('SubState', 'unknown')})")
    for label, key in (("streams", "StatusText"), ("result", "Result"), ("restarts", "NRestarts")):
        if values.get(key):
            out.print(f"{label}: {values[key]}")
    memory = values.get("MemoryCurrent", "")
    if memory.isdecimal():
        out.print(f"memory: {int(memory) / 2**20:.0f} MiB")


def uninstall(name: Name = "edgeproof") -> None:
    """Stop the service and remove its unit. What it wrote (/var/lib/NAME, /var/cache/NAME) stays.

    Examples:

      sudo edgeproof service uninstall
    """
    _require_systemd()
    place = _require_unit(name)
    if not systemd.is_ours(place):
        raise InputError(f"{place}: not removed", got="a unit that edgeproof did not write", fix=f"sudo rm {place}")
    _systemctl("disable", "--now", "--quiet", place.name)
    try:
        place.unlink()
    except OSError as error:
        raise InputError(f"{place}: cannot be removed", got=error.strerror, fix="run it with sudo") from error
    _systemctl("daemon-reload")
    out.print(f"{place}: stopped and removed")


def _absolute(source: str) -> str:
    is_file = is_path(source) and " ! " not in source and "$" not in source and not source.isdecimal()
    return str(Path(source).absolute()) if is_file else source


def _paths_of(command: str, words: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Parse the service's command line as it will be; return the files that it reads and the folders that it writes."""
    from edgeproof.cli import app

    known: Any = typer.main.get_command(app)
    with known.commands[command].make_context(command, list(words)) as context:
        given = dict(context.params)
    reads: list[Path] = []
    writes: dict[Path, None] = {}
    for marked in marks_of(_COMMANDS[command]):
        value = given.get(marked.parameter)
        for one in [] if value is None else value if isinstance(value, list | tuple) else [value]:
            if "://" in str(one):
                continue
            path = Path(str(one))
            if isinstance(marked.mark, Reads) and path.is_absolute() and path.exists():
                reads.append(path)
            elif isinstance(marked.mark, Writes) and path.is_absolute():
                writes.setdefault(path if marked.mark.kind == "folder" else path.parent)
            elif isinstance(marked.mark, Reads) and not path.is_absolute() and path.exists():
                raise InputError(f"{marked.option}: must be an absolute path", got=one, fix=f"{path.absolute()}")
    return reads, list(writes)


def _size(text: str) -> str:
    number = text[:-1] if text[-1:] in "KMGT" else text
    if not number.isascii() or not number.isdecimal() or int(number) == 0:
        raise InputError("--memory-max: not a size", got=text, expected="a size such as 500M, 2G")
    return text


def _verify(unit: systemd.Unit) -> None:
    """Print what systemd says against the unit, where systemd-analyze is installed."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{unit.name}.service")
        file.write_text(unit.text, encoding="utf-8")
        try:
            done = subprocess.run(
                [analyze, "verify", "--man=no", "--generators=no", str(file)],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return
    for line in done.stderr.splitlines():
        if unit.name in line:
            err.print(f"systemd-analyze verify: {line.replace(f'{folder}/', '')}", style="yellow")


def _require_systemd() -> None:
    if shutil.which("systemctl") is None or not _RUNNING.is_dir():
        raise UnavailableError(
            "service: requires systemd",
            got="it does not run on this machine (a container?)",
            fix="--dry-run or --output gives the unit",
        )


def _require_unit(name: str) -> Path:
    place = systemd.UNITS / f"{name}.service"
    if not place.is_file():
        raise UnavailableError(
            f"{place}: not found", fix="edgeproof service install BUNDLE --source SRC, or pass --name"
        )
    return place


def _write(place: Path, text: str) -> None:
    try:
        write_atomically(place, text.encode())
    except (OSError, InputError) as error:
        raise InputError(
            f"{place}: cannot be written",
            got=error,
            fix="run it with sudo, or pass --output",
        ) from error


def _systemctl(verb: Literal["daemon-reload", "enable", "restart", "show", "disable"], *words: str) -> str:
    done = subprocess.run(["systemctl", verb, *words], capture_output=True, text=True, check=False)  # noqa: S607 - root's own
    if done.returncode != 0:
        raise UnavailableError(
            f"systemctl {verb} failed",
            got=done.stderr.strip() or f"exit code {done.returncode}",
            fix="run it with sudo",
        )
    return done.stdout
