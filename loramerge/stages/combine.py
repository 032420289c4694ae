"""Stage: several LoRAs become one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from loramerge.adapter import Adapter
from loramerge.analysis.fidelity import measure_module
from loramerge.analysis.rounding import loss
from loramerge.engines import ENGINES
from loramerge.errors import MismatchError
from loramerge.merging import checks
from loramerge.merging.block_weights import weighing
from loramerge.merging.device import chosen_device
from loramerge.merging.parameters import apart_in_each, merge_parameters
from loramerge.numerics.norms import gram_of_ups
from loramerge.progress import Progress, Silent
from loramerge.stages.combine_notes import is_one, notes_of
from loramerge.stages.division import Division, check_divisions, divided, joined, part_of, whole_parameters

if TYPE_CHECKING:
    from loramerge.adapter import LowRank
    from loramerge.analysis.fidelity import Fidelity, ModuleFidelity
    from loramerge.bases.base import Base
    from loramerge.merging.module import Merged, Share
    from loramerge.methods import Method
    from loramerge.stages.load import Loaded


@dataclass(frozen=True)
class WeightedAdapter:
    """A LoRA and how much of it goes in.

    Attributes:
        name: For messages.
        adapter: It fits the base.
        weight: A number, or diffusers' mapping by component and block.
    """

    name: str
    adapter: Adapter
    weight: float | Mapping[str, Any] = 1.0


@dataclass(frozen=True)
class Combined:
    """A merge.

    Attributes:
        adapter: The merged LoRA.
        fidelity: How far each module is from the weighted sum of the LoRAs.
        notes: What the reader of the result should know, in words.
        device: Where it was computed, `cpu` or `cuda`.
        reference: Whether every step was left to PEFT itself.
        retained_energy: By component and module, where a decomposition cut the combined delta to a rank: the share of
            its squared norm that was kept.
        rounding: By number format: ‖rounded - merged‖ / ‖merged‖ over all modules if the factors are written in it.
        divisions: Which rule merged what.
    """

    adapter: Adapter
    fidelity: Fidelity
    notes: tuple[str, ...]
    device: str
    reference: bool
    retained_energy: Mapping[str, Mapping[str, float]]
    rounding: Mapping[str, float]
    divisions: tuple[Division, ...]


@dataclass(frozen=True)
class _Finished:
    """What is kept of a merged module."""

    pair: LowRank
    retained_energy: float | None
    fidelity: ModuleFidelity
    losses: Mapping[str, float]


def combine(  # noqa: PLR0913  # each is a choice of its own
    loras: Sequence[WeightedAdapter],
    base: Base,
    method: Method,
    *,
    device: str = "auto",
    reference: bool = False,
    keep: Callable[[LowRank, LowRank | None], LowRank] = lambda pair, _again: pair,
    formats: Sequence[str] = (),
    progress: Progress | None = None,
) -> Combined:
    """Merge LoRAs as PEFT's `add_weighted_adapter` does, component by component, in float32; measure the result.

    A LoRA, or a module of one, that weighs 0 takes no part: in TIES it would still count in the average.

    Args:
        loras: In the order that random types draw in.
        base: What they were fitted to.
        method: The combination type with its parameters.
        device: `auto`, `cpu` or `cuda`.
        reference: Leave every step to PEFT itself, for comparison.
        keep: Puts a merged pair where it is to wait, and gives it back from there; in memory by default. It may take
            the same pair made anew instead, where there is one.
        formats: Number formats whose rounding is to be measured, `float16` or `bfloat16`.
        progress: Told of every component and LoRA.

    Raises:
        MismatchError: The type can't take these LoRAs, or two of them trained one module in full.
        UsageError: PEFT has no part in what the method asks for.
        LoramergeError: There is no such device, or the result is not finite.
    """
    progress = progress or Silent()
    chosen = chosen_device(device)
    for rule in method.rules:
        rule.check_device(chosen)
        if reference:
            checks.check_reference([lora.name for lora in loras], rule)
    for lora in loras:
        checks.check_bound(lora.name, lora.adapter)
    divisions = _divisions(loras, base, method, reference=reference)
    every = joined(divisions)
    whole = whole_parameters(loras, every)
    each_kind = [apart_in_each(each.parts, layers=wanted) for each in divisions for wanted in (True, False)]
    progress.start("merge", sum(len(parts) + 1 for each in each_kind for parts in each.values()))
    alone = is_one(divisions)

    def finish(rule: Method, component: str, module: str, inputs: Sequence[Share], merged: Merged) -> _Finished:
        checks.check_finite(f"{component}.{module}", merged.pair, rule)
        ups = gram_of_ups([merged.pair])
        fidelity = measure_module(merged.pair, inputs, ups=ups)
        losses = {dtype: loss(merged.pair, dtype, ups=ups, exact_up=merged.up_formats == {dtype}) for dtype in formats}
        return _Finished(keep(merged.pair, merged.again), merged.retained_energy, fidelity, losses)

    merged: dict[str, dict[str, _Finished]] = {}
    for division in divisions:
        rule = division.method
        for component, parts in apart_in_each(division.parts, layers=True).items():
            merged.setdefault(component, {}).update(
                _engine(rule, alone=alone, reference=reference)(
                    base.components[component],
                    list(parts.values()),
                    rule,
                    seed=rule.masks_from or 0,
                    device=chosen,
                    finish=partial(finish, rule, component),
                    advance=progress.advance,
                )
            )
        for component, parts in apart_in_each(division.parts, layers=False).items():
            merged.setdefault(component, {}).update(
                merge_parameters(
                    component,
                    list(parts.values()),
                    rule,
                    finish=partial(finish, rule, component),
                    advance=progress.advance,
                )
            )
    return Combined(
        adapter=Adapter(
            _of_each(merged, lambda found: found.pair),
            saved=whole.saved,
            settings=whole.settings,
            embeddings=whole.embeddings,
        ),
        fidelity=_of_each(merged, lambda found: found.fidelity),
        notes=(*notes_of(loras, base, divisions, reference=reference), *whole.notes),
        device=chosen,
        reference=reference,
        retained_energy=_of_each(merged, lambda found: found.retained_energy),
        rounding=_rounding(merged, formats),
        divisions=divisions,
    )


def _engine(method: Method, *, alone: bool, reference: bool) -> Callable[..., Any]:
    if alone and method.decomposes:
        return partial(ENGINES["factored"], alone=True)  # PEFT takes a single LoRA as it is, whatever the rank
    return partial(ENGINES[method.engine], reference=True) if reference else ENGINES[method.engine]


def weighted(loaded: Loaded) -> list[WeightedAdapter]:
    """The LoRAs of a recipe, at its weights."""
    return [WeightedAdapter(lora.name, lora.adapter, lora.weight) for lora in loaded.loras]


def check_combination(loras: Sequence[WeightedAdapter], base: Base, method: Method) -> None:
    """Raise what `combine` would raise before it merges.

    Raises:
        MismatchError: The type can't take these LoRAs.
    """
    whole_parameters(loras, joined(_divisions(loras, base, method, reference=False)))


def _divisions(
    loras: Sequence[WeightedAdapter], base: Base, method: Method, *, reference: bool
) -> tuple[Division, ...]:
    """What each rule of the method merges."""
    names = [lora.name for lora in loras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MismatchError(f"two LoRAs are called {twice}", hint="give each a name of its own")
    weighings = {lora.name: weighing(lora.name, lora.weight, base) for lora in loras}
    every = {
        component: {
            lora.name: part for lora in loras if (part := part_of(component, lora, weighings[lora.name])) is not None
        }
        for component in base.components
    }
    touched = {component: parts for component, parts in every.items() if parts}
    weighty = [name for name in names if any(name in parts for parts in touched.values())]
    if not weighty:
        raise MismatchError("every LoRA weighs 0, so there is nothing to merge", hint="give a weight other than 0")
    for rule in method.rules:
        checks.check_different(weighty, [lora.adapter for lora in loras if lora.name in weighty], rule)
    divisions = divided(touched, method, base, names)
    check_divisions(divisions, weighty, base, reference=reference)
    return divisions


_Fact = TypeVar("_Fact")


def _of_each(
    merged: Mapping[str, Mapping[str, _Finished]], fact: Callable[[_Finished], _Fact | None]
) -> dict[str, dict[str, _Fact]]:
    """One fact of every module that has it."""
    return {
        component: {name: value for name, found in modules.items() if (value := fact(found)) is not None}
        for component, modules in merged.items()
    }


def _rounding(merged: Mapping[str, Mapping[str, _Finished]], formats: Sequence[str]) -> dict[str, float]:
    every = [found for modules in merged.values() for found in modules.values()]
    norm = math.hypot(*(found.fidelity.norm for found in every))
    return {
        dtype: math.hypot(*(found.losses[dtype] for found in every)) / norm if norm > 0 else 0.0 for dtype in formats
    }
