"""The command reference in the README, made from what `--help` says.

`python -m loramerge.cli.reference` writes it into README.md of the current folder.
"""

import re
from pathlib import Path

import click

from loramerge.cli.commands import commands

_BEGIN, _END = "<!-- commands -->", "<!-- /commands -->"
_WIDTH = 100


def reference() -> str:
    """All commands' help as Markdown."""
    settings = {**commands.context_settings, "terminal_width": _WIDTH}
    root = click.Context(commands, info_name="loramerge", **settings)
    parts = [_block(commands.get_help(root))]
    for name in commands.list_commands(root):
        command = commands.get_command(root, name)
        if command is not None:
            parts += [f"### loramerge {name}", _block(command.get_help(click.Context(command, root, info_name=name)))]
    return "\n\n".join(parts)


def inserted(text: str) -> str:
    """A README with the reference between its marks, which are added at the end where it has none."""
    section = f"{_BEGIN}\n{reference()}\n{_END}"
    marked = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
    if marked.search(text):
        return marked.sub(lambda _: section, text, count=1)
    return f"{text.rstrip()}\n\n{section}\n".lstrip()


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


def _main() -> None:
    readme = Path("README.md")
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    readme.write_text(inserted(text), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    _main()
