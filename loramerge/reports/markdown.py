"""Markdown of texts that anybody may have written: shown as they are, and doing nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from loramerge.messages import visible

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
# An underscore within a word emphasises nothing.
_MARKS = re.compile(r"[\\`*\[\]~|<>&]|(?<![^\W_])_|_(?![^\W_])")
_LINE_STARTS = re.compile(r"^(\d*)([-+=#.)])", re.MULTILINE)


def plain(text: str) -> str:
    """Prose: lines and paragraphs stay, and nothing in it is Markdown or HTML."""
    lines = "\n".join(line.strip() for line in visible(text.replace("\r\n", "\n")).splitlines())
    escaped = _MARKS.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), lines)
    return _LINE_STARTS.sub(r"\1\\\2", escaped)


def sentence(text: str) -> str:
    """A line of ours that may quote others, in which `code` is code."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick of somebody else's
        return plain(text)
    return "".join((code(part) if place % 2 else _within(part)) for place, part in enumerate(parts))


def code(text: str) -> str:
    """Code within a line, whatever it holds."""
    text = visible(" ".join(text.split()))
    if not text or "|" in text:  # which ends a table's cell, in code as well
        return plain(text)
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (_longest(text) + 1)
    return f"{fence} {text} {fence}"


def fenced(text: str, language: str) -> str:
    """Lines of code."""
    fence = "`" * max(3, _longest(text) + 1)
    lines = visible(text.replace("\r\n", "\n")).rstrip()
    return f"{fence}{language}\n{lines}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _within(text: str) -> str:
    """A part of a line, with the blanks at its ends."""
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return text if text.isspace() else f"{before}{plain(text)}{after}"


def _longest(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)
