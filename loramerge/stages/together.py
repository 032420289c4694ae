"""Stage: what recipes of one call do to each other, before any of them is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import PublishError
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.recipe import Recipe

_HINT = (
    "give each recipe a place of its own, such as `path: loras/NAME`, or publish single files that are called after "
    "their recipe, such as `outputs: [kohya]`"
)


@dataclass(frozen=True)
class _Claim:
    """What a target of a recipe puts to one place."""

    index: int
    place: str
    names: frozenset[str]


def claims_of(recipe: Recipe) -> Mapping[str, Sequence[str]]:
    """Folder of every output → what is certain to lie at its top."""
    loras = [lora.name for lora in recipe.loras]
    return {output.folder: output.top_names(recipe.name, loras) for output in recipe.outputs}


def conflicts(recipes: Sequence[tuple[str, Recipe]], artifacts: Sequence[Path]) -> dict[int, PublishError]:
    """Recipes that would take files from an earlier one of the same call.

    Args:
        recipes: What messages call each, and the recipe, in the order in which they are run.
        artifacts: The folder of each one's artifact.

    Returns:
        Place of a recipe in that order → why it can't be published together with the others.
    """
    found: dict[int, PublishError] = {}
    for later, said in _each_conflict(recipes, artifacts):
        found.setdefault(later, PublishError(said, hint=_HINT))
    return found


def _each_conflict(recipes: Sequence[tuple[str, Recipe]], artifacts: Sequence[Path]) -> Iterator[tuple[int, str]]:
    claims = [claim for index, (_, recipe) in enumerate(recipes) for claim in _claims(index, recipe)]
    for position, claim in enumerate(claims):
        for other in claims[:position]:
            taken = sorted(claim.names & other.names)
            if other.index != claim.index and other.place == claim.place and taken:
                one, two = recipes[other.index][0], recipes[claim.index][0]
                yield claim.index, f"{two} would replace {some(taken)} of {one}: both publish to {claim.place}"
        for index, artifact in enumerate(artifacts):
            if index != claim.index and "://" not in claim.place and Path(claim.place).is_relative_to(artifact):
                one, two = recipes[index][0], recipes[claim.index][0]
                yield claim.index, f"{two} publishes to {claim.place}, inside the artifact of {one}"


def _claims(index: int, recipe: Recipe) -> Iterator[_Claim]:
    names = claims_of(recipe)
    for target in recipe.publish:
        if (place := target.address(recipe.folder)) is not None:
            yield _Claim(index, place, target.claims(names))
