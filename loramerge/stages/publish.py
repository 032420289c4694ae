"""Stage: bring an artifact to its targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.digest import files_of
from loramerge.progress import Progress, Silent

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.targets import Target
    from loramerge.targets.target import Receipt


def publish(
    artifact: Path, recipe: Recipe, *, force: bool = False, progress: Progress | None = None
) -> tuple[Receipt, ...]:
    """Publish to every target of the recipe.

    Args:
        artifact: The finished folder.
        recipe: Names the targets.
        force: Overwrite what the recipe did not put there.
        progress: Told of every target.

    Raises:
        PublishError: A target would not take it; those before it are done.
    """
    progress = progress or Silent()
    progress.start("publish", len(recipe.publish))
    receipts = []
    for target in recipe.publish:
        files = published_files(artifact, recipe, target)
        receipts.append(target.publish(recipe.name, files, recipe.folder, force=force, progress=progress))
        progress.advance()
    return tuple(receipts)


def published_files(artifact: Path, recipe: Recipe, target: Target) -> dict[str, Path]:
    """Name in the target → file in the artifact.

    One output alone lies at the target's root, several lie in folders by name; a target that takes all of them gets
    the artifact's papers as well, and so does one where a model needs its card.
    """
    chosen = target.outputs if target.outputs is not None else [output.folder for output in recipe.outputs]
    found: dict[str, Path] = {}
    for name in chosen:
        start = "" if len(chosen) == 1 else f"{name}/"
        found |= {f"{start}{file}": path for file, path in files_of(artifact / name).items()}
    if target.outputs is None or target.takes_papers:
        outputs = {output.folder for output in recipe.outputs}
        found |= {file: path for file, path in files_of(artifact).items() if file.partition("/")[0] not in outputs}
    return found
