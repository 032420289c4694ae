"""Modules of one shape at once: what a GPU needs to be busy, and the same results as module by module.

Types that prune by magnitude look at each module's values on their own, and dense deltas fill a GPU by themselves:
those go one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.merging import kernels
from loramerge.merging.module import Merged
from loramerge.numerics.dare_masks import keep_mask
from loramerge.numerics.svd import of_products

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.merging.kernels import Module
    from loramerge.merging.module import Part
    from loramerge.methods import Method
    from loramerge.methods.method import Keep
    from loramerge.methods.svd_parameters import RankParameters

_MOST = 64  # modules: of the largest in SDXL, with two LoRAs of rank 128, they take 2 GB in float64


def of(parts: Sequence[Part], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Modules that the same LoRAs touch, with the same shapes, ranks, scales and weights.

    Args:
        parts: The LoRAs; nothing is read of them.
        names: Of modules, sorted.
    """
    alike: dict[object, list[str]] = {}
    for name in names:
        there = [(part.name, part.modules[name], part.weights[name]) for part in parts if name in part.modules]
        kind = tuple((lora, pair.shape, pair.rank, pair.is_dense, pair.scale, weight) for lora, pair, weight in there)
        alike.setdefault(kind, []).append(name)
    for group in alike.values():
        for first in range(0, len(group), _MOST):
            yield tuple(group[first : first + _MOST])


def merged(
    modules: Sequence[Module], *, method: Method, largest: int, seed: int, device: str, alone: bool = False
) -> list[Merged]:
    """Merge modules that are alike, as `kernels.merged` merges each of them.

    Args:
        modules: One batch of `of`, with their inputs in memory.
        method: The combination type with its parameters.
        largest: Of all ranks in the component.
        seed: Of DARE's masks.
        device: Where it is computed.
        alone: There is one LoRA in all, whose ranks never grow.
    """
    one = partial(kernels.merged, method=method, largest=largest, seed=seed, device=device, alone=alone)
    if any(pair.is_dense for pair in modules[0].pairs):
        return [one(module) for module in modules]
    if method.sums_deltas and (decomposition := method.decomposition):
        return _decomposed(modules, decomposition, largest, device, alone=alone)
    if method.concatenates:
        return _concatenated(modules, device)
    if method.combines_factors and not method.selects:
        return _summed(modules, method, seed, device)
    return [one(module) for module in modules]


def _decomposed(
    modules: Sequence[Module], decomposition: RankParameters, largest: int, device: str, *, alone: bool
) -> list[Merged]:
    import torch

    factors = modules[0].factors
    ups, downs = _stacks(modules, device)
    up = torch.cat([up.flatten(2).double() * factor for up, factor in zip(ups, factors, strict=True)], 2)
    down = torch.cat([down.flatten(2).double() for down in downs], 1)
    most = decomposition.most([pair.rank for pair in modules[0].pairs], largest)
    found = []
    for module, triples in zip(modules, of_products(up, down, most), strict=True):
        cut_up, cut_down, retained = decomposition.cut(triples, most, padded=not alone)
        found.append(Merged(kernels.as_pair(cut_up, cut_down, module.pairs[0]), retained))
    return found


def _concatenated(modules: Sequence[Module], device: str) -> list[Merged]:
    import torch

    ups, downs = _stacks(modules, device)
    factors = modules[0].factors
    down = torch.cat([(down.double() * factor).float() for down, factor in zip(downs, factors, strict=True)], 1)
    return _taken_apart(torch.cat(ups, 2), down)


def _summed(modules: Sequence[Module], method: Method, seed: int, device: str) -> list[Merged]:
    import torch

    def keep(factor: str) -> Keep:
        def masks(position: int, stack: Tensor, density: float | Tensor) -> Tensor:
            lora = modules[0].inputs[position].name
            keys = [(seed, lora, module.name, factor) for module in modules]
            return torch.stack([keep_mask(stack.shape[1:], density, key, stack.device) for key in keys])

        return masks

    ups, downs = _stacks(modules, device)
    roots, signed = modules[0].roots
    return _taken_apart(method.combine(ups, roots, keep("up")), method.combine(downs, signed, keep("down")))


def _stacks(modules: Sequence[Module], device: str) -> tuple[list[Tensor], list[Tensor]]:
    """(ups, downs): of each LoRA one tensor with the modules along its first axis."""
    import torch

    by_lora = list(zip(*(module.pairs for module in modules), strict=True))
    ups = [torch.stack([pair.up for pair in pairs]).to(device) for pairs in by_lora]
    return ups, [torch.stack([pair.down for pair in pairs]).to(device) for pairs in by_lora]


def _taken_apart(up: Tensor, down: Tensor) -> list[Merged]:
    return [Merged(LowRank(*halves, 1.0)) for halves in zip(down.cpu(), up.cpu(), strict=True)]
