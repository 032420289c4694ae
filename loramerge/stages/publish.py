"""Stage: bring an artifact to its targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import PublishError
from loramerge.files.digest import files_of
from loramerge.progress import Progress, Silent
from loramerge.provenance.definition import Definition
from loramerge.provenance.licence import licence_for, licences_of
from loramerge.targets import FolderTarget
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
        files, outputs = published_files(artifact, recipe, target), published_outputs(recipe, target)
        delivery = Delivery(recipe.name, files, definition.data(), outputs)
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
    seen: list[tuple[int, FolderTarget, Path]] = []
    for index, target in enumerate(recipe.publish):
        if not isinstance(target, FolderTarget):
            continue
        folder = target.folder(recipe.folder)
        if folder.is_relative_to(artifact.resolve()):
            raise PublishError(
                f"target {index} publishes to {folder}, inside the artifact {artifact.resolve()}, "
                "which every run replaces",
                hint="correct `path` in the recipe, or put the artifact elsewhere with --out",
            )
        for earlier, other, taken in seen:
            if _same(folder, taken):
                raise PublishError(
                    f"targets {earlier} and {index} are one folder, {folder}, spelt {other.path!r} and "
                    f"{target.path!r}: each would remove the other's files",
                    hint="name both outputs in one target",
                )
        seen.append((index, target, folder))


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False


def takes_papers(target: Target) -> bool:
    """Whether a target gets the artifact's papers: card, provenance, signature and the like."""
    return target.outputs is None or target.takes_papers


def published_outputs(recipe: Recipe, target: Target) -> tuple[str, ...]:
    """Folders of the outputs that a target takes."""
    return tuple(output.folder for output in recipe.outputs) if target.outputs is None else tuple(target.outputs)


def published_files(artifact: Path, recipe: Recipe, target: Target) -> dict[str, Path]:
    """Name in the target → file in the artifact.

    One output alone lies at the target's root, several lie in folders by name; a target that takes all of them gets
    the artifact's papers as well, and so does one where a model needs its card.
    """
    chosen = published_outputs(recipe, target)
    found: dict[str, Path] = {}
    for name in chosen:
        start = "" if len(chosen) == 1 else f"{name}/"
        found |= {f"{start}{file}": path for file, path in files_of(artifact / name).items()}
    if takes_papers(target):
        outputs = {output.folder for output in recipe.outputs}
        found |= {file: path for file, path in files_of(artifact).items() if file.partition("/")[0] not in outputs}
    return found
