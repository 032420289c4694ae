"""What a run of several recipes would do, found out for all of them before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.cli import progress
from loramerge.cli.boundary import Failure, failure
from loramerge.errors import LoramergeError
from loramerge.messages import bounded

if TYPE_CHECKING:
    from loramerge import Plan, Recipe
    from loramerge.cli.recipes import NamedRecipe


@dataclass(frozen=True)
class PlannedRecipe:
    """A recipe of the command line, and what a run of it would do or why it can't be run.

    Attributes:
        given: The recipe.
        plan: None where it can't be planned, and where it has to wait; there is one where only a target refuses.
        failure: Why it can't be run.
        makers: The recipes of the same call that make its sources; it is planned when those are done.
    """

    given: NamedRecipe
    plan: Plan | None = None
    failure: Failure | None = None
    makers: tuple[str, ...] = ()

    @property
    def waits_for(self) -> str | None:
        """The first recipe of the same call that makes one of its sources."""
        return self.makers[0] if self.makers else None

    @property
    def pending(self) -> bool:
        """Whether a run has anything to do."""
        return self.waits_for is not None or (self.plan is not None and self.plan.pending)

    def has_work(self, *, remakes: bool) -> bool:
        """Whether more is to be done than to tell what there is.

        Args:
            remakes: Make again what is up to date.
        """
        return self.failure is None and (self.pending or remakes)

    @property
    def rows(self) -> Iterator[tuple[str, ...]]:
        """A line for each reason; what the line above says is not said again."""
        from loramerge.cli.summary import near

        name = self.given.name or bounded(self.given.path)
        if self.failure is None and self.waits_for is not None:
            yield name, "", "build", f"uses what {self.waits_for} makes"
            return
        for step in self.plan.steps if self.plan else ():
            first: tuple[str, str] = (step.place if "://" in step.place else near(Path(step.place)), step.action)
            for reason in step.reasons:
                yield name, *first, str(reason)
                name, first = "", ("", "")
        if self.failure is not None and not (self.plan and self.plan.refused):
            yield name, "", "error", self.failure.message.splitlines()[0]

    @property
    def data(self) -> dict[str, Any]:
        """The same as plain data."""
        steps = [
            {
                "place": step.place,
                "action": step.action,
                "reasons": [{"kind": reason.kind, "detail": reason.detail} for reason in step.reasons],
            }
            for step in (self.plan.steps if self.plan else ())
        ]
        facts: dict[str, Any] = {
            "recipe": self.given.path,
            "name": self.given.name,
            "pending": self.pending,
            "artifact": steps[0] if steps else None,
            "targets": steps[1:],
            "warnings": list(self.plan.notes) if self.plan else [],
        }
        if self.failure is not None:
            return facts | {"error": self.failure.data}
        return facts if self.waits_for is None else facts | {"waits_for": self.waits_for}


def planned_together(
    recipes: Sequence[NamedRecipe], settings: Mapping[str, Any], *, quiet: bool, verbose: bool
) -> list[PlannedRecipe]:
    """Plan every recipe, and find what they do to each other.

    Args:
        recipes: In the order in which they are to be run.
        settings: What `loramerge.plan` takes besides.
        quiet: Show no progress.
        verbose: Show where a defect lies.
    """
    places = {given.path: artifact_of(given.recipe, settings.get("out")) for given in recipes if given.recipe}
    found: list[PlannedRecipe] = []
    pending: list[NamedRecipe] = []
    for given in recipes:
        if waits_for := _makers(given, pending, places):
            found.append(PlannedRecipe(given, makers=waits_for))
        else:
            found.append(planned(given, settings, quiet=quiet, verbose=verbose))
        if found[-1].pending:
            pending.append(given)
    return apart(found, places, verbose=verbose) if settings.get("publishing", True) else found


def apart(found: Sequence[PlannedRecipe], places: Mapping[str, Path], *, verbose: bool) -> list[PlannedRecipe]:
    """The same, those failed that would take files from an earlier one.

    Args:
        found: In the order in which they are to be published.
        places: Path of a recipe → the folder of its artifact.
        verbose: Show where a defect lies.
    """
    from loramerge.stages.together import conflicts

    there = [(each.given.path, each.given.recipe) for each in found if each.given.recipe]
    refused = conflicts(there, [places[path] for path, _ in there])
    failures = {there[position][0]: failure(error, verbose=verbose) for position, error in refused.items()}
    return [replace(each, failure=each.failure or failures.get(each.given.path)) for each in found]


def makers_of(recipes: Sequence[NamedRecipe]) -> dict[str, tuple[str, ...]]:
    """Path of a recipe → those of the ones before it that make sources of it."""
    places = {given.path: artifact_of(given.recipe) for given in recipes if given.recipe}
    return {given.path: _makers(given, recipes[:place], places) for place, given in enumerate(recipes)}


def planned(given: NamedRecipe, settings: Mapping[str, Any], *, quiet: bool, verbose: bool) -> PlannedRecipe:
    """Plan one recipe.

    Args:
        given: It, and its lock.
        settings: What `loramerge.plan` takes besides.
        quiet: Show no progress.
        verbose: Show where a defect lies.
    """
    from loramerge import plan

    found = None
    try:
        recipe = given.readable()
        with progress.shown(recipe.name, as_json=quiet) as watcher:
            found = plan(recipe, lock=given.lock, progress=watcher, **settings)
        found.refuse()
    except Exception as error:  # noqa: BLE001  whatever it is, the other recipes are planned
        return PlannedRecipe(given, found, failure(error, verbose=verbose))
    return PlannedRecipe(given, found)


def artifact_of(recipe: Recipe, out: str | None = None) -> Path:
    """The folder of a recipe's artifact.

    Args:
        recipe: It names the folder.
        out: Where it goes instead.
    """
    return Path(out or Path("dist") / recipe.name).resolve()


def _makers(given: NamedRecipe, pending: Sequence[NamedRecipe], places: Mapping[str, Path]) -> tuple[str, ...]:
    """The earlier recipes that make sources of this one: they lie in their artifacts, or will lie in their targets."""
    from loramerge.stages.resolve import local_sources
    from loramerge.stages.together import makers

    if given.recipe is None:
        return ()
    try:
        used = local_sources(given.recipe)
    except LoramergeError:  # planning says what is wrong with it
        return ()
    runs = ((each.path, each.recipe, places[each.path]) for each in pending if each.recipe is not None)
    return tuple(makers(used, runs))
