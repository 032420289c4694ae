"""The pages about the command line: what `--help` says of each command, and what the exit codes mean."""

from __future__ import annotations

import re

import click

from loramerge import errors
from loramerge.cli.commands import commands

WIDTH = 100
NOTE = "<!-- Made by `make docs` from the code. Change the code, not this page. -->"

COMPLETION = """\
Every command says this itself, with `--help`. `loramerge completion bash`, `zsh` or `fish` prints the script that
completes commands and options in your shell."""
ABOUT = """\
A command tells the shell how it ended. From Python the same failures are exceptions in `loramerge.errors`, all of
them kinds of `LoramergeError`."""
NOTES = """\
Where several recipes failed for different reasons, the code is 1. Wrong usage is 64 and not 2, Click's own code, so
that it is never taken for `plan`'s answer. An error is told in words, with a hint where something can be done about
it. A traceback is shown for a defect alone, with `-v`."""


def commands_page() -> str:
    """All commands' help as Markdown."""
    settings = {**commands.context_settings, "terminal_width": WIDTH}
    root = click.Context(commands, info_name="loramerge", **settings)
    parts = [
        "# Commands",
        NOTE,
        COMPLETION,
        _block(commands.get_help(root)),
    ]
    for name in commands.list_commands(root):
        command = commands.get_command(root, name)
        if command is not None:
            parts += [f"## loramerge {name}", _block(command.get_help(click.Context(command, root, info_name=name)))]
    return "\n\n".join(parts) + "\n"


def exit_codes_page() -> str:
    """What each exit code means, and which error of the Python package it belongs to."""
    lines = [
        "# Exit codes",
        "",
        NOTE,
        "",
        ABOUT,
        "",
        "| code | meaning | exception |",
        "| --- | --- | --- |",
    ]
    for code, meaning in re.findall(r"^ +(\d+)  +(\S.*)$", commands.epilog or "", re.MULTILINE):
        lines.append(f"| {code} | {meaning} | {', '.join(_exceptions(int(code)))} |")
    lines += ["", NOTES]
    return "\n".join(lines) + "\n"


def _exceptions(code: int) -> list[str]:
    kinds = (errors.LoramergeError, *errors.LoramergeError.__subclasses__())
    return [f"`{each.__name__}`" for each in kinds if each.__module__ == errors.__name__ and each.exit_code == code]


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"
