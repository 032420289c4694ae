"""Which file of a LoRA a component goes into, where programs load a file into one denoiser alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loramerge.families import Family

DenoiserFiles = Mapping[str, Sequence[str]]
"""What stands at the end of a file's name → the components that it holds."""


def endings(family: Family, denoisers: Sequence[str]) -> dict[str, str]:
    """Denoiser → what stands at the end of its file's name: nothing, where a base has one.

    Args:
        family: Knows what people call them.
        denoisers: All that the base has.
    """
    if len(denoisers) == 1:
        return {denoisers[0]: ""}
    return {name: f"_{family.files.get(name, name)}" for name in denoisers}


def by_denoiser(components: Iterable[str], family: Family, denoisers: Sequence[str]) -> dict[str, list[str]]:
    """The components of each file: one for all, or one for each of several denoisers.

    Args:
        components: Those that a LoRA touches.
        family: Of the base.
        denoisers: All that the base has.
    """
    names = endings(family, denoisers)
    found: dict[str, list[str]] = {}
    for component in components:
        # What is no denoiser goes with the first.
        found.setdefault(names.get(component, names[denoisers[0]]), []).append(component)
    return found
