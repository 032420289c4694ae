"""Which licence a merge gets: the recipe's own, or the strictest among those of what went into it.

Names are the Hub's. A merge is a work derived from all its inputs. Within a line below, each licence lets a work under
those to its left be passed on under its own terms; what does not stand in one line together is left to the author.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe

BASE = "the base"
"""What the base is called among the inputs; no LoRA can be called so."""
UNKNOWN = "unknown"
_FREE = ("cc0-1.0", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0")
LINES = (
    (*_FREE, "openrail", "openrail++", "creativeml-openrail-m"),
    (*_FREE, "cc-by-4.0", "cc-by-sa-4.0"),
    (*_FREE, "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    (*_FREE, "gpl-3.0", "agpl-3.0"),
)
_NO_ANSWER = frozenset({"other", UNKNOWN, "cc-by-nd-4.0", "cc-by-nc-nd-4.0"})
"""Those that say nothing, and those that forbid derived works."""


def strictest(licences: Iterable[str | None]) -> str | None:
    """The one licence under which a work made of all of them may be passed on; None where that can't be told.

    A licence that all inputs share is kept even if it stands in no line.
    """
    found = set(licences)
    if not found or None in found or found & _NO_ANSWER:
        return None
    if len(found) == 1:
        return found.pop()
    fitting = [line for line in LINES if found <= set(line)]
    return max((licence for licence in found if licence), key=fitting[0].index) if fitting else None


def licences_of(lock: Lock) -> dict[str, str | None]:
    """Name of a LoRA, `BASE`, or a component such as `model/vae` → its licence, None where it is not known."""
    base = lock.sources.base
    others = {**lock.sources.loras, **lock.sources.beside}
    return {BASE: base.licence if base else None, **{name: each.licence for name, each in others.items()}}


def licence_for(recipe: Recipe, licences: Mapping[str, str | None], *, publishing: bool) -> str:
    """The licence that the model card states.

    Args:
        recipe: Its `license` is taken as it is.
        licences: Name of a LoRA, `BASE`, or a component such as `model/vae` → its licence, None where not known.
        publishing: Whether the targets get the artifact.

    Returns:
        The Hub's name of the licence, or `unknown`.

    Raises:
        MismatchError: It is unknown, and a target is a repository that others may read.
    """
    inputs = {name: licences.get(name) for name in (BASE, *(lora.name for lora in recipe.loras), *recipe.components)}
    licence = recipe.license or strictest(inputs.values())
    if licence is None and publishing and any(target.needs_papers for target in recipe.publish):
        known = ", ".join(f"{name}: {found or 'not known'}" for name, found in inputs.items())
        raise MismatchError(
            f"which licence the merge has can't be told from those of its inputs ({known})",
            hint="say it in the recipe, such as `license: openrail++`",
        )
    return licence or UNKNOWN
