"""Which published models a LoRA could be for, by the names and shapes of its modules.

Names do not tell families apart: an ordinary LoRA of FLUX.1 is one of HunyuanVideo by all names and shapes. So the
answer is a set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from loramerge.bases.attention_names import layer_name
from loramerge.bases.component import flat
from loramerge.bases.published import architecture
from loramerge.families import FAMILIES
from loramerge.families.sizes import layers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loramerge.bases.component import Component

_ENOUGH = 0.9
"""A model that has so many of the modules is what the LoRA is for; the rest is what somebody added or mistook."""
_MOST_PREFIXES = 4
"""Names that may stand before a module's own, dot by dot, its own counted."""
_FLAT_PREFIXES = ("lora_unet__", "lora_unet_", "lora_transformer_", "lycoris_")


@dataclass(frozen=True)
class NamedShape:
    """A module of a LoRA whose base is not known.

    Attributes:
        names: What it may be called.
        shape: Of the weight that it is for: out, in, and a kernel's sizes; out is 0 where it is not known.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]

    @classmethod
    def written(cls, name: str, shape: tuple[int, ...]) -> NamedShape:
        """A module with all that a file has before its name."""
        parts = name.split(".")
        names = [".".join(parts[start:]) for start in range(min(len(parts), _MOST_PREFIXES))]
        names += [name.removeprefix(prefix) for prefix in _FLAT_PREFIXES if name.startswith(prefix)]
        return cls((*names, *map(layer_name, names)), shape)


def candidates(modules: Sequence[NamedShape]) -> tuple[str, ...]:
    """The published models that have nearly all of these modules in these shapes, those with most of them.

    Args:
        modules: Of a denoiser.

    Returns:
        One for each family: its name, or its name and size where the family's first size does not fit.
    """
    best, found = int(len(modules) * _ENOUGH), list[tuple[str, str]]()
    widths = [module.shape[1] for module in modules if len(module.shape) > 1]
    for family in FAMILIES.values():
        for size in family.published:
            known = _widths(family.name, size)
            if sum(width in known for width in widths) < max(best, 1):
                continue
            count = _count(modules, architecture(f"{family.name}/{size}").components[family.denoisers[0]])
            if count > best:
                best, found = count, []
            if count == best and count:
                found.append((family.name, size))
    first = dict(reversed(found))
    ordered = dict.fromkeys(name for name, _ in found)
    return tuple(
        name if (name, next(iter(FAMILIES[name].published))) in found else f"{name}/{first[name]}" for name in ordered
    )


@cache
def _widths(family: str, size: str) -> frozenset[int]:
    """What the denoiser's layers read from."""
    layers = layers_of(family, size).get(FAMILIES[family].denoisers[0], {})
    return frozenset(width for shape in layers.values() for width in (shape[1], math.prod(shape[1:])))


def _count(modules: Iterable[NamedShape], component: Component) -> int:
    return sum(any(_is_layer(name, module.shape, component) for name in module.names) for module in modules)


def _is_layer(name: str, shape: tuple[int, ...], component: Component) -> bool:
    # A dotted name has to be spelled as the model spells it: with `_` for `.` names of several families are the same.
    if "." in name and name not in component.names:
        return False
    original = component.spelled.get(flat(name))
    if original is None or not _reads_as_much(shape, original.shape):
        return False
    return shape[0] in {0, original.shape[0]}


def _reads_as_much(shape: tuple[int, ...], of_layer: tuple[int, ...]) -> bool:
    """Whether both read from as many numbers; LoHa and LoKr have a convolution's kernel in their columns."""
    return shape[1:2] == of_layer[1:2] or (len(shape) == 2 and shape[1] == math.prod(of_layer[1:]))  # noqa: PLR2004  a matrix
