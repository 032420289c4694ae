"""A row for each family: a tiny model of it, and what turns its original checkpoints into diffusers' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A family, small.

    Attributes:
        family: Its name in the registry.
        tiny: Config of its denoiser's class, with every structure of the real one and next to no weights.
        class_name: Where it is not the first of the family's classes.
        converter: Function of diffusers.loaders.single_file_utils; empty where diffusers has none.
        sizes: Lines of that function with the sizes of the real model → the same with those of the tiny one.
    """

    family: str
    tiny: Mapping[str, Any]
    class_name: str = ""
    converter: str = ""
    sizes: Mapping[str, str] = field(default_factory=dict)


ROWS: tuple[Row, ...] = ()
