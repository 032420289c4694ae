"""Sources of this machine that are not there: the one thing beyond a recipe's text that costs nothing to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge import sources
from loramerge.documents.problems import KeyPath, Problem
from loramerge.errors import SourceError

if TYPE_CHECKING:
    from loramerge.recipe.model import Recipe


@dataclass(frozen=True)
class MissingSource:
    """A path that leads nowhere.

    Attributes:
        path: Where to.
        problem: The same as a mistake of the recipe.
    """

    path: Path
    problem: Problem


def missing_sources(recipe: Recipe) -> list[MissingSource]:
    """Every path of a recipe that leads nowhere; what lies elsewhere is not looked up."""
    return [MissingSource(path, Problem(recipe.origin_of(key), key, said)) for key, path, said in _each_missing(recipe)]


def _each_missing(recipe: Recipe) -> Iterator[tuple[KeyPath, Path, str]]:
    given: list[tuple[KeyPath, str | None]] = [
        (("base", "source"), recipe.base.source),
        (("base", "config"), recipe.base.config_source),
    ]
    for index, entry in enumerate(recipe.entries):
        several = len(entry.each()) > 1
        named: KeyPath = ("extract", "from") if entry.extract else ("source",)
        given += [
            (("loras", index, *named, *([lora.component] if several and lora.component else [])), lora.source)
            for lora in entry.each()
        ]
    given += [
        (("outputs", index, "components", name), source)
        for index, output in enumerate(recipe.outputs)
        for name, source in output.other_components.items()
    ]
    for key, reference in given:
        if reference is None or "://" in reference:
            continue
        source = sources.parse(reference, folder=recipe.folder)
        if source.local is not None and not os.path.exists(source.local):  # noqa: PTH110  which takes any text
            try:
                source.locate()
            except SourceError as error:
                yield key, source.local, "; ".join(filter(None, (error.message, error.hint)))
