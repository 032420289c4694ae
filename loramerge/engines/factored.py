"""PEFT's combination types from the factors alone: no model, and a dense delta only where a type prunes deltas.

Module by module, so that neither the order of modules nor the number of workers can show. What PEFT computes without
a decomposition comes out the same to the bit, but for `cat`, which rounds once where PEFT rounds twice. DARE draws its
masks from the seed, the LoRA's name, the module and the factor instead of one generator for everything.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.adapter import LowRank
from loramerge.factorisation import of_matrix, of_product, stacked
from loramerge.masks import keep_mask
from loramerge.merging import Finish, Finished, Merged, Part, Share, shares
from loramerge.methods import Linear, Method, Svd
from loramerge.methods.method import SvdParameters
from loramerge.threads import in_order, one_thread, workers

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.base import Component
    from loramerge.factorisation import Decomposition
    from loramerge.methods.method import Keep

_AHEAD = 4  # modules per worker that are merged or waiting at a time


def merge_component(  # noqa: PLR0913  # what both engines take
    component: Component,
    parts: Sequence[Part],
    method: Method,
    *,
    seed: int,
    device: str,
    finish: Finish[Finished],
    advance: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> dict[str, Finished]:
    """Merge the LoRAs of one component, a few modules in memory at a time.

    Args:
        component: The base's component.
        parts: The LoRAs, at least one module each. A single one is merged as `linear`, whatever the method.
        method: The combination type with its parameters.
        seed: Of DARE's masks.
        device: `cpu` or `cuda`.
        finish: Gets the merged pair of every module that any LoRA touches, float32 on the CPU.
        advance: Called once for each LoRA and once more.
        threads: How many modules are merged at a time; as many as there are cores by default. It changes no bit.

    Returns:
        What `finish` made of each module, sorted by name.
    """
    chosen = method if len(parts) > 1 else Linear(combination_type="linear")
    largest = max(pair.rank for part in parts for pair in part.modules.values())

    def merge(name: str) -> Finished:
        inputs = shares(parts, name)
        module = _Module(f"{component.name}.{name}", inputs)
        return finish(name, inputs, _merged(module, method=chosen, largest=largest, seed=seed, device=device))

    names = sorted({module for part in parts for module in part.modules})
    count = (threads or os.cpu_count() or 1) if device == "cpu" else 1
    finished: dict[str, Finished] = {}
    steps, told = len(parts) + 1, 0
    with one_thread(), workers(count) as pool:
        for name, found in zip(names, in_order(pool, merge, names, ahead=_AHEAD * count), strict=True):
            finished[name] = found
            while told < steps * len(finished) // len(names):
                advance()
                told += 1
    return finished


@dataclass(frozen=True)
class _Module:
    """A module by its full name, and what the LoRAs have for it."""

    name: str
    inputs: tuple[Share, ...]

    @property
    def pairs(self) -> tuple[LowRank, ...]:
        return tuple(share.pair for share in self.inputs)

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(share.weight for share in self.inputs)

    @property
    def factors(self) -> tuple[float, ...]:
        """By what each up @ down counts in the sum."""
        return tuple(weight * pair.scale for pair, weight in zip(self.pairs, self.weights, strict=True))


def _merged(module: _Module, *, method: Method, largest: int, seed: int, device: str) -> Merged:
    if method.concatenates:
        return Merged(_concatenated(module))

    def keep(factor: str) -> Keep:
        return lambda position, tensor, density: keep_mask(
            tensor.shape, density, (seed, module.inputs[position].name, module.name, factor), tensor.device
        )

    if isinstance(method, SvdParameters):
        most = method.most([pair.rank for pair in module.pairs], largest)
        up, down, retained = method.cut(_decomposition(module, method, most, keep("delta"), device), most)
        return Merged(_pair(up, down, module.pairs[0]), retained)
    roots = [math.sqrt(abs(factor)) for factor in module.factors]
    signed = [math.copysign(root, factor) for root, factor in zip(roots, module.factors, strict=True)]
    downs = (pair.down.to(device) for pair in module.pairs)
    ups = (pair.up.to(device) for pair in module.pairs)
    down, up = method.combine(downs, signed, keep("down")), method.combine(ups, roots, keep("up"))
    return Merged(LowRank(down.cpu(), up.cpu(), 1.0))


def _concatenated(module: _Module) -> LowRank:
    import numpy as np
    import torch

    pairs, rank = module.pairs, sum(pair.rank for pair in module.pairs)
    down = torch.empty(rank, *pairs[0].down.shape[1:])
    start = 0
    for pair, factor in zip(pairs, module.factors, strict=True):
        rows = down[start : start + pair.rank]
        # In float64 and rounded once; NumPy converts in passing, without a copy.
        np.multiply(pair.down.numpy(), factor, out=rows.numpy(), dtype=np.float64, casting="same_kind")
        start += pair.rank
    return LowRank(down, torch.cat([pair.up for pair in pairs], 1), 1.0)


def _decomposition(module: _Module, method: Method, most: int | None, keep: Keep, device: str) -> Decomposition:
    product = stacked(module.pairs, module.weights, device)
    if isinstance(method, Svd):
        return of_product(*product, most)
    deltas = (_delta(pair, device) for pair in module.pairs)
    return of_matrix(method.combine(deltas, module.weights, keep), most, product)


def _delta(pair: LowRank, device: str) -> Tensor:
    # As PEFT computes it, so that pruning finds the same values equal.
    return (pair.up.to(device).flatten(1) @ pair.down.to(device).flatten(1)).mul_(pair.scale)


def _pair(up: Tensor, down: Tensor, like: LowRank) -> LowRank:
    rank = up.shape[1]
    return LowRank(
        down.float().cpu().reshape(rank, *like.down.shape[1:]).contiguous(),
        up.float().cpu().reshape(len(up), rank, *like.up.shape[2:]).contiguous(),
        1.0,
    )
