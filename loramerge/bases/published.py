"""The bases that families were published with, for reading a LoRA when no base is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.bases.base import from_configs
from loramerge.families import TITLES, published_configs

if TYPE_CHECKING:
    from loramerge.bases.base import Base


def architecture(family: str) -> Base:
    """A family's base by its published sizes.

    Args:
        family: `sd15`, `sd2` or `sdxl`.
    """
    return from_configs(TITLES[family], published_configs(family))
