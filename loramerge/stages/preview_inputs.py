"""What `preview` and `grid` share: the inputs of a recipe, and a folder that keeps what was drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.artifact.in_toto import STATEMENT
from loramerge.errors import LoramergeError, UsageError
from loramerge.files.run_lock import in_turn, remove_left
from loramerge.files.writing import writing
from loramerge.merging.device import chosen_device
from loramerge.messages import counted
from loramerge.previews.checks import check
from loramerge.previews.png import is_finished, parts_of, refuse_others
from loramerge.stages.load import load
from loramerge.stages.resolve import local_sources, resolve

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.previews.render import Drawing
    from loramerge.progress import Progress
    from loramerge.recipe import Preview, Recipe
    from loramerge.stages.load import Loaded


@dataclass(frozen=True)
class Prepared:
    """All that drawing needs.

    Attributes:
        preview: What the recipe wants to be drawn.
        size: Width and height in pixels.
        place: Where the pictures go.
        device: `cpu` or `cuda`.
        loaded: The base with its weights, and the LoRAs.
    """

    preview: Preview
    size: tuple[int, int]
    place: Path
    device: str
    loaded: Loaded


def prepared(recipe: Recipe, lock: Lock | None, place: Path | str, device: str, progress: Progress | None) -> Prepared:
    """Look at everything that may be wrong before anything is drawn, and fetch the inputs.

    Raises:
        UsageError: The recipe wants nothing to be drawn, or there is no device of that name.
        SourceError: A source is missing, refused, changed or can't be read.
        MismatchError: A LoRA does not fit the base, or the base can't draw what the recipe wants.
        LoramergeError: Pictures can't go there, or there is no such device here.
    """
    if recipe.preview is None:
        raise UsageError(
            f"the recipe {recipe.name} says nothing of pictures",
            hint="add preview: {prompts: [a bowl]} to it, or --set 'preview.prompts=[a bowl]'",
        )
    chosen, folder = chosen_device(device), Path(place).resolve()
    _check_folder(folder, recipe)
    loaded = load(resolve(recipe, lock, progress=progress), progress=progress)
    size = check(loaded.base_files.folder, loaded.base, recipe.preview)
    return Prepared(recipe.preview, size, folder, chosen, loaded)


def _check_folder(place: Path, recipe: Recipe) -> None:
    """Go on only if it is no file, no artifact, and within nothing that the recipe reads."""
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
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
        refuse_others([*drawing.paths, *sheets])
        remove_left(parts_of([*drawing.paths, *sheets]), f"in {place}", progress)
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
