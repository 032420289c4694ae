"""Whether a LoRA fits the base: every module exists there, with the right shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loramerge.bases.blocks import COMPONENTS
from loramerge.errors import MismatchError
from loramerge.families import TITLES, guess
from loramerge.families.strangers import candidates
from loramerge.messages import any_of, by, some

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base

_KERNEL_1X1 = (1, 1)
_CHOOSE = "choose the base that the LoRA was trained on, with --base or as `base: source:` of a recipe"


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
        raise _mismatch(name, adapter, misfits, base, can_skip=bool(fitting) and not skip)
    return replace(adapter, components=fitting), tuple(misfits)


def _shaped(pair: LowRank, expected: tuple[int, ...]) -> LowRank | None:
    if _as_map(pair.shape) != _as_map(expected):
        return None
    return pair.shaped(expected)


def _as_map(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == _KERNEL_1X1 else shape


def _guessed_family(adapter: Adapter) -> str | None:
    return guess((module, (pair.rank, *pair.shape[1:])) for _, module, pair in adapter)


def _strangers(adapter: Adapter) -> tuple[str, ...]:
    """The families that can't be merged yet which have modules of these names."""
    return candidates(module for component, module, _ in adapter if component not in COMPONENTS)


def _is_of_another_family(adapter: Adapter, base: Base) -> bool:
    """Whether cross-attention reads text of another width, or modules are another family's: the rest fits by chance."""
    return _guessed_family(adapter) not in (None, base.family) or bool(_strangers(adapter))


def _mismatch(name: str, adapter: Adapter, misfits: list[Misfit], base: Base, *, can_skip: bool) -> MismatchError:
    # What differs in shape says more than what is absent: it is shown first.
    shown = some(map(str, sorted(misfits, key=lambda misfit: misfit.expected is None)))
    family, suspicion, hint = _guessed_family(adapter), "", _CHOOSE
    if strangers := _strangers(adapter):
        suspicion = f" It looks like a LoRA for {any_of(strangers)}, the base is {TITLES[base.family]}."
        hint = f"LoRAs for {', '.join(TITLES.values())} can be merged"
    elif family not in (None, base.family):
        suspicion = f" It looks like a LoRA for {TITLES[family]}, the base is {TITLES[base.family]}."
    elif can_skip:
        hint += ", or leave these modules out: a recipe does with `unmatched: skip` at the LoRA"
    return MismatchError(
        f"LoRA {name}: {len(misfits)} of {len(adapter)} modules do not fit {base.reference}: {shown}.{suspicion}",
        hint=hint,
    )
