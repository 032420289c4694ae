"""Stage: what recipes of one call do to each other, before any of them is run."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.bases import model_index
from loramerge.bases.base import MODEL_CONFIG
from loramerge.errors import PublishError
from loramerge.families import FAMILIES, published
from loramerge.formats.denoiser_files import endings
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.targets import Target


@dataclass(frozen=True)
class _Claim:
    """What a target of a recipe puts to one place."""

    index: int
    recipe: Recipe
    target: Target
    place: str
    tops: Mapping[str, Sequence[str]]

    @cached_property
    def names(self) -> frozenset[str]:
        """What lies at the place's top, as far as the recipe tells it."""
        return self.target.claims(self.tops)

    @cached_property
    def loose(self) -> str | None:
        """The output that lies at the place's top by itself, in folders that are not known before it is written."""
        chosen = self.target.chosen(self.recipe.folders)
        loose = [each for each in self.recipe.outputs if (each.folder,) == chosen and not self.tops[each.folder]]
        return loose[0].default_folder if loose else None

    def takes_from(self, other: _Claim) -> list[str]:
        """What of another claim to the same place this one would replace, in words."""
        taken = sorted(self.names & other.names)
        return taken or ([f"folders of the output {self.loose}"] if self.loose and self.loose == other.loose else [])

    def way_out(self, other: _Claim) -> str:
        """The line to write, so that nothing of another claim to the place is touched."""
        own = self.target.own_place(self.recipe.name)
        for folder, names in {} if self.target.needs_papers else self.tops.items():
            if names and not other.names & {*names}:
                return f"say `outputs: [{folder}]` in the target, or give it a place of its own: `{own}`"
        return f"give the target a place of its own: `{own}`"


def claims_of(recipe: Recipe, base_files: Collection[str] | None = None) -> Mapping[str, Sequence[str]]:
    """Folder of every output → what lies at its top, as far as the recipe tells it.

    Args:
        recipe: Names the outputs.
        base_files: Names of the base's files, where they are at hand.
    """
    loras, parts = [lora.name for lora in recipe.loras], _parts(recipe)
    lone = not recipe.base.is_file and _is_lone(recipe, base_files)
    found = {}
    for output in recipe.outputs:
        if recipe.base.is_file:
            tops = output.top_names_of_file(recipe.name, loras, parts)
        else:
            tops = (output.top_names_of_model if lone else output.top_names)(recipe.name, loras, parts)
        found[output.folder] = (*tops, *output.beside(tops, pictured=recipe.preview is not None))
    return found


def _is_lone(recipe: Recipe, files: Collection[str] | None) -> bool:
    """Whether the base's folder is that of one model; of a Hub its files alone tell it, and most are pipelines."""
    if files:
        return model_index.FILE not in files
    if recipe.base.source is None:
        return False
    local = sources.parse(recipe.base.source, folder=recipe.folder, revision=recipe.base.revision).local
    return local is not None and (local / MODEL_CONFIG).is_file()


def _parts(recipe: Recipe) -> tuple[str, ...]:
    """What stands at the end of the name of each denoiser's file, as far as the recipe itself tells it.

    A base that is known by its family alone has all of its denoisers here. Of another one, LoRAs that say which of two
    denoisers they are for tell that there are two. Where nothing does, there is most likely one; if there are two after
    all, publishing still takes no file of others.
    """
    said = {lora.component for lora in recipe.loras}
    if recipe.base.family is not None:
        family, _, model = published(recipe.base.family)
        several = [name for name in family.denoisers if name in model.configs]
    else:
        family = next(each for each in FAMILIES.values() if each.files)
        several = [*family.files] if said - {None} else [family.denoisers[0]]
    names = endings(family, several)
    return tuple(names[name] for name in several if None in said or name in said)


def makers(used: Sequence[Path], runs: Iterable[tuple[str, Recipe, Path]]) -> Iterator[str]:
    """The runs that make a source of another recipe, as far as recipes tell.

    It lies in that run's artifact, or is not there yet and will lie in one of its targets.

    Args:
        used: Sources of the other recipe on this machine.
        runs: What messages call each recipe, the recipe, and the folder of its artifact, without links in it.
    """
    paths = [path for path in map(_without_links, used) if path is not None]
    above = {folder for path in paths for folder in (path, *path.parents)}  # many runs are asked: nothing is walked
    missing = [path for path in paths if not os.path.lexists(path)]
    for name, recipe, artifact in runs:
        if artifact in above or (
            missing and any(path.is_relative_to(folder) for folder in _target_folders(recipe) for path in missing)
        ):
            yield name


def _without_links(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return None


def _target_folders(recipe: Recipe) -> Iterator[Path]:
    for target in recipe.publish:
        with suppress(PublishError):  # of a folder that can't be, planning says why
            if (folder := target.folder(recipe.folder)) is not None:
                yield folder


def conflicts(recipes: Sequence[tuple[str, Recipe]], artifacts: Sequence[Path]) -> dict[int, PublishError]:
    """Recipes that would take files from an earlier one of the same call.

    Args:
        recipes: What messages call each, and the recipe, in the order in which they are run.
        artifacts: The folder of each one's artifact.

    Returns:
        Place of a recipe in that order → why it can't be published together with the others.
    """
    found: dict[int, PublishError] = {}
    for later, error in _each_conflict(recipes, artifacts):
        found.setdefault(later, error)
    return found


def _each_conflict(
    recipes: Sequence[tuple[str, Recipe]], artifacts: Sequence[Path]
) -> Iterator[tuple[int, PublishError]]:
    claims = [claim for index, (_, recipe) in enumerate(recipes) for claim in _claims(index, recipe)]
    earlier: dict[str, list[_Claim]] = defaultdict(list)
    made_in: dict[Path, list[int]] = defaultdict(list)
    for index, artifact in enumerate(artifacts):
        made_in[artifact].append(index)
    for claim in claims:
        two = recipes[claim.index][0]
        for other in earlier[claim.place]:
            if other.index != claim.index and (taken := claim.takes_from(other)):
                said = f"{two} would replace {some(taken)} of {recipes[other.index][0]}: both publish to {claim.place}"
                yield claim.index, PublishError(said, hint=f"in {two} {claim.way_out(other)}")
        earlier[claim.place].append(claim)
        around = () if "://" in claim.place else (Path(claim.place), *Path(claim.place).parents)
        for index in sorted(index for folder in around for index in made_in.get(folder, ())):
            if index != claim.index:
                one = recipes[index][0]
                said = f"{two} publishes to {claim.place}, inside the artifact of {one}, which its runs replace"
                yield claim.index, PublishError(said, hint=f"choose another `path` in {two}")


def _claims(index: int, recipe: Recipe) -> Iterator[_Claim]:
    tops = claims_of(recipe)
    for target in recipe.publish:
        if (place := target.address(recipe.folder)) is not None:
            yield _Claim(index, recipe, target, place, tops)
