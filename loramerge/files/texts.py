"""Texts in the place of a file of tensors: a page that a download was answered with, a recipe under a wrong name."""

from __future__ import annotations

from loramerge.errors import SourceError
from loramerge.messages import excerpt

_CUT = 3
"""Bytes that the end of a character may lack where a text is cut."""
_SHOWN = 60


def refuse_text(start: bytes, shown: str) -> None:
    """Go on only if a file is no text. Ask only of what can't be a safetensors file.

    Args:
        start: How the file begins.
        shown: What errors call it.

    Raises:
        SourceError: It is a text.
    """
    text = start.decode("utf-8", "ignore")
    if len(text.encode()) < len(start) - _CUT or not all(each.isprintable() or each.isspace() for each in text):
        return
    if text.lstrip().startswith("<"):
        raise SourceError(
            f"{shown} is a web page, and no safetensors file",
            hint="the download was answered with a page; it may need a login, or the address of the file itself",
        )
    raise SourceError(
        f"{shown} is a text, and no safetensors file; it begins with {excerpt(text, _SHOWN)!r}",
        hint="get the file itself; what it begins with may say why a download failed",
    )
