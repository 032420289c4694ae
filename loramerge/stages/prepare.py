"""What `preview` and `grid` share: the inputs of a recipe, and a folder that keeps what was drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError, UsageError
from loramerge.previews.files import is_finished, refuse_others
from loramerge.stages.load import load
from loramerge.stages.resolve import local_sources, resolve
from loramerge.statement import STATEMENT
from loramerge.turns import in_turn
from loramerge.words import counted

if TYPE_CHECKING:
    from loramerge.lock import Lock
    from loramerge.previews.render import Drawing
    from loramerge.progress import Progress
    from loramerge.recipe import Preview, Recipe
    from loramerge.stages.load import Loaded


def wanted(recipe: Recipe) -> Preview:
    """What the recipe wants to be drawn.

    Raises:
        UsageError: Nothing.
    """
    if recipe.preview is None:
        raise UsageError(
            f"the recipe {recipe.name} says nothing of pictures",
            hint="add preview: {prompts: [a bowl]} to it, or --set 'preview.prompts=[a bowl]'",
        )
    return recipe.preview


def inputs(recipe: Recipe, lock: Lock | None, progress: Progress | None) -> Loaded:
    """The base with its weights, and the LoRAs.

    Raises:
        SourceError: A source is missing, refused, changed or can't be read.
        MismatchError: A LoRA does not fit the base.
    """
    return load(resolve(recipe, lock, progress=progress), progress=progress)


def check_folder(place: Path, recipe: Recipe) -> None:
    """Go on only if pictures may go there.

    Raises:
        LoramergeError: It is a file, an artifact, or holds what the recipe reads.
    """
    hint = "give a folder of their own to the pictures with --out"
    if place.exists() and not place.is_dir():
        raise LoramergeError(f"{place} is a file", hint=hint)
    if (place / STATEMENT).exists():
        raise LoramergeError(f"{place} is an artifact, which would no longer be as its provenance says", hint=hint)
    within = [source for source in local_sources(recipe) if place.is_relative_to(source.resolve())]
    if within:
        raise LoramergeError(f"{place} lies in {within[0]}, which the recipe reads", hint=hint)


@contextmanager
def keeping(drawing: Drawing, sheets: Sequence[Path], progress: Progress | None) -> Iterator[None]:
    """Hold a folder while it is drawn into; say what is there when that is interrupted.

    Raises:
        LoramergeError: The folder can't be made, or holds files of others under the same names.
    """
    place = drawing.folder
    with in_turn(place, progress):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LoramergeError(f"{place} can't be written: {error.strerror or error}") from None
        refuse_others([*drawing.paths, *sheets])
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted: {_kept(drawing)}") from None
        except LoramergeError as error:
            error.hint = "; ".join(filter(None, (error.hint, _kept(drawing))))
            raise


def _kept(drawing: Drawing) -> str:
    pictures = [(column, row) for column in drawing.columns for row in drawing.rows]
    there = sum(is_finished(drawing.path(*each), drawing.settings(*each)) for each in pictures)
    if not there:
        return "no picture was finished"
    return f"{there} of {counted(len(pictures), 'picture')} are in {drawing.folder}: the same command draws the others"
