"""The command ``completion``: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import sys

import click

from carevalidate_async._commands.command import StopError, command
from carevalidate_async._commands.manual import Manual
from carevalidate_async._commands.output import say

_VARIABLE = "_CAREVALIDATE_COMPLETE"
"""Set by the script, it makes the command print candidates; click derives it from the name."""


@click.command(
    cls=Manual,
    short_help="Print what makes a shell complete carevalidate.",
    files={
        "~/.local/share/bash-completion/completions/": "Where bash-completion looks for scripts; "
        "without it, add the script to ~/.bashrc.",
        "~/.zfunc/": "For zsh, a folder of its fpath: ~/.zshrc has, before compinit, "
        "fpath+=~/.zfunc.",
        "~/.config/fish/completions/": "Where fish looks for scripts.",
    },
    statuses={
        0: "the script is printed",
        2: "it cannot be made, or standard output cannot be written",
        130: "interrupted",
    },
    examples={
        "Bash, 4.4 or later": "carevalidate completion bash \\\n"
        "    > ~/.local/share/bash-completion/completions/carevalidate",
        "Zsh": "carevalidate completion zsh > ~/.zfunc/_carevalidate",
        "Fish": "carevalidate completion fish \\\n"
        "    > ~/.config/fish/completions/carevalidate.fish",
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@command
def completion(shell: str) -> int:
    """
    Print the script that makes a SHELL complete what is typed after carevalidate.

    It completes commands, options, their values, and names of files. Store it where the shell looks
    for such scripts, and begin a new shell. Completing reads no file and sends nothing.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise StopError(f"this click has no completion for {shell}")
    group = click.get_current_context().find_root().command
    script = made(group, {}, "carevalidate", _VARIABLE).source()
    return 0 if say(script, sys.stdout) else 2
