"""The model families: one file for each, listed here. Everything that is said of one is data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loramerge.families.family import Config, Family, PublishedModel
from loramerge.families.sd2 import SD2
from loramerge.families.sd15 import SD15
from loramerge.families.sdxl import SDXL

__all__ = ["FAMILIES", "SIZES", "Family", "published", "recognise", "title_of", "told_by"]

FAMILIES: Mapping[str, Family] = {family.name: family for family in (SD15, SD2, SDXL)}
SIZES: tuple[str, ...] = tuple(
    name
    for family in FAMILIES.values()
    if family.published
    for name in (family.name, *(f"{family.name}/{size}" for size in family.published))
)
"""What a recipe can say instead of a source: a family, whose first size is meant, or a family and its size."""
_OTHER_DENOISERS = ("unet", "transformer", "transformer_2", "prior", "decoder")
TRANSFORMERS_COMPONENT = "model"
"""The one component of a model of transformers."""


def recognise(class_name: str, config: Config) -> Family:
    """The family of a denoiser, or one that knows nothing but its class: its LoRAs have diffusers' names.

    Args:
        class_name: Of diffusers or transformers.
        config: Its config.json.
    """
    for family in FAMILIES.values():
        if class_name in family.classes and family.is_this(config):
            return family
    return Family(name=class_name, title=class_name, classes=(class_name,), denoisers=_OTHER_DENOISERS)


def published(name: str) -> tuple[Family, str, PublishedModel]:
    """A family, and the size of it that is meant.

    Args:
        name: One of `SIZES`.

    Returns:
        The family, the name of the size, and what it is.
    """
    family_name, _, size = name.partition("/")
    family = FAMILIES[family_name]
    chosen = size or next(iter(family.published))
    return family, chosen, family.published[chosen]


def title_of(name: str) -> str:
    """A family's or a size's title; the name itself of what is no family that is known."""
    family, _, size = name.partition("/")
    if family not in FAMILIES:
        return name
    return f"{FAMILIES[family].title} ({size})" if size else FAMILIES[family].title


def told_by(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The families that a file says it is for: kohya's `ss_base_model_version`, or the model specification.

    The families whose marks say most of it come alone: `sdxl` is no `sd`.
    """
    said = [metadata.get(key, "").lower() for key in ("ss_base_model_version", "modelspec.architecture")]
    fits = {family.name: max((_length(family.marks, each) for each in said), default=0) for family in FAMILIES.values()}
    best = max(fits.values())
    return tuple(name for name, fit in fits.items() if fit == best) if best else ()


def _length(marks: Iterable[str], said: str) -> int:
    return max((len(mark) for mark in marks if said.startswith(mark)), default=0)
