"""What is judged, and the judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

    from loramerge.adapter import Adapter
    from loramerge.recipe import Recipe


@dataclass(frozen=True)
class Picture:
    """A picture that a trial drew.

    Attributes:
        prompt: What was asked for.
        seed: Of the first noise.
        image: RGB.
    """

    prompt: str
    seed: int
    image: Image.Image


@dataclass(frozen=True)
class Tried:
    """A merge that is tried.

    Attributes:
        recipe: With the values of the trial.
        merged: The merged LoRA.
        pictures: Of the recipe's preview, drawn with it; none where nobody looks at them.
    """

    recipe: Recipe
    merged: Adapter
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Judged:
    """How good a merge is.

    Attributes:
        score: The higher the better.
        parts: What the score is made of, where it is: name of a LoRA → its part.
    """

    score: float
    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def by_the_worst(cls, parts: Mapping[str, float], *, beside: float = 0.0) -> Judged:
        """The part of the LoRA that comes off worst: no LoRA makes up for the loss of another.

        Args:
            parts: Name of a LoRA → its part; one that changes nothing has none.
            beside: What is added to it.
        """
        return cls(min(parts.values(), default=0.0) + beside, dict(parts))


class Judge(Protocol):
    """Says how good a merge is."""

    def __call__(self, tried: Tried) -> Judged:
        """The judgement.

        Raises:
            ObjectiveError: There is none.
        """
