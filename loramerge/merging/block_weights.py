"""How much of a LoRA goes into each module, from the recipe's number or mapping. Whatever is not named weighs 1."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from loramerge.bases.blocks import OTHER
from loramerge.documents.problems import did_you_mean
from loramerge.errors import MismatchError
from loramerge.merging.layer_weights import layer_weights, lists_of
from loramerge.merging.unet_weights import WeighedUNet
from loramerge.messages import counted, some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter
    from loramerge.bases.base import Base

Weighing = Callable[[str, str], float]
"""(component, module) → weight."""


def weighing(name: str, weight: float | Mapping[str, Any], base: Base) -> Weighing:
    """The weight of every module.

    Args:
        name: The LoRA's, for messages.
        weight: A number, or component → a number or a mapping: `{unet: {down: …, up: {block_0: …}, other: …}}`,
            `{transformer: {blocks: {0-9: …}, other: …}}`, `{transformer: {attention: …}}`.
        base: Has the blocks.

    Raises:
        MismatchError: A component, block, kind of layer or number of them that the base does not have.
    """
    if not isinstance(weight, Mapping):
        return lambda _component, _module: weight
    named = _Named.of(name, weight, base)

    def weigh(component: str, module: str) -> float:
        found = named.weight(component, module)
        return 1.0 if found is None else found

    return weigh


def unnamed(name: str, weight: float | Mapping[str, Any], base: Base, adapter: Adapter) -> Iterator[str]:
    """A sentence on the modules that weigh 1 because a mapping does not name them; none where it names all.

    Args:
        name: The LoRA's.
        weight: As for `weighing`.
        base: Has the blocks.
        adapter: The LoRA, fitted to the base.
    """
    if not isinstance(weight, Mapping):
        return
    named = _Named.of(name, weight, base)
    left: dict[str, list[str]] = {}
    for component, module, _ in adapter:
        if named.weight(component, module) is None:
            left.setdefault(named.key(component, module), []).append(module)
    if left:
        kept = sum(map(len, left.values()))
        yield (
            f"LoRA {name}: {kept} of {len(adapter)} modules keep weight 1, because its weight does not name "
            f"{' or '.join(_in_words(key, left[key]) for key in sorted(left, key=_by_number))}"
        )


def _in_words(key: str, modules: list[str]) -> str:
    # What is in a block or a component its name says.
    examples = f": {some(modules)}" if key.endswith(OTHER) else ""
    return f"`{key}` ({counted(len(modules), 'module')}{examples})"


def _advice(base: Base) -> str:
    """How the base's own blocks are weighed."""
    known = "down, mid, up and other" if base.main == "unet" else lists_of(base.components[base.main])
    return f"weigh its blocks by weight.{base.main}: {known}"


def _by_number(key: str) -> list[tuple[int, str]]:
    """Sorts `blocks.4-9` before `blocks.12`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split("([0-9]+)", key)]


class _Weighed(Protocol):
    """The weights of one component that a mapping divides."""

    def weight(self, module: str, /) -> float | None: ...

    def key(self, module: str, /) -> str: ...


@dataclass(frozen=True)
class _Named:
    """A mapping by component, and what of a base it names.

    Attributes:
        whole: Component → its weight, where it is one number.
        divided: Component → its weights, where it is a mapping.
    """

    whole: Mapping[str, float]
    divided: Mapping[str, _Weighed]

    @classmethod
    def of(cls, name: str, weights: Mapping[str, Any], base: Base) -> _Named:
        for key in weights:
            if key not in base.components:
                raise MismatchError(
                    f"LoRA {name}: weight.{key}: the base has no such component; it has {', '.join(base.components)}"
                    f"{did_you_mean(key, base.components)}",
                    hint=_advice(base) if isinstance(weights[key], Mapping) else "",
                )
        divided: dict[str, _Weighed] = {}
        for key, given in weights.items():
            if isinstance(given, Mapping):
                where, component = f"LoRA {name}: weight.{key}", base.components[key]
                divided[key] = (
                    WeighedUNet.of(where, given, component.modules)
                    if key == "unet"
                    else layer_weights(where, given, component, base.family.kinds)
                )
        return cls({key: float(given) for key, given in weights.items() if key not in divided}, divided)

    def weight(self, component: str, module: str) -> float | None:
        """None where nothing of the mapping names it."""
        found = self.divided.get(component)
        return found.weight(module) if found else self.whole.get(component)

    def key(self, component: str, module: str) -> str:
        """What a mapping would have to name: `text_encoder`, `unet.up.block_1`, `transformer.blocks.10-29`."""
        found = self.divided.get(component)
        return f"{component}.{found.key(module)}" if found else component
