#!/usr/bin/env python3
"""Write edgeproof-run's man page and bash completion from the text of its --help, which is their only source.

The build calls it: device_manual.py HELP.TXT VERSION MAN_PAGE COMPLETION.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "edgeproof-run"
_COLUMN = 24  # where an option's text begins
_OPTION = re.compile(r"  (--[a-z-]+(?:, --[a-z-]+)*)(?: (\S+))?")


@dataclass
class Option:
    """One option of the help text: its names, what stands for its value ("" for none) and what it does."""

    names: list[str]
    value: str
    text: str


def options_of(text: str) -> list[Option]:
    """Read the options of a help text, continued lines joined."""
    found: list[Option] = []
    for line in text.splitlines():
        head = line if line.startswith("  --") and len(line.split()) <= 2 else line[:_COLUMN]
        if match := _OPTION.fullmatch(head.rstrip()):
            names, value = match.groups()
            found.append(Option(names.split(", "), value or "", line[len(head) :].strip()))
        elif found and line.startswith(" " * _COLUMN):
            found[-1].text = f"{found[-1].text} {line.strip()}".strip()
    return found


def section(text: str, head: str) -> list[str]:
    """Return the lines of a help text after `head`, up to the next empty line."""
    rest = text.partition(head)[2]
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines() if line.strip()]


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text


def man_page(text: str, version: str) -> str:
    """Return the man page, section 1."""
    usage = section(text, "Usage: ")
    summary = text.split("\n\n")[1].strip()
    lines = [f'.TH {PROGRAM.upper()} 1 "" "edgeproof {version}" "User Commands"', ".SH NAME"]
    lines.append(f"{_roff(PROGRAM)} \\- {_roff(summary[0].lower() + summary[1:].rstrip('.'))}")
    lines.append(".SH SYNOPSIS")
    for line in usage:
        lines += [f".B {_roff(PROGRAM)}", _roff(line.removeprefix(PROGRAM).strip()), ".br"]
    lines += [".SH DESCRIPTION", _roff(summary), ".SH OPTIONS"]
    for option in options_of(text):
        names = ", ".join(f"\\fB{_roff(name)}\\fR" for name in option.names)
        lines += [".TP", f"{names} \\fI{_roff(option.value)}\\fR" if option.value else names]
        lines.append(_roff(option.text or "Print this and end."))
    lines.append(".SH EXIT STATUS")
    for entry in re.findall(r"\d+ [^,]+(?:, [^0-9,][^,]*)*", " ".join(section(text, "Exit codes: "))):
        code, _, meaning = entry.rstrip(".").partition(" ")
        lines += [".TP", f".B {code}", _roff(meaning)]
    lines += [".SH EXAMPLES", ".nf", *map(_roff, section(text, "Examples:\n")), ".fi"]
    return "\n".join(lines) + "\n"


def completion(text: str) -> str:
    """Return the completion for bash: options, engines, files and folders."""
    options = options_of(text)
    names = " ".join(name for option in options for name in option.names)
    cases = []
    for option in options:
        pattern = "|".join(option.names)
        words = re.match(r"([a-z]+(?:\|[a-z]+)+):", option.text)
        if words:
            cases.append(
                f'    {pattern}) COMPREPLY=($(compgen -W "{words[1].replace("|", " ")}" -- "$word")); return ;;'
            )
        elif option.value.islower():
            cases.append(f'    {pattern}) COMPREPLY=($(compgen -W "{option.value}" -- "$word")); return ;;')
        elif option.value.startswith(("FILE", "SRC")):
            cases.append(f'    {pattern}) COMPREPLY=($(compgen -f -- "$word")); return ;;')
        elif option.value:
            cases.append(f"    {pattern}) return ;;")
    return "\n".join(
        [
            f"# bash completion of {PROGRAM}, made from its --help",
            f"_{PROGRAM.replace('-', '_')}() {{",
            "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}",
            "  COMPREPLY=()",
            "  case $before in",
            *cases,
            "  esac",
            "  case $word in",
            f'    -*) COMPREPLY=($(compgen -W "{names}" -- "$word")) ;;',
            '    *) COMPREPLY=($(compgen -d -- "$word")) ;;',
            "  esac",
            "}",
            f"complete -o filenames -F _{PROGRAM.replace('-', '_')} {PROGRAM}",
            "",
        ]
    )


def main(help_file: str, version: str, man: str, bash: str) -> None:
    """Write both files."""
    text = Path(help_file).read_text(encoding="utf-8")
    Path(man).write_text(man_page(text, version), encoding="utf-8")
    Path(bash).write_text(completion(text), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
