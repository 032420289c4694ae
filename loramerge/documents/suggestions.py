"""What to write in place of a value that is nearly right."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from loramerge.fields import NAME_PATTERN, name_like
from loramerge.masking import masked
from loramerge.messages import any_of

if TYPE_CHECKING:
    from loramerge.documents.expected import Schema

_NUMBERS = frozenset({"number", "integer"})
_WITH_COMMA = re.compile(r"\s*([-+]?\d*),(\d+)\s*")
_PLAIN_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
_NAME_LETTER = re.compile(r"[A-Za-z0-9._-]")
_FEW = 4


def instead_of(text: str, schema: Schema, types: Collection[str]) -> str:
    """The end of a message about a text that is not what was expected; empty where nothing is likely.

    Args:
        text: What the recipe has.
        schema: What is expected there.
        types: JSON Schema's words for the types of what may stand there.
    """
    if masked(text) != text:  # the suggestion would say what the message leaves out
        return ""
    if _NUMBERS & set(types):
        return _number(text)
    if schema.get("pattern") == NAME_PATTERN:
        return _name(text)
    lower = text.strip().lower()
    return f"; did you mean '{lower}'?" if "pattern" in schema and re.search(schema["pattern"], lower) else ""


def _number(text: str) -> str:
    if found := _WITH_COMMA.fullmatch(text):
        return f": write {found[1] or '0'}.{found[2]}, with a point and without quotes"
    return f": write {text.strip()}, without quotes" if _PLAIN_NUMBER.fullmatch(text) else ""


def _name(text: str) -> str:
    strange = list(dict.fromkeys(repr(each) for each in text if not _NAME_LETTER.match(each)))
    like = name_like(text)
    listed = strange[:_FEW] if len(strange) <= _FEW else [*strange[: _FEW - 1], f"{len(strange) - _FEW + 1} others"]
    said = f", so {any_of(listed).replace(' or ', ' and ')} can't be in it" if strange else ""
    return said + (f"; did you mean {like!r}?" if like else "")
