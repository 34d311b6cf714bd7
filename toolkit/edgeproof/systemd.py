"""The systemd unit of a live run: its text, and what stands in the way of the service that it describes."""

from __future__ import annotations

import grp
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.errors import InputError

__all__ = ["MARK", "UNITS", "Unit", "is_ours", "program"]

UNITS = Path("/etc/systemd/system")
MARK = "# Written by `edgeproof service install`; `edgeproof service uninstall` removes it."

_CAMERA_DAEMON = "nvargus-daemon.service"
_UNIT_FOLDERS = (UNITS, Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
_GROUPS = ("video", "render")  # cameras; GPUs


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of type ``notify``.

    Attributes:
        name: name without ``.service``: letters, digits, ``-`` and ``_``.
        command: program and arguments; paths are absolute.
        description: what `systemctl status` shows.
        user: user that runs it; None means a user that systemd makes for it (``DynamicUser``).
        memory_max: as systemd writes sizes, such as ``2G``.
        watchdog_s: seconds without progress after which it is restarted.
        environment_file: file of variables such as passwords; None without.
        writes: folders outside its own that it writes to.
        reloads: whether its streams come from a file that SIGHUP reads again.

    Raises:
        InputError: the name is invalid, or a control character is in what a line of the unit would hold.
    """

    name: str
    command: Sequence[str]
    description: str
    user: str | None = None
    memory_max: str = "2G"
    watchdog_s: float = 60.0
    environment_file: Path | None = None
    writes: Sequence[Path] = ()
    reloads: bool = False

    def __post_init__(self) -> None:
        if not self.name.isascii() or not self.name.replace("-", "").replace("_", "").isalnum():
            raise InputError("--name: invalid", got=repr(self.name), expected="letters, digits, '-' and '_'")
        lines = (self.description, self.user or "", self.memory_max, str(self.environment_file), *map(str, self.writes))
        for text in lines:
            if not text.isprintable():
                raise InputError("unit: contains a control character", got=repr(text))

    @property
    def text(self) -> str:
        """Content of the unit file, with the reason of each setting."""
        return "\n".join([MARK, "", *self._unit(), "", *self._service(), "", *_INSTALL, ""])

    def _unit(self) -> Iterator[str]:
        after = ["network-online.target", *([_CAMERA_DAEMON] if _has_unit(_CAMERA_DAEMON) else [])]
        yield "[Unit]"
        yield f"Description={_escaped(self.description)}"
        yield "Wants=network-online.target"
        yield f"After={' '.join(after)}"

    def _service(self) -> Iterator[str]:
        yield from ("[Service]", "# READY when the engine is loaded and the streams are started.", "Type=notify")
        yield f"ExecStart={' '.join(map(_quoted, self.command))}"
        if self.reloads:
            # systemd 253 has Type=notify-reload for this; JetPack 6 has 249.
            yield from ("# `systemctl reload` reads the file of streams again.", "ExecReload=/bin/kill -HUP $MAINPID")
        yield from ("# `--engine auto` may measure engines at the first start.", "TimeoutStartSec=15min")
        yield "# Fed while frames are decided or all cameras are away; an engine or a driver that hangs misses it."
        yield f"WatchdogSec={self.watchdog_s:g}"
        yield from ("Restart=on-failure", "RestartSec=5")
        yield f"MemoryMax={self.memory_max}"
        if self.user is None:
            yield from ("# A user that exists only while the service runs, with a /tmp of its own.", "DynamicUser=yes")
        else:
            yield f"User={self.user}"
        groups = [name for name in _GROUPS if _has_group(name)]
        if groups:
            yield f"SupplementaryGroups={' '.join(groups)}"
        yield f"# Relative outputs go to /var/lib/{self.name}, measured choices to /var/cache/{self.name}."
        yield from (f"StateDirectory={self.name}", f"CacheDirectory={self.name}", f"WorkingDirectory=%S/{self.name}")
        yield f"Environment=EDGEPROOF_CACHE=%C/{self.name}"
        if self.environment_file is not None:
            yield f"EnvironmentFile={_escaped(str(self.environment_file))}"
        yield from ("# Everything else is read-only.", "ProtectSystem=strict", "ProtectHome=read-only")
        if self.writes:
            yield f"ReadWritePaths={' '.join(_quoted(str(folder)) for folder in self.writes)}"
        yield from _HARDENING

    def problems(self, reads: Sequence[Path]) -> Iterator[str]:
        """Yield why the service could not start although the unit is valid.

        Args:
            reads: files and folders that it reads, absolute: bundle, program, files of streams.
        """
        if self.user is not None:
            return
        for path in reads:
            if path.is_relative_to("/tmp") or path.is_relative_to("/var/tmp"):  # noqa: S108 - where others put files
                yield f"{path}: a DynamicUser has a /tmp of its own: pass --user, or move it, such as to /opt"
                continue
            closed = _closed_to_others(path)
            if closed is not None:
                yield (
                    f"{path}: a DynamicUser cannot read it ({closed} is closed to other users): "
                    "pass --user, or move it, such as to /opt"
                )


_INSTALL = ("[Install]", "WantedBy=multi-user.target")
# Neither PrivateDevices nor ProtectClock: they hide cameras.
_HARDENING = (
    "NoNewPrivileges=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
)


def program() -> list[str]:
    """Return the command that starts this edgeproof without a shell or an activated environment."""
    beside = Path(sys.executable).with_name("edgeproof")
    return [str(beside)] if os.access(beside, os.X_OK) else [sys.executable, "-m", "edgeproof"]


def is_ours(unit: Path) -> bool:
    """Return whether `edgeproof service install` wrote a unit file."""
    try:
        return unit.read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeError):
        return False


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Quote one argument of a command line of systemd (systemd.service(5)): variables and specifiers stay text."""
    plain = _escaped(text).replace("$", "$$")
    if plain and not any(c.isspace() or c in "\"'\\;" for c in plain):
        return plain
    inner = plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{inner}"'


def _has_unit(name: str) -> bool:
    return any((folder / name).exists() for folder in _UNIT_FOLDERS)


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _closed_to_others(path: Path) -> Path | None:
    """Return the file or parent folder that other users cannot read; None if they can read the path."""
    for place in (path, *path.parents):
        try:
            mode = place.stat().st_mode
        except OSError:
            return place
        needed = stat.S_IROTH if place == path else stat.S_IXOTH
        if not mode & needed:
            return place
    return None
