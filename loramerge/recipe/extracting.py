"""A recipe from a command line that names two models: the LoRA that is their difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loramerge.errors import UsageError
from loramerge.recipe.init import names_for
from loramerge.recipe.one_shot import recipe_with, settings_for

if TYPE_CHECKING:
    from loramerge.recipe.model import Recipe


def extracting(
    name: str, models: tuple[str, str], cut: Mapping[str, Any], output: Mapping[str, str], overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe of a LoRA that is the difference of two models; paths start at the current folder.

    Args:
        name: As for `recipe_of`.
        models: The one that was trained, and what it was trained from.
        cut: `rank`, `energy` and `parameters`, as far as they are given.
        output: `format` and `dtype`.
        overrides: As for `recipe_of`.

    Raises:
        UsageError: What was given makes no recipe; the message has every reason.
    """
    tuned, base = models
    entry = {"name": names_for([tuned])[0], "extract": {"from": tuned, **cut}}
    return recipe_with(name, {"source": base}, [entry], settings_for("cat", None, None, {}), output, overrides)


def ranks_of(text: str) -> int | dict[str, int]:
    """Read a rank, or one for each of several components: `32`, or `unet=32,text_encoder=8`.

    Raises:
        UsageError: It is neither.
    """
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    found: dict[str, int] = {}
    for part in text.split(","):
        component, equals, number = part.strip().partition("=")
        if not equals or not component or not re.fullmatch(r"\d{1,9}", number) or component in found:
            raise UsageError(
                f"--rank {text}: {part.strip()!r} is no rank of a component",
                hint="give a number, or one for each component, such as unet=32,text_encoder=8",
            )
        found[component] = int(number)
    return found
