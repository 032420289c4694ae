"""Parameters that are no layer's weight: biases, norms, modulation tables. They are combined value by value.

They have no factors and no rank. A combination type does to their values what it does to those of a factor or of a
delta, with the whole weight of each LoRA; nothing is decomposed. Types that only add up give the weighted sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from loramerge.deltas.parameter import ParameterDelta
from loramerge.merging.module import Finish, Finished, Merged, Part, Share, shares
from loramerge.methods import Cat
from loramerge.numerics.dare_masks import keep_mask
from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import LowRank
    from loramerge.methods import Method
    from loramerge.methods.method import Keep


def apart(parts: Mapping[str, Part], *, layers: bool) -> dict[str, Part]:
    """What of the LoRAs belongs to layers, or the rest; those that have nothing of it are absent."""
    found = {}
    for name, part in parts.items():
        kept = {module: pair for module, pair in part.modules.items() if pair.is_layer is layers}
        if kept:
            found[name] = Part(part.name, kept, {module: part.weights[module] for module in kept})
    return found


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
    chosen = method if len(parts) > 1 else Cat(combination_type="cat")
    names = sorted({module for part in parts for module in part.modules})

    def merge(name: str) -> Finished:
        inputs = shares(parts, name)
        return finish(name, inputs, Merged(_combined(f"{component}.{name}", inputs, chosen)))

    with one_thread(), workers() as pool:
        found = dict(zip(names, pool.map(merge, names), strict=True))
    for _ in range(len(parts) + 1):
        advance()
    return found


def _combined(name: str, inputs: Sequence[Share], method: Method) -> LowRank:
    def keep(position: int, tensor: Tensor, density: float) -> Tensor:
        return keep_mask(tensor.shape, density, (method.masks_from or 0, inputs[position].name, name, "delta"), "cpu")

    kept: Keep = keep
    summed = method.combine((_delta(share) for share in inputs), [share.weight for share in inputs], kept)
    return ParameterDelta.of(summed.float().reshape(inputs[0].pair.shape))


def _delta(share: Share) -> Tensor:
    """The delta at strength 1, in float64."""
    import torch

    shape = share.pair.shape
    delta = torch.empty(shape[0], math.prod(shape[1:]), dtype=torch.float64)
    share.pair.rows_of_delta(0, len(delta), delta)
    return delta.reshape(shape)
