"""Text between two marks of a Markdown file, which a program writes and nobody else."""

from __future__ import annotations

import re


def inserted(text: str, mark: str, block: str) -> str:
    """A page with a block between `<!-- mark -->` and `<!-- /mark -->`.

    Raises:
        ValueError: The page does not have these marks, or has them twice.
    """
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    new, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}{block.rstrip()}\n{end}", text, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"the marks {begin.strip()} and {end} should be there once, and are {found} times")
    return new
