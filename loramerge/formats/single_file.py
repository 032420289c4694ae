"""What the formats have in common that are single files in original names, for programs with folders of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.formats.denoiser_files import by_denoiser
from loramerge.formats.loading import Snippet
from loramerge.messages import any_of

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.loading import Address, Facts

COMFYUI = "ComfyUI/models/loras"
_OTHER_FORMATS = "write `format: diffusers` or `format: peft`, which have the base's own names"


def check_names(name: str, base: Base) -> None:
    """Raise where nobody knows what the format's programs call a base's layers.

    Raises:
        MismatchError: The base is of a family whose original names are not known.
    """
    if not base.family.has_original_names:
        raise MismatchError(
            f"`format: {name}` has the names of original checkpoints, and those of {base.family.title} are not known",
            hint=_OTHER_FORMATS,
        )


def check_components(name: str, base: Base, components: Collection[str], known: Collection[str]) -> None:
    """Raise where the format has no name for a component that LoRAs touch.

    Raises:
        MismatchError: Names it.
    """
    if unknown := [component for component in components if component not in known]:
        raise unnamed(name, base, unknown)


def unnamed(name: str, base: Base, parts: Sequence[str]) -> MismatchError:
    """What is said where a format has no names for some parts of a base."""
    return MismatchError(
        f"`format: {name}` has no names for {any_of(parts)} of {base.family.title}",
        hint="write `format: peft`, which has a folder for each part, with the base's own names",
    )


def top_names(recipe: str, parts: Sequence[str]) -> tuple[str, ...]:
    """The files are called after the recipe, and after the denoiser where there are several."""
    return tuple(f"{recipe}{part}.safetensors" for part in parts)


def files_of(facts: Facts) -> tuple[str, ...]:
    """The files that hold the merged LoRA.

    Args:
        facts: Has the recipe's name and the denoisers.
    """
    return top_names(facts.recipe, [*by_denoiser(facts.components, facts.family, facts.denoisers)])


def copied(output: str, place: Address, names: Sequence[str], folders: Mapping[str, str]) -> Iterator[Snippet]:
    """How files get into the folders of programs.

    Args:
        output: Folder of the output.
        place: Where it is to be had.
        names: Of the files in it.
        folders: Program → its folder for LoRAs.
    """
    paths = [place.path(name) for name in names]
    revision = f" --revision {place.revision}" if place.revision else ""
    for program, folder in folders.items():
        title = f"{program}: `{output}`"
        if place.repo is None:
            yield Snippet(title, "bash", f"cp {' '.join(paths)} {folder}/")
        else:
            yield Snippet(title, "bash", f"hf download {place.repo} {' '.join(paths)}{revision} --local-dir {folder}")
