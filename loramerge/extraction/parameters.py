"""What two models differ in beside the weights of layers: norms, biases and the like, kept as they differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.deltas.parameter import ParameterDelta
from loramerge.extraction.difference import difference
from loramerge.extraction.weights import Placed
from loramerge.tensor_files.lazy import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from loramerge.extraction.weights import Weights


@dataclass(frozen=True)
class DifferingParameter:
    """One parameter.

    Attributes:
        component: Whose it is.
        key: What an adapter calls it.
        delta: The tuned one less the base's, float32.
    """

    component: str
    key: str
    delta: ParameterDelta


def parameter_differences(tuned: Weights, base: Weights, components: Collection[str]) -> Iterator[DifferingParameter]:
    """Every parameter of some components that differs by more than rounding to another number format.

    Raises:
        SourceError: A number is NaN or infinite.
    """
    here, there = _places(tuned), _places(base)
    for (component, key), place in there.items():
        mine, shape = here.get((component, key)), place.rows.shape
        if component not in components or mine is None or mine.rows.shape != shape:
            continue
        found = difference(mine, place, shape)
        if not isinstance(found, str):
            yield DifferingParameter(component, key, ParameterDelta.of(found.reshape(shape)))


def names_of(weights: Weights, components: Collection[str]) -> frozenset[str]:
    """The tensors of `rest` that are nothing but such parameters of some components, by their names there."""
    rows: Counter[str] = Counter()
    for component, parameters in _in_rest(weights).items():
        for name, spans, _ in parameters.values() if component in components else ():
            rows[name] += sum(stop - start for start, stop in spans) if spans else weights.rest[name].rows.shape[0]
    return frozenset(name for name, count in rows.items() if count == weights.rest[name].rows.shape[0])


def _places(weights: Weights) -> dict[tuple[str, str], Placed]:
    found = {}
    for component, parameters in _in_rest(weights).items():
        for key, (name, spans, shape) in parameters.items():
            placed = weights.rest[name]
            if not spans:
                found[component, key] = placed
            elif placed.rows.shape[0] >= max(stop for _, stop in spans) and math.prod(placed.rows.shape[1:]) == (
                math.prod(shape[1:])
            ):
                assert isinstance(placed.rows, StoredTensor)  # noqa: S101  of a file whole tensors are kept
                found[component, key] = Placed(placed.shown, placed.rows.rows(spans))
    return found


_Named = dict[str, tuple[str, tuple[tuple[int, int], ...], tuple[int, ...]]]


def _in_rest(weights: Weights) -> Mapping[str, _Named]:
    """Component → key → name in `rest`, the rows there (all where there are none), and the shape."""
    checkpoint = weights.base.checkpoint
    found: dict[str, _Named] = {}
    for component in weights.layers:
        part = weights.base.components[component]
        keys = {part.parameter(key): key for key, shape in part.others.items() if shape}
        named: _Named = {}
        if checkpoint is None:
            named = {key: (f"{component}.{name}", (), part.others[key]) for name, key in keys.items()}
        elif component in checkpoint.parts:
            shapes = {name: part.others[key] for name, key in keys.items()}
            places = checkpoint.parts[component].tensors(shapes)
            named = {keys[name]: (place, spans, shapes[name]) for name, (place, spans) in places.items()}
        found[component] = {key: each for key, each in named.items() if each[0] in weights.rest}
    return found
