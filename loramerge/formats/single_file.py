"""What the formats have in common that are single files in original names, for programs with folders of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.formats.loading import Snippet
from loramerge.messages import any_of

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.formats.labels import Labels
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
        raise MismatchError(
            f"`format: {name}` has no names for {any_of(unknown)} of {base.family.title}", hint=_OTHER_FORMATS
        )


def files(recipe: str, components: Iterable[str], base: Base) -> dict[str, list[str]]:
    """Name of each file → the components that it holds: one file, or one for each of several denoisers.

    Args:
        recipe: The recipe's name.
        components: What is written.
        base: Has the denoisers.
    """
    several = base.denoisers if len(base.denoisers) > 1 else ()
    found: dict[str, list[str]] = {}
    for component in components:
        # What is no denoiser goes with the first.
        denoiser = component if component in several else next((each for each in several), "")
        ending = f"_{base.family.files.get(denoiser, denoiser)}" if denoiser else ""
        found.setdefault(f"{recipe}{ending}.safetensors", []).append(component)
    return found


def said(labels: Labels, base: Base) -> dict[str, str]:
    """Metadata that programs show of a file of any kind of model."""
    found = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": labels.name,
        "modelspec.merged_from": ", ".join(labels.inputs),
        **labels.origin(),
    }
    if specification := base.family.specification:
        found["modelspec.architecture"] = f"{specification.architecture}/lora"
    if labels.description:
        found["modelspec.description"] = labels.description
    if labels.trigger_phrases:
        found["modelspec.trigger_phrase"] = ", ".join(labels.trigger_phrases)
    return found


def copied(output: str, place: Address, facts: Facts, folders: Mapping[str, str]) -> Iterator[Snippet]:
    """How the file gets into the folders of programs.

    Args:
        output: Folder of the output.
        place: Where it is to be had.
        facts: Has the recipe's name.
        folders: Program → its folder for LoRAs.
    """
    path = place.path(f"{facts.recipe}.safetensors")
    revision = f" --revision {place.revision}" if place.revision else ""
    for program, folder in folders.items():
        title = f"{program}: `{output}`"
        if place.repo is None:
            yield Snippet(title, "bash", f"cp {path} {folder}/")
        else:
            yield Snippet(title, "bash", f"hf download {place.repo} {path}{revision} --local-dir {folder}")
