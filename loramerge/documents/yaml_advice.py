"""What PyYAML objects to, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yaml import MarkedYAMLError

_QUOTE = "a text that begins so has to stand in quotes"
_ADVICE = (
    (r"mapping values are not allowed here", "quote a text that has ': ' in it; else check the indentation"),
    (r"could not find expected ':'", "a key ends in ':'; check the indentation"),
    (r"found character '[@`%]' that cannot start any token", _QUOTE),
    (r"found undefined alias|expected alphabetic or numeric", f"{_QUOTE}: `*` and `&` are for aliases"),
    (r"expected <block end>, but found '<block", "lines of one list or mapping begin at the same column"),
    (r"expected ',' or '[}\]]', but got", "close every bracket; quote a text that has ',', '?' or brackets in it"),
    (r"found unexpected end of stream", "close the quotes"),
)


def in_words(error: MarkedYAMLError, text: str) -> str:
    """An error of PyYAML with what to do about it, where that is known.

    Args:
        error: As it was raised.
        text: What was read.
    """
    said = ": ".join(filter(None, (error.context, error.problem)))
    lines = text.splitlines()
    mark = error.problem_mark or error.context_mark
    if mark is not None and mark.line < len(lines) and re.match(r" *\t", lines[mark.line]):
        return "a tab in front of the line; YAML is indented with spaces"
    if "double-quoted" in (error.context or "") and "escape" in (error.problem or ""):
        return f"{said}; a backslash in double quotes begins an escape: write paths with slashes, or in single quotes"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, error.problem or "")), "")
    return "; ".join(filter(None, (said, advice)))
