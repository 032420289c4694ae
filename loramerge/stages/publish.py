"""Stage: bring an artifact to its targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import PublishError
from loramerge.progress import Progress, Silent
from loramerge.provenance.definition import Definition
from loramerge.provenance.git import home_of
from loramerge.provenance.licence import licence_for, licences_of
from loramerge.targets.target import Delivery

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.targets import Target
    from loramerge.targets.target import Receipt


def publish(
    artifact: Path,
    recipe: Recipe,
    *,
    targets: Sequence[Target] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Receipt, ...]:
    """Publish to targets of the recipe.

    Args:
        artifact: The finished folder.
        recipe: What it was made from; names the targets.
        targets: Those of the recipe's targets that are meant; all by default.
        force: Overwrite what the recipe did not put there.
        progress: Told of every target.

    Raises:
        MismatchError: Nothing says under which licence to publish.
        PublishError: A target would not take it; those before it are done. Nothing is where `check_folders` says so.
    """
    targets = recipe.publish if targets is None else targets
    progress = progress or Silent()
    progress.start("publish", len(targets))
    if not targets:
        return ()
    check_folders(artifact, recipe)
    definition = Definition.of_artifact(artifact)
    licence_for(recipe, licences_of(definition.lock), publishing=True)
    receipts = []
    for target in targets:
        files, chosen = target.files(artifact, recipe.folders), target.chosen(recipe.folders)
        delivery = Delivery(recipe.name, files, definition.data(), chosen, home=home_of(recipe.folder))
        receipts.append(target.publish(delivery, recipe.folder, force=force, progress=progress))
        progress.advance()
    return tuple(receipts)


def check_folders(artifact: Path, recipe: Recipe) -> None:
    """Refuse targets that would remove each other's files, or that a new artifact would remove.

    Args:
        artifact: Its folder, there or not.
        recipe: Names the targets.

    Raises:
        PublishError: A target lies in the artifact, or two are one folder, however they spell it.
    """
    seen: list[tuple[int, Target, Path]] = []
    for index, target in enumerate(recipe.publish):
        folder = target.folder(recipe.folder)
        if folder is None:
            continue
        if folder.is_relative_to(artifact.resolve()):
            raise PublishError(
                f"target {index} publishes to {folder}, inside the artifact {artifact.resolve()}, "
                "which every run replaces",
                hint="correct `path` in the recipe, or put the artifact elsewhere with --out",
            )
        for earlier, other, taken in seen:
            if _same(folder, taken):
                raise PublishError(
                    f"targets {earlier} and {index} are one folder, {folder}, spelt {other.spelling!r} and "
                    f"{target.spelling!r}: each would remove the other's files",
                    hint="name both outputs in one target",
                )
        seen.append((index, target, folder))


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False
