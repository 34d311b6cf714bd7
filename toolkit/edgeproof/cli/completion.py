"""`edgeproof completion`: a script with which a shell completes commands and options."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from typer.completion import completion_init, get_completion_script  # type: ignore[attr-defined]  # not in its __all__

from edgeproof.cli._console import out

__all__ = ["VARIABLE", "answer_the_shell", "completion"]

VARIABLE = "_EDGEPROOF_COMPLETE"  # set by the script when the shell asks


class Shell(str, Enum):
    """A shell."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="Shell that will read the script.", show_default=False)],
) -> None:
    """Print a script with which a shell completes commands and options.

    Examples:

      edgeproof completion bash > ~/.local/share/bash-completion/completions/edgeproof

      edgeproof completion zsh > ~/.zfunc/_edgeproof

      edgeproof completion fish > ~/.config/fish/completions/edgeproof.fish
    """
    out.print(get_completion_script(prog_name="edgeproof", complete_var=VARIABLE, shell=shell.value))


def answer_the_shell() -> None:
    """Make typer's shells known, which `add_completion` would do together with options of its own."""
    completion_init()
