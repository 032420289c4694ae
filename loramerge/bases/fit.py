"""Whether a LoRA fits the base: every module exists there, with the right shape."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.candidates import NamedShape, candidates
from loramerge.errors import MismatchError
from loramerge.families import title_of, with_size
from loramerge.families.strangers import strangers
from loramerge.messages import any_of, by, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.bases.component import Component

_KERNEL_1X1 = (1, 1)
_EXPERTS = ".experts."
_EXPERT = re.compile(r"\.experts\.(\d{1,9})\.")
_FEW = 0.1
"""Share of modules that may not fit in a LoRA for a base of the very size: parts that differ by the task."""
_SKIP = "a recipe does with `unmatched: skip` at the LoRA"
_CHOOSE = "choose the base that the LoRA was trained on, with --base or as `base: source:` of a recipe"


@dataclass(frozen=True)
class Misfit:
    """A pair that has no place in the base."""

    component: str
    module: str
    pair: LowRank
    expected: tuple[int, ...] | None
    reason: str = ""
    """Why it has none, where its name and shape say nothing of the base."""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.component}.{self.module} {self.reason}"
        what = f"{self.component}.{self.module} is {by(self.pair.shape)}, the base has"
        absent = "module" if self.pair.is_layer and len(self.pair.shape) > 1 else "parameter"
        return f"{what} {by(self.expected) if self.expected else f'no such {absent}'}"


def fit(name: str, adapter: Adapter, base: Base, *, skip: bool) -> tuple[Adapter, tuple[Misfit, ...]]:
    """The adapter with every pair in the shape of the module that it belongs to.

    A 1×1 convolution and a linear layer are the same map, so a pair that is written as the other is taken over; so is
    a convolution whose kernel lies in the columns.

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
        part = base.components.get(component, None)
        expected = part.shape_of(module, others=pair.is_dense) if part else None
        shaped = _placed(pair, module, part) if part else None
        if shaped is None:
            misfits.append(Misfit(component, module, pair, expected, _reason(module, pair, part)))
        else:
            fitting.setdefault(component, {})[module] = shaped
    _check_saved(name, adapter, base)
    others = _others(adapter, base, misfits) if not all(misfit.reason for misfit in misfits) else ()
    if misfits and (others or not (skip and fitting)):
        raise _mismatch(name, adapter, misfits, base, others, can_skip=bool(fitting) and not skip)
    return replace(adapter, components=fitting), tuple(misfits)


def _reason(module: str, pair: LowRank, part: Component | None) -> str:
    """Why a pair has no place although the base may be the right one; empty where nothing says so."""
    if not pair.is_layer:
        return ""
    if part is not None and module in part.others:
        return "is no linear or convolution layer, and these alone are merged"
    if part is not None and (expert := _EXPERT.search(module)):
        own = f"{module[: expert.start()]}{_EXPERTS}"
        counts = {stack.shape[0] for name, stack in part.stacks.items() if f"{name}.".startswith(own)}
        if counts and int(expert[1]) < min(counts):
            return "is a layer of one expert, and the base's experts have no layers of such names"
    return ""


def _check_saved(name: str, adapter: Adapter, base: Base) -> None:
    """What was trained in full takes the place of the base's own, so it has to be of its shape."""
    for component, parameter, tensor in adapter.each_saved():
        part = base.components.get(component, None)
        expected = part.parameter_shape(parameter) if part else None
        if expected == tensor.shape:
            continue
        there = f"the base has {by(expected)}" if expected else "the base has no such parameter"
        hint = "choose the base that the LoRA was trained on"
        if expected and expected[1:] == tensor.shape[1:]:
            hint += (
                f"; where tokens were added to it, resize_token_embeddings({tensor.shape[0]}) gives it as many rows: "
                "save it, and name that folder as the base"
            )
        raise MismatchError(
            f"LoRA {name}: {component}.{parameter}, which was trained in full, is {by(tensor.shape)}, {there}",
            hint=hint,
        )


def _placed(pair: LowRank, module: str, part: Component) -> LowRank | None:
    """The pair in the shape of what it belongs to; None where it has no place."""
    if not pair.is_layer:
        return pair if part.others.get(module) == pair.shape else None
    return _shaped(pair, part.modules[module]) if module in part.modules else None


def _shaped(pair: LowRank, expected: tuple[int, ...]) -> LowRank | None:
    if _as_map(pair.shape) != _as_map(expected) and pair.shape != _flattened(expected):
        return None
    return pair.shaped(expected)


def _as_map(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == _KERNEL_1X1 else shape


def _flattened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """As LoHa and LoKr have a convolution: the kernel lies in the columns."""
    return shape[0], math.prod(shape[1:])


def _others(adapter: Adapter, base: Base, misfits: Sequence[Misfit]) -> tuple[str, ...]:
    """The models that a LoRA is for if it is not for this base, as titles: their names and shapes are its own."""
    denoised = [
        NamedShape.written(module, pair.shape)
        for component, module, pair in adapter
        if not component.startswith("text_encoder") and pair.is_layer and len(pair.shape) > 1
    ]
    found = candidates(denoised)
    if any(name.partition("/")[0] == base.family.name for name in found):
        # A text encoder that the base does not have, as many files do not, says nothing of its denoiser.
        absent = sum(each.component.startswith("text_encoder") for each in misfits if each.expected is None)
        few = len(misfits) - absent <= _FEW * len(adapter)
        return () if few else tuple(title_of(with_size(name)) for name in found)
    if found:
        return tuple(map(title_of, found))
    return strangers(module for component, module, _ in adapter if component not in COMPONENTS)


def _mismatch(
    name: str, adapter: Adapter, misfits: list[Misfit], base: Base, others: tuple[str, ...], *, can_skip: bool
) -> MismatchError:
    # What differs in shape says more than what is absent: it is shown first.
    shown = some(map(str, sorted(misfits, key=lambda misfit: misfit.expected is None)))
    suspicion, hint = "", _CHOOSE
    if all(misfit.reason for misfit in misfits):
        hint = f"leave these modules out: {_SKIP}" if can_skip else "use a LoRA of other layers"
    elif others:
        suspicion = f" It looks like a LoRA for {any_of(others)}, the base is {base.family.title}."
    elif can_skip:
        hint += f", or leave these modules out: {_SKIP}"
    return MismatchError(
        f"LoRA {name}: {len(misfits)} of {len(adapter)} modules do not fit {base.reference}: {shown}.{suspicion}",
        hint=hint,
    )
