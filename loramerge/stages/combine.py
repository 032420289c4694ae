"""Stage: several LoRAs become one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from loramerge.adapter import Adapter
from loramerge.devices import chosen_device
from loramerge.engines import ENGINES
from loramerge.errors import LoramergeError, MismatchError
from loramerge.fidelity import measure
from loramerge.merging import Merged, Part
from loramerge.methods.method import RandomParameters, SvdParameters
from loramerge.progress import Progress, Silent
from loramerge.requirements import check_different, check_parts, check_reference, check_several
from loramerge.weighing import Weighing, weighing

if TYPE_CHECKING:
    from loramerge.base import Base
    from loramerge.fidelity import Fidelity
    from loramerge.methods import Method


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
        retained_energy: By component and module, where a decomposition cut the combined delta to a rank: the share of
            its squared norm that was kept.
    """

    adapter: Adapter
    fidelity: Fidelity
    notes: tuple[str, ...]
    device: str
    retained_energy: Mapping[str, Mapping[str, float]]


def combine(
    loras: Sequence[WeightedAdapter],
    base: Base,
    method: Method,
    *,
    device: str = "auto",
    reference: bool = False,
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
        progress: Told of every component and LoRA.

    Raises:
        MismatchError: The type can't take these LoRAs.
        UsageError: PEFT has no part in what the method asks for.
        LoramergeError: There is no such device, or the result is not finite.
    """
    progress = progress or Silent()
    chosen = _chosen_device(device, method)
    if reference:
        check_reference(method)
    weighings, by_component = _parts(loras, base, method, reference=reference)
    progress.start("merge", sum(len(parts) + 1 for parts in by_component.values()))
    engine = partial(ENGINES[method.engine], reference=True) if reference else ENGINES[method.engine]
    merged = {
        component: engine(
            base.components[component],
            list(parts.values()),
            method,
            seed=method.seed if isinstance(method, RandomParameters) else 0,
            device=chosen,
            advance=progress.advance,
        )
        for component, parts in by_component.items()
    }
    _check_finite(merged, method)
    adapter = Adapter(
        {component: {name: found.pair for name, found in modules.items()} for component, modules in merged.items()}
    )
    fidelity = measure(adapter, {lora.name: (lora.adapter, weighings[lora.name]) for lora in loras})
    retained = {
        component: {name: found.retained_energy for name, found in modules.items() if found.retained_energy is not None}
        for component, modules in merged.items()
    }
    return Combined(adapter, fidelity, tuple(_notes(loras, by_component, method)), chosen, retained)


def check_combination(loras: Sequence[WeightedAdapter], base: Base, method: Method) -> None:
    """Raise what `combine` would raise before it merges.

    Raises:
        MismatchError: The type can't take these LoRAs.
    """
    _parts(loras, base, method, reference=False)


def _parts(
    loras: Sequence[WeightedAdapter], base: Base, method: Method, *, reference: bool
) -> tuple[dict[str, Weighing], dict[str, dict[str, Part]]]:
    """The weights of each LoRA, and by component what each LoRA brings to it."""
    names = [lora.name for lora in loras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MismatchError(f"two LoRAs are called {twice}", hint="give each a name of its own")
    check_different(names, [lora.adapter for lora in loras], method)
    weighings = {lora.name: weighing(lora.name, lora.weight, base) for lora in loras}
    every = {
        component: {
            lora.name: part for lora in loras if (part := _part(component, lora, weighings[lora.name])) is not None
        }
        for component in base.components
    }
    touched = {component: parts for component, parts in every.items() if parts}
    weighty = [name for name in names if any(name in parts for parts in touched.values())]
    if not weighty:
        raise MismatchError("every LoRA weighs 0, so there is nothing to merge", hint="give a weight other than 0")
    check_several(weighty, method)
    for component, parts in touched.items():
        check_parts(component, list(parts.values()), base, method, reference=reference)
    return weighings, touched


def _chosen_device(device: str, method: Method) -> str:
    chosen = chosen_device(device)
    if isinstance(method, SvdParameters) and method.svd_driver and method.engine != "peft":
        raise MismatchError(
            "svd_driver chooses cuSOLVER's method in PEFT's merge; `engine: factored` has no use for it",
            hint="drop svd_driver",
        )
    if isinstance(method, SvdParameters) and method.svd_driver and chosen == "cpu":
        raise MismatchError("svd_driver chooses cuSOLVER's method and needs CUDA", hint="drop svd_driver on the CPU")
    return chosen


def _part(component: str, lora: WeightedAdapter, weigh: Weighing) -> Part | None:
    modules = lora.adapter.components.get(component, {})
    weights = {module: weigh(component, module) for module in modules}
    kept = {module: pair for module, pair in modules.items() if weights[module] != 0}
    return Part(lora.name, kept, {module: weights[module] for module in kept}) if kept else None


def _notes(
    loras: Sequence[WeightedAdapter], by_component: Mapping[str, Mapping[str, Part]], method: Method
) -> Iterator[str]:
    for lora in loras:
        used = sum(len(parts[lora.name].modules) for parts in by_component.values() if lora.name in parts)
        if used < len(lora.adapter):
            left = len(lora.adapter) - used
            yield f"LoRA {lora.name}: {left} of {len(lora.adapter)} modules weigh 0 and take no part"
    for component, parts in by_component.items():
        if len(parts) == 1 and not method.takes_one:
            yield (
                f"{component}: only {next(iter(parts))} touches it, so it is taken as it is, times its weight; "
                f"`{method.combination_type}` has nothing to merge there"
            )


def _check_finite(merged: Mapping[str, Mapping[str, Merged]], method: Method) -> None:
    for component, modules in merged.items():
        for module, found in modules.items():
            if not (found.pair.down.isfinite().all() and found.pair.up.isfinite().all()):
                raise LoramergeError(
                    f"`{method.combination_type}` gave NaN or infinite values in {component}.{module}",
                    hint="the weights are too large for float32",
                )
