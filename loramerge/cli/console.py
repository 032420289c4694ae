"""What the command line says: results on standard output, everything else on standard error."""

import json
import os
from collections.abc import Sequence
from typing import Any

import click


def result(text: str = "") -> None:
    """Print a line, or several, of what the user asked for."""
    _print(clean(text))


def document(data: Any) -> None:
    """Print the one JSON document of a command under `--json`."""
    _print(json.dumps(data, indent=2, allow_nan=False))


def note(text: str) -> None:
    """Say in passing what may be of interest."""
    _print(clean(text), err=True)


def warning(text: str) -> None:
    """Say what the user should know before using the result."""
    _print(f"{click.style('warning:', fg='yellow', bold=True)} {clean(text)}", err=True)


def error(message: str, hint: str = "") -> None:
    """Say what went wrong, a line for each mistake, and what to do about it."""
    for line in clean(message).splitlines():
        _print(f"{click.style('error:', fg='red', bold=True)} {line}", err=True)
    if hint:
        _print(f"{click.style('hint:', fg='cyan', bold=True)} {clean(hint)}", err=True)


def clean(text: str) -> str:
    """The text without what would steer a terminal: names and metadata come from files of strangers."""
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1] for character in text
    )


def size(count: int) -> str:
    """A number of bytes, in the decimal units of file managers."""
    if count < 1000:  # noqa: PLR2004  where units change
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or unit == "TB":  # noqa: PLR2004  what would be shown as 1000.0
            return f"{value:.1f} {unit}"
    raise AssertionError(unit)


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows of texts, their columns aligned. Texts of several lines, which only strangers write, stay in their row."""
    rows = [[text.replace("\n", "\\n") for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (indent + "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def colour() -> bool | None:
    """False under NO_COLOR (https://no-color.org), else None: colours on a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def _print(text: str, *, err: bool = False) -> None:
    click.echo(text, err=err, color=colour())
