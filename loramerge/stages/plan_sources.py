"""What a plan knows of a recipe's sources: what its lock says, or what is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.provenance.definition import Definition
from loramerge.provenance.licence import licences_of
from loramerge.stages.lock import lock as lock_sources
from loramerge.stages.lock import look_at
from loramerge.stages.resolve import resolve
from loramerge.stages.with_base import with_base

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe
    from loramerge.stages.resolve import Resolved


@dataclass(frozen=True)
class HeldSources:
    """Sources that are what a lock says.

    Attributes:
        recipe: Names them.
        lock: Of the recipe.
    """

    recipe: Recipe
    lock: Lock

    @property
    def base_files(self) -> Collection[str]:
        """Names of the base's files; none where a family alone is known of it."""
        return self.lock.sources.base.files if self.lock.sources.base else ()

    @property
    def licences(self) -> Mapping[str, str | None]:
        """Of every source, None where it is not known."""
        return licences_of(self.lock)

    def definition(self, *, compared: bool) -> Definition:
        """What determines the artifact."""
        del compared
        return Definition.of(self.recipe, self.lock)


@dataclass(frozen=True)
class FreeSources:
    """Sources that may be anything.

    Attributes:
        recipe: Names them.
        based: The same with its base, where the LoRAs alone tell that.
        resolved: What they are.
    """

    recipe: Recipe
    based: Recipe
    resolved: Resolved

    @classmethod
    def of(cls, recipe: Recipe) -> FreeSources:
        """Look them up.

        Raises:
            SourceError: One is missing, refused, unreachable, or holds no base or LoRA.
        """
        based = with_base(recipe)
        return cls(recipe, based, resolve(based))

    @property
    def base_files(self) -> Collection[str]:
        """Names of the base's files; none where a family alone is known of it."""
        return self.resolved.base.files

    @property
    def licences(self) -> Mapping[str, str | None]:
        """Of every source, None where it is not known."""
        return self.resolved.licences

    def definition(self, *, compared: bool) -> Definition | None:
        """What determines the artifact.

        Args:
            compared: There is something to compare it with.

        Returns:
            None where there is not, and outputs are made of the base's weights: whoever reads these for that hashes
            them in the same pass.

        Raises:
            SourceError: A file can't be had, or is called safetensors and none.
        """
        if compared or not any(output.needs_weights for output in self.recipe.outputs):
            return Definition.of(self.recipe, lock_sources(self.based, self.resolved))
        look_at(self.resolved)
        return None
