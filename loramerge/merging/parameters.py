"""Parameters that are no layer's weight: biases, norms, modulation tables. They are combined value by value.

They have no factors and no rank. A combination type does to their values what it does to those of a factor or of a
delta, with the whole weight of each LoRA; nothing is decomposed. Types that only add up give the weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loramerge.deltas.parameter import ParameterDelta
from loramerge.merging.module import Finish, Finished, Merged, Part, Share, shares
from loramerge.numerics.dare_masks import keep_mask
from loramerge.numerics.task_arithmetic import weighted_sum
from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Adapter, LowRank
    from loramerge.methods import Method
    from loramerge.methods.method import Keep


def apart(parts: Mapping[str, Part], *, layers: bool) -> dict[str, Part]:
    """What of the LoRAs belongs to layers, or the rest; those that have nothing of it are absent."""
    found = {}
    for name, part in parts.items():
        kept = [module for module, pair in part.modules.items() if pair.is_layer is layers]
        if kept:
            found[name] = part.only(kept)
    return found


def apart_in_each(by_component: Mapping[str, Mapping[str, Part]], *, layers: bool) -> dict[str, dict[str, Part]]:
    """The same of every component; those of which nothing is left are absent."""
    found = {component: apart(parts, layers=layers) for component, parts in by_component.items()}
    return {component: parts for component, parts in found.items() if parts}


def without_zeros(adapter: Adapter) -> tuple[Adapter, int]:
    """A LoRA without differences that are all zeros, of parameters beside the layers, and how many there were.

    Trainers write many: they add nothing, and would keep the LoRA from formats that hold none. One that has nothing
    else stays what it is.
    """
    zeros = {
        (component, key) for component, key, pair in adapter if not pair.is_layer and not bool(pair.matrix().any())
    }
    if not zeros or len(zeros) == len(adapter):
        return adapter, 0
    kept = {
        component: {key: pair for key, pair in modules.items() if (component, key) not in zeros}
        for component, modules in adapter.components.items()
    }
    return replace(adapter, components=kept), len(zeros)


def merge_parameters(
    component: str,
    parts: Sequence[Part],
    method: Method,
    *,
    finish: Finish[Finished],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Finished]:
    """Merge what LoRAs add to the other parameters of one component, in float64, rounded once.

    Args:
        component: Its name.
        parts: The LoRAs. Those of a single one are taken as they are, times its weight, as its modules are.
        method: The combination type with its parameters.
        finish: Gets the merged delta of every parameter, float32 on the CPU.
        advance: Called once for each LoRA and once more.

    Returns:
        What `finish` made of each parameter, sorted by key.
    """
    chosen = method if len(parts) > 1 else None
    names = sorted({module for part in parts for module in part.modules})

    def merge(name: str) -> Finished:
        inputs = shares(parts, name)
        return finish(name, inputs, Merged(_combined(f"{component}.{name}", inputs, chosen)))

    with one_thread(), workers() as pool:
        found = dict(zip(names, pool.map(merge, names), strict=True))
    for _ in range(len(parts) + 1):
        advance()
    return found


def _combined(name: str, inputs: Sequence[Share], method: Method | None) -> LowRank:
    deltas, weights = [share.pair.delta() for share in inputs], [share.weight for share in inputs]
    if method is None:
        return _as_delta(weighted_sum(deltas, weights), inputs)
    seed = method.masks_from or 0

    def keep(position: int, tensor: Tensor, density: float | Tensor) -> Tensor:
        return keep_mask(tensor.shape, density, (seed, inputs[position].name, name, "delta"), "cpu")

    kept: Keep = keep
    return _as_delta(method.combine(deltas, weights, kept), inputs)


def _as_delta(values: Tensor, inputs: Sequence[Share]) -> LowRank:
    return ParameterDelta.of(values.float().reshape(inputs[0].pair.shape))
