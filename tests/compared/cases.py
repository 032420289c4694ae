"""What is compared: which LoRAs together, in which scenes, by which types with which settings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from compared.judge import CONCEPTS
from train.scenes import COLOURS, DIP, LATER_PHRASES, LATER_SIZES, PHRASES, PLACES, SHAPES, SUBJECT, Scene

from loramerge.methods import METHODS

_STEPS = (
    0,
    1,
    3,
)  # triples are concepts so far from each other in a circle: every pair of concepts meets in one at most
_SPACES = ("core", "knots")
_DENSER = 0.8
_WEAKER = 0.7


@dataclass(frozen=True)
class Setting:
    """A combination type with its parameters, and one weight for all LoRAs.

    Attributes:
        type: Its name in a recipe.
        parameters: Beside it.
        weight: Of every LoRA.
        main: It stands in the summary.
    """

    type: str
    parameters: dict[str, float | str] = field(default_factory=dict)
    weight: float = 1.0
    main: bool = False

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in self.parameters.items() if name != "seed"]
        said += [f"weights {self.weight:g}"] if self.weight != 1 else []
        return f"`{self.type}`{', ' if said else ''}{', '.join(said)}"

    def takes(self, count: int) -> bool:
        """Whether it can merge so many LoRAs."""
        (method,) = (each for each in METHODS if each.name() == self.type)
        most = getattr(method, "most_loras", None)
        return most is None or count <= most


def settings() -> list[Setting]:
    """Of every type what a new recipe has, room for all ranks where it has a rank, and then one thing at a time.

    Spaces hold the deltas whole, so a type on factors and its `_svd` are one there, and the first of them stands for
    both.
    """
    found = []
    names = {method.name() for method in METHODS}
    for method in METHODS:
        name, fields = method.name(), method.model_fields
        start = dict(method.suggested)
        if "density" in fields:
            start.setdefault("density", 0.5)
        if "svd_rank" in fields:
            start["svd_rank"] = "sum"
        found.append(Setting(name, start, main=True))
        if "density" in fields:
            found.append(Setting(name, start | {"density": _DENSER}))
        if "svd_rank" in fields:
            found.append(Setting(name, start | {"svd_rank": "max"}))
        if "space" in fields and name.removesuffix("_svd") not in names - {name}:
            found += [Setting(name, start | {"space": space}, main=True) for space in _SPACES]
        if name == "cat":
            found.append(Setting(name, start, weight=_WEAKER, main=True))
    return found


def groups() -> list[tuple[str, ...]]:
    """Which LoRAs are merged: all pairs, eight triples in which each takes part three times, and all of them."""
    count = len(CONCEPTS)
    triples = [tuple(CONCEPTS[(first + step) % count] for step in _STEPS) for first in range(count)]
    return [*combinations(CONCEPTS, 2), *triples, CONCEPTS]


def scenes(group: tuple[str, ...], seeds: int) -> Iterator[tuple[str, int]]:
    """(prompt that calls for all of them, seed of the noise) of each picture; the same for every way to merge."""
    for seed in range(seeds):
        rng = random.Random(f"{'+'.join(group)} {seed}")
        colours = [colour for colour in COLOURS if colour != DIP or "dip" not in group]
        scene = Scene(
            shape=SUBJECT if SUBJECT in group else rng.choice(SHAPES),
            colour=rng.choice(colours),
            size=rng.choice(tuple(LATER_SIZES) if "huge" in group else ("", "big")),
            place=rng.choice(tuple(PLACES)),
        )
        yield scene.caption([name for name in group if name in PHRASES | LATER_PHRASES]), seed
