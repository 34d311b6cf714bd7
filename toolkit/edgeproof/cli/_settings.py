"""A file of settings (`edgeproof init` writes one) given instead of a bundle: bundle, options and streams of a run."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand

from edgeproof.cli._paths import Reads, Writes, marks_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources import read_streams_file
from edgeproof_runtime.system.files import is_standard_output
from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.system.text import printable

__all__ = ["Settings", "SettingsCommand", "settings_of"]

_META = "edgeproof.settings"
_OF_STREAMS = "Source"  # the panel of options that a stream's table has
_IN_TABLES = 'a table per stream: [NAME] with source = "..." and the stream\'s options'
_INTEGERS = 1 << 63  # of TOML
_ELSEWHERE = {
    "source": f"write {_IN_TABLES}",
    "token": "set the environment variable EDGEPROOF_TOKEN: the file may be read by others",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A file of settings that was given instead of a bundle.

    Attributes:
        file: its path, as typed.
        names: names of the values above its tables.
    """

    file: str
    names: frozenset[str]


class SettingsCommand(TyperCommand):
    """Command whose BUNDLE may be a file of settings; what is typed, and variables, win over the file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks what could follow: the file may be half-written
            return super().parse_args(ctx, args)
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        file = given.get("bundle")
        if not isinstance(file, str) or not file.lower().endswith(".toml") or Path(file).is_dir():
            return super().parse_args(ctx, args)
        bundle, options, names = _read(Path(file), ctx)
        ctx.meta[_META] = Settings(file=file, names=names)
        ctx.default_map = options
        left = super().parse_args(ctx, args)
        ctx.params["bundle"] = bundle
        return left


def settings_of(ctx: typer.Context) -> Settings | None:
    """Return the file of settings that was given instead of a bundle; None for a bundle."""
    found: Settings | None = ctx.meta.get(_META)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """An option of a command, as its function declares it."""

    name: str
    kinds: tuple[type, ...]
    info: Any
    mark: Reads | Writes | None


def _options_of(command: Callable[..., None]) -> dict[str, _Option]:
    """Return the options of a command by their names in a file."""
    marks = {marked.parameter: marked.mark for marked in marks_of(command)}
    found = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        declared, *extras = get_args(parameter.annotation) or (parameter.annotation,)
        info = next((extra for extra in extras if type(extra).__name__ == "OptionInfo"), None)
        if info is None:
            continue
        # In an annotation, Typer keeps the first name of an option as its default.
        texts = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
        key = (texts[0] if texts else name).removeprefix("--").replace("-", "_")
        kinds = tuple(get_origin(kind) or kind for kind in (get_args(declared) or (declared,)))
        if get_origin(declared) is list:
            kinds = (list,)
        found[key] = _Option(name=name, kinds=kinds, info=info, mark=marks.get(name))
    return found


def _read(file: Path, ctx: Any) -> tuple[Path, dict[str, Any], frozenset[str]]:
    """Return the bundle of a file, the parameters of the command that it sets, and the names of its values."""
    from edgeproof.cli.run import run
    from edgeproof.cli.serve import serve

    known = {**_options_of(serve), **_options_of(run)}
    content = read_streams_file(file)
    rest = dict(content.values)
    bundle = rest.pop("bundle", None)
    if bundle is None:
        raise InputError(
            f"{file}: bundle is missing",
            expected='bundle = "model.edge" above the tables',
            fix=f"add it, or use: edgeproof {ctx.info_name} BUNDLE --source {file}",
        )
    found: dict[str, Any] = {"source": [str(file)]} if content.streams else {}
    of_command = {param.name for param in ctx.command.params}
    for key, value in rest.items():
        option = known.get(key)
        if option is None or key in _ELSEWHERE or option.info.rich_help_panel == _OF_STREAMS:
            _refuse(file, key, value, known)
            continue
        checked = _value(option, value, f"{file}: {key}")
        if option.name in of_command:
            found[option.name] = checked if option.mark is None else _in_folder(checked, file.parent)
    return file.parent / _text(bundle, f"{file}: bundle"), found, frozenset(rest)


def _refuse(file: Path, key: str, value: Any, known: Mapping[str, Any]) -> None:
    what, got = f"{file}: {printable(key)}", redact(printable(repr(value)))[:200]
    if key in _ELSEWHERE:
        raise InputError(f"{what} does not belong above the tables", got="it", fix=_ELSEWHERE[key])
    if key in known:
        raise InputError(f"{what} is an option of a stream", got=got, expected=_IN_TABLES)
    near = difflib.get_close_matches(key.replace("-", "_"), ["bundle", *known], n=1)
    raise InputError(
        f"{what}: unknown option",
        got=got,
        expected=f"bundle, an option of run or serve with _ for -, or {_IN_TABLES}",
        fix=f"write {near[0]}" if near else "see: edgeproof run --help",
    )


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InputError(f"{what}: must be a string", got=printable(repr(value)), expected="a string, not empty")
    return value


def _value(option: _Option, value: Any, what: str) -> Any:
    """Return a value of the file as its option takes it."""
    got = redact(printable(repr(value)))[:200]
    if bool in option.kinds:
        if not isinstance(value, bool):
            raise InputError(f"{what}: must be true or false", got=got)
        return value
    if list in option.kinds:
        return [_text(one, what) for one in (value if isinstance(value, list) else [value])]
    if int not in option.kinds and float not in option.kinds:
        return _text(value, what)
    numbers = (int,) if int in option.kinds else (int, float)
    if isinstance(value, bool) or not isinstance(value, numbers):
        raise InputError(
            f"{what}: must be a number", got=got, expected="an integer" if len(numbers) == 1 else "a number"
        )
    least, most = option.info.min, option.info.max
    unfit = not math.isfinite(value) if isinstance(value, float) else abs(value) >= _INTEGERS
    if unfit or (least is not None and value < least) or (most is not None and value > most):
        limits = [f"{least} or more"] * (least is not None) + [f"at most {most}"] * (most is not None)
        raise InputError(f"{what}: out of range", got=got, expected=", ".join(limits) or "a finite number")
    return value


def _in_folder(value: Any, folder: Path) -> Any:
    """Return paths of the file relative to its folder; addresses, `-` and other words as they are."""
    if isinstance(value, list):
        return [_in_folder(one, folder) for one in value]
    word = value == "parent"  # of labels_from
    if word or "://" in value or value.startswith("${") or is_standard_output(value):
        return value
    return str(folder / value)
