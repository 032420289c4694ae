"""PEFT's combination types on one module, from its factors: a dense delta only where a type prunes deltas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank, balanced
from loramerge.deltas.concatenated import Concatenated
from loramerge.deltas.dense import Dense
from loramerge.deltas.rescaled import Rescaled
from loramerge.errors import LoramergeError
from loramerge.merging.module import Merged, Share
from loramerge.numerics.dare_masks import keep_mask
from loramerge.numerics.finite import is_finite
from loramerge.numerics.spaces import SPACES, core_space
from loramerge.numerics.svd import of_matrix, of_product, stacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from loramerge.methods import Method
    from loramerge.methods.method import Keep
    from loramerge.methods.spectral import SpectralParameters
    from loramerge.numerics.spaces import SpaceName
    from loramerge.numerics.svd import Decomposition


@dataclass(frozen=True)
class Module:
    """A module that is to be merged.

    Attributes:
        name: In full, with its component.
        inputs: What the LoRAs have for it.
    """

    name: str
    inputs: tuple[Share, ...]

    @property
    def pairs(self) -> tuple[LowRank, ...]:
        """Of the LoRAs."""
        return tuple(share.pair for share in self.inputs)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the LoRAs."""
        return tuple(share.weight for share in self.inputs)

    @property
    def factors(self) -> tuple[float, ...]:
        """By what each up @ down counts in the sum."""
        return tuple(weight * pair.scale for pair, weight in zip(self.pairs, self.weights, strict=True))

    @property
    def roots(self) -> tuple[list[float], list[float]]:
        """By what each up and each down counts where they are summed apart from each other, as PEFT has it."""
        both = [balanced(factor) for factor in self.factors]
        return [root for root, _ in both], [signed for _, signed in both]


def merged(module: Module, *, method: Method, largest: int, seed: int, device: str, alone: bool = False) -> Merged:
    """Merge one module.

    Args:
        module: With its inputs in memory.
        method: The combination type with its parameters.
        largest: Of all ranks in the component.
        seed: Of DARE's masks.
        device: Where it is computed.
        alone: There is one LoRA in all, whose ranks never grow.
    """
    is_dense = any(pair.is_dense for pair in module.pairs)
    if method.concatenates:
        return Merged(_added(module)) if is_dense else _concatenated(module)

    def keep(factor: str) -> Keep:
        return lambda position, tensor, density: keep_mask(
            tensor.shape, density, (seed, module.inputs[position].name, module.name, factor), tensor.device
        )

    if (name := method.chosen_space) is not None:
        return _in_space(module, method, name, largest, keep(name), device, alone=alone)
    if decomposition := method.decomposition:
        most = decomposition.most([pair.rank for pair in module.pairs], largest)
        triples = _decomposed(module, method, most, keep("delta"), device)
        up, down, retained = decomposition.cut(triples, most, padded=not alone)
        return Merged(as_pair(up, down, module.pairs[0]), retained)
    roots, signed = module.roots
    downs = (pair.down.to(device) for pair in module.pairs)
    ups = (pair.up.to(device) for pair in module.pairs)
    down, up = method.combine(downs, signed, keep("down")), method.combine(ups, roots, keep("up"))
    return Merged(LowRank(down.cpu(), up.cpu(), 1.0))


def _in_space(
    module: Module, method: Method, name: SpaceName, largest: int, keep: Keep, device: str, *, alone: bool
) -> Merged:
    """Combined value by value in coordinates that the LoRAs share."""
    decomposition = method.decomposition
    most = largest if decomposition is None else decomposition.most([pair.rank for pair in module.pairs], largest)
    space = SPACES[name](module.pairs, device, most)
    up, down = space.factors(method.combine(space.coordinates, module.weights, keep))
    if decomposition is None:
        return Merged(as_pair(up, down, module.pairs[0]))
    up, down, retained = decomposition.cut(of_product(up, down, most), most, padded=not alone)
    return Merged(as_pair(up, down, module.pairs[0]), retained)


def _added(module: Module) -> LowRank:
    """DoRAs and LoRAs are one DoRA; what else there is, is added as it is."""
    found = Rescaled.weighted_sum(module.pairs, module.weights)
    return Dense.sum_of(module.pairs, module.weights) if found is None else found


def _concatenated(module: Module) -> Merged:
    pair = Concatenated(module.pairs, module.factors).loaded()
    sources = [share.source for share in module.inputs]
    if any(source.place_of_down is None for source in sources):
        return Merged(pair)
    formats = frozenset[str]().union(*(source.number_formats for source in sources))
    return Merged(pair, again=Concatenated(sources, module.factors), up_formats=formats)


def _decomposed(module: Module, method: Method, most: int | None, keep: Keep, device: str) -> Decomposition:
    if spectral := method.spectral:
        return _merged_matrix(module, spectral, device)
    if any(pair.is_dense for pair in module.pairs):
        return _decomposed_dense(module, method, most, keep, device)
    product = stacked(module.pairs, module.weights, device)
    if method.sums_deltas:
        return of_product(*product, most)
    return of_matrix(method.combine(_deltas(module, device), module.weights, keep), most, product)


def _merged_matrix(module: Module, method: SpectralParameters, device: str) -> Decomposition:
    """Between orthonormal bases of all factors; the deltas themselves where one has none worth having."""
    if any(pair.is_dense for pair in module.pairs):
        return method.merged_matrix([delta.double() for delta in _deltas(module, device)], module.weights)
    space = core_space(module.pairs, device)
    return space.back(method.merged_matrix(space.coordinates, module.weights))


def _decomposed_dense(module: Module, method: Method, most: int | None, keep: Keep, device: str) -> Decomposition:
    """Where a delta has no factors worth having."""
    if method.sums_deltas:
        summed = Dense.sum_of(module.pairs, module.weights).matrix()
    else:
        summed = method.combine(_deltas(module, device), module.weights, keep)
    return of_matrix(summed, most)


def _deltas(module: Module, device: str) -> Iterator[Tensor]:
    """Of each LoRA, when it is asked for.

    Raises:
        LoramergeError: float32 does not hold it.
    """
    for share in module.inputs:
        delta = _delta(share.pair, device)
        if not is_finite(delta):
            raise LoramergeError(
                f"what LoRA {share.name} adds to {module.name} is too large for float32",
                hint="its training diverged, or its file is damaged; leave it out",
            )
        yield delta


def _delta(pair: LowRank, device: str) -> Tensor:
    import torch

    if pair.is_dense:
        delta = torch.empty(pair.shape[0], math.prod(pair.shape[1:]))
        pair.rows_of_delta(0, len(delta), delta)
        return delta.to(device)
    # As PEFT computes it, so that pruning finds the same values equal.
    return (pair.up.to(device).flatten(1) @ pair.down.to(device).flatten(1)).mul_(pair.scale)


def as_pair(up: Tensor, down: Tensor, like: LowRank) -> LowRank:
    """Two matrices as a float32 pair on the CPU, in the shape of another one."""
    down_shape, up_shape = (-1, *like.shape[1:]), (len(up), -1, *(1 for _ in like.shape[2:]))
    return LowRank(
        down.float().cpu().reshape(down_shape).contiguous(), up.float().cpu().reshape(up_shape).contiguous(), 1.0
    )
