"""Two models side by side: what both have, and what keeps them from being compared."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.extraction.difference import norm_of_difference
from loramerge.extraction.extraction import LeftOut
from loramerge.messages import by, counted, some

if TYPE_CHECKING:
    from loramerge.extraction.weights import Placed, Weights

_KINDS = ("norms", "biases", "others")
_MATRIX = 2


@dataclass(frozen=True)
class Both:
    """A layer of two models.

    Attributes:
        component: Whose it is.
        module: Its name.
        shape: Of its weight.
        tuned: Where it lies in the one.
        base: Where it lies in the other.
    """

    component: str
    module: str
    shape: tuple[int, ...]
    tuned: Placed
    base: Placed

    @property
    def size(self) -> int:
        """Bytes of the weight in float32."""
        return 4 * math.prod(self.shape)


def layers_of_both(tuned: Weights, base: Weights) -> tuple[tuple[Both, ...], tuple[str, ...]]:
    """Every layer that both models have, in the base's order, and what was not compared, in words.

    Raises:
        MismatchError: A layer has another shape in the other model, or is not there; or no component is in both.
    """
    common = [name for name in base.base.components if name in base.layers and name in tuned.layers]
    if not common:
        raise MismatchError(
            f"{tuned.reference} and {base.reference} have no component in common: {some(tuned.layers)} and "
            f"{some(base.layers)}",
            hint="name a model that was trained from the base",
        )
    _check_shapes(tuned, base, common)
    found = []
    notes = [*_alone(tuned, base), *_alone(base, tuned)]
    for component in common:
        here, there = tuned.layers[component], base.layers[component]
        found += [
            Both(component, module, base.base.components[component].modules[module], here[module], place)
            for module, place in there.items()
            if module in here
        ]
        unknown = [
            module for module in base.base.components[component].modules if (module in here) is not (module in there)
        ]
        if unknown:
            notes.append(
                f"not compared, for one of both files has them by no name that is known: {component}.{some(unknown)}"
            )
    return tuple(found), tuple(notes)


def _alone(one: Weights, other: Weights) -> Iterator[str]:
    for component in one.layers:
        if component not in other.layers:
            yield f"{component} is in {one.reference} alone, and was not compared"


def _check_shapes(tuned: Weights, base: Weights, common: list[str]) -> None:
    wrong = []
    for component in common:
        mine, theirs = (each.base.components[component].modules for each in (tuned, base))
        for module in dict.fromkeys((*theirs, *mine)):
            if mine.get(module) != theirs.get(module):
                one, other = (by(each[module]) if module in each else "not there" for each in (mine, theirs))
                wrong.append(f"{component}.{module} is {one} in {tuned.reference} and {other} in {base.reference}")
    if wrong:
        titles = [each.base.family.title for each in (tuned, base)]
        seen = "" if titles[0] == titles[1] else f"; the one is {titles[0]}, the other {titles[1]}"
        raise MismatchError(
            f"{tuned.reference} was not trained from {base.reference}: {some(wrong)}{seen}",
            hint="name the model that it was trained from as the base",
        )


def left_out(
    tuned: Weights, base: Weights, *, taken: Collection[str] = ()
) -> tuple[tuple[LeftOut, ...], tuple[str, ...]]:
    """What differs beside the layers, by component and kind, and what could not be compared, in words.

    Args:
        tuned: The one.
        base: The other.
        taken: Names of what is not left out.

    Raises:
        SourceError: A number is NaN or infinite.
    """
    here, there = tuned.rest_like(base)
    counts: dict[tuple[str, str], list[tuple[int, float]]] = {}
    other_shapes = []
    for name in sorted(here.keys() & there.keys()):
        if here[name].rows.shape != there[name].rows.shape:
            other_shapes.append(name)
        elif name not in taken and (norm := norm_of_difference(here[name], there[name])):
            component = (tuned if tuned.base.checkpoint and base.base.checkpoint else base).component_of(name)
            counts.setdefault((component, _kind(name, here[name])), []).append((here[name].size, norm))
    found = tuple(
        LeftOut(component, kind, len(each), sum(size for size, _ in each), math.hypot(*(norm for _, norm in each)))
        for (component, kind), each in sorted(
            counts.items(), key=lambda entry: (entry[0][0], _KINDS.index(entry[0][1]))
        )
    )
    return found, tuple(_not_compared(tuned, base, here, there, other_shapes))


def _not_compared(
    tuned: Weights, base: Weights, here: Mapping[str, Placed], there: Mapping[str, Placed], other_shapes: list[str]
) -> Iterator[str]:
    if other_shapes:
        yield f"not compared, for their shapes differ: {some(other_shapes)}"
    for weights, other, mine, theirs in ((tuned, base, here, there), (base, tuned, there, here)):
        said = weights.layers.keys() - other.layers.keys()
        alone = sorted(name for name in mine.keys() - theirs.keys() if weights.component_of(name) not in said)
        hidden = len(weights.rest) - len(mine)
        if alone or hidden > 0:
            shown = f": {some(alone)}" if alone else ""
            yield (
                f"{counted(len(alone) + max(hidden, 0), 'tensor')} beside the layers {weights.reference} alone has, "
                f"by their names{shown}; not compared"
            )


def _kind(name: str, placed: Placed) -> str:
    if name.endswith("bias"):
        return "biases"
    return "norms" if len(placed.rows.shape) < _MATRIX else "others"
