"""Whether a LoRA fits the base: every module exists there, with the right shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.families import TITLES, guess
from loramerge.messages import by, some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base

_KERNEL_1X1 = (1, 1)


@dataclass(frozen=True)
class Misfit:
    """A pair that has no place in the base."""

    component: str
    module: str
    pair: LowRank
    expected: tuple[int, ...] | None

    def __str__(self) -> str:
        what = f"{self.component}.{self.module} is {by(self.pair.shape)}"
        return f"{what}, the base has {by(self.expected)}" if self.expected else f"{what}, the base has no such module"


def fit(name: str, adapter: Adapter, base: Base, *, skip: bool) -> tuple[Adapter, tuple[Misfit, ...]]:
    """The adapter with every pair in the shape of the module that it belongs to.

    A 1×1 convolution and a linear layer are the same map, so a pair that is written as the other is taken over.

    Args:
        name: The LoRA's, for messages.
        adapter: As read.
        base: What it is to be merged for.
        skip: Leave out what does not fit instead of raising.

    Returns:
        The adapter, and what was left out.

    Raises:
        MismatchError: Modules or shapes that the base does not have, or nothing left.
    """
    fitting: dict[str, dict[str, LowRank]] = {}
    misfits = []
    for component, module, pair in adapter:
        expected = base.components[component].modules.get(module) if component in base.components else None
        shaped = _shaped(pair, expected) if expected else None
        if shaped is None:
            misfits.append(Misfit(component, module, pair, expected))
        else:
            fitting.setdefault(component, {})[module] = shaped
    if misfits and not (skip and fitting and not _is_of_another_family(adapter, base)):
        raise _mismatch(name, adapter, misfits, base)
    return replace(adapter, components=fitting), tuple(misfits)


def _shaped(pair: LowRank, expected: tuple[int, ...]) -> LowRank | None:
    if _as_map(pair.shape) != _as_map(expected):
        return None
    return pair.shaped(expected)


def _as_map(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == _KERNEL_1X1 else shape


def _guessed_family(adapter: Adapter) -> str | None:
    return guess((module, (pair.rank, *pair.shape[1:])) for _, module, pair in adapter)


def _is_of_another_family(adapter: Adapter, base: Base) -> bool:
    """Whether cross-attention reads text of another width: then what fits by chance means nothing either."""
    return _guessed_family(adapter) not in (None, base.family)


def _mismatch(name: str, adapter: Adapter, misfits: list[Misfit], base: Base) -> MismatchError:
    # What differs in shape says more than what is absent: it is shown first.
    shown = some(map(str, sorted(misfits, key=lambda misfit: misfit.expected is None)))
    family = _guessed_family(adapter)
    if family is not None and _is_of_another_family(adapter, base):
        suspicion = f" It looks like a LoRA for {TITLES[family]}, the base is {TITLES[base.family]}."
        hint = "choose the base that the LoRA was trained on"
    else:
        suspicion = ""
        hint = "choose the base that the LoRA was trained on, or leave these modules out with `unmatched: skip`"
    return MismatchError(
        f"LoRA {name}: {len(misfits)} of {len(adapter)} modules do not fit {base.reference}: {shown}.{suspicion}",
        hint=hint,
    )
